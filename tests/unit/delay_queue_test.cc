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
  });
  return all;
}

TEST(DelayQueueTest, HoldsEachReplyUntilItIsDue) {
  DelayQueue queue;
  EXPECT_EQ(queue.NextDue(), DelayQueue::kNever);
  EXPECT_TRUE(Due(queue, DelayQueue::kNever - 1).empty());
  queue.Add(300, 1, 7, io::AsBytes("late"));
  queue.Add(100, 2, 8, io::AsBytes("soon"));
  queue.Add(200, 3, 9, io::AsBytes(""));
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
  queue.Add(1, 0, 0, io::AsBytes(reply));
  reply = "different";
  EXPECT_EQ(Due(queue, 1), (std::vector<Sent>{{0, 0, "as it was"}}));
}

TEST(DelayQueueTest, KeepsTheOrderOfRepliesThatAreDueTogether) {
  DelayQueue queue;
  std::vector<Sent> expected;
  for (uint32_t i = 0; i < 1000; ++i) {
    expected.push_back({i % 3, 0, std::to_string(i)});
    queue.Add(5, i % 3, 0, io::AsBytes(expected.back().text));
  }
  EXPECT_EQ(Due(queue, 5), expected);
}

TEST(DelayQueueTest, SendsWhatIsAddedMeanwhileAndDue) {
  DelayQueue queue;
  queue.Add(1, 0, 0, io::AsBytes("first"));
  std::vector<std::string> sent;
  queue.PopDue(10, [&](uint32_t, uint32_t, io::Bytes reply) {
    sent.emplace_back(io::AsText(reply));
    if (sent.size() == 1) {
      queue.Add(11, 0, 0, io::AsBytes("not yet"));
      queue.Add(10, 0, 0, io::AsBytes("second"));
      EXPECT_EQ(io::AsText(reply), "first");  // lent until here, whatever was added
    }
  });
  EXPECT_EQ(sent, (std::vector<std::string>{"first", "second"}));
  EXPECT_EQ(queue.NextDue(), 11);
}

TEST(DelayQueueTest, TellsTheMemoryThatIsHeld) {
  DelayQueue queue;
  EXPECT_EQ(queue.bytes(), 0u);
  queue.Add(1, 0, 0, {});
  EXPECT_EQ(queue.bytes(), 64u);
  queue.Add(2, 0, 0, io::AsBytes(std::string(64, 'x')));
  EXPECT_EQ(queue.bytes(), 128u);
  queue.Add(3, 0, 0, io::AsBytes(std::string(65, 'x')));
  EXPECT_EQ(queue.bytes(), 256u);
  queue.Add(4, 0, 0, io::AsBytes(std::string((16 << 20) + 1, 'x')));
  EXPECT_EQ(queue.bytes(), 256u + (32 << 20));
  EXPECT_EQ(Due(queue, 3).size(), 3u);
  EXPECT_EQ(queue.bytes(), 32u << 20);
  EXPECT_EQ(Due(queue, 4)[0].text, std::string((16 << 20) + 1, 'x'));
  EXPECT_EQ(queue.bytes(), 0u);
}

TEST(DelayQueueTest, UsesTheMemoryOfASentReplyAgain) {
  DelayQueue queue;
  const std::byte* last = nullptr;
  for (int i = 0; i < 100; ++i) {
    queue.Add(i, 0, 0, io::AsBytes(std::string(100 + i % 20, 'x')));
    queue.PopDue(i, [&](uint32_t, uint32_t, io::Bytes reply) {
      if (last != nullptr) {
        EXPECT_EQ(reply.data(), last);
      }
      last = reply.data();
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
      queue.Add(now + delay, added++, 0, io::AsBytes(std::get<2>(waiting.back())));
      now += size % 8;
      std::sort(waiting.begin(), waiting.end());
      size_t due = 0;
      queue.PopDue(now, [&](uint32_t index, uint32_t, io::Bytes reply) {
        RC_ASSERT(due < waiting.size());
        const auto& [at, expected, text] = waiting[due++];
        RC_ASSERT(at <= now && index == expected && io::AsText(reply) == text);
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
