#pragma once

#include <cstring>
#include <string_view>

#include "services/pattern.h"
#include "services/service.h"

namespace services {

// Answers with what it received (RFC 862).
struct Echo {
  static constexpr std::string_view kName = "echo";
  static constexpr std::string_view kRequest = "receive";  // or message_bytes bytes, where given
  static constexpr Exchange kExchange = Exchange::kRequestReply;

  using Tally = NoTally;

  explicit Echo(const ServiceOptions& options) : message_bytes(options.message_bytes) {}

  struct Session {
    MessageCount messages;
  };

  uint32_t OnOpen(Session&, auto&) noexcept { return 0; }

  uint32_t OnReceive(Session& session, Bytes in, auto& reply) noexcept {
    reply.Write(in);
    return message_bytes == 0 ? 1 : session.messages.Add(in.size(), message_bytes);
  }

  uint32_t OnDatagram(Bytes in, auto& reply) noexcept {
    reply.Write(in);
    return 1;
  }

  // Sends the connection's part of the pattern, and expects it back.
  struct Client {
    // Between where a request of varying size begins and where the connection's next one does, so
    // that a place is known without the sizes before it.
    static constexpr uint32_t kStride = 25'717;

    struct Session {
      uint32_t send_at = 0, receive_at = 0;  // places in the pattern. Varying: where requests begin
      uint64_t received = 0;
      MessageCount messages;
      VaryingCount varying;  // where sizes vary, instead
    };

    explicit Client(const ServiceOptions& options)
        : message_bytes(options.message_bytes), sizes(options.sizes) {}

    void OnOpen(Session& session, uint64_t connection) noexcept {
      session.send_at = session.receive_at = Pattern::Phase(connection);
      if (varies) session.varying.Begin(sizes, connection);
    }

    Bytes Next(Session& session, size_t bytes) noexcept {
      const Bytes out = pattern.Slice(session.send_at, std::min(bytes, Pattern::kSliceMax));
      session.send_at = Pattern::Advance(session.send_at, varies ? kStride : out.size());
      return out;
    }

    Received OnReceive(Session& session, Bytes in) noexcept {
      if (varies) return OnReceiveVarying(session, in);
      Received result;
      for (Bytes rest = in; !rest.empty();) {
        const Bytes part = rest.first(std::min(rest.size(), Pattern::kSliceMax));
        const Bytes expected = pattern.Slice(session.receive_at, part.size());
        if (std::memcmp(part.data(), expected.data(), part.size()) != 0) {
          result.Compare(part, expected, session.received);
        }
        session.received += part.size();
        session.receive_at = Pattern::Advance(session.receive_at, part.size());
        rest = rest.subspan(part.size());
      }
      result.replies = session.messages.Add(in.size(), message_bytes);
      return result;
    }

    Received OnReceiveVarying(Session& session, Bytes in) noexcept {
      Received result;
      VaryingCount& count = session.varying;
      while (!in.empty()) {
        const Bytes part = in.first(std::min<size_t>(in.size(), count.left));
        const uint32_t at = Pattern::Advance(session.receive_at, count.bytes - count.left);
        const Bytes expected = pattern.Slice(at, part.size());
        if (std::memcmp(part.data(), expected.data(), part.size()) != 0) {
          result.Compare(part, expected, session.received);
        }
        session.received += part.size();
        if (count.Add(part.size(), sizes) > 0) {
          session.receive_at = Pattern::Advance(session.receive_at, kStride);
          ++result.replies;
        }
        in = in.subspan(part.size());
      }
      return result;
    }

    bool InReply(const Session& session) const noexcept {
      return varies ? session.varying.left != session.varying.bytes : session.messages.partial > 0;
    }

    // What the request was. Shorter ones than a few bytes are alike.
    Bytes Reply(uint64_t connection, uint64_t request) const noexcept {
      const uint64_t bytes = varies ? sizes.At(connection, request) : message_bytes;
      const uint64_t stride = varies ? kStride : message_bytes;
      const uint64_t at = Pattern::Phase(connection) + request * stride;
      return pattern.Slice(static_cast<uint32_t>(at % Pattern::kPeriod), bytes);
    }

    const Pattern& pattern = Pattern::Get();
    uint64_t message_bytes;
    SizePlan sizes;
    bool varies = sizes.varies();
    Tally tally;
  };

  uint64_t message_bytes;
};

}  // namespace services
