#pragma once

#include <algorithm>
#include <cstring>
#include <string>
#include <string_view>

#include "services/echo.h"
#include "services/service.h"

namespace services {

// Answers whatever comes with the same text, to the byte: no line feed is added. It is what socket
// tutorials end with.
struct FixedReply {
  static constexpr std::string_view kName = "reply";
  static constexpr std::string_view kRequest = "receive";  // or message_bytes bytes, where given
  static constexpr Exchange kExchange = Exchange::kRequestReply;
  static constexpr bool kKeeps = true;

  using Tally = NoTally;

  explicit FixedReply(const ServiceOptions& options)
      : text(options.text), message_bytes(options.message_bytes) {}

  struct Session {
    MessageCount messages;
  };

  uint32_t OnOpen(Session&, auto&) noexcept { return 0; }

  // One text a request: a receive, however many sends of the peer's it holds, where the size of a
  // request isn't known.
  uint32_t OnReceive(Session& session, Bytes in, auto& reply) noexcept {
    for (uint32_t requests = 0;; ++requests) {
      if (in.empty()) return requests;
      if (reply.full()) {
        reply.Keep(in);
        return requests;
      }
      const uint64_t size = message_bytes == 0 ? in.size() : message_bytes;
      const Bytes part = in.first(std::min<uint64_t>(in.size(), size - session.messages.partial));
      in = in.subspan(part.size());
      if (session.messages.Add(part.size(), size) == 0) return requests;
      reply.Write(io::AsBytes(text));
    }
  }

  uint32_t OnDatagram(Bytes, auto& reply) noexcept {
    reply.Write(io::AsBytes(text));
    return 1;
  }

  // Sends the connection's part of the pattern, and expects the text once for each request.
  struct Client {
    struct Session {
      Echo::Client::Session requests;
      uint64_t received = 0;
      size_t at = 0;  // in the text
    };

    explicit Client(const ServiceOptions& options) : requests(options), text(options.text) {}

    void OnOpen(Session& session, uint64_t connection) noexcept {
      requests.OnOpen(session.requests, connection);
    }

    Bytes Next(Session& session, size_t bytes) noexcept {
      return requests.Next(session.requests, bytes);
    }

    Received OnReceive(Session& session, Bytes in) noexcept {
      Received result;
      while (!in.empty()) {
        const Bytes part = in.first(std::min(in.size(), text.size() - session.at));
        const Bytes expected = io::AsBytes(text).subspan(session.at, part.size());
        if (std::memcmp(part.data(), expected.data(), part.size()) != 0) {
          result.Compare(part, expected, session.received);
        }
        session.received += part.size();
        session.at += part.size();
        if (session.at == text.size()) {
          session.at = 0;
          ++result.replies;
        }
        in = in.subspan(part.size());
      }
      return result;
    }

    bool InReply(const Session& session) const noexcept { return session.at > 0; }

    Bytes Reply(uint64_t, uint64_t) const noexcept { return io::AsBytes(text); }

    Echo::Client requests;
    const std::string text;
    Tally tally;
  };

  const std::string text;
  const uint64_t message_bytes;
};

}  // namespace services
