#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "services/service.h"

namespace loadgen {

// Where a reply ends: at the `count`-th occurrence of `until`, or after `bytes` bytes. One of
// `until` and `bytes` is given. Occurrences don't overlap each other.
struct ReplyEnd {
  std::string until;
  uint64_t count = 1;  // of `until`
  uint64_t bytes = 0;
};

// A protocol that answers one constant request. Its replies aren't parsed: those of HTTP, say, end
// where `end` says, whatever their Content-Length.
struct TextOptions {
  std::string request;
  ReplyEnd end;  // with `is` alone: after as many bytes as that has
  // Where one of them is given, what a reply has to be, its end included, or to begin with.
  std::string is, prefix;

  // InvalidArgument, with one sentence on what is wrong and what would be right: no request, no
  // end or two, or an `is` or `prefix` that no reply could match.
  absl::Status Check() const;
};

// Finds the ends of replies in a stream, however it is cut: with the automaton of Knuth, Morris and
// Pratt (Fast pattern matching in strings, 1977) where a terminator may have begun, and memchr(3)
// up to there. Immutable; any thread.
class ReplyEndFinder {
 public:
  // Between two replies all is 0.
  struct State {
    uint64_t bytes = 0;    // of the reply
    uint64_t found = 0;    // terminators in it
    uint32_t matched = 0;  // bytes of the next one that the reply ends with so far
  };

  // REQUIRES: the end has `until` and a count above 0, or `bytes`.
  explicit ReplyEndFinder(const ReplyEnd& end);

  // How many bytes of `in` belong to the current reply, and whether they end it; the state is the
  // next reply's then. REQUIRES: `in` is not empty.
  size_t Take(State& state, services::Bytes in, bool* complete) const noexcept {
    const size_t size =
        end_.bytes > 0 ? TakeBytes(state, in, complete) : TakeText(state, io::AsText(in), complete);
    state.bytes += size;
    if (*complete) state = {};
    return size;
  }

 private:
  size_t TakeBytes(const State& state, services::Bytes in, bool* complete) const noexcept {
    const uint64_t left = end_.bytes - state.bytes;
    *complete = in.size() >= left;
    return *complete ? left : in.size();
  }
  size_t TakeText(State& state, std::string_view in, bool* complete) const noexcept;

  ReplyEnd end_;
  // By how many bytes of `until` are matched: how many still are when the next byte doesn't match.
  std::vector<uint32_t> fallback_;
};

// The client's end of such a protocol, with the interface of a service's client
// (services/service.h). A reply that isn't what it has to be is corrupt, and counts as a reply
// where it ends.
class TextClient {
 public:
  static constexpr services::Exchange kExchange = services::Exchange::kRequestReply;

  using Client = TextClient;  // so that it can stand where a service does
  using Tally = services::NoTally;
  using Bytes = services::Bytes;

  struct Session {
    size_t sent = 0;        // bytes of the request that is under way
    uint64_t received = 0;  // in all
    ReplyEndFinder::State reply;
  };

  // REQUIRES: options.Check().ok()
  explicit TextClient(const TextOptions& options);

  // The bytes of each request.
  uint64_t message_bytes() const noexcept { return request_bytes_; }

  void OnOpen(Session& session, uint64_t) noexcept { session = {}; }

  Bytes Next(Session& session, size_t bytes) noexcept {
    const size_t size = std::min(bytes, requests_.size() - session.sent);
    const Bytes out = io::AsBytes(requests_).subspan(session.sent, size);
    session.sent += size;
    if (session.sent >= request_bytes_) session.sent %= request_bytes_;
    return out;
  }

  services::Received OnReceive(Session& session, Bytes in) noexcept {
    services::Received result;
    while (!in.empty()) {
      const uint64_t at = session.reply.bytes;
      bool complete = false;
      const Bytes part = in.first(end_.Take(session.reply, in, &complete));
      Verify(part, at, session.received, &result);
      session.received += part.size();
      result.replies += complete;
      in = in.subspan(part.size());
    }
    return result;
  }

  bool InReply(const Session& session) const noexcept { return session.reply.bytes > 0; }

  // A datagram has to be one whole reply. Nothing tells one that comes twice from two.
  services::Received OnDatagram(Bytes in) noexcept {
    Session session;
    services::Received result = OnReceive(session, in);
    if (result.replies == 1 && session.reply.bytes == 0) return result;
    result.replies = 0;
    if (result.corrupt_bytes == 0) result.corrupt_bytes = std::max<size_t>(in.size(), 1);
    return result;
  }

  Tally tally;

 private:
  // `part` of a reply begins at its byte number `at`, and at `offset` in the stream.
  void Verify(Bytes part, uint64_t at, uint64_t offset, services::Received* result) noexcept;

  uint64_t request_bytes_;
  std::string requests_;  // the request, several times: so many go out in one send
  ReplyEndFinder end_;
  std::string expected_;  // of a reply, or of its beginning
  bool whole_;            // nothing may follow that
};

}  // namespace loadgen
