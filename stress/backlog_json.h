#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>

#include "stats/kernel_counters.h"
#include "stress/accept_queue.h"
#include "stress/connects.h"
#include "stress/result.h"

// What the experiment "backlog" says of what it saw: as JSON, and in a sentence.
namespace stress {

// What decides over full queues (the kernel's Documentation/networking/ip-sysctl.rst); nothing
// where this kernel doesn't have it.
struct BacklogSysctls {
  static BacklogSysctls Read(const std::string& folder = "/proc/sys/net");

  std::optional<int64_t> somaxconn, syncookies, abort_on_overflow, max_syn_backlog, syn_retries;
  std::optional<int64_t> syn_linear_timeouts;  // Linux 6.5
};
Json ToJson(const BacklogSysctls& sysctls);

// One queue that was filled.
struct BacklogRow {
  uint64_t backlog = 0;    // that our own server asked for; 0: somebody's
  uint64_t requested = 0;  // connects
  int64_t timeout_ns = 0;
  std::string address;
  pid_t pid = 0;                     // 0: nobody is known
  std::optional<AcceptQueue> queue;  // before; nothing: it can't be seen
  std::optional<uint64_t> held;      // the most that were in it
  std::optional<uint64_t> accepted;  // by a listener of ours
  // Open by the client's view, and not by the server's, which had no room for them.
  std::optional<uint64_t> ghosts;
  Connects::Summary connects;
  Json series = Json::array();
  stats::KernelDifference kernel;
  std::string problem;  // why it couldn't be read throughout
};
Json ToJson(const BacklogRow& row, const BacklogSysctls& sysctls);
// "the accept queue held 129 = min(128, 4096)+1; 41 connects were retried after 1.02 s".
std::string FindingOf(const BacklogRow& row, const BacklogSysctls& sysctls);

// What became of connects: "connections", without what only rows know.
Json ConnectionsJson(const Connects::Summary& connects, uint64_t requested);

}  // namespace stress
