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
  static constexpr bool kOncePerConnection = false;

  using Tally = NoTally;

  explicit Echo(const ServiceOptions& options) : message_bytes(options.message_bytes) {}

  struct Session {
    uint64_t partial = 0;  // bytes of a message that is not complete
  };

  uint32_t OnOpen(Session&, auto&) noexcept { return 0; }

  uint32_t OnReceive(Session& session, Bytes in, auto& reply) noexcept {
    reply.Write(in);
    if (message_bytes == 0 || (in.size() == message_bytes && session.partial == 0)) return 1;
    session.partial += in.size();
    const uint64_t complete = session.partial / message_bytes;
    session.partial -= complete * message_bytes;
    return static_cast<uint32_t>(complete);
  }

  // Sends the connection's part of the pattern, and expects it back.
  struct Client {
    struct Session {
      uint32_t send_at = 0, receive_at = 0;  // places in the pattern
      uint64_t received = 0, partial = 0;
    };

    explicit Client(const ServiceOptions& options) : message_bytes(options.message_bytes) {}

    void OnOpen(Session& session, uint64_t connection) noexcept {
      session.send_at = session.receive_at = Pattern::Phase(connection);
    }

    Bytes Next(Session& session, size_t bytes) noexcept {
      const Bytes out = pattern.Slice(session.send_at, std::min(bytes, Pattern::kSliceMax));
      session.send_at = Pattern::Advance(session.send_at, out.size());
      return out;
    }

    Received OnReceive(Session& session, Bytes in) noexcept {
      Received result;
      for (Bytes rest = in; !rest.empty();) {
        const Bytes part = rest.first(std::min(rest.size(), Pattern::kSliceMax));
        const Bytes expected = pattern.Slice(session.receive_at, part.size());
        if (std::memcmp(part.data(), expected.data(), part.size()) != 0) {
          Compare(session, part, expected, result);
        }
        session.received += part.size();
        session.receive_at = Pattern::Advance(session.receive_at, part.size());
        rest = rest.subspan(part.size());
      }
      session.partial += in.size();
      if (session.partial == message_bytes) {
        session.partial = 0;
        result.replies = 1;
      } else if (session.partial > message_bytes) {
        result.replies = static_cast<uint32_t>(session.partial / message_bytes);
        session.partial %= message_bytes;
      }
      return result;
    }

    static void Compare(const Session& session, Bytes in, Bytes expected, Received& result) {
      for (size_t i = 0; i < in.size(); ++i) {
        if (in[i] == expected[i]) continue;
        if (result.corrupt_bytes++ == 0) {
          result.corrupt_offset = session.received + i;
          result.expected = std::to_integer<uint8_t>(expected[i]);
          result.got = std::to_integer<uint8_t>(in[i]);
        }
      }
    }

    const Pattern& pattern = Pattern::Get();
    uint64_t message_bytes;
    Tally tally;
  };

  uint64_t message_bytes;
};

}  // namespace services
