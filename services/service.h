#pragma once

// What a service is: both ends of a protocol, knowing nothing of sockets, loops or Linux.
//
//   struct NAME {
//     static constexpr std::string_view kName;     // as --service takes it
//     static constexpr std::string_view kRequest;  // what the server counts as one request
//     static constexpr Exchange kExchange;         // who speaks, and when
//
//     // The server's end. One object a server, shared by its threads; a Session a connection.
//     explicit NAME(const ServiceOptions&);
//     struct Session;
//     // All return the number of requests that were answered (or taken, where there is no answer).
//     uint32_t OnOpen(Session&, auto& reply) noexcept;
//     uint32_t OnReceive(Session&, Bytes in, auto& reply) noexcept;
//     // Optional: all that was written has left.
//     uint32_t OnDrained(Session&, auto& reply) noexcept;
//     // Optional: the service also answers datagrams. Each stands alone: there is no session.
//     uint32_t OnDatagram(Bytes in, auto& reply) noexcept;
//     // REQUIRED where an answer may be longer than its request: before each answer, and before it
//     // takes anything of `in`, OnReceive asks reply.full(), and hands what is left to
//     reply.Keep(). static constexpr bool kKeeps = true;
//     // Optional: where it isn't 0, so many bytes are a request, instead of kRequest.
//     uint64_t message_bytes;
//
//     // The client's end. One object a thread; a Session a connection.
//     struct Client {
//       explicit Client(const ServiceOptions&);
//       struct Session;
//       // `connection` is its number in the run.
//       void OnOpen(Session&, uint64_t connection) noexcept;
//       // The next 1..bytes bytes of the requests; they stay valid for ever. Never called for a
//       // kGreeting or a kSource. Where ServiceOptions::sizes vary, REQUIRES: one call a request,
//       // with the size that is the request's; all of it is returned.
//       Bytes Next(Session&, size_t bytes) noexcept;
//       // Verifies what the server sent. Any replies that it finds of a kSink are a surplus.
//       Received OnReceive(Session&, Bytes in) noexcept;
//       // REQUIRED of a kRequestReply: whether a part of a reply has come, and not all of it.
//       bool InReply(const Session&) const noexcept;
//       // REQUIRED to verify datagrams: either what the reply to request number `request` of a
//       // connection has to be, counted from 0,
//       Bytes Reply(uint64_t connection, uint64_t request) const noexcept;
//       // or, where nobody can know that, whether it is a reply to any. No reply, and nothing
//       // corrupt: the same datagram came before.
//       Received OnDatagram(Bytes in) noexcept;
//       // Optional: replies to so many requests never came, over datagrams, which may be lost.
//       void OnLost(uint64_t requests) noexcept;
//       // Optional: a reply came so long after its request was sent.
//       void OnLatency(int64_t ns) noexcept;
//       Tally tally;  // what can be verified only over all connections
//     };
//     struct Tally {
//       void Merge(const Tally&);
//       std::string Problem() const;  // one sentence; "" where all is well
//     };
//   };
//
// `reply` is how a service answers. On a connection it has
//
//   Write(Bytes)              takes or copies them, and sends them in the order they were given.
//   WriteStable(Bytes)        copies nothing: the bytes stay valid for ever. REQUIRES: all that was
//                             written before has left, as in OnOpen and OnDrained.
//   WriteAfter(delay, Bytes)  copies them, and sends them when the delay, in std::chrono's
//                             nanoseconds, has passed: never earlier, and never before anything
//                             that was written earlier on this connection.
//   full()                    whether so much waits to be sent that nothing more is to be answered.
//   Keep(Bytes)               the rest of what OnReceive was lent, which it didn't take: it comes
//                             again when what waits has left, and nothing else before it. REQUIRES:
//                             full(), and nothing written after it was asked.
//   Close()                   closes the connection, once all that was written is sent.
//   Violation()               the peer broke the protocol: the server counts that, and closes the
//                             connection as Close() does.
//
// and for a datagram, of which the answer is another datagram or none,
//
//   room()                    the most bytes that the answer may have (so that a forged sender's
//                             address doesn't bring down on its owner more than was sent).
//   Write(Bytes)              the answer, which may be empty. One that is longer than room() is
//                             dropped, and the server counts it.
//   WriteAfter(delay, Bytes)  the answer, later. REQUIRES: one Write or WriteAfter a datagram.
//
// A new service is one file and one line in services/all.h.

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>

#include "io/bytes.h"
#include "services/delay.h"
#include "services/sizes.h"

namespace services {

using io::Bytes;

// How a connection of a service goes.
enum class Exchange {
  kRequestReply,  // the client asks, and the server answers each request
  kGreeting,      // the server speaks first, once, and closes
  kSink,          // the client sends, and nothing comes back
  kSource,        // the server sends for ever; the client says nothing
};

// Whether a request has a reply that can be waited for, and so a latency.
constexpr bool HasLatency(Exchange exchange) {
  return exchange == Exchange::kRequestReply || exchange == Exchange::kGreeting;
}

// What both ends of a service have to agree on.
struct ServiceOptions {
  uint64_t message_bytes = 0;  // a request's size; for a server, 0: count as kRequest says
  // For a client: where it varies, the size of each request, by connection and number since it was
  // opened; message_bytes is without meaning then. A source's replies don't vary.
  SizePlan sizes;
  std::string text = "I got your message";  // what `reply` answers. REQUIRES: not empty
  Delay delay;  // of `delay`; its client holds a server to the least one
};

// What a client made of bytes that came.
struct Received {
  uint32_t replies = 0;        // completed by these bytes
  uint64_t corrupt_bytes = 0;  // that are not what they have to be
  // The first of them: its place in the connection's stream, and what stood there.
  uint64_t corrupt_offset = 0;
  uint8_t expected = 0, got = 0;

  // Adds where `in` differs from `expected_bytes`, of the same size. `offset` is in.begin()'s
  // place.
  void Compare(Bytes in, Bytes expected_bytes, uint64_t offset) {
    for (size_t i = 0; i < in.size(); ++i) {
      if (in[i] == expected_bytes[i]) continue;
      if (corrupt_bytes++ == 0) {
        corrupt_offset = offset + i;
        expected = std::to_integer<uint8_t>(expected_bytes[i]);
        got = std::to_integer<uint8_t>(in[i]);
      }
    }
  }
};

// Counts messages of a known size in a stream, however it is cut.
struct MessageCount {
  uint64_t partial = 0;  // bytes of a message that is not complete

  // So many bytes came: returns how many messages they complete. REQUIRES: message_bytes > 0.
  uint32_t Add(uint64_t bytes, uint64_t message_bytes) {
    partial += bytes;
    if (partial == message_bytes) {  // the usual case, without a division
      partial = 0;
      return 1;
    }
    if (partial < message_bytes) return 0;
    const uint64_t complete = partial / message_bytes;
    partial -= complete * message_bytes;
    return static_cast<uint32_t>(complete);
  }
};

// For services whose replies are verified one by one.
struct NoTally {
  void Merge(const NoTally&) {}
  std::string Problem() const { return ""; }
};

}  // namespace services
