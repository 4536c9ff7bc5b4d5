#pragma once

// What a service is: both ends of a protocol, knowing nothing of sockets, loops or Linux.
//
//   struct NAME {
//     static constexpr std::string_view kName;   // as --service takes it
//     static constexpr std::string_view kRequest;  // what the server counts as one request
//     static constexpr bool kOncePerConnection;    // the server speaks first, once, and closes
//
//     // The server's end. One object a server, shared by its threads; a Session a connection.
//     explicit NAME(const ServiceOptions&);
//     struct Session;
//     uint32_t OnOpen(Session&, auto& reply) noexcept;               // both return the number of
//     uint32_t OnReceive(Session&, Bytes in, auto& reply) noexcept;  // requests that were answered
//
//     // The client's end. One object a thread; a Session a connection.
//     struct Client {
//       explicit Client(const ServiceOptions&);
//       struct Session;
//       void OnOpen(Session&, uint64_t connection) noexcept;  // number of the connection in the
//       run Bytes Next(Session&, size_t bytes) noexcept;  // the next 1..bytes bytes of the
//       requests; they
//                                                     // stay valid for ever
//       Received OnReceive(Session&, Bytes in) noexcept;  // verifies what the server sent
//       Tally tally;  // what can be verified only over all connections
//     };
//     struct Tally { void Merge(const Tally&); std::string Problem() const; };  // "" where all is
//     well
//   };
//
// `reply` has Write(Bytes), which takes or copies them, and Close(), which closes once they are
// sent. A new service is one file and one line in services/all.h.

#include <cstddef>
#include <cstdint>
#include <string>

#include "io/bytes.h"

namespace services {

using io::Bytes;

struct ServiceOptions {
  uint64_t message_bytes = 0;  // a request's size; for a server, 0: count a request a receive
};

// What a client made of bytes that came.
struct Received {
  uint32_t replies = 0;        // completed by these bytes
  uint64_t corrupt_bytes = 0;  // that are not what they have to be
  // The first of them: its place in the connection's stream, and what stood there.
  uint64_t corrupt_offset = 0;
  uint8_t expected = 0, got = 0;
};

// For services whose replies are verified one by one.
struct NoTally {
  void Merge(const NoTally&) {}
  std::string Problem() const { return ""; }
};

}  // namespace services
