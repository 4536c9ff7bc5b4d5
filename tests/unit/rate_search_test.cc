#include "bench/rate_search.h"

#include <gtest/gtest.h>

#include <vector>

namespace bench {
namespace {

// A server that keeps the objective up to `limit`, and what it was asked.
struct Server {
  double limit;
  std::vector<double> tried;

  absl::StatusOr<double> Highest(double guess) {
    return HighestRate(guess, [this](double rate) -> absl::StatusOr<bool> {
      tried.push_back(rate);
      return rate <= limit;
    });
  }
};

TEST(HighestRate, IsFoundFromBelowAndFromAbove) {
  for (const double guess : {100.0, 4'000.0, 5'000.0, 5'001.0, 80'000.0, 3e8}) {
    Server server{.limit = 5'000, .tried = {}};
    const auto found = server.Highest(guess);
    ASSERT_TRUE(found.ok());
    EXPECT_LE(*found, server.limit) << guess;
    EXPECT_GE(*found * kRatePrecision, server.limit) << guess;
  }
}

TEST(HighestRate, TakesFewTriesFromAGoodGuess) {
  Server server{.limit = 5'000, .tried = {}};
  ASSERT_TRUE(server.Highest(4'900).ok());
  EXPECT_LE(server.tried.size(), 6u);  // two bounds, and halves of 1.25 down to 1.03
}

TEST(HighestRate, IsNoneWhereNoRateIsKept) {
  Server server{.limit = 0.5, .tried = {}};
  const auto found = server.Highest(1'000);
  ASSERT_TRUE(found.ok());
  EXPECT_EQ(*found, 0);
  EXPECT_EQ(server.tried.back(), kRateMin);
}

TEST(HighestRate, EndsAtTheHighestThereIs) {
  Server server{.limit = 2 * kRateMax, .tried = {}};
  const auto found = server.Highest(kRateMax / 3);
  ASSERT_TRUE(found.ok());
  EXPECT_EQ(*found, kRateMax);
}

TEST(HighestRate, PassesAnErrorOn) {
  int calls = 0;
  const auto found = HighestRate(1'000, [&](double) -> absl::StatusOr<bool> {
    if (++calls == 3) return absl::CancelledError("interrupted");
    return true;
  });
  EXPECT_TRUE(absl::IsCancelled(found.status()));
  EXPECT_EQ(calls, 3);
}

}  // namespace
}  // namespace bench
