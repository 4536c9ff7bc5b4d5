#pragma once

#include <atomic>
#include <charconv>
#include <cstring>
#include <string_view>
#include <utility>
#include <vector>

#include "services/number_tally.h"
#include "services/service.h"

namespace services {

// Answers each line with the next number, in decimal, and a line feed. The numbers start at 1 and
// are unique and gap-free over all threads and connections of a server.
struct Counter {
  static constexpr std::string_view kName = "counter";
  static constexpr std::string_view kRequest = "line";
  static constexpr Exchange kExchange = Exchange::kRequestReply;
  static constexpr bool kKeeps = true;
  static constexpr uint64_t kLineBytesMax = 64 * 1024;  // a longer line is a violation

  using Tally = NumberTally;

  explicit Counter(const ServiceOptions&) {}

  struct Session {
    uint64_t line_bytes = 0;  // of a line that is not complete
  };

  uint32_t OnOpen(Session&, auto&) noexcept { return 0; }

  uint32_t OnReceive(Session& session, Bytes in, auto& reply) noexcept {
    uint32_t lines = 0;
    while (!in.empty()) {
      if (reply.full()) {
        reply.Keep(in);
        break;
      }
      const void* end = std::memchr(in.data(), '\n', in.size());
      if (end == nullptr) {
        session.line_bytes += in.size();
        if (session.line_bytes > kLineBytesMax) reply.Violation();
        break;
      }
      in = in.subspan(static_cast<const std::byte*>(end) - in.data() + 1);
      session.line_bytes = 0;
      WriteNumber(next.fetch_add(1, std::memory_order_relaxed), reply);
      ++lines;
    }
    return lines;
  }

  // A datagram is a line, whatever is in it.
  uint32_t OnDatagram(Bytes, auto& reply) noexcept {
    WriteNumber(next.fetch_add(1, std::memory_order_relaxed), reply);
    return 1;
  }

  static void WriteNumber(uint64_t number, auto& reply) {
    char text[24];
    char* end = std::to_chars(text, text + sizeof(text) - 1, number).ptr;
    *end++ = '\n';
    reply.Write(io::AsBytes({text, static_cast<size_t>(end - text)}));
  }

  // Sends lines of message_bytes bytes each, or of varying sizes, and expects a number above the
  // last for each.
  struct Client {
    static constexpr size_t kTableBytes = 1 << 20;
    static constexpr size_t kRecent = 4096;

    struct Session {
      uint64_t sent = 0, received = 0;
      uint64_t number = 0, last = 0;
      bool digits = false;  // of a number that is not complete
    };

    explicit Client(const ServiceOptions& options)
        : message_bytes(options.sizes.varies() ? options.sizes.Max() : options.message_bytes),
          varies(options.sizes.varies()),
          lines(TableBytes(message_bytes), std::byte('.')) {
      for (size_t i = message_bytes - 1; i < lines.size(); i += message_bytes) {
        lines[i] = std::byte('\n');
      }
    }

    static size_t TableBytes(uint64_t message_bytes) {
      return message_bytes * std::max<uint64_t>(2, kTableBytes / message_bytes);
    }

    void OnOpen(Session&, uint64_t) noexcept {}

    Bytes Next(Session& session, size_t bytes) noexcept {
      if (varies) return Bytes(lines).last(bytes);
      const size_t at = session.sent % message_bytes;
      const size_t size = std::min(bytes, lines.size() - at);
      session.sent += size;
      return {lines.data() + at, size};
    }

    Received OnReceive(Session& session, Bytes in) noexcept {
      Received result;
      for (std::byte byte : in) {
        const uint8_t c = std::to_integer<uint8_t>(byte);
        if (c >= '0' && c <= '9') {
          session.number = session.number * 10 + (c - '0');
          session.digits = true;
        } else if (c == '\n') {
          Complete(session);
          ++result.replies;
        } else if (result.corrupt_bytes++ == 0) {
          result.corrupt_offset = session.received;
          result.expected = '0';
          result.got = c;
        }
        ++session.received;
      }
      return result;
    }

    bool InReply(const Session& session) const noexcept { return session.digits; }

    // A datagram is one number. Those that came lately are known, so that one which comes twice is
    // told apart.
    Received OnDatagram(Bytes in) noexcept {
      const std::string_view text = io::AsText(in);
      uint64_t number = 0;
      const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
      const size_t digits = static_cast<size_t>(end - text.data());
      if (error != std::errc() || digits + 1 != text.size() || text.back() != '\n') {
        return {.corrupt_bytes = in.size(),
                .corrupt_offset = std::min(digits, text.size() - 1),
                .expected = '0',
                .got = static_cast<uint8_t>(text[std::min(digits, text.size() - 1)])};
      }
      if (recent.empty()) recent.resize(kRecent);
      if (std::exchange(recent[number % kRecent], number) == number) return {};
      tally.Add(number);
      return {.replies = 1};
    }

    void OnLost(uint64_t requests) noexcept { tally.lost += requests; }

    void Complete(Session& session) {
      if (!session.digits || session.number <= session.last) {
        ++tally.malformed;
      } else {
        tally.Add(session.number);
        session.last = session.number;
      }
      session.number = 0;
      session.digits = false;
    }

    uint64_t message_bytes;  // of the longest line
    bool varies;
    std::vector<std::byte> lines;  // the last one is last
    std::vector<uint64_t> recent;  // numbers, each at its remainder by kRecent
    Tally tally;
  };

  std::atomic<uint64_t> next{1};
};

}  // namespace services
