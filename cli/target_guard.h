#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "io/endpoint.h"

// Load is sent to machines of one's own. What can be nobody else's passes; a public address passes
// only when the user says that it may.
namespace cli {

// What an address is by its bytes alone.
enum class TargetKind : uint8_t {
  kNear,       // loopback, unspecified, private, link-local, shared, or for benchmarks
  kMulticast,  // 224.0.0.0/4, ff00::/8
  kBroadcast,  // 255.255.255.255
  kPublic,     // everything else
};

// Of an IPv4 (4) or IPv6 (16) address in network byte order. Near are:
//   0.0.0.0, ::                              Linux connects these to itself
//   127.0.0.0/8, ::1                         RFC 1122, RFC 4291
//   10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16  RFC 1918
//   100.64.0.0/10                            RFC 6598
//   169.254.0.0/16, fe80::/10                RFC 3927, RFC 4291
//   fc00::/7                                 RFC 4193
//   198.18.0.0/15, 2001:2::/48               RFC 2544, RFC 5180
// An IPv4-mapped address (::ffff:0:0/96) is what the IPv4 address in it is.
TargetKind KindOfTarget(const std::vector<uint8_t>& address);

// This machine's addresses, in network byte order (getifaddrs(3)).
struct MachineAddresses {
  std::vector<std::vector<uint8_t>> own;
  std::vector<std::vector<uint8_t>> broadcast;  // of its IPv4 networks
  std::string error;                            // why they could not be read; "" when they were
};
MachineAddresses ReadMachineAddresses();

// Whether load may go to `at`, on a machine that has these addresses. InvalidArgument for multicast
// and broadcast always, and for a public address that isn't the machine's own unless it is `owned`
// (--i-own-this-target). Unix sockets pass.
absl::Status CheckTargetFrom(const MachineAddresses& machine, const io::Endpoint& at, bool owned);

// Whether `at` is an address of this machine: a Unix one, loopback, or one of its own.
bool IsThisMachine(const io::Endpoint& at);

// CheckTargetFrom() on this machine.
absl::Status CheckTarget(const io::Endpoint& at, bool owned);

// Reads an address to connect to (io::Resolve()), and checks it; of a name every address that may
// be tried, before the first packet to any. Of several, the first that answers is taken, and
// said on stderr by `command`; where none does, the first, with what each said. Errors: those of
// io::Resolve() and CheckTarget().
absl::StatusOr<io::Endpoint> ChooseTarget(const std::string& command, const std::string& text,
                                          bool owned);

}  // namespace cli
