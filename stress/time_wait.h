#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "loadgen/source_ports.h"
#include "stress/result.h"

// Whether the ports to connect from last. Each connection that we close first keeps its address and
// port, and those of the server, for a while (TIME_WAIT, RFC 9293, 3.6.1).
namespace stress {

// What there is to connect from, to one address and port.
struct PortBudget {
  uint16_t first = 0, last = 0;  // net.ipv4.ip_local_port_range
  uint64_t ports = 0;            // of it that aren't reserved, of all source addresses together
  uint64_t sources = 1;          // addresses
  // For how long a port is held: TIME_WAIT's minute (TCP_TIMEWAIT_LEN), or a second where
  // net.ipv4.tcp_tw_reuse lets connect(2) take it again (1: always, 2: over loopback; ip-sysctl).
  // The kernel counts that in whole seconds, so it may be nearly two.
  double held_s = 60;

  // The rate that can go on for ever.
  double rate_max() const { return held_s > 0 ? static_cast<double>(ports) / held_s : 0; }
  // After so long no port is left at this rate; nothing: they last.
  std::optional<double> UsedUpAfter(double rate) const;
};

// That of this network namespace. Errors: loadgen::ReadLocalPorts()'s.
absl::StatusOr<PortBudget> ReadPortBudget(size_t sources, bool loopback);

// The limit "net.ipv4.ip_local_port_range", with the mends.
Limit PortLimit(const PortBudget& budget);

// "ports" in results.
Json ToJson(const PortBudget& budget, double rate, bool held);

// TIME_WAIT sockets of this network namespace over time.
class TimeWaitSeries {
 public:
  // Looks, at_s after the begin. Some 100 us.
  void Sample(double at_s);

  // Each look; every second one is dropped when they become many.
  Json ToJson() const;
  int64_t peak() const;  // -1: the kernel doesn't say

 private:
  struct Look {
    double at_s;
    int64_t count;
  };
  static constexpr size_t kLooksMax = 600;
  std::vector<Look> looks_;
  uint64_t every_ = 1, calls_ = 0;
};

}  // namespace stress
