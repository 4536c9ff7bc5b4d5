#include "report/escape.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <regex>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "report/export.h"
#include "report/history.h"
#include "report/schema.h"
#include "tests/report/runs.h"
#include "tests/report/sample.h"

// Text from outside in every format: none of it reaches a terminal, a spreadsheet, a browser or a
// parser as anything but text.
namespace report_tests {
namespace {

// What is special to some format or terminal, and a line that looks like one of ours.
const char kHostile[] =
    "=1+%d\x1b[31m\x1b]0;t\x07\r\nverdict      valid: forged\n| a | b "
    "|\n</details></script><b>'\"`&"
    "\t]]>%d\\ #1 @a $x$ [x](y) http://a.b \xc2\x9b"
    "31m \xe2\x80\xae\xef\xbf\xbf{},";

void AddPlaces(const Json& json, const Json::json_pointer& at,
               std::vector<Json::json_pointer>* all) {
  if (json.is_string()) all->push_back(at);
  size_t index = 0;
  for (const auto& item : json.items()) {
    if (!json.is_structured()) return;
    if (json.is_array() && index++ == 3) return;  // the others are alike
    AddPlaces(item.value(), json.is_array() ? at / (index - 1) : at / item.key(), all);
  }
}

// The result with hostile text in every member where it may have text, and as a name where it may
// have any; their number is in `*places`.
Json Hostile(Json json, size_t* places) {
  std::vector<Json::json_pointer> all;
  AddPlaces(json, Json::json_pointer(), &all);
  *places = 0;
  for (const Json::json_pointer& at : all) {
    const Json before = json[at];
    json[at] = kHostile;
    if (report::CheckSchema(json).ok()) {
      ++*places;
    } else {
      json[at] = before;
    }
  }
  if (json.contains("environment")) json["environment"]["sysctls"][kHostile] = kHostile;
  EXPECT_EQ(report::CheckSchema(json), absl::OkStatus());
  return json;
}

const std::vector<Json>& AllHostile() {
  static const std::vector<Json> all = [] {
    std::vector<Json> hostile;
    Json compare = Sample({.void_round = true});
    compare["problem"] = "x";
    for (Json& scenario : compare["scenarios"]) {
      scenario["rounds"].erase(scenario["rounds"].begin() + 4, scenario["rounds"].end());
    }
    for (const Json& whole : {compare, LoadRuns().closed, LoadRuns().mix}) {
      size_t places = 0;
      hostile.push_back(Hostile(whole, &places));
      EXPECT_GT(places, 12u) << whole["schema"];
    }
    return hostile;
  }();
  return all;
}

std::string ShownAs(const std::string& format, const Json& result) {
  const auto text = report::Render(format, {&result, 1});
  EXPECT_TRUE(text.ok()) << format << ": " << text.status();
  return text.ok() ? *text : "";
}

// Nothing that moves a cursor, reorders text or is no character.
void ExpectPlain(const std::string& text) {
  EXPECT_EQ(report::PlainText(text), text);
  EXPECT_EQ(text.find('\x1b'), std::string::npos);
  EXPECT_EQ(text.find("\xc2\x9b"), std::string::npos);
}

void ExpectNoForgedLine(const std::string& text) {
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    EXPECT_FALSE(std::regex_search(line, std::regex("^ *(verdict      valid: forged|[|] a [|])")))
        << line;
  }
}

TEST(Escape, OfTextForATerminal) {
  for (const Json& result : AllHostile()) {
    const std::string text = ShownAs("text", result);
    ExpectPlain(text);
    ExpectNoForgedLine(text);
    EXPECT_NE(text.find("verdict      valid: forged"), std::string::npos);  // within a line
  }
  const Json history = report::HistoryJson({&AllHostile()[0], 1});
  ExpectPlain(report::HistoryText(history));
  ExpectNoForgedLine(report::HistoryText(history));
}

TEST(Escape, OfMarkdown) {
  for (const Json& result : AllHostile()) {
    const std::string text = ShownAs("markdown", result);
    ExpectPlain(text);
    // Without blocks and spans of code, and without what is escaped.
    std::string rest = std::regex_replace(text, std::regex("(^|\n)    [^\n]*"), "\n");
    rest = std::regex_replace(rest, std::regex("`` [^\n]*? ``"), "");
    rest = std::regex_replace(rest, std::regex("\\\\[^\n]"), "");
    ExpectNoForgedLine(rest);
    for (const char* raw : {"<b>", "</script", "](", "`", "@a", "$x$", "http://", "&\\"}) {
      const size_t at = rest.find(raw);
      EXPECT_EQ(at, std::string::npos) << rest.substr(std::min(at, rest.size()), 200);
    }
    size_t opened = 0, closed = 0;
    for (size_t at = 0; (at = rest.find("<details>", at)) != std::string::npos; ++at) ++opened;
    for (size_t at = 0; (at = rest.find("</details>", at)) != std::string::npos; ++at) ++closed;
    EXPECT_EQ(opened, closed);
  }
}

TEST(Escape, OfCsv) {
  std::vector<std::string> all = {report::HistoryCsv(report::HistoryJson({&AllHostile()[0], 1}))};
  for (const Json& result : AllHostile()) all.push_back(ShownAs("csv", result));
  for (const std::string& text : all) {
    const auto rows = ParseCsv(text);
    ASSERT_GT(rows.size(), 1u);
    for (const auto& row : rows) {
      ASSERT_EQ(row.size(), rows[0].size());
      for (const std::string& field : row) {
        ExpectPlain(field);
        double number = 0;
        if (absl::SimpleAtod(field, &number)) continue;
        EXPECT_EQ(field.find_first_of("=+-@\t\r"), field.find_first_of("=+-@\t\r", 1)) << field;
      }
    }
  }
}

TEST(Escape, OfXml) {
  const std::string xml = ShownAs("junit", AllHostile()[0]);
  ExpectPlain(xml);
  EXPECT_EQ(xml.find("<b>"), std::string::npos);
  if (!cli_tests::Installed("xmllint")) return;
  const TemporaryFile file("hostile.xml", xml);
  const auto ended = cli_tests::RunToEnd({"xmllint", "--nonet", "--noout", file.path()});
  EXPECT_EQ(ended.exit_code, 0) << ended.err;
}

TEST(Escape, OfOpenMetrics) {
  const std::regex line(
      R"re((# (TYPE|HELP) [a-z_0-9]+ .*|# EOF|[a-z_0-9]+\{([a-z]+="([^"\\]|\\["\\n])*",?)*\} [-0-9.e+]+))re");
  for (const Json& result : AllHostile()) {
    const std::string page = ShownAs("openmetrics", result);
    ExpectPlain(page);
    std::istringstream lines(page);
    for (std::string one; std::getline(lines, one);)
      EXPECT_TRUE(std::regex_match(one, line)) << one;
  }
}

TEST(Escape, OfHistogramLogs) {
  for (const Json& result : AllHostile()) {
    const std::string log = ShownAs("hlog", result);
    ExpectPlain(log);
    std::istringstream lines(log);
    const std::regex line(R"re((#.*|".*|(Tag=[^, ]*,)?[0-9.]+,[0-9.]+,[0-9.]+,[A-Za-z0-9+/=]+))re");
    for (std::string one; std::getline(lines, one);)
      EXPECT_TRUE(std::regex_match(one, line)) << one;
  }
}

