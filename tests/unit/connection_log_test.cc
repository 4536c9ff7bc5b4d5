#include "server/connection_log.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

namespace server::connection_log_tests {
namespace {

constexpr int64_t kSecond = 1'000'000'000;

LogPeer V4(const char* address, uint16_t port) {
  sockaddr_in peer = {.sin_family = AF_INET, .sin_port = htons(port)};
  EXPECT_EQ(inet_pton(AF_INET, address, &peer.sin_addr), 1);
  return {reinterpret_cast<const sockaddr*>(&peer), sizeof(peer)};
}

LogPeer V6(const char* address, uint16_t port, uint32_t scope = 0) {
  sockaddr_in6 peer = {.sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_scope_id = scope};
  EXPECT_EQ(inet_pton(AF_INET6, address, &peer.sin6_addr), 1);
  return {reinterpret_cast<const sockaddr*>(&peer), sizeof(peer)};
}

TEST(ConnectionLog, WritesPeersOfEachFamily) {
  EXPECT_EQ(V4("127.0.0.1", 1).ToString(), "127.0.0.1:1");
  EXPECT_EQ(V4("255.255.255.255", 65535).ToString(), "255.255.255.255:65535");
  EXPECT_EQ(V6("::1", 5).ToString(), "[::1]:5");
  EXPECT_EQ(V6("2001:db8::7", 5).ToString(), "[2001:db8::7]:5");
  EXPECT_EQ(V6("fe80::1", 5, 2).ToString(), "[fe80::1%2]:5");
  EXPECT_EQ(V6("::ffff:10.1.2.3", 80).ToString(), "10.1.2.3:80");
  EXPECT_EQ(LogPeer(ucred{.pid = 7, .uid = 1000, .gid = 100}).ToString(), "pid:7,uid:1000,gid:100");
  EXPECT_EQ(LogPeer().ToString(), "?");
  const sockaddr_un unnamed = {.sun_family = AF_UNIX};
  EXPECT_EQ(LogPeer(reinterpret_cast<const sockaddr*>(&unnamed), sizeof(sa_family_t)).ToString(),
            "unix");
  const sockaddr_in cut = {.sin_family = AF_INET};
  EXPECT_EQ(LogPeer(reinterpret_cast<const sockaddr*>(&cut), 4).ToString(), "?");
  EXPECT_EQ(LogPeer(reinterpret_cast<const sockaddr*>(&cut), 0).ToString(), "?");
}

TEST(ConnectionLog, WritesOneLineARecord) {
  ConnectionRecord record = {.time_ns = 1'767'323'045'678'901'234, .peer = V4("127.0.0.1", 5)};
  EXPECT_EQ(FormatConnection(record, "[::]:9"),
            "2026-01-02T03:04:05.678901Z open peer=127.0.0.1:5 listener=[::]:9");
  record.event = ConnectionRecord::Event::kClose;
  record.bytes_in = 1;
  record.bytes_out = ~0ull;
  record.duration_ns = 1'234'567'890;
  EXPECT_EQ(FormatConnection(record, "a"),
            "2026-01-02T03:04:05.678901Z close peer=127.0.0.1:5 listener=a in=1 "
            "out=18446744073709551615 duration_s=1.234568");
  record.error = ECONNRESET;
  EXPECT_TRUE(FormatConnection(record, "a").ends_with(" duration_s=1.234568 error=ECONNRESET"));
  record.error = 4095;
  EXPECT_TRUE(FormatConnection(record, "a").ends_with(" error=E4095"));
  EXPECT_NE(
      FormatConnection(record, "/a b\n=\\\x1b").find(" listener=/a\\x20b\\x0a\\x3d\\x5c\\x1b "),
      std::string::npos);
}

ConnectionRecord Numbered(uint64_t n) {
  return {.time_ns = static_cast<int64_t>(n),
          .event = ConnectionRecord::Event::kClose,
          .bytes_in = n,
          .bytes_out = ~n};
}

TEST(ConnectionRing, KeepsOrderAndDropsWhatFindsItFull) {
  const bool holds = rc::check("as a bounded queue", [] {
    const auto capacity = *rc::gen::inRange<size_t>(0, 9);
    ConnectionRing ring(capacity);
    RC_ASSERT(ring.capacity() >= std::max<size_t>(capacity, 1));
    std::vector<uint64_t> model;
    uint64_t next = 0, dropped = 0;
    for (const bool push : *rc::gen::container<std::vector<bool>>(rc::gen::arbitrary<bool>())) {
      ConnectionRecord record;
      if (push) {
        const bool fits = model.size() < ring.capacity();
        RC_ASSERT(ring.Push(Numbered(next)) == fits);
        if (fits) model.push_back(next);
        dropped += fits ? 0 : 1;
        ++next;
      } else {
        RC_ASSERT(ring.Pop(&record) == !model.empty());
        if (model.empty()) continue;
        RC_ASSERT(record.bytes_in == model.front());
        model.erase(model.begin());
      }
      RC_ASSERT(ring.dropped() == dropped);
    }
  });
  EXPECT_TRUE(holds);
}

TEST(ConnectionRing, TwoThreadsLoseNothingUncounted) {
  constexpr uint64_t kRecords = 200'000;
  ConnectionRing ring(64);
  uint64_t pushes = kRecords + 1;
  std::thread worker([&] {
    for (uint64_t n = 0; n < kRecords; ++n) ring.Push(Numbered(n));
    // The last one must come through, so that the reader knows where it ends.
    for (; !ring.Push(Numbered(kRecords)); ++pushes) std::this_thread::yield();
  });
  uint64_t seen = 0, last = 0;
  bool in_order = true, whole = true;
  while (last != kRecords) {
    ConnectionRecord record;
    if (!ring.Pop(&record)) {
      std::this_thread::yield();
      continue;
    }
    in_order = in_order && (seen == 0 || record.bytes_in > last);
    whole = whole && record.bytes_out == ~record.bytes_in &&
            record.time_ns == static_cast<int64_t>(record.bytes_in);
    last = record.bytes_in;
    ++seen;
  }
  worker.join();
  EXPECT_TRUE(in_order);
  EXPECT_TRUE(whole);
  EXPECT_EQ(seen + ring.dropped(), pushes);
}

TEST(TokenBucket, GivesItsRateAndNoMore) {
  TokenBucket bucket(10);
  const auto take = [&](int64_t now_ns) {
    int taken = 0;
    while (taken < 1000 && bucket.Take(now_ns)) ++taken;
    return taken;
  };
  EXPECT_EQ(take(5 * kSecond), 10);  // it begins full
  EXPECT_EQ(take(5 * kSecond), 0);
  EXPECT_EQ(take(5 * kSecond + kSecond / 2), 5);
  EXPECT_EQ(take(4 * kSecond), 0);  // a clock that goes back gives nothing
  EXPECT_EQ(take(1000 * kSecond), 10);
}

std::vector<std::string> LinesOf(const std::string& text) {
  std::vector<std::string> lines;
  for (size_t at = 0, end; at < text.size(); at = end + 1) {
    end = text.find('\n', at);
    if (end == std::string::npos) {
      ADD_FAILURE() << "a line without its end";
      break;
    }
    lines.push_back(text.substr(at, end - at));
  }
  return lines;
}

TEST(ConnectionLog, MergesTheWorkersByTime) {
  ConnectionLog log({.listeners = {"first", "second"}, .workers = 2});
  log.ring(0).Push({.time_ns = 1000, .listener = 0});
  log.ring(0).Push({.time_ns = 3000, .listener = 2});
  log.ring(1).Push({.time_ns = 2000, .listener = 1});
  const auto lines = LinesOf(log.Drain(0));
  ASSERT_EQ(lines.size(), 3u);
  EXPECT_TRUE(lines[0].ends_with("open peer=? listener=first")) << lines[0];
  EXPECT_TRUE(lines[1].ends_with("open peer=? listener=second")) << lines[1];
  EXPECT_TRUE(lines[2].ends_with("open peer=? listener=?")) << lines[2];
  EXPECT_EQ(log.Drain(0), "");
  EXPECT_EQ(log.logged(), 3u);
}

TEST(ConnectionLog, SuppressesBeyondItsRateAndTellsHowMany) {
  ConnectionLog log({.listeners = {"a"}, .ring_records = 64, .lines_per_second = 10});
  for (uint64_t n = 0; n < 50; ++n) log.ring(0).Push(Numbered(n));
  EXPECT_EQ(LinesOf(log.Drain(0)).size(), 10u);
  EXPECT_EQ(log.suppressed(), 40u);
  for (uint64_t n = 0; n < 3; ++n) log.ring(0).Push(Numbered(n));
  EXPECT_EQ(log.Drain(0), "");
  // The next line that the rate allows is preceded by the count.
  log.ring(0).Push(Numbered(1));
  const auto lines = LinesOf(log.Drain(kSecond));
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_EQ(lines[0], "43 more suppressed");
  EXPECT_NE(lines[1].find(" in=1 "), std::string::npos);
  EXPECT_EQ(log.logged(), 11u);
  EXPECT_EQ(log.Finish(kSecond), "");  // told already
}

TEST(ConnectionLog, TellsItsLossesWhenTheFloodIsOver) {
  ConnectionLog log({.listeners = {"a"}, .ring_records = 4, .lines_per_second = 1});
  for (uint64_t n = 0; n < 10; ++n) log.ring(0).Push(Numbered(n));
  EXPECT_EQ(log.dropped(), 6u);
  const auto lines = LinesOf(log.Drain(0));
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_EQ(lines[0], "6 more dropped: the log fell behind");
  EXPECT_EQ(log.Drain(0), "");  // the rate allows no line yet
  EXPECT_EQ(log.Drain(kSecond), "3 more suppressed\n");
  EXPECT_EQ(log.Drain(9 * kSecond), "");
}

TEST(ConnectionLog, FinishTellsTheRestAtOnce) {
  ConnectionLog log({.listeners = {"a"}, .ring_records = 4, .lines_per_second = 1});
  for (uint64_t n = 0; n < 4; ++n) log.ring(0).Push(Numbered(n));
  const auto lines = LinesOf(log.Finish(0));
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_EQ(lines[1], "3 more suppressed");
}

TEST(ConnectionLogger, WritesAllOfItsWorkersRecords) {
  constexpr uint64_t kRecords = 1000;
  ConnectionLog log(
      {.listeners = {"a"}, .workers = 2, .ring_records = kRecords, .lines_per_second = 1'000'000});
  std::string written;  // by the logger's thread; read when that has ended
  bool empty = false;
  {
    const ConnectionLogger logger(log, [&](std::string_view lines) {
      empty = empty || lines.empty();
      written += lines;
    });
    std::vector<std::thread> workers;
    for (size_t i = 0; i < 2; ++i) {
      workers.emplace_back([&log, i] {
        for (uint64_t n = 0; n < kRecords; ++n) log.ring(i).Push(Numbered(n));
      });
    }
    for (std::thread& worker : workers) worker.join();
  }
  EXPECT_FALSE(empty);
  EXPECT_EQ(LinesOf(written).size(), 2 * kRecords);
  EXPECT_EQ(log.logged(), 2 * kRecords);
  EXPECT_EQ(log.dropped(), 0u);
}

}  // namespace
}  // namespace server::connection_log_tests
