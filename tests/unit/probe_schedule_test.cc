#include <gtest/gtest.h>

#include <cerrno>
#include <optional>

#include "probe/ports.h"
#include "probe/schedule.h"

namespace probe::schedule_tests {
namespace {

ScanOptions Options(uint16_t ports, uint32_t in_flight) {
  return {.ports = PortRange(1, ports), .in_flight = in_flight, .timeout_ns = 1000};
}

TEST(Schedule, WaitsForSoManyAtOnceAsItMay) {
  Schedule schedule(Options(3, 2));
  EXPECT_EQ(schedule.Next(0), 0u);
  EXPECT_EQ(schedule.Next(0), 1u);
  EXPECT_EQ(schedule.Next(0), std::nullopt);
  schedule.Answered(0, PortState::kOpen, 0, 5);
  EXPECT_EQ(schedule.Next(5), 2u);
  schedule.Answered(1, PortState::kClosed, ECONNREFUSED, 7);
  EXPECT_FALSE(schedule.finished());
  schedule.Answered(2, PortState::kFiltered, EHOSTUNREACH, 9);
  EXPECT_TRUE(schedule.finished());
  EXPECT_EQ(schedule.results()[0].answer_ns, 5);
  EXPECT_EQ(schedule.results()[1].answer_ns, 7);
  EXPECT_EQ(schedule.results()[1].error, 0);
  EXPECT_EQ(schedule.results()[2].answer_ns, 0);
  EXPECT_EQ(schedule.results()[2].error, EHOSTUNREACH);
}

TEST(Schedule, FiltersWhoseTimeIsOverAndNobodyElse) {
  Schedule schedule(Options(2, 2));
  schedule.Next(0);
  schedule.Next(400);
  EXPECT_EQ(schedule.Expire(999), std::nullopt);
  EXPECT_EQ(schedule.WaitNs(999), 1);
  EXPECT_EQ(schedule.Expire(1000), 0u);
  EXPECT_EQ(schedule.Expire(1000), std::nullopt);
  schedule.Answered(1, PortState::kOpen, 0, 1100);
  EXPECT_EQ(schedule.Expire(5000), std::nullopt);
  EXPECT_EQ(schedule.results()[0].state, PortState::kFiltered);
  EXPECT_EQ(schedule.results()[1].state, PortState::kOpen);
  EXPECT_TRUE(schedule.finished());
}

TEST(Schedule, AsksTheSilentAgainAsOftenAsToldAndFirst) {
  ScanOptions options = Options(2, 1);
  options.retries = 1;
  Schedule schedule(options);
  EXPECT_EQ(schedule.Next(0), 0u);
  EXPECT_EQ(schedule.Expire(1000), std::nullopt);
  EXPECT_EQ(schedule.Next(1000), 0u);
  EXPECT_EQ(schedule.attempt(0), 2u);
  EXPECT_EQ(schedule.Expire(1999), std::nullopt);
  EXPECT_EQ(schedule.Expire(2000), 0u);
  EXPECT_EQ(schedule.Next(2000), 1u);
}

TEST(Schedule, WhatIsPutBackWasNotAsked) {
  Schedule schedule(Options(1, 1));
  EXPECT_EQ(schedule.Next(0), 0u);
  schedule.PutBack(0);
  EXPECT_EQ(schedule.waiting(), 0u);
  EXPECT_FALSE(schedule.finished());
  EXPECT_EQ(schedule.Next(900), 0u);
  EXPECT_EQ(schedule.attempt(0), 1u);
  EXPECT_EQ(schedule.Expire(1100), std::nullopt) << "its time runs from when it was asked";
  EXPECT_EQ(schedule.Expire(1900), 0u);
}

TEST(Schedule, AgainIsANewAttemptWithATimeOfItsOwn) {
  Schedule schedule(Options(1, 1));
  schedule.Next(0);
  schedule.Again(0);
  EXPECT_FALSE(schedule.waits(0));
  EXPECT_EQ(schedule.Next(500), 0u);
  EXPECT_EQ(schedule.Expire(1000), std::nullopt);
  EXPECT_EQ(schedule.Expire(1500), 0u);
}

TEST(Schedule, KeepsTheRateAndMakesUpForNothing) {
  ScanOptions options = Options(10, 10);
  options.rate = 1e7;  // one each 100 ns
  Schedule schedule(options);
  EXPECT_TRUE(schedule.Next(1'000'000));
  EXPECT_FALSE(schedule.Next(1'000'000));
  EXPECT_EQ(schedule.WaitNs(1'000'000), 100);
  EXPECT_TRUE(schedule.Next(1'000'100));
  EXPECT_TRUE(schedule.Next(1'000'950)) << "late";
  EXPECT_TRUE(schedule.Next(1'000'950)) << "one that was due meanwhile";
  EXPECT_FALSE(schedule.Next(1'000'950)) << "no burst of all that were";
}

TEST(Schedule, NeverWaitsLongForAStop) {
  ScanOptions options = Options(1, 1);
  options.timeout_ns = 600'000'000'000;
  Schedule schedule(options);
  schedule.Next(0);
  EXPECT_EQ(schedule.WaitNs(0), 50'000'000);
}

TEST(Schedule, KnowsWhichPortsAreAsked) {
  Schedule schedule(ScanOptions{.ports = {7, 65535}});
  EXPECT_EQ(schedule.IndexOf(7), 0u);
  EXPECT_EQ(schedule.IndexOf(65535), 1u);
  EXPECT_EQ(schedule.IndexOf(8), std::nullopt);
  EXPECT_EQ(schedule.IndexOf(70000), std::nullopt);
}

TEST(StateOf, TellsRefusalFromSilenceAndFromOurOwnTrouble) {
  EXPECT_EQ(StateOf(ECONNREFUSED), PortState::kClosed);
  EXPECT_EQ(StateOf(ECONNRESET), PortState::kOpen);
  EXPECT_EQ(StateOf(ETIMEDOUT), PortState::kFiltered);
  EXPECT_EQ(StateOf(EHOSTUNREACH), PortState::kFiltered);
  EXPECT_EQ(StateOf(EACCES), PortState::kFiltered);
  EXPECT_EQ(StateOf(EADDRNOTAVAIL), PortState::kUnknown);
  EXPECT_EQ(StateOf(0), PortState::kUnknown);
}

}  // namespace
}  // namespace probe::schedule_tests
