#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>

// File descriptors of processes. Sources: /proc/PID/fd, proc(5); prlimit(2).
namespace stress {

// How many a process has open; -1: that can't be told. Some us from Linux 6.2 on, whose stat(2) of
// the folder says it; before, as long as counting them takes.
int64_t OpenDescriptors(pid_t pid);

// Its soft RLIMIT_NOFILE; -1: that can't be told (another user's).
int64_t DescriptorLimit(pid_t pid);

// How a process gets so many here, as `doctor` says it.
std::string RaiseDescriptors(uint64_t to);

}  // namespace stress
