#include "services/delay.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <vector>

namespace services {
namespace {

using std::chrono::milliseconds;

// Many samples, as a service draws them; in milliseconds, ascending.
std::vector<double> Samples(const Delay& delay) {
  std::vector<double> all;
  for (uint64_t i = 0; i < 200'000; ++i) {
    all.push_back(static_cast<double>(delay.Sample(SplitMix64(i)).count()) / 1e6);
  }
  std::sort(all.begin(), all.end());
  return all;
}

double Mean(const std::vector<double>& all) {
  double sum = 0;
  for (const double value : all) sum += value;
  return sum / static_cast<double>(all.size());
}

double Deviation(const std::vector<double>& all) {
  const double mean = Mean(all);
  double sum = 0;
  for (const double value : all) sum += (value - mean) * (value - mean);
  return std::sqrt(sum / static_cast<double>(all.size()));
}

TEST(DelayTest, IsOneMillisecondUnlessToldOtherwise) {
  EXPECT_EQ(Delay().Sample(0), milliseconds(1));
  EXPECT_EQ(Delay().Sample(~0ull), milliseconds(1));
  EXPECT_EQ(Delay().Least(), milliseconds(1));
}

TEST(DelayTest, OfAUniformOneReachesBothEnds) {
  const Delay delay = {Delay::kUniform, milliseconds(2), milliseconds(6)};
  EXPECT_EQ(delay.Sample(0), milliseconds(2));
  EXPECT_EQ(delay.Sample(~0ull), milliseconds(6));
  EXPECT_EQ(delay.Least(), milliseconds(2));
  const std::vector<double> all = Samples(delay);
  EXPECT_GE(all.front(), 2);
  EXPECT_LE(all.back(), 6);
  EXPECT_NEAR(Mean(all), 4, 0.02);
  EXPECT_NEAR(all[all.size() / 4], 3, 0.03);
  const Delay point = {Delay::kUniform, milliseconds(2), milliseconds(2)};
  EXPECT_EQ(point.Sample(~0ull), milliseconds(2));
}

TEST(DelayTest, OfAnExponentialOneHasItsMeanAndTail) {
  const Delay delay = {Delay::kExponential, milliseconds(5)};
  EXPECT_EQ(delay.Least().count(), 0);
  const std::vector<double> all = Samples(delay);
  EXPECT_GE(all.front(), 0);
  EXPECT_NEAR(Mean(all), 5, 0.05);
  EXPECT_NEAR(all[all.size() / 2], 5 * std::log(2), 0.05);
  EXPECT_NEAR(all[all.size() / 100 * 99], 5 * std::log(100), 0.5);
  EXPECT_LT(delay.Sample(0), milliseconds(200));  // 53 bits have a longest one
  EXPECT_EQ(delay.Sample(~0ull).count(), 0);
}

TEST(DelayTest, OfANormalOneHasItsMeanAndDeviation) {
  const Delay delay = {Delay::kNormal, milliseconds(5), milliseconds(1)};
  EXPECT_EQ(delay.Least().count(), 0);
  const std::vector<double> all = Samples(delay);
  EXPECT_NEAR(Mean(all), 5, 0.02);
  EXPECT_NEAR(Deviation(all), 1, 0.02);
  EXPECT_NEAR(all[all.size() / 1000 * 977], 7, 0.05);  // two deviations up
}

TEST(DelayTest, OfANormalOneIsTruncatedAtZero) {
  const std::vector<double> all = Samples({Delay::kNormal, milliseconds(0), milliseconds(1)});
  EXPECT_GE(all.front(), 0);
  EXPECT_NEAR(Mean(all), std::sqrt(2 / 3.14159), 0.01);  // the half-normal distribution's
  EXPECT_EQ(std::count(all.begin(), all.end(), 0.0) > 100, false) << "cut off, not drawn again";
  EXPECT_EQ(Samples({Delay::kNormal, milliseconds(3), milliseconds(0)}).back(), 3);
}

TEST(DelayTest, IsNeverNegativeNorEndless) {
  for (const Delay& delay :
       {Delay{Delay::kFixed, Delay::kMax}, Delay{Delay::kExponential, Delay::kMax},
        Delay{Delay::kUniform, milliseconds(0), Delay::kMax},
        Delay{Delay::kNormal, Delay::kMax, Delay::kMax}}) {
    for (uint64_t random : {uint64_t{0}, uint64_t{1}, ~uint64_t{0}, uint64_t{1} << 63}) {
      EXPECT_GE(delay.Sample(random).count(), 0) << delay.kind;
      EXPECT_LE(delay.Sample(random), 40 * Delay::kMax) << delay.kind;
    }
  }
}

}  // namespace
}  // namespace services
