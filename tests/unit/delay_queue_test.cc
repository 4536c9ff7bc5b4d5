#include "server/delay_queue.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <algorithm>
#include <string>
#include <tuple>
#include <vector>

namespace server {
namespace {

struct Sent {
  uint32_t index, generation;
  std::string text;
  bool operator==(const Sent&) const = default;
};

void PrintTo(const Sent& sent, std::ostream* out) {
  *out << sent.index << '/' << sent.generation << ": " << sent.text;
}

std::vector<Sent> Due(DelayQueue& queue, int64_t now_ns) {
  std::vector<Sent> all;
  queue.PopDue(now_ns, [&](uint32_t index, uint32_t generation, io::Bytes reply) {
    all.push_back({index, generation, std::string(io::AsText(reply))});
    return true;
  });
  return all;
}

TEST(DelayQueueTest, HoldsEachReplyUntilItIsDue) {
  DelayQueue queue;
  EXPECT_EQ(queue.NextDue(), DelayQueue::kNever);
  EXPECT_TRUE(Due(queue, DelayQueue::kNever - 1).empty());
  ASSERT_TRUE(queue.Add(300, 1, 7, io::AsBytes("late")));
  ASSERT_TRUE(queue.Add(100, 2, 8, io::AsBytes("soon")));
  ASSERT_TRUE(queue.Add(200, 3, 9, io::AsBytes("")));
  EXPECT_EQ(queue.NextDue(), 100);
  EXPECT_TRUE(Due(queue, 99).empty());
  EXPECT_EQ(Due(queue, 100), (std::vector<Sent>{{2, 8, "soon"}}));
  EXPECT_EQ(queue.NextDue(), 200);
  EXPECT_EQ(queue.size(), 2u);
  EXPECT_EQ(Due(queue, 1000), (std::vector<Sent>{{3, 9, ""}, {1, 7, "late"}}));
  EXPECT_TRUE(queue.empty());
  EXPECT_EQ(queue.NextDue(), DelayQueue::kNever);
}

TEST(DelayQueueTest, CopiesWhatItIsGiven) {
  DelayQueue queue;
  std::string reply = "as it was";
  ASSERT_TRUE(queue.Add(1, 0, 0, io::AsBytes(reply)));
  reply = "different";
  EXPECT_EQ(Due(queue, 1), (std::vector<Sent>{{0, 0, "as it was"}}));
}

TEST(DelayQueueTest, KeepsTheOrderOfRepliesThatAreDueTogether) {
  DelayQueue queue;
  std::vector<Sent> expected;
  for (uint32_t i = 0; i < 1000; ++i) {
    expected.push_back({i % 3, 0, std::to_string(i)});
    ASSERT_TRUE(queue.Add(5, i % 3, 0, io::AsBytes(expected.back().text)));
  }
  EXPECT_EQ(Due(queue, 5), expected);
}

TEST(DelayQueueTest, SendsWhatIsAddedMeanwhileAndDue) {
  DelayQueue queue;
  ASSERT_TRUE(queue.Add(1, 0, 0, io::AsBytes("first")));
  std::vector<std::string> sent;
  queue.PopDue(10, [&](uint32_t, uint32_t, io::Bytes reply) {
    sent.emplace_back(io::AsText(reply));
    if (sent.size() == 1) {
      EXPECT_TRUE(queue.Add(11, 0, 0, io::AsBytes("not yet")));
      EXPECT_TRUE(queue.Add(10, 0, 0, io::AsBytes("second")));
      EXPECT_EQ(io::AsText(reply), "first");  // lent until here, whatever was added
    }
    return true;
  });
  EXPECT_EQ(sent, (std::vector<std::string>{"first", "second"}));
  EXPECT_EQ(queue.NextDue(), 11);
}

TEST(DelayQueueTest, TellsTheMemoryThatIsHeld) {
  const size_t each = DelayQueue::Cost(0) - 64;  // beside the bytes
  EXPECT_GT(each, 0u);
  DelayQueue queue;
  EXPECT_EQ(queue.bytes(), 0u);
  ASSERT_TRUE(queue.Add(1, 0, 0, {}));
  EXPECT_EQ(queue.bytes(), 64u + each);
  ASSERT_TRUE(queue.Add(2, 0, 0, io::AsBytes(std::string(64, 'x'))));
  EXPECT_EQ(queue.bytes(), 128u + 2 * each);
  ASSERT_TRUE(queue.Add(3, 0, 0, io::AsBytes(std::string(60, 'x')), io::AsBytes("12345")));
  EXPECT_EQ(queue.bytes(), 256u + 3 * each);
  ASSERT_TRUE(queue.Add(4, 0, 0, io::AsBytes(std::string((16 << 20) + 1, 'x'))));
  EXPECT_EQ(queue.bytes(), 256u + (32 << 20) + 4 * each);
  EXPECT_EQ(Due(queue, 3).back().text, std::string(60, 'x') + "12345");
  EXPECT_EQ(queue.bytes(), (32u << 20) + each);
  EXPECT_EQ(Due(queue, 4)[0].text, std::string((16 << 20) + 1, 'x'));
  EXPECT_EQ(queue.bytes(), 0u);
}

// What was forgotten never holds more than the others do, and isn't counted among them.
TEST(DelayQueueTest, ForgetsTheRepliesOfWhoIsGone) {
  DelayQueue queue;
  constexpr uint32_t kConnections = 50, kReplies = 20;
  std::vector<bool> open(kConnections, true);
  const auto alive = [&](uint32_t index, uint32_t) { return open[index]; };
  const std::string reply(1000, 'x');
  for (uint32_t i = 0; i < kConnections * kReplies; ++i) {
    ASSERT_TRUE(queue.Add(1000 - i % 7, i % kConnections, 0, io::AsBytes(reply)));
  }
  const size_t cost = DelayQueue::Cost(reply.size());
  for (uint32_t gone = 0; gone < kConnections; ++gone) {
    open[gone] = false;
    queue.Forget(kReplies, kReplies * cost, alive);
    const size_t left = (kConnections - gone - 1) * kReplies;
    EXPECT_EQ(queue.size(), left);
    EXPECT_LE(queue.bytes(), 2 * left * cost);
  }
  EXPECT_TRUE(queue.empty());
  EXPECT_EQ(queue.NextDue(), DelayQueue::kNever);
}

TEST(DelayQueueTest, SendsWhatIsLeftInOrderWhereOthersWereForgotten) {
  DelayQueue queue;
  for (uint32_t i = 0; i < 9; ++i) {
    ASSERT_TRUE(queue.Add(i % 3, i, 0, io::AsBytes(std::to_string(i))));
  }
  const auto alive = [](uint32_t index, uint32_t) { return index != 4 && index != 6; };
  queue.Forget(2, 2 * DelayQueue::Cost(1), alive);  // fewer than are left: they may stay
  std::string sent;
  queue.PopDue(2, [&](uint32_t index, uint32_t generation, io::Bytes reply) {
    if (alive(index, generation)) sent += io::AsText(reply);
    return alive(index, generation);
  });
  EXPECT_EQ(sent, "0317258");
  EXPECT_TRUE(queue.empty());
  EXPECT_EQ(queue.bytes(), 0u);
}

TEST(DelayQueueTest, UsesTheMemoryOfASentReplyAgain) {
  DelayQueue queue;
  const std::byte* last = nullptr;
  for (int i = 0; i < 100; ++i) {
    ASSERT_TRUE(queue.Add(i, 0, 0, io::AsBytes(std::string(100 + i % 20, 'x'))));
    queue.PopDue(i, [&](uint32_t, uint32_t, io::Bytes reply) {
      if (last != nullptr) {
        EXPECT_EQ(reply.data(), last);
      }
      last = reply.data();
      return true;
    });
  }
}

// Against a sorted list.
TEST(DelayQueueTest, SendsEverythingInOrder) {
  EXPECT_TRUE(rc::check([] {
    DelayQueue queue;
    std::vector<std::tuple<int64_t, uint32_t, std::string>> waiting;
    const auto steps = *rc::gen::container<std::vector<std::pair<int, int>>>(
        rc::gen::pair(rc::gen::inRange(0, 50), rc::gen::inRange(0, 300)));
    int64_t now = 0;
    uint32_t added = 0;
    for (const auto& [delay, size] : steps) {
      waiting.emplace_back(now + delay, added,
                           std::string(size, static_cast<char>('a' + size % 26)));
      RC_ASSERT(queue.Add(now + delay, added++, 0, io::AsBytes(std::get<2>(waiting.back()))));
      now += size % 8;
      std::sort(waiting.begin(), waiting.end());
      size_t due = 0;
      queue.PopDue(now, [&](uint32_t index, uint32_t, io::Bytes reply) {
        RC_ASSERT(due < waiting.size());
        const auto& [at, expected, text] = waiting[due++];
        RC_ASSERT(at <= now && index == expected && io::AsText(reply) == text);
        return true;
      });
      waiting.erase(waiting.begin(), waiting.begin() + static_cast<ptrdiff_t>(due));
      RC_ASSERT(queue.size() == waiting.size());
      RC_ASSERT(queue.NextDue() ==
                (waiting.empty() ? DelayQueue::kNever : std::get<0>(waiting.front())));
    }
  }));
}

}  // namespace
}  // namespace server
