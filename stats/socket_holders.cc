#include "stats/socket_holders.h"

#include <dirent.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "stats/proc_file.h"

namespace stats {
namespace {

struct CloseFolder {
  void operator()(DIR* folder) const { closedir(folder); }
};
using Folder = std::unique_ptr<DIR, CloseFolder>;

struct Walk {
  const std::set<uint32_t>& wanted;
  SocketHolders found;
  size_t descriptors = 0;  // looked at
};

absl::Status NothingLeftToLook(int error) {
  const char* symbol = strerrorname_np(error);
  return absl::ResourceExhaustedError(
      absl::StrCat("no descriptor or memory is left to look into processes: ",
                   symbol != nullptr ? symbol : absl::StrCat("E", error)));
}

// The inode in "socket:[123]"; nothing of other links.
std::optional<uint32_t> SocketInode(std::string_view link) {
  constexpr std::string_view kPrefix = "socket:[";
  if (!link.starts_with(kPrefix) || !link.ends_with(']')) return std::nullopt;
  return ParseNumber<uint32_t>(link.substr(kPrefix.size(), link.size() - kPrefix.size() - 1));
}

// Looks through the descriptors of one process.
absl::Status LookInto(pid_t pid, Walk* walk) {
  const Folder folder(opendir(absl::StrCat("/proc/", pid, "/fd").c_str()));
  if (folder == nullptr) {
    const int error = errno;
    if (error == EMFILE || error == ENFILE || error == ENOMEM) return NothingLeftToLook(error);
    walk->found.denied |= error == EACCES || error == EPERM;
    return absl::OkStatus();  // or it has ended: ENOENT, ESRCH
  }
  while (const dirent* entry = readdir(folder.get())) {
    char link[32];  // Longer ones are no sockets'.
    const ssize_t length = readlinkat(dirfd(folder.get()), entry->d_name, link, sizeof(link));
    if (length < 0) {
      walk->found.denied |= errno == EACCES || errno == EPERM;
      continue;  // "." and "..", or closed meanwhile
    }
    if (++walk->descriptors > kDescriptorsMax) {
      return absl::ResourceExhaustedError(
          absl::StrCat("the processes of this machine have more than ", kDescriptorsMax,
                       " descriptors: too many to look at"));
    }
    const auto inode = SocketInode({link, static_cast<size_t>(length)});
    const auto fd = ParseNumber<int>(entry->d_name);
    if (!inode || !fd || !walk->wanted.contains(*inode)) continue;
    walk->found.holders.push_back({.inode = *inode, .pid = pid, .fd = *fd});
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<SocketHolders> FindSocketHolders(const std::set<uint32_t>& inodes) {
  const Folder folder(opendir("/proc"));
  if (folder == nullptr) {
    const int error = errno;
    if (error == ENOENT) return absl::UnavailableError("/proc is not mounted: no process is seen");
    if (error == EACCES) return absl::PermissionDeniedError("this process may not read /proc");
    return NothingLeftToLook(error);
  }
  Walk walk = {.wanted = inodes, .found = {}};
  while (const dirent* entry = readdir(folder.get())) {
    const auto pid = ParseNumber<pid_t>(entry->d_name);
    if (!pid) continue;
    if (const absl::Status looked = LookInto(*pid, &walk); !looked.ok()) return looked;
  }
  std::ranges::sort(walk.found.holders);
  return std::move(walk.found);
}

}  // namespace stats
