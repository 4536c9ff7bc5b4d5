#include "loadgen/datagram_window.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <deque>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "services/all.h"

namespace loadgen {
namespace {

using Kind = DatagramWindow::Kind;

// An echo client's connection: its requests as they were sent, and what a datagram is taken for.
class Echoed {
 public:
  explicit Echoed(uint32_t depth, uint64_t bytes = 64, uint64_t connection = 7)
      : client_({.message_bytes = bytes}), connection_(connection) {
    window.Reset(depth);
    client_.OnOpen(session_, connection);
  }

  // Sends the next request; what is in it.
  std::string Send(int64_t now_ns = 0) {
    window.Sent({now_ns, now_ns});
    return std::string(io::AsText(client_.Next(session_, client_.message_bytes)));
  }

  DatagramWindow::Match Take(const std::string& datagram) {
    return window.Take([&](uint64_t number) {
      return io::AsText(client_.Reply(connection_, number)) == datagram;
    });
  }
  Kind KindOf(const std::string& datagram) { return Take(datagram).kind; }

  DatagramWindow window;

 private:
  services::Echo::Client client_;
  services::Echo::Client::Session session_;
  const uint64_t connection_;
};

TEST(DatagramWindowTest, MatchesRepliesInOrder) {
  for (const uint32_t depth : {1u, 2u, 7u, 64u}) {
    Echoed echoed(depth);
    std::deque<std::string> under_way;
    for (int64_t i = 0; i < 1000; ++i) {
      while (echoed.window.waiting() < depth) under_way.push_back(echoed.Send(i));
      const auto match = echoed.Take(under_way.front());
      under_way.pop_front();
      EXPECT_EQ(match.kind, Kind::kReply);
      EXPECT_EQ(match.number, static_cast<uint64_t>(i));
      EXPECT_EQ(match.times.sent_ns, std::max<int64_t>(0, i - depth + 1));
    }
  }
}

TEST(DatagramWindowTest, GivesUpWhatIsOverdue) {
  Echoed echoed(3);
  for (int64_t sent : {10, 20, 30}) echoed.Send(sent);
  EXPECT_EQ(echoed.window.GiveUp(9, [](const RequestTimes&) {}), 0u);
  EXPECT_EQ(echoed.window.GiveUp(20, [](const RequestTimes&) {}), 2u);
  EXPECT_EQ(echoed.window.waiting(), 1u);
  EXPECT_EQ(echoed.window.GiveUp(20, [](const RequestTimes&) {}), 0u);
}

// A lost reply makes nothing else look reordered.
TEST(DatagramWindowTest, GoesOnBesideALostRequest) {
  Echoed echoed(2);
  echoed.Send(0);
  for (int64_t i = 1; i < 100; ++i) {
    const auto match = echoed.Take(echoed.Send(i));
    EXPECT_EQ(match.kind, Kind::kReply);
    EXPECT_EQ(match.times.sent_ns, i);
  }
  EXPECT_EQ(echoed.window.GiveUp(0, [](const RequestTimes&) {}), 1u);
  EXPECT_EQ(echoed.window.waiting(), 0u);
}

TEST(DatagramWindowTest, TellsALateReplyOnce) {
  Echoed echoed(1);
  const std::string first = echoed.Send(0);
  EXPECT_EQ(echoed.window.GiveUp(0, [](const RequestTimes&) {}), 1u);
  const std::string second = echoed.Send(1);
  EXPECT_EQ(echoed.KindOf(first), Kind::kLate);
  EXPECT_EQ(echoed.KindOf(first), Kind::kDoubled);
  EXPECT_EQ(echoed.KindOf(second), Kind::kReply);
}

TEST(DatagramWindowTest, TellsADoubledReply) {
  Echoed echoed(2);
  const std::string first = echoed.Send(), second = echoed.Send();
  EXPECT_EQ(echoed.KindOf(first), Kind::kReply);
  EXPECT_EQ(echoed.KindOf(first), Kind::kDoubled);
  EXPECT_EQ(echoed.KindOf(first), Kind::kDoubled);
  EXPECT_EQ(echoed.KindOf(second), Kind::kReply);
  EXPECT_EQ(echoed.KindOf(second), Kind::kDoubled);
}

TEST(DatagramWindowTest, TellsReorderedReplies) {
  Echoed echoed(3);
  const std::string first = echoed.Send(), second = echoed.Send(), third = echoed.Send();
  EXPECT_EQ(echoed.KindOf(second), Kind::kReply);
  EXPECT_EQ(echoed.KindOf(first), Kind::kReordered);
  EXPECT_EQ(echoed.KindOf(third), Kind::kReply);
  EXPECT_EQ(echoed.window.waiting(), 0u);
}

TEST(DatagramWindowTest, KnowsNoCorruptForeignOrForgottenReply) {
  Echoed echoed(1), other(1, 64, 8);
  const std::string good = echoed.Send(), foreign = other.Send();
  for (size_t at : {0u, 31u, 63u}) {
    std::string corrupt = good;
    corrupt[at] ^= 1;
    EXPECT_EQ(echoed.KindOf(corrupt), Kind::kUnknown);
  }
  EXPECT_EQ(echoed.KindOf(foreign), Kind::kUnknown);
  EXPECT_EQ(echoed.KindOf(good.substr(1)), Kind::kUnknown);
  EXPECT_EQ(echoed.KindOf(good + "x"), Kind::kUnknown);
  EXPECT_EQ(echoed.window.waiting(), 1u);
  EXPECT_EQ(echoed.KindOf(good), Kind::kReply);
  for (uint32_t i = 0; i < DatagramWindow::kRemembered; ++i) {
    EXPECT_EQ(echoed.KindOf(good), Kind::kDoubled);
    EXPECT_EQ(echoed.KindOf(echoed.Send()), Kind::kReply);
  }
  EXPECT_EQ(echoed.KindOf(good), Kind::kUnknown);
}

TEST(DatagramWindowTest, RemembersTheLastThatWereLost) {
  constexpr uint32_t kLost = DatagramWindow::kRemembered + 3;
  Echoed echoed(kLost);
  std::vector<std::string> sent;
  for (uint32_t i = 0; i < kLost; ++i) sent.push_back(echoed.Send());
  EXPECT_EQ(echoed.window.GiveUp(0, [](const RequestTimes&) {}), kLost);
  for (uint32_t i = 0; i < kLost; ++i) {
    EXPECT_EQ(echoed.KindOf(sent[i]), i < 3 ? Kind::kUnknown : Kind::kLate) << i;
  }
}

TEST(DatagramWindowTest, StartsAnewWithAnotherConnection) {
  Echoed echoed(2);
  echoed.Send();
  const std::string second = echoed.Send();
  EXPECT_EQ(echoed.KindOf(second), Kind::kReply);
  echoed.window.Reset(2);
  EXPECT_EQ(echoed.window.waiting(), 0u);
  EXPECT_EQ(echoed.window.next(), 0u);
  EXPECT_EQ(echoed.KindOf(second), Kind::kUnknown);
}

// A network that loses, doubles, delays and reorders as it likes, against a plain model of it.
TEST(DatagramWindowTest, AgreesWithAModelWhateverTheNetworkDoes) {
  for (uint32_t seed = 1; seed <= 200; ++seed) {
    std::mt19937 random(seed);
    const uint32_t depth = 1 + random() % 9;
    DatagramWindow window;
    window.Reset(depth);
    std::set<uint64_t> waiting;
    std::deque<uint64_t> lost, answered;  // as long as they are remembered
    uint64_t sent = 0, highest = 0;
    const auto remember = [](std::deque<uint64_t>& in, uint64_t number) {
      in.push_back(number);
      if (in.size() > DatagramWindow::kRemembered) in.pop_front();
    };
    const auto has = [](const std::deque<uint64_t>& in, uint64_t number) {
      return std::find(in.begin(), in.end(), number) != in.end();
    };
    for (int step = 0; step < 400; ++step) {
      while (waiting.size() < depth && random() % 4 != 0) {
        window.Sent({static_cast<int64_t>(sent), static_cast<int64_t>(sent)});
        waiting.insert(sent++);
      }
      if (random() % 16 == 0 && !waiting.empty()) {  // the oldest, up to some time, are given up
        const uint64_t until = *waiting.begin() + random() % depth;
        uint32_t count = 0;
        for (; !waiting.empty() && *waiting.begin() <= until; ++count) {
          remember(lost, *waiting.begin());
          waiting.erase(waiting.begin());
        }
        ASSERT_EQ(window.GiveUp(static_cast<int64_t>(until), [](const RequestTimes&) {}), count)
            << seed;
      }
      if (sent == 0) continue;
      const uint64_t number = sent - 1 - random() % std::min<uint64_t>(sent, 2 * depth + 20);
      const auto match = window.Take([&](uint64_t candidate) { return candidate == number; });
      Kind expected = Kind::kUnknown;
      if (waiting.erase(number) > 0) {
        expected = number < highest ? Kind::kReordered : Kind::kReply;
        highest = std::max(highest, number);
        remember(answered, number);
      } else if (has(lost, number)) {
        expected = Kind::kLate;
        lost.erase(std::find(lost.begin(), lost.end(), number));
        remember(answered, number);
      } else if (has(answered, number)) {
        expected = Kind::kDoubled;
      }
      ASSERT_EQ(match.kind, expected) << "seed " << seed << ", step " << step;
      ASSERT_EQ(window.waiting(), waiting.size());
      std::vector<uint64_t> open;
      window.ForEachOpen([&](uint64_t candidate) { open.push_back(candidate); });
      std::vector<uint64_t> model(waiting.begin(), waiting.end());
      model.insert(model.end(), lost.begin(), lost.end());
      ASSERT_EQ(open, model) << seed;
    }
  }
}

TEST(CounterDatagrams, AreNumbersThatComeOnce) {
  services::Counter::Client client({.message_bytes = 64});
  const auto take = [&](std::string_view text) { return client.OnDatagram(io::AsBytes(text)); };
  EXPECT_EQ(take("1\n").replies, 1u);
  EXPECT_EQ(take("3\n").replies, 1u);
  EXPECT_EQ(take("2\n").replies, 1u);
  const services::Received again = take("3\n");
  EXPECT_EQ(again.replies, 0u);
  EXPECT_EQ(again.corrupt_bytes, 0u);
  for (const char* bad :
       {"4", "\n", "x\n", "4x\n", "4\n5\n", "-4\n", "99999999999999999999999\n"}) {
    EXPECT_EQ(take(bad).replies, 0u) << bad;
    EXPECT_GT(take(bad).corrupt_bytes, 0u) << bad;
  }
  EXPECT_EQ(client.tally.Problem(), "");
}

TEST(CounterDatagrams, MayLackAsManyNumbersAsRequestsWereLost) {
  services::Counter::Client client({.message_bytes = 64});
  for (const char* number : {"1\n", "2\n", "5\n"}) client.OnDatagram(io::AsBytes(number));
  client.OnLost(1);
  EXPECT_NE(client.tally.Problem().find("2 numbers of 1..5 did not arrive"), std::string::npos);
  services::Counter::Tally other;
  other.lost = 1;
  client.tally.Merge(other);
  EXPECT_EQ(client.tally.Problem(), "");
}

}  // namespace
}  // namespace loadgen
