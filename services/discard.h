#pragma once

#include <string_view>

#include "services/echo.h"
#include "services/service.h"

namespace services {

// Throws away what it receives (RFC 863).
struct Discard {
  static constexpr std::string_view kName = "discard";
  static constexpr std::string_view kRequest = "receive";  // or message_bytes bytes, where given
  static constexpr Exchange kExchange = Exchange::kSink;

  using Tally = NoTally;

  explicit Discard(const ServiceOptions& options) : message_bytes(options.message_bytes) {}

  struct Session {
    MessageCount messages;
  };

  uint32_t OnOpen(Session&, auto&) noexcept { return 0; }

  uint32_t OnReceive(Session& session, Bytes in, auto&) noexcept {
    return message_bytes == 0 ? 1 : session.messages.Add(in.size(), message_bytes);
  }

  uint32_t OnDatagram(Bytes, auto&) noexcept { return 1; }

  // Sends the connection's part of the pattern, and expects nothing.
  struct Client {
    using Session = Echo::Client::Session;

    explicit Client(const ServiceOptions& options) : requests(options) {}

    void OnOpen(Session& session, uint64_t connection) noexcept {
      requests.OnOpen(session, connection);
    }

    Bytes Next(Session& session, size_t bytes) noexcept { return requests.Next(session, bytes); }

    Received OnReceive(Session&, Bytes) noexcept { return {.replies = 1}; }

    Echo::Client requests;
    Tally tally;
  };

  const uint64_t message_bytes;
};

}  // namespace services
