#include "bench/record.h"

#include <gtest/gtest.h>

#include <cmath>
#include <optional>

namespace bench {
namespace {

const size_t kCpu = MetricIndex("server_cpu_us");

RoundResult Round(double cpu, const char* void_why = "") {
  RoundResult round;
  round.figures["server_cpu_us"] = cpu;
  round.void_why = void_why;
  return round;
}

Record Three() {
  Record record;
  record.comparisons = {{.arm = 1}, {.arm = 2}};
  record.blocks = {
      {.begin_s = 0, .order = {0, 1, 2}, .arms = {Round(2), Round(4), Round(1)}},
      {.begin_s = 1, .order = {2, 1, 0}, .arms = {Round(2), Round(8, "an error"), Round(2)}},
      {.begin_s = 2, .order = {0, 2}, .arms = {Round(4), std::nullopt, Round(2)}},
      {.begin_s = 3, .order = {0, 1, 2}, .arms = {Round(3, "steal"), Round(6), Round(3)}},
      {.begin_s = 4, .order = {0, 1, 2}, .arms = {Round(1), Round(std::nan("")), Round(1)}}};
  return record;
}

TEST(Record, PairsAnArmWithTheFirstOfTheSameBlock) {
  const Record record = Three();
  EXPECT_EQ(LogRatios(record, 1, kCpu), std::vector<double>{std::log(2)});
  const std::vector<double> second = {std::log(0.5), 0, std::log(0.5), 0};
  EXPECT_EQ(LogRatios(record, 2, kCpu), second);
}

TEST(Record, CountsPairsInWhichNeitherWasVoid) {
  const Record record = Three();
  EXPECT_EQ(Pairs(record, 1), 2);  // one of them without the figure
  EXPECT_EQ(Pairs(record, 2), 4);
}

TEST(Record, ListsAnArmsValuesWhateverTheOthersDid) {
  const std::vector<double> values = Values(Three(), 1, kCpu);
  ASSERT_EQ(values.size(), 3u);
  EXPECT_EQ(values[0], 4);
  EXPECT_EQ(values[1], 6);  // the first arm's round was void, not this one's
  EXPECT_TRUE(std::isnan(values[2]));
}

TEST(Record, IsDoneWithItsLastComparison) {
  Record record = Three();
  EXPECT_FALSE(record.done());
  record.comparisons[1].done = true;
  EXPECT_FALSE(record.done());
  record.comparisons[0].done = true;
  EXPECT_TRUE(record.done());
}

}  // namespace
}  // namespace bench
