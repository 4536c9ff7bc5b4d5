#include "report/json_text.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <limits>
#include <set>
#include <string>

#include <nlohmann/json.hpp>

#include "absl/strings/match.h"

namespace report {
namespace {

using Json = nlohmann::ordered_json;

TEST(JsonText, IsTheLibrarysWhereThereIsNothingToMend) {
  const Json json = {{"text", "µs \xf0\x9f\x98\x80 \"\n"}, {"none", nullptr}, {"list", {1, 2.5}}};
  EXPECT_EQ(JsonText(json), json.dump());
  EXPECT_EQ(JsonText(json, 2), json.dump(2));
  EXPECT_EQ(JsonText({{"x", std::numeric_limits<double>::infinity()}}), "{\"x\":null}");
}

TEST(JsonText, TellsBytesThatAreNoCharacter) {
  struct Case {
    const char *bytes, *text;
  };
  constexpr Case kCases[] = {{"a\xfc", "a\\xfc"},
                             {"\x80", "\\x80"},
                             {"\xc3", "\\xc3"},           // cut off
                             {"\xe2\x82", "\\xe2\\x82"},  // cut off
                             {"\xc0\x80", "\\xc0\\x80"},  // a NUL, too long
                             {"\xe0\x80\xaf", "\\xe0\\x80\\xaf"},
                             {"\xed\xa0\x80", "\\xed\\xa0\\x80"},           // a surrogate
                             {"\xf4\x90\x80\x80", "\\xf4\\x90\\x80\\x80"},  // beyond U+10FFFF
                             {"\xc3\xa4\xff", "\xc3\xa4\\xff"}};
  for (const Case& c : kCases) {
    EXPECT_EQ(ValidUtf8(c.bytes), c.text);
    const Json read = Json::parse(JsonText({{"arm", {{"name", c.bytes}}}}), nullptr, false);
    ASSERT_TRUE(read.is_object()) << c.text;
    EXPECT_EQ(read["arm"]["name"], c.text);
  }
}

TEST(JsonText, KeepsNamesApartThatDifferInABadByte) {
  const Json json = {{"\xfc", 1}, {"\xfd", 2}, {"list", {"\xfe", {{"\xff", "\x80"}}}}};
  EXPECT_EQ(JsonText(json),
            "{\"\\\\xfc\":1,\"\\\\xfd\":2,\"list\":[\"\\\\xfe\",{\"\\\\xff\":\"\\\\x80\"}]}");
}

// The library's own function throws where a text is no UTF-8, so nobody calls it.
TEST(JsonText, IsTheOnlyWayToText) {
  const std::filesystem::path root = RINGSIDE_SOURCE_DIR;
  // Of a page, what is no UTF-8 is replaced there.
  const std::set<std::string> may = {"report/json_text.cc", "report/html.cc"};
  size_t seen = 0;
  for (const char* folder :
       {"bench", "cli", "loadgen", "probe", "report", "server", "stats", "stress"}) {
    for (const auto& entry : std::filesystem::recursive_directory_iterator(root / folder)) {
      const std::string extension = entry.path().extension();
      if (extension != ".cc" && extension != ".h") continue;
      std::ifstream file(entry.path(), std::ios::binary);
      const std::string text{std::istreambuf_iterator<char>(file), {}};
      const std::string path = std::filesystem::relative(entry.path(), root);
      ++seen;
      if (may.contains(path)) continue;
      EXPECT_FALSE(absl::StrContains(text, ".dump(")) << path << ": write JsonText()";
    }
  }
  EXPECT_GT(seen, 100u) << "is " << root << " the source tree?";
}

}  // namespace
}  // namespace report
