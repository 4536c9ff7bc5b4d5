#include "io/byte_queue.h"

#include <gtest/gtest.h>

#include <deque>
#include <random>
#include <string>

namespace io {
namespace {

std::string Drain(ByteQueue& queue, BlockPool& pool, size_t piece) {
  std::string out;
  while (!queue.empty()) {
    const Bytes front = queue.Front();
    EXPECT_FALSE(front.empty());
    const Bytes part = front.first(std::min(piece, front.size()));
    out += AsText(part);
    queue.Consume(part.size(), pool);
  }
  return out;
}

TEST(ByteQueueTest, GivesBackWhatItTook) {
  BlockPool pool;
  for (const size_t size : {1u, 2023u, 2024u, 2025u, 65'535u, 65'536u, 65'537u, 1'000'000u}) {
    std::string in(size, '\0');
    for (size_t i = 0; i < size; ++i) in[i] = static_cast<char>(i * 31 + i / 251);
    for (const size_t piece : {size_t{1000}, size}) {
      ByteQueue queue;
      EXPECT_TRUE(queue.Append(AsBytes(in), pool));
      EXPECT_EQ(queue.bytes(), size);
      EXPECT_TRUE(Drain(queue, pool, piece) == in) << size;
      EXPECT_EQ(queue.bytes(), 0u);
    }
  }
}

TEST(ByteQueueTest, TakesNothing) {
  BlockPool pool;
  ByteQueue queue;
  EXPECT_TRUE(queue.Append({}, pool));
  EXPECT_TRUE(queue.empty());
  queue.Clear(pool);
  EXPECT_TRUE(queue.empty());
}

TEST(ByteQueueTest, FrontStaysWhileOthersAreAppended) {
  BlockPool pool;
  ByteQueue queue;
  EXPECT_TRUE(queue.Append(AsBytes("first"), pool));
  const Bytes front = queue.Front();
  for (int i = 0; i < 100; ++i) EXPECT_TRUE(queue.Append(AsBytes(std::string(1000, 'x')), pool));
  EXPECT_EQ(front.data(), queue.Front().data());
  EXPECT_EQ(AsText(front), "first");
  queue.Clear(pool);
  EXPECT_TRUE(queue.empty());
  EXPECT_EQ(queue.bytes(), 0u);
}

TEST(ByteQueueTest, IsFirstInFirstOutInAnyMix) {
  std::mt19937 random(1);
  BlockPool pool;
  ByteQueue queues[4];
  std::deque<char> expected[4];
  for (int step = 0; step < 3000; ++step) {
    const size_t q = random() % 4;
    if (random() % 2 == 0) {
      std::string in(random() % (random() % 50 == 0 ? 100'000 : 600), '\0');
      for (char& byte : in) byte = static_cast<char>(random());
      EXPECT_TRUE(queues[q].Append(AsBytes(in), pool));
      expected[q].insert(expected[q].end(), in.begin(), in.end());
    } else if (!queues[q].empty()) {
      const Bytes front = queues[q].Front();
      const size_t count = random() % (front.size() + 1);
      ASSERT_TRUE(std::equal(front.begin(), front.begin() + count, expected[q].begin(),
                             [](std::byte a, char b) { return a == static_cast<std::byte>(b); }));
      queues[q].Consume(count, pool);
      expected[q].erase(expected[q].begin(), expected[q].begin() + count);
    }
    ASSERT_EQ(queues[q].bytes(), expected[q].size());
  }
  for (ByteQueue& queue : queues) queue.Clear(pool);
}

TEST(ByteQueueTest, KeepsMessagesApart) {
  BlockPool pool;
  ByteQueue queue;
  const std::vector<size_t> sizes = {1, 64, 2047, 2048, 4096, 65507, 212'992, 1};
  for (size_t size : sizes) {
    EXPECT_TRUE(
        queue.AppendMessage(AsBytes(std::string(size, static_cast<char>(size % 251))), pool));
    EXPECT_GE(queue.bytes(), size);
  }
  for (size_t size : sizes) {
    const Bytes front = queue.Front();
    ASSERT_EQ(front.size(), size);
    EXPECT_EQ(AsText(front), std::string(size, static_cast<char>(size % 251)));
    queue.ConsumeMessage(pool);
  }
  EXPECT_TRUE(queue.empty());
  EXPECT_EQ(queue.bytes(), 0u);
}

// What a peer that reads nothing costs is what waits for it, and little more.
TEST(BlockPoolTest, AllocatesLittleMoreThanAskedFor) {
  BlockPool pool;
  for (size_t bytes = 1; bytes <= BlockPool::kLarge; bytes += 97) {
    BlockPool::Block* block = pool.Take(bytes);
    EXPECT_GE(block->capacity, bytes);
    EXPECT_LE(block->capacity, bytes + 4096) << bytes;
    pool.Return(block);
  }
}

TEST(BlockPoolTest, GivesFreedBlocksAgain) {
  BlockPool pool;
  BlockPool::Block* small = pool.Take(10);
  BlockPool::Block* large = pool.Take(BlockPool::kLarge);
  EXPECT_NE(small, large);
  EXPECT_EQ(small->capacity, BlockPool::kSmall);
  EXPECT_EQ(large->capacity, BlockPool::kLarge);
  pool.Return(small);
  pool.Return(large);
  EXPECT_EQ(pool.Take(BlockPool::kLarge - 1), large);
  EXPECT_EQ(pool.Take(1), small);
  pool.Return(small);
  pool.Return(large);
  BlockPool::Block* oversize = pool.Take(1 << 20);
  EXPECT_EQ(oversize->capacity, 1u << 20);
  pool.Return(oversize);
}

}  // namespace
}  // namespace io
