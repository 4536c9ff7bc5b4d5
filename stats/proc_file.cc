#include "stats/proc_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace stats {
namespace {

constexpr size_t kChunkBytes = 16 * 1024;

absl::Status ReadError(int error, const std::string& path) {
  const char* symbol = strerrorname_np(error);
  const std::string what = absl::StrCat("can't read ", path, ": ",
                                        symbol != nullptr ? symbol : absl::StrCat("E", error));
  switch (error) {
    case ENOENT:
    case ENOTDIR:
    case ESRCH:
      return absl::NotFoundError(absl::StrCat(what, "; it isn't there, or no longer"));
    case EACCES:
    case EPERM:
      return absl::PermissionDeniedError(absl::StrCat(what, "; this process may not read it"));
    case EMFILE:
    case ENFILE:
      return absl::ResourceExhaustedError(absl::StrCat(what, "; no file descriptor is left"));
    case ENOMEM:
      return absl::ResourceExhaustedError(absl::StrCat(what, "; the kernel has no memory"));
    default:
      return absl::InternalError(what);
  }
}

std::vector<std::string_view> Split(std::string_view text, std::string_view separators) {
  std::vector<std::string_view> parts;
  while (true) {
    const size_t begin = text.find_first_not_of(separators);
    if (begin == std::string_view::npos) return parts;
    text.remove_prefix(begin);
    parts.push_back(text.substr(0, text.find_first_of(separators)));
    text.remove_prefix(parts.back().size());
  }
}

int ReadAll(int fd, std::string* text) {
  while (true) {
    const size_t old_size = text->size();
    text->resize(old_size + kChunkBytes);
    const ssize_t size = read(fd, text->data() + old_size, kChunkBytes);
    text->resize(old_size + (size > 0 ? static_cast<size_t>(size) : 0));
    if (size == 0) return 0;
    if (size < 0 && errno != EINTR) return errno;
  }
}

}  // namespace

absl::StatusOr<std::string> ReadProcFile(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return ReadError(errno, path);
  std::string text;
  const int error = ReadAll(fd, &text);
  close(fd);
  if (error != 0) return ReadError(error, path);
  return text;
}

std::vector<std::string_view> Lines(std::string_view text) { return Split(text, "\n"); }

std::vector<std::string_view> Words(std::string_view line) { return Split(line, " \t"); }

}  // namespace stats
