#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "io/endpoint.h"

// Which TCP ports of a host answer.
namespace probe {

enum class PortState : uint8_t {
  kUnasked,   // the scan was stopped before
  kOpen,      // somebody accepts connections
  kClosed,    // a reset came: nobody listens
  kFiltered,  // no answer in time, or an error in its place: PortResult::error
  kUnknown,   // this machine could not ask: PortResult::error
};

struct PortResult {
  uint16_t port = 0;
  PortState state = PortState::kUnasked;
  int error = 0;          // filtered and unknown: an errno, 0 for no answer at all
  int64_t answer_ns = 0;  // open and closed: from asking to the answer; 0: not known
};

struct ScanOptions {
  io::Endpoint at;               // its port is ignored; no wildcard
  std::vector<uint16_t> ports;   // each once, none 0
  std::string backend;           // of the event loop: io/backends.h. Half-open probes have none.
  std::string backend_fallback;  // why it isn't the first choice; "" where it is
  uint32_t in_flight = 256;      // ports that are waited for at once
  int64_t timeout_ns = 1'000'000'000;
  double rate = 0;       // ports asked a second; 0: as in_flight allows
  uint32_t retries = 0;  // how often to ask a silent port again (half-open only: connect(2) does)
  std::function<bool()> stop;  // asked often, at least each 50 ms: whether to end early
};

struct ScanResult {
  std::vector<PortResult> ports;  // in the order of the options
  bool interrupted = false;       // by `stop`
  int64_t duration_ns = 0;
  // Attempts in which a socket of the scan met itself, or another of the scan. They are asked
  // again, from another port.
  uint64_t met_ourselves = 0;
};

// What an errno in the place of an answer says of a port.
PortState StateOf(int error);

// Asks each port by connect(2) on an event loop. What is open is closed at once, with a reset, so
// nothing stays in TIME-WAIT; the server sees a connection that ends before it sent anything.
//
// The time of an answer is that of connect(2), and includes what this thread does meanwhile for up
// to a few other ports.
//
// A connect(2) to this machine whose source port is the port that it asks connects to itself, and
// two that ask each other's source port to each other (RFC 9293, section 3.5): the kernel takes any
// free port as the source. Neither is taken for an answer.
//
// Errors: those of the loop, and of sockets where none can be had.
absl::StatusOr<ScanResult> ConnectScan(const ScanOptions& options);

// Asks each port by a single SYN from a raw socket, and reads what comes back. The kernel has no
// connection at our port, so it answers each SYN-ACK with a reset by itself: a server's accept(2)
// never sees any of it. The port that is sent from is kept by a bound socket that doesn't listen,
// lest somebody else gets it meanwhile. Sequence numbers are random, and an answer that doesn't
// acknowledge them is none.
//
// Errors: PermissionDenied (needs CAP_NET_RAW; says what to do), Unavailable (no way there, no
// address family), ResourceExhausted. Source: raw(7), ipv6(7), packet filters: socket(7).
absl::StatusOr<ScanResult> SynScan(const ScanOptions& options);

}  // namespace probe