TEST(Escape, OfJsonAndHtml) {
  for (const Json& result : AllHostile()) {
    const std::string json = ShownAs("json", result);
    EXPECT_EQ(Json::parse(json), result);
    EXPECT_EQ(json.find('\x1b'), std::string::npos);
    const std::string html = ShownAs("html", result);
    EXPECT_EQ(html.find("<b>"), std::string::npos);
    EXPECT_EQ(html.find('\x1b'), std::string::npos);
  }
  EXPECT_EQ(ShownAs("gbench", AllHostile()[0]).find('\x1b'), std::string::npos);
}

// A % is a tic label's format, and < > & are markup to the SVG.
TEST(Escape, OfGnuplot) {
  if (!cli_tests::Installed("gnuplot")) GTEST_SKIP() << "gnuplot is not installed";
  for (const Json& result : AllHostile()) {
    const std::string picture = ShownAs("svg", result);
    for (const char* raw : {"\x1b", "\xc2\x9b", "\xe2\x80\xae", "\xef\xbf\xbf", "<b>"}) {
      EXPECT_EQ(picture.find(raw), std::string::npos);
    }
    size_t shown = 0;
    for (size_t at = 0; (at = picture.find("=1+", at)) != std::string::npos; at += 3, ++shown) {
      EXPECT_EQ(picture.substr(at, 6).substr(0, 5), "=1+%d");
    }
    EXPECT_GT(shown, 0u);
    if (!cli_tests::Installed("xmllint")) continue;
    const TemporaryFile file("hostile.svg", picture);
    const auto ended = cli_tests::RunToEnd({"xmllint", "--nonet", "--noout", file.path()});
    EXPECT_EQ(ended.exit_code, 0) << ended.err;
  }
}

TEST(Escape, LeavesWhatIsHarmless) {
  const std::string text = "64 × 64 B, −4.7 % „ok“ 日本";
  EXPECT_EQ(report::PlainText(text), text);
  EXPECT_EQ(report::PlainLine("a\nb \n"), "a b");
  EXPECT_EQ(report::EscapeXml(text), text);
  EXPECT_EQ(report::EscapeCsv("64 B"), "64 B");
  for (const char* number : {"-1", "+2.5", "-1e-09"}) EXPECT_EQ(report::EscapeCsv(number), number);
  for (const char* formula : {"=1", "-a", "@x", "+", "\t=1", "\n=1",
                              "\xef\xbc\x9d"
                              "1"}) {
    EXPECT_NE(report::EscapeCsv(formula).find('\''), std::string::npos) << formula;
  }
  // What is no UTF-8: a byte, a surrogate, a longer form, an end.
  for (const char* bytes : {"\xfc", "\xed\xa0\x80", "\xc0\xaf", "\xe2\x80"}) {
    EXPECT_TRUE(report::PlainText(bytes).starts_with("\xef\xbf\xbd")) << bytes;
    EXPECT_EQ(Json(report::EscapeXml(bytes)).dump().find('\xc0'), std::string::npos);
  }
}

// What is written to a terminal of its own accord: errors that name what a file said.
TEST(Escape, OfErrors) {
  const TemporaryFile file("hostile.json", R"({"schema": "ringside.\u001b[31mx/1"})");
  const auto ended = cli_tests::RunToEnd({RINGSIDE_BINARY, "report", file.path()});
  EXPECT_EQ(ended.exit_code, 1);
  EXPECT_NE(ended.err.find("[31mx/1 there are no reports"), std::string::npos) << ended.err;
  ExpectPlain(ended.err);
}

}  // namespace
}  // namespace report_tests
