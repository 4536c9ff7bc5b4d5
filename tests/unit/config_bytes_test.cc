#include <gtest/gtest.h>

#include <random>
#include <string>
#include <string_view>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "cli/config_file.h"

// A configuration file may be anything: what is no TOML is an error with its line, never the end of
// the process.
namespace cli {
namespace {

using std::string_literals::operator""s;
using std::string_view_literals::operator""sv;

std::string Repeated(const std::string& text, int times) {
  std::string all;
  for (int i = 0; i < times; ++i) all += text;
  return all;
}

TEST(ConfigBytes, ThatTomlHasNowhereAreNamed) {
  struct Case {
    std::string text, says;
  };
  const Case cases[] = {
      {"size = 1\nx = '\0'\n"s, "line 2: the control character 0x00"},
      {"\0\0\0"s, "line 1: the control character 0x00"},
      {"a = 1\n\n# \x1b[2J\n", "line 3: the control character 0x1b"},
      {"a = 1\rb = 2\n", "line 1: the control character 0x0d"},
      {"a = 'caf\xe9'\n", "line 1: the byte 0xe9 is no UTF-8"},
      {"\xff\xfe[\x01", "line 1: the byte 0xff is no UTF-8"},
      {"a = \"\\u0000\"\n", "line 1: a: a text with a NUL in it"},
      {"a = ['x', \"\\u0000\"]\n", "line 1: a: an array holds strings and numbers only"},
      {std::string(2 << 20, '\n'), "more than 1048576 bytes"},
      {"[" + Repeated("a.", 100'000) + "a]\n", "line 1: more than 200 dots"},
      {"a = 1\n" + Repeated("b.", 300) + "c = 1\n", "line 2: more than 200 dots"},
      {"a = " + Repeated("[", 100'000), "line 1"},
      {"a = " + Repeated("{x = ", 50'000), "line 1"},
      {"a = 99999999999999999999\n", "line 1"},
      {"a = 0x" + std::string(5000, 'f') + "\n", "line 1"},
      {"a = 'x", "line 1"},
      {"[load", "line 1"}};
  for (const Case& c : cases) {
    const auto config = ParseConfig(c.text);
    ASSERT_FALSE(config.ok()) << c.says;
    EXPECT_TRUE(absl::StrContains(config.status().message(), c.says)) << config.status();
    EXPECT_LT(config.status().message().size(), 500u) << c.says;
  }
}

TEST(ConfigBytes, ThatAreOrdinaryPass) {
  for (const char* text :
       {"a = 1\r\nb = 'x'\r\n", "\tname = 'caf\xc3\xa9 \xf0\x9f\x98\x80' # ...\n",
        "\xef\xbb\xbf"
        "a = 1\n",
        "a = '1.2.3.4,[::1]'\nb = [1.5, 2.5]\n", ""}) {
    EXPECT_TRUE(ParseConfig(text).ok()) << text << ParseConfig(text).status();
  }
}

// What is valid, with bytes changed, taken out, put in and cut off.
TEST(ConfigBytes, OfAnyKindEndInAValue) {
  const std::string valid =
      "size = \"16KiB\"\nrate = 1_000\nx = [1, 'two', 3.5e10]\n[load]\nd = 1979-05-27T07:32:00Z\n"
      "'a b' = \"\"\"\nlines \\u00e9\n\"\"\"\n[stress.churn]\nq = true\np = { a = 1, b = {} }\n"
      "[[scenario]]\nname = 'one'\ninf = -inf\nh = 0xff\n";
  ASSERT_FALSE(ParseConfig(valid).ok());  // has a date
  std::mt19937 random(1);
  const std::string_view bytes = "\0\n\r\t\"'\\[]{}=.,#_-+eEuUxin019aZ \x7f\x80\xc3\xff"sv;
  size_t refused = 0;
  constexpr int kRuns = 3000;
  for (int run = 0; run < kRuns; ++run) {
    std::string text = valid;
    for (int changes = 1 + static_cast<int>(random() % 4); changes > 0 && !text.empty();
         --changes) {
      const size_t at = random() % text.size();
      const char byte = bytes[random() % bytes.size()];
      switch (random() % 4) {
        case 0:
          text[at] = byte;
          break;
        case 1:
          text.insert(at, 1 + random() % 3, byte);
          break;
        case 2:
          text.erase(at, 1 + random() % 5);
          break;
        default:
          text.resize(at + 1);
          break;
      }
    }
    const auto config = ParseConfig(text);
    if (config.ok()) continue;
    ++refused;
    EXPECT_TRUE(absl::StartsWith(config.status().message(), "line ")) << config.status();
  }
  EXPECT_GT(refused, 0u);
  EXPECT_LT(refused, static_cast<size_t>(kRuns));
}

}  // namespace
}  // namespace cli
