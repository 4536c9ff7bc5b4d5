#include "server/seldom.h"

#include <gtest/gtest.h>

#include <chrono>

namespace server {
namespace {

using std::chrono::milliseconds;

TEST(Seldom, TakesATwentiethOfTheTimeHoweverOftenSomebodyAsks) {
  Seldom<int>::TimePoint now;
  Seldom<int> value([&] { return now; });
  int made = 0;
  const auto make = [&] {
    now += milliseconds(32);
    return ++made;
  };
  const auto begin = now;
  for (int i = 0; i < 10'000; ++i) {
    value.Get(make);
    now += milliseconds(1);
  }
  EXPECT_NEAR(made, (now - begin) / milliseconds(32 * 20), 1);
  EXPECT_GT(made, 10);
}

TEST(Seldom, WhatCostsNothingIsAlwaysFresh) {
  Seldom<int>::TimePoint now;
  Seldom<int> value([&] { return now; });
  int made = 0;
  for (int i = 1; i <= 5; ++i) EXPECT_EQ(value.Get([&] { return ++made; }), i);
}

}  // namespace
}  // namespace server
