#include "bench/replay.h"

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <random>
#include <vector>

#include <nlohmann/json.hpp>

namespace bench {
namespace {

using Json = nlohmann::ordered_json;

TEST(Replay, ReachesTheVerdictThatThePairsSay) {
  const std::vector<double> twice(20, std::log(2));
  const ReplayTally slower = Replay(twice, {}, 10, 1);
  EXPECT_EQ(slower.verdicts, 10);
  EXPECT_EQ(slower.Share(Verdict::kSlower), 1);
  EXPECT_EQ(slower.mean_pairs, 10);
  EXPECT_EQ(Replay(twice, {.lower_is_better = false}, 10, 1).Share(Verdict::kFaster), 1);
  EXPECT_EQ(Replay(twice, {.ratio = 0.5}, 10, 1).Share(Verdict::kSame), 1);
}

TEST(Replay, IsRepeatedByItsSeed) {
  std::mt19937_64 random(7);
  std::normal_distribution<double> noise(0.03, 0.1);
  std::vector<double> pairs(50);
  for (double& pair : pairs) pair = noise(random);
  const ReplayTally once = Replay(pairs, {}, 100, 3), again = Replay(pairs, {}, 100, 3);
  EXPECT_EQ(once.counts, again.counts);
  EXPECT_NE(once.counts, Replay(pairs, {}, 100, 4).counts);
}

// What was recorded by ./dev bench trust.
const Json& Recorded() {
  static const Json json = [] {
    std::ifstream file(RINGSIDE_SOURCE_DIR "/results/trust.json");
    return Json::parse(file, nullptr, /*allow_exceptions=*/false);
  }();
  return json;
}

constexpr int kVerdicts = 1000;
constexpr uint64_t kSeed = 20240607;

TEST(RecordedRounds, OfIdenticalServersAreSeldomCalledDifferent) {
  ASSERT_TRUE(Recorded().is_object());
  ASSERT_GE(Recorded()["identical"].size(), 2u);
  for (const Json& backend : Recorded()["identical"]) {
    SCOPED_TRACE(backend["backend"].get<std::string>());
    const auto pairs = backend["log_ratios"].get<std::vector<double>>();
    ASSERT_GE(pairs.size(), 40u);
    const ReplayTally tally = Replay(pairs, {.toss = true}, kVerdicts, kSeed);
    EXPECT_LE(tally.Share(Verdict::kFaster) + tally.Share(Verdict::kSlower), 0.05);
    // Without a margin any difference that is claimed is a false one.
    const ReplayTally strict = Replay(pairs, {.toss = true, .margin = 0}, kVerdicts, kSeed);
    EXPECT_LE(1 - strict.Share(Verdict::kCannotTell), 0.07);
  }
}

TEST(RecordedRounds, ShowADifferenceOfATenth) {
  for (const Json& backend : Recorded()["identical"]) {
    SCOPED_TRACE(backend["backend"].get<std::string>());
    const auto pairs = backend["log_ratios"].get<std::vector<double>>();
    const ReplayTally dearer = Replay(pairs, {.ratio = 1.1, .toss = true}, kVerdicts, kSeed);
    EXPECT_GE(dearer.Share(Verdict::kSlower), 0.95);
    const ReplayTally cheaper = Replay(pairs, {.ratio = 1 / 1.1, .toss = true}, kVerdicts, kSeed);
    EXPECT_GE(cheaper.Share(Verdict::kFaster), 0.95);
  }
}

TEST(RecordedRounds, OfKnownDelaysAreRecoveredByTheirIntervals) {
  // A percentile has so many digits, whatever the interval.
  const double resolution = Recorded()["resolution"].get<double>();
  ASSERT_LE(resolution, 0.001);
  int comparisons = 0, covered = 0;
  for (const Json& delay : Recorded()["delays"]) {
    const double truth = delay["true_ratio"].get<double>();
    for (const Json& comparison : delay["comparisons"]) {
      covered += comparison["ratio_low"].get<double>() - resolution <= truth &&
                 truth <= comparison["ratio_high"].get<double>() + resolution;
      ++comparisons;
    }
  }
  ASSERT_GE(comparisons, 60);
  EXPECT_GE(covered, 0.95 * comparisons);
}

}  // namespace
}  // namespace bench
