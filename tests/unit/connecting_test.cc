#include "loadgen/connecting.h"

#include <gtest/gtest.h>

#include <vector>

#include "loadgen/places.h"

namespace loadgen {
namespace {

TEST(Connecting, GivesUpWhatBeganTooEarlyOnce) {
  std::vector<io::Connection> c(4);
  for (uint32_t i = 0; i < c.size(); ++i) c[i].index = i;
  Connecting connecting;
  const uint32_t first = connecting.Add(c[0], 10);
  connecting.Add(c[1], 20);
  EXPECT_EQ(connecting.waiting(), 2u);
  std::vector<uint32_t> given_up;
  const auto give_up = [&](io::Connection& one) { given_up.push_back(one.index); };
  connecting.GiveUp(9, give_up);
  EXPECT_EQ(given_up, std::vector<uint32_t>());
  connecting.GiveUp(10, give_up);
  connecting.GiveUp(19, give_up);
  EXPECT_EQ(given_up, std::vector<uint32_t>({0}));
  EXPECT_EQ(connecting.waiting(), 1u);
  connecting.Remove(first);  // its OnClose
  EXPECT_EQ(connecting.waiting(), 1u);
  EXPECT_EQ(connecting.Add(c[2], 15), first) << "places are had again";
  connecting.GiveUp(20, give_up);
  EXPECT_EQ(given_up, std::vector<uint32_t>({0, 2, 1}));
  EXPECT_EQ(connecting.waiting(), 0u);
}

TEST(Places, AddUpTheRequestsOfThoseWhoHadThem) {
  Places places(3);
  const uint32_t first = places.Take();
  places.Return(first, 5);
  EXPECT_EQ(places.Take(), first);
  places.Return(first, 7);
  const uint32_t again = places.Take(), second = places.Take();
  EXPECT_EQ(again, first);
  EXPECT_NE(second, first);
  places.Return(again, 0);
  places.Return(second, 3);
  EXPECT_EQ(places.Requests(), std::vector<uint64_t>({12, 3})) << "the third was never had";
  EXPECT_TRUE(Places(0).Requests().empty());
}

}  // namespace
}  // namespace loadgen
