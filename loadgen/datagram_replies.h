#pragma once

#include <algorithm>
#include <cstring>

#include "io/bytes.h"
#include "loadgen/datagram_window.h"
#include "services/service.h"

namespace loadgen {

// How a corrupt datagram differs from the reply that it is most like, of those that a connection
// still waits for.
template <class Client>
services::Received NearestReply(const Client& client, uint64_t connection,
                                const DatagramWindow& window, io::Bytes in) {
  constexpr int kTriesMax = 64;
  services::Received nearest;
  int tries = 0;
  const auto compare = [&](uint64_t number) {
    if (++tries > kTriesMax) return;
    const io::Bytes reply = client.Reply(connection, number);
    const size_t common = std::min(in.size(), reply.size());
    const size_t rest = std::max(in.size(), reply.size()) - common;
    services::Received got;
    got.Compare(in.first(common), reply.first(common), number * reply.size());
    if (got.corrupt_bytes == 0) {  // only its length is wrong
      got.corrupt_offset = number * reply.size() + common;
      if (common < reply.size()) got.expected = std::to_integer<uint8_t>(reply[common]);
      if (common < in.size()) got.got = std::to_integer<uint8_t>(in[common]);
    }
    got.corrupt_bytes += rest;
    if (nearest.corrupt_bytes == 0 || got.corrupt_bytes < nearest.corrupt_bytes) nearest = got;
  };
  window.ForEachOpen(compare);
  if (tries == 0) compare(window.next());  // nothing is expected
  if (nearest.corrupt_bytes == 0) nearest.corrupt_bytes = in.size();
  return nearest;
}

// What a datagram turned out to be, and what is wrong with it, if anything.
struct DatagramVerdict {
  DatagramWindow::Match match;
  services::Received corrupt;  // corrupt_bytes > 0: it is no reply to anything
  bool surplus = false;        // a reply, but nobody asked
};

// Whose reply is it?
template <class Client>
DatagramVerdict JudgeDatagram(Client& client, uint64_t connection, DatagramWindow& window,
                              io::Bytes in) {
  using Kind = DatagramWindow::Kind;
  DatagramVerdict verdict;
  if constexpr (requires { client.Reply(connection, uint64_t{}); }) {
    verdict.match = window.Take([&](uint64_t number) {
      const io::Bytes reply = client.Reply(connection, number);
      return in.size() == reply.size() && std::memcmp(in.data(), reply.data(), in.size()) == 0;
    });
    if (verdict.match.kind == Kind::kUnknown) [[unlikely]]
      verdict.corrupt = NearestReply(client, connection, window, in);
  } else {
    const services::Received got = client.OnDatagram(in);
    if (got.corrupt_bytes != 0) [[unlikely]] {
      verdict.corrupt = got;
    } else if (got.replies == 0) {
      verdict.match.kind = Kind::kDoubled;
    } else {
      verdict.match = window.Take([](uint64_t) { return true; });
      const Kind kind = verdict.match.kind;
      verdict.surplus = kind == Kind::kDoubled || kind == Kind::kUnknown;  // a new one, unasked for
    }
  }
  return verdict;
}

}  // namespace loadgen
