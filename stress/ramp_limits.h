#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "stress/memory_guard.h"
#include "stress/result.h"
#include "stress/time_wait.h"

// What can end a ramp of connections, by name, and what raises it.
namespace stress {

// Looks after a ramp while it goes on. One thread.
class RampWatch {
 public:
  // `servers`: those of this machine whose descriptors are asked for. `connections` are wanted.
  // `root` stands in for / where memory is looked up.
  RampWatch(uint64_t memory_floor_bytes, int64_t timeout_ns, std::vector<pid_t> servers,
            uint64_t connections, std::string root = "")
      : guard_(memory_floor_bytes, std::move(root)),
        connections_(connections),
        timeout_ns_(timeout_ns),
        servers_(std::move(servers)) {}

  // So many connections were answered by now_ns. The limit that ends the ramp; nothing: it goes on.
  std::optional<Limit> Check(int64_t now_ns, uint64_t answered);

  int64_t lowest_memory_bytes() const { return guard_.lowest_bytes(); }

 private:
  std::optional<Limit> WhyNobodyIsAnswered(int64_t stalled_ns) const;

  MemoryGuard guard_;
  const uint64_t connections_;
  const int64_t timeout_ns_;
  const std::vector<pid_t> servers_;
  uint64_t answered_ = 0;
  int64_t since_ns_ = 0;  // when the last was answered; 0: not begun
};

// What kept our end from opening as many as were wanted: of what a load said, out_of_ports, its
// problem and the errnos of connections that failed. Nothing: none of these is a limit.
std::optional<Limit> LimitOfOurEnd(uint64_t connections, bool out_of_ports,
                                   const std::string& problem, const Json& by_errno,
                                   const PortBudget* ports);

// net.ipv4.tcp_mem, where TCP has all the pages that its last number allows (tcp(7)). `folder`
// stands in for /proc.
std::optional<Limit> TcpMemoryLimit(int64_t pages, const std::string& folder = "/proc");

}  // namespace stress
