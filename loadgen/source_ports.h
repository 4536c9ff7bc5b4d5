#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "io/endpoint.h"

namespace loadgen {

// The ports that clients of this machine connect from (ip-sysctl of the kernel's documentation).
struct LocalPorts {
  uint16_t first = 32768, last = 60999;                 // net.ipv4.ip_local_port_range
  std::vector<std::pair<uint16_t, uint16_t>> reserved;  // net.ipv4.ip_local_reserved_ports

  // All of the range that isn't reserved, in order.
  std::vector<uint16_t> Usable() const;
};

// From the two files' texts: "32768\t60999", and "8080,9000-9010" or nothing. InvalidArgument names
// the one that can't be read.
absl::StatusOr<LocalPorts> ParseLocalPorts(std::string_view range, std::string_view reserved);
// As this network namespace has them, in /proc/sys/net/ipv4. NotFound where they can't be read.
absl::StatusOr<LocalPorts> ReadLocalPorts();

// What gives a client more ports to connect from, as commands and flags.
std::string_view MorePorts();

// Of a run that had no port left (EADDRNOTAVAIL): how many there are, of so many source addresses
// (0: one, the kernel's choice), what holds them, and what to do; one sentence without a full stop.
// `each_once`: every request had a connection of its own, whose port stays in TIME_WAIT (RFC 9293,
// 3.6.1).
std::string OutOfPorts(const LocalPorts& ports, size_t sources, bool each_once);

// Hands out the addresses and ports that one thread connects from, so that no two threads try the
// same. Not thread-safe: each thread has its own, made with the same sources, ports and threads.
//
// Life of a pair: free -> Next(): in use -> Return(): free again, and tried last of all; or
// Taken(): somebody else has it, and it isn't tried again before ForgetTaken().
class SourcePlan {
 public:
  struct Options {
    std::vector<io::Endpoint> sources;  // addresses, ports ignored; none: the kernel picks
    io::Endpoint to;                    // of the same family and transport. REQUIRES: IP
    LocalPorts ports;
    uint32_t thread = 0, threads = 1;  // REQUIRES: thread < threads
    uint64_t seed = 0;                 // where in the range to start; a random number
  };

  // InvalidArgument where a source doesn't fit the destination.
  static absl::StatusOr<SourcePlan> Make(const Options& options);

  // Whether a run of so many connections in all (all threads together, at once or within a minute:
  // what was closed waits in TIME_WAIT) should be given its ports: from a quarter of the ports of
  // all its sources on.
  //
  // Measured on Linux 6.18, two cores, the default range, TCP over loopback: a connect with a port
  // of the kernel's choice takes 20 us while fewer than half of the range are in use, and 800 us
  // beyond, since connect(2) tries one half of the ports, then the others, one by one
  // (__inet_hash_connect): 19,900 connections take 5.3 s. With a port that is given it takes 21 us,
  // or 28 us at the wildcard address, however many there are: 0.45 s. So for few the kernel's
  // choice costs least; a quarter leaves the other for what other programs and earlier runs use.
  static bool Pays(uint64_t connections, size_t sources, const LocalPorts& ports);

  // The next pair to connect from. ResourceExhausted where there is none left: says how many
  // connections are possible, and the mend.
  absl::StatusOr<io::Endpoint> Next();
  // The connection from there is closed. REQUIRES: Next() gave it out, and it was not given back.
  void Return(const io::Endpoint& source);
  // Connecting from there failed with EADDRINUSE or EADDRNOTAVAIL. REQUIRES: likewise.
  void Taken(const io::Endpoint& source);
  // Makes those that were Taken() free: some may have been in TIME_WAIT (a minute at most).
  void ForgetTaken();

  // How many connections at once this thread can have, and how many are free of them.
  uint64_t pairs() const { return states_.size(); }
  uint64_t free() const { return free_; }

 private:
  enum class State : uint8_t { kFree, kInUse, kTaken };

  SourcePlan() = default;
  size_t IndexOf(const io::Endpoint& source) const;
  absl::Status Exhausted() const;

  // Pair number n is source n % sources and port n / sources: sources take turns.
  std::vector<io::Endpoint> sources_;
  std::vector<uint16_t> ports_;  // this thread's, in order
  std::vector<State> states_;
  uint64_t free_ = 0, taken_ = 0;
  size_t next_ = 0;            // where to look for a free one
  uint64_t pairs_in_all_ = 0;  // of all threads
  bool automatic_ = false;     // no source was given
};

}  // namespace loadgen
