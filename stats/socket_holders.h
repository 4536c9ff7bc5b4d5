#pragma once

#include <sys/types.h>

#include <compare>
#include <cstddef>
#include <cstdint>
#include <set>
#include <vector>

#include "absl/status/statusor.h"

namespace stats {

// A descriptor of a process that is a socket.
struct SocketHolder {
  uint32_t inode = 0;  // SocketInfo::inode
  pid_t pid = 0;
  int fd = 0;

  friend auto operator<=>(const SocketHolder&, const SocketHolder&) = default;
};

struct SocketHolders {
  std::vector<SocketHolder> holders;  // sorted by inode, process, descriptor
  bool denied = false;                // There were processes that may not be looked into.
};

inline constexpr size_t kDescriptorsMax = 4'000'000;

// All descriptors of this machine's processes that are one of these sockets, as far as this process
// may see them: those of other users only for root, and never a direct descriptor of io_uring, a
// process of another PID namespace or one hidden by hidepid=. Of descriptors that a process's
// threads share, one is told.
//
// Its cost is a symbolic link for each descriptor of the machine's processes, some us each. Any
// thread.
//
// Errors: Unavailable (no /proc), PermissionDenied (/proc itself), ResourceExhausted (descriptors,
// memory, more than kDescriptorsMax descriptors on the machine). Source: proc_pid_fd(5).
absl::StatusOr<SocketHolders> FindSocketHolders(const std::set<uint32_t>& inodes);

}  // namespace stats
