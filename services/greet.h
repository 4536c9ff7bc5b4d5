#pragma once

#include <atomic>
#include <charconv>
#include <cstring>
#include <string>
#include <string_view>

#include "services/number_tally.h"
#include "services/service.h"

namespace services {

// Tells each connection the how-manieth it is, "server> You've reached me N time(s)", and closes
// it. The server speaks first, as in RFC 867 (daytime).
struct Greet {
  static constexpr std::string_view kName = "greet";
  static constexpr std::string_view kRequest = "connection";
  static constexpr Exchange kExchange = Exchange::kGreeting;
  static constexpr std::string_view kBefore = "server> You've reached me ";
  static constexpr std::string_view kAfter = " time(s)\n";

  using Tally = NumberTally;

  explicit Greet(const ServiceOptions&) {}

  struct Session {};

  uint32_t OnOpen(Session&, auto& reply) noexcept {
    WriteGreeting(reply);
    reply.Close();
    return 1;
  }

  uint32_t OnReceive(Session&, Bytes, auto&) noexcept { return 0; }

  // As in RFC 867: what the datagram holds doesn't matter.
  uint32_t OnDatagram(Bytes, auto& reply) noexcept {
    WriteGreeting(reply);
    return 1;
  }

  void WriteGreeting(auto& reply) {
    char text[80];
    char* at = text + kBefore.copy(text, kBefore.size());
    at = std::to_chars(at, text + 60, times.fetch_add(1, std::memory_order_relaxed)).ptr;
    at += kAfter.copy(at, kAfter.size());
    reply.Write(io::AsBytes({text, static_cast<size_t>(at - text)}));
  }

  // Sends nothing; expects the greeting, with a number that nobody else got.
  struct Client {
    struct Session {
      std::string line;
      uint64_t received = 0;
    };

    explicit Client(const ServiceOptions&) {}

    void OnOpen(Session& session, uint64_t) noexcept {
      session.line.clear();
      session.received = 0;
    }

    Bytes Next(Session&, size_t) noexcept { return {}; }

    Received OnReceive(Session& session, Bytes in) noexcept {
      Received result;
      for (std::byte byte : in) {
        const uint8_t got = std::to_integer<uint8_t>(byte);
        if (session.line.size() < 80) session.line.push_back(static_cast<char>(got));
        if (got == '\n') {
          result.replies += 1;
          if (!Parse(session.line)) ++tally.malformed;
          session.line.clear();
        }
        ++session.received;
      }
      return result;
    }

    bool Parse(std::string_view line) {
      if (!line.starts_with(kBefore) || !line.ends_with(kAfter)) return false;
      line.remove_prefix(kBefore.size());
      line.remove_suffix(kAfter.size());
      uint64_t number = 0;
      const auto [end, error] = std::from_chars(line.data(), line.data() + line.size(), number);
      if (error != std::errc() || end != line.data() + line.size()) return false;
      tally.Add(number);
      return true;
    }

    Tally tally;
  };

  std::atomic<uint64_t> times{1};
};

}  // namespace services
