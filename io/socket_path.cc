#include "io/socket_path.h"

#include <fcntl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdio>

#include "absl/strings/str_cat.h"

namespace io {
namespace {

// A name beside the path that nobody has.
std::string Aside(const std::string& path) {
  uint64_t number = 0;
  if (getrandom(&number, sizeof(number), GRND_NONBLOCK) != sizeof(number)) {
    number = static_cast<uint64_t>(std::chrono::steady_clock::now().time_since_epoch().count());
  }
  return absl::StrCat(path, ".", absl::Hex(number, absl::kZeroPad16));
}

bool Is(const std::string& path, dev_t device, ino_t inode) {
  struct stat file = {};
  return lstat(path.c_str(), &file) == 0 && file.st_dev == device && file.st_ino == inode;
}

}  // namespace

bool RemoveSocketPath(const std::string& path, dev_t device, ino_t inode) {
  if (!Is(path, device, inode)) {  // most are, and then nobody's file is touched
    errno = EEXIST;
    return false;
  }
  const std::string aside = Aside(path);
  // A path that is too long for another name beside it (ENAMETOOLONG) is removed as it is.
  if (rename(path.c_str(), aside.c_str()) != 0) {
    return errno == ENAMETOOLONG && unlink(path.c_str()) == 0;
  }
  if (Is(aside, device, inode)) return unlink(aside.c_str()) == 0;
  // Not over what has come meanwhile.
  renameat2(AT_FDCWD, aside.c_str(), AT_FDCWD, path.c_str(), RENAME_NOREPLACE);
  errno = EEXIST;
  return false;
}

}  // namespace io
