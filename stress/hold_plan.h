#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "io/endpoint.h"
#include "loadgen/source_ports.h"
#include "stress/hold.h"

// How `hold` divides its connections among processes, threads, descriptors and source addresses.
namespace stress {

// What one process at our end does, and the server that is started for it.
struct HoldShare {
  uint32_t connections = 0;
  std::vector<io::Endpoint> sources;  // empty: the kernel's choice
};

struct HoldPlan {
  bool direct = false;   // direct descriptors
  uint32_t threads = 1;  // of each process, at either end
  std::vector<HoldShare> shares;

  size_t sources() const;  // addresses, of all together; at least 1
};

// The plan, where a process may have `descriptors` and `ports` are to connect from. `to_loopback`:
// where our own server listens, or `options.target.at` is, is an IPv4 address of this machine's
// loopback: then there are as many source addresses as there are of connections' ports
// (127.0.0.1, .2, ...). InvalidArgument where what was asked for can't hold together; says what.
absl::StatusOr<HoldPlan> PlanHold(const HoldOptions& options, uint64_t descriptors,
                                  const loadgen::LocalPorts& ports, bool to_loopback);

// Of what a process has, what it needs besides connections.
inline constexpr uint64_t kOtherDescriptors = 48;

// The flags of `ringside serve` for a plan and one of its shares.
std::vector<std::string> ServeFlagsOf(const HoldOptions& options, const HoldPlan& plan,
                                      const HoldShare& share, uint64_t descriptors);

}  // namespace stress
