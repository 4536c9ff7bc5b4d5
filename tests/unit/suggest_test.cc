#include "cli/suggest.h"

#include <gtest/gtest.h>

namespace cli {
namespace {

const std::vector<std::string> kCommands = {"serve", "load", "compare", "stress", "probe"};

TEST(Closest, MendsOneMistake) {
  EXPECT_EQ(Closest("laod", kCommands), "load");   // swapped
  EXPECT_EQ(Closest("lod", kCommands), "load");    // missing
  EXPECT_EQ(Closest("loaad", kCommands), "load");  // doubled
  EXPECT_EQ(Closest("liad", kCommands), "load");   // replaced
  EXPECT_EQ(Closest("LOAD", kCommands), "load");   // case is no mistake
  EXPECT_EQ(Closest("server", kCommands), "serve");
}

TEST(Closest, AllowsMoreMistakesInLongerWords) {
  EXPECT_EQ(Closest("conections", {"connections"}), "connections");
  EXPECT_EQ(Closest("konektions", {"connections"}), "connections");
  EXPECT_EQ(Closest("lxxd", kCommands), "");
}

TEST(Closest, TakesTheBeginningOfOneWord) {
  EXPECT_EQ(Closest("comp", kCommands), "compare");
  EXPECT_EQ(Closest("warm", {"warm-up", "warmth-of-the-sun"}), "");
  EXPECT_EQ(Closest("co", kCommands), "");
}

TEST(Closest, IsSilentWhenNothingIsNear) {
  EXPECT_EQ(Closest("banana", kCommands), "");
  EXPECT_EQ(Closest("", kCommands), "");
  EXPECT_EQ(Closest("x", {"y"}), "");
  EXPECT_EQ(Closest("load", {}), "");
}

}  // namespace
}  // namespace cli
