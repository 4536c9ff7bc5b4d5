#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <string_view>

#include "services/service.h"
#include "services/splitmix.h"

namespace services {

// Sends characters for ever, as fast as they are taken, and throws away what it receives (RFC 864).
// They are RFC 864's popular pattern: line n holds 72 of the 95 printing characters of ASCII, taken
// as a ring, from the n-th on, and CR LF.
struct Chargen {
  static constexpr std::string_view kName = "chargen";
  static constexpr std::string_view kRequest = "63270 bytes";  // or message_bytes, where given
  static constexpr Exchange kExchange = Exchange::kSource;

  static constexpr size_t kCharacters = 95, kLineCharacters = 72;
  static constexpr size_t kPeriod = kCharacters * (kLineCharacters + 2);
  static constexpr size_t kSliceBytes = 64 * 1024 / kPeriod * kPeriod;  // of one send
  static_assert(kSliceBytes == 63270);                                  // kRequest says so
  static constexpr size_t kDatagramBytesMax = 512;                      // RFC 864

  using Tally = NoTally;

  explicit Chargen(const ServiceOptions& options) : message_bytes(options.message_bytes) {}

  // Whole periods of the pattern, so that it goes on at the beginning. Immutable.
  static Bytes Slice() {
    static const std::array<char, kSliceBytes> slice = [] {
      std::array<char, kSliceBytes> text;
      auto at = text.begin();
      for (size_t line = 0; at != text.end(); ++line) {
        for (size_t i = 0; i < kLineCharacters; ++i) {
          *at++ = static_cast<char>(' ' + (line + i) % kCharacters);
        }
        *at++ = '\r';
        *at++ = '\n';
      }
      return text;
    }();
    return io::AsBytes({slice.data(), slice.size()});
  }

  struct Session {
    MessageCount messages;
  };

  uint32_t OnOpen(Session&, auto& reply) noexcept {
    reply.WriteStable(Slice());
    return 0;
  }

  uint32_t OnReceive(Session&, Bytes, auto&) noexcept { return 0; }

  uint32_t OnDrained(Session& session, auto& reply) noexcept {
    reply.WriteStable(Slice());
    return message_bytes == 0 ? 1 : session.messages.Add(kSliceBytes, message_bytes);
  }

  // A random number of characters from 0 to 512, as far as there is room.
  uint32_t OnDatagram(Bytes, auto& reply) noexcept {
    const uint64_t random = SplitMix64(datagrams.fetch_add(1, std::memory_order_relaxed));
    const size_t bytes = random % (kDatagramBytesMax + 1);
    reply.Write(Slice().first(std::min<size_t>(bytes, reply.room())));
    return 1;
  }

  // Sends nothing, and expects the pattern; message_bytes bytes of it are a reply.
  struct Client {
    struct Session {
      size_t at = 0;  // in the slice
      uint64_t received = 0;
      MessageCount messages;
    };

    explicit Client(const ServiceOptions& options) : message_bytes(options.message_bytes) {}

    void OnOpen(Session&, uint64_t) noexcept {}

    Bytes Next(Session&, size_t) noexcept { return {}; }

    Received OnReceive(Session& session, Bytes in) noexcept {
      Received result;
      result.replies = session.messages.Add(in.size(), message_bytes);
      while (!in.empty()) {
        const Bytes part = in.first(std::min(in.size(), kSliceBytes - session.at));
        const Bytes expected = slice.subspan(session.at, part.size());
        if (std::memcmp(part.data(), expected.data(), part.size()) != 0) {
          result.Compare(part, expected, session.received);
        }
        session.received += part.size();
        session.at = (session.at + part.size()) % kSliceBytes;
        in = in.subspan(part.size());
      }
      return result;
    }

    const Bytes slice = Slice();
    const uint64_t message_bytes;
    Tally tally;
  };

  const uint64_t message_bytes;
  std::atomic<uint64_t> datagrams{0};
};

}  // namespace services
