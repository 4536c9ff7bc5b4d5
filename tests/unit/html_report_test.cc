#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "report/compare_words.h"
#include "report/html.h"
#include "report/html/compare_words.h"
#include "report/html/curves.h"
#include "report/html/view.h"
#include "tests/web/sample_results.h"

namespace report::html {
namespace {

using web_tests::Comparison;
using web_tests::Latencies;

std::string SentenceOf(const Json& compare) {
  const Json& scenario = compare["scenarios"][0];
  return VerdictSentence(compare, scenario, scenario["comparisons"][0]);
}

// The section with this title; null where there is none.
Json SectionOf(const Json& report, const std::string& title) {
  for (const Json& section : report["sections"]) {
    if (section["title"] == title) return section;
  }
  return nullptr;
}

TEST(PercentileCurve, RisesToTheMaximumByNines) {
  const stats::Histogram histogram = Latencies(100e3, 100'000, 1);
  const Json curve = PercentileCurve(histogram);
  for (size_t i = 1; i < curve.size(); ++i) {
    EXPECT_GT(curve[i][0], curve[i - 1][0]);
    EXPECT_GE(curve[i][1], curve[i - 1][1]);
  }
  EXPECT_EQ(curve[0], Json::array({1.0, histogram.min()}));
  EXPECT_EQ(curve[20], Json::array({10.0, histogram.Percentile(90)}));
  EXPECT_EQ(curve[60], Json::array({1000.0, histogram.Percentile(99.9)}));
  EXPECT_EQ(curve.back(), Json::array({100'000.0, histogram.max()}));
}

TEST(PercentileCurve, OfOneValueIsAPoint) {
  stats::Histogram histogram;
  histogram.Record(5);
  EXPECT_EQ(PercentileCurve(histogram), Json::array({Json::array({1.0, 5})}));
}

// The least counts with an upper bound are those that stats::Histogram::Confidence() finds.
TEST(PercentileCurve, IsThinWhereAPercentileHasNoUpperBound) {
  for (const auto& [count, percentile] : {std::pair(368, 99.0), std::pair(3688, 99.9)}) {
    const double x = 1 / (1 - percentile / 100);
    EXPECT_GE(ThinFrom(count), x);
    EXPECT_LT(ThinFrom(count - 1), x);
  }
}

RC_GTEST_PROP(HeatRows, HoldEveryValueInItsRow, ()) {
  const int64_t low = *rc::gen::inRange<int64_t>(0, 1'000'000);
  const int64_t high = low + *rc::gen::inRange<int64_t>(0, 2'000'000'000);
  const HeatRows rows(low, high, 44);
  const std::vector<double>& edges = rows.edges_ns();
  RC_ASSERT(edges.size() >= 2 && edges.size() <= 45);
  for (const int64_t ns : {low, (low + high) / 2, high}) {
    const int row = rows.RowOf(static_cast<double>(ns));
    RC_ASSERT(edges[row] <= std::max<double>(1, static_cast<double>(ns)));
    RC_ASSERT(static_cast<double>(ns) < edges[row + 1]);
  }
}

RC_GTEST_PROP(HeatRows, LoseNoCount, (const std::vector<uint32_t>& values)) {
  RC_PRE(!values.empty());
  stats::Histogram histogram;
  for (const uint32_t value : values) histogram.Record(value);
  const HeatRows rows(histogram.min(), histogram.max(), 44);
  HeatCounts counts;
  counts.Add(histogram);
  const Json column = rows.Column(1.5, counts);
  uint64_t sum = 0;
  for (const Json& count : column["counts"]) sum += count.get<uint64_t>();
  RC_ASSERT(sum == values.size());
  RC_ASSERT(column["total"] == values.size());
  RC_ASSERT(column["counts"].front() != 0 && column["counts"].back() != 0);
  RC_ASSERT(column["first"].get<size_t>() + column["counts"].size() < rows.edges_ns().size());
}

// A page of a day's run: as many points as a page can show, and the one stall among them.
TEST(LoadReport, ThinsOutByTheHighest) {
  constexpr int kIntervals = 20'000, kStall = 12'345;
  Json load = {{"schema", "ringside.load/1"}};
  load["series"] = {{"columns", {"begin_s", "length_s", "requests", "p99_ns", "max_ns"}}};
  Json& rows = load["series"]["rows"];
  std::vector<Json> intervals;
  const stats::Histogram some = Latencies(20, 10, 1);
  const std::string usual = stats::EncodeHdr(some);
  stats::Histogram stalled;
  stalled.Record(900'000'000);
  for (int i = 0; i < kIntervals; ++i) {
    const bool stall = i == kStall;
    rows.push_back(Json::array({i, 1, stall ? 0 : 1000 + i % 7, 5000, stall ? 900'000'000 : 7000}));
    if (i % 20 != 5) continue;  // decoding takes the time here
    intervals.push_back({{"schema", "ringside.interval/1"}, {"begin_s", i}, {"hdr", usual}});
    if (stall) intervals.back()["hdr"] = stats::EncodeHdr(stalled);
  }
  const Json report = LoadReport(load, intervals);
  int charts = 0, maps = 0, stalls = 0;
  for (const Json& section : report["sections"]) {
    for (const Json& block : section["blocks"]) {
      if (block["type"] == "heat") {
        ++maps;
        const Json& columns = block["maps"][0]["columns"];
        EXPECT_LE(columns.size(), 360u);
        uint64_t total = 0;
        for (const Json& column : columns) {
          total += column["total"].get<uint64_t>();
          stalls += column["first"].get<int>() + static_cast<int>(column["counts"].size()) ==
                    static_cast<int>(block["edges_ns"].size()) - 1;  // in the topmost row
        }
        EXPECT_EQ(total, some.count() * (intervals.size() - 1) + 1);
        EXPECT_NE(section["note"].get<std::string>().find("a column is 3 intervals"),
                  std::string::npos);
        EXPECT_NE(section["note"].get<std::string>().find("the highest of 20 intervals"),
                  std::string::npos);
      }
      if (block["type"] != "chart") continue;
      for (const Json& series : block["series"]) {
        ++charts;
        EXPECT_LE(series["points"].size(), 2000u);
        EXPECT_GE(series["points"].size(), 900u);
        double low = 1e18, high = 0;
        for (const Json& point : series["points"]) {
          low = std::min(low, point[1].get<double>());
          high = std::max(high, point[1].get<double>());
        }
        const bool rate = series["name"] == "answered", longest = series["name"] == "max";
        EXPECT_EQ(low == 0, rate);
        EXPECT_EQ(high == 900'000'000, longest);
      }
    }
  }
  EXPECT_EQ(charts, 3);
  EXPECT_EQ(maps, 1);
  EXPECT_EQ(stalls, 1);
}

TEST(Decoded, LeavesOutWhatCantBeRead) {
  EXPECT_FALSE(Decoded(nullptr));
  EXPECT_FALSE(Decoded("HISTFAAAnonsense"));
  EXPECT_FALSE(Decoded(stats::EncodeHdr(stats::Histogram())));
  EXPECT_TRUE(Decoded(stats::EncodeHdr(Latencies(1000, 10, 1))));
}

RC_GTEST_PROP(ScriptSafe, IsTheSameJsonAndHasNoMarkup, (const std::string& text)) {
  const Json json = {{"text", text}};
  const std::string safe = ScriptSafe(json);
  RC_ASSERT(safe.find_first_of("<>&") == std::string::npos);
  const std::string valid = json.dump(-1, ' ', false, Json::error_handler_t::replace);
  RC_ASSERT(Json::parse(safe) == Json::parse(valid));
}

TEST(MarkupSafe, LeavesNothingThatMarkupIsMadeOf) {
  EXPECT_EQ(MarkupSafe("a < b & \"c\" > d"), "a &lt; b &amp; &quot;c&quot; &gt; d");
  EXPECT_EQ(MarkupSafe("\xff"), "\xef\xbf\xbd");
}

TEST(HtmlReport, HasNamesNeitherAsMarkupNorAsPartsOfThePage) {
  const std::string page = HtmlReport({Comparison({"</script><b>", "{{style}}<!--"})});
  EXPECT_EQ(page.find("<b>"), std::string::npos);
  EXPECT_NE(page.find("{{style}}"), std::string::npos);
  EXPECT_LT(page.size(), 1u << 20);
  EXPECT_EQ(page.find("http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'"),
            page.find("http-equiv"));
}

TEST(VerdictSentence, SaysWhatIsBetterByHowMuchAndHowSure) {
  EXPECT_EQ(SentenceOf(Comparison({"a", "b"}, "slower", 1.2)),
            "b is slower than a: 20.0 % more server CPU a request at 100k/s (98.2 % interval "
            "+18 to +22 %, 10 pairs).");
  EXPECT_EQ(SentenceOf(Comparison({"a", "b"}, "same", 1.01)),
            "b is the same as a within 5 %: 1.0 % more server CPU a request at 100k/s (98.2 % "
            "interval −1.0 to +3.0 %, 10 pairs).");
  EXPECT_EQ(SentenceOf(Comparison({"a", "b"}, "cannot tell", 0.96)),
            "Can't tell whether b is faster or slower than a by more than 5 %: 4.0 % less server "
            "CPU a request at 100k/s (98.2 % interval −5.9 to −2.1 %, 10 pairs). A difference of "
            "about 2 % is within reach here. About 30 more pairs would tell: --budget, --pairs.");
}

TEST(VerdictSentence, SaysThatThereIsNone) {
  Json compare = Comparison({"a", "b"});
  compare["scenarios"][0]["comparisons"][0]["verdict"] = nullptr;
  EXPECT_EQ(SentenceOf(compare), "No round of b against a was played.");
  compare = Comparison({"a", "b"}, "cannot tell", 0.9);
  compare["scenarios"][0]["comparisons"][0]["verdict"]["ratio_low"] = nullptr;
  compare["scenarios"][0]["comparisons"][0]["verdict"]["why"] = "the self-check failed";
  EXPECT_EQ(SentenceOf(compare),
            "Can't tell whether b is faster or slower than a: the self-check failed.");
}

TEST(CompareTitle, SaysTheFinding) {
  Json compare = Comparison({"a", "b", "c"});
  EXPECT_EQ(CompareTitle(compare), "b and c against a: faster in 2 of 2 comparisons");
  compare["scenarios"].push_back(web_tests::Scenario("s", nullptr, 3, "slower", 1.3));
  EXPECT_EQ(CompareTitle(compare), "b and c against a: faster in 2, slower in 2 of 4 comparisons");
  compare["self_check"]["passed"] = false;
  compare["interrupted"] = true;
  compare["arms"][2]["role"] = "self-check";
  EXPECT_EQ(CompareTitle(compare),
            "No verdict, the self-check failed: b against a: faster in 1, slower in 1 of 2 "
            "comparisons (interrupted)");
}

TEST(CompareReport, PutsProblemsFirst) {
  Json compare = Comparison({"a", "b"});
  compare["problem"] = "six rounds in a row were void";
  compare["interrupted"] = true;
  compare["self_check"]["passed"] = false;
  const Json verdict = CompareReport(compare)["sections"][0];
  const Json& items = verdict["blocks"][0]["items"];
  ASSERT_EQ(items.size(), 4u);
  EXPECT_EQ(items[0]["text"], "six rounds in a row were void");
  EXPECT_EQ(items[1]["word"], "interrupted");
  EXPECT_EQ(items[2]["word"], "self-check failed");
  EXPECT_EQ(items[3]["tone"], "good");
}

TEST(CompareReport, LeavesVoidRoundsOutOfCurvesAndTellsThem) {
  const Json report = CompareReport(Comparison({"a", "b"}));
  const Json chart = SectionOf(report, "Throughput over time")["blocks"][0];
  ASSERT_EQ(chart["series"].size(), 2u);
  EXPECT_EQ(chart["series"][1]["points"].size(), 5u);
  const Json voids = SectionOf(report, "Void rounds")["blocks"][0]["rows"];
  EXPECT_EQ(
      voids,
      Json::array({Json::array({"64 × 64 B", "4", "7.5 s", "b", "it missed its pace by 9 %"})}));
  const Json heat = SectionOf(report, "Latency over time")["blocks"][0]["views"][0]["block"];
  EXPECT_EQ(heat["maps"][0]["columns"].size(), 6u);
  EXPECT_EQ(heat["maps"][1]["columns"].size(), 5u) << "its round alone was void";
}

TEST(CompareReport, DrawsASweepOverItsValues) {
  Json compare = Comparison({"a", "b"});
  compare["sweep"] = {{"parameter", "connections"}, {"values", {256, 1}}};
  compare["scenarios"] = {web_tests::Scenario("256", 256, 2, "faster", 0.9),
                          web_tests::Scenario("1", 1, 2, "faster", 0.9)};
  const Json section = SectionOf(CompareReport(compare), "Curve over connections");
  ASSERT_FALSE(section.is_null());
  const Json& chart = section["blocks"][0]["views"][0]["block"];
  EXPECT_EQ(chart["x"]["scale"], "log");
  const Json& points = chart["series"][1]["points"];
  ASSERT_EQ(points.size(), 2u);
  EXPECT_EQ(points[0][0], 1);
  EXPECT_EQ(points[0].size(), 4u) << "the middle half of the rounds";
}

TEST(CompareReport, HasARowForEachFeatureOfAnAblation) {
  Json compare = Comparison({"a", "b", "c"});
  EXPECT_TRUE(SectionOf(CompareReport(compare), "What each feature does").is_null());
  compare["kind"] = "ablation";
  compare["arms"][0]["feature"] = nullptr;
  compare["arms"][1]["feature"] = {{"name", "rings"}, {"change", "off"}};
  compare["arms"][2]["feature"] = {{"name", "zero copy"}, {"change", "on"}};
  const Json table = SectionOf(CompareReport(compare), "What each feature does")["blocks"][0];
  ASSERT_EQ(table["rows"].size(), 2u);
  EXPECT_EQ(table["rows"][0][0], "rings");
  EXPECT_EQ(table["rows"][0][1], "taken out");
  EXPECT_EQ(table["rows"][1][1], "put in");
  EXPECT_NEAR(table["rows"][0][2]["plot"]["at"].get<double>(), std::log(0.94), 1e-9);
  EXPECT_GT(table["columns"][2]["scale"]["span"].get<double>(), -std::log(0.94 * 0.98));
}

TEST(View, GivesALoadTheIntervalsAfterItAndNamesWhatItCantShow) {
  const Json load = {{"schema", "ringside.load/1"}, {"verdict", {{"kind", "valid"}}}};
  Json interval = {{"schema", "ringside.interval/1"},
                   {"begin_s", 0.1},
                   {"hdr", stats::EncodeHdr(Latencies(1000, 10, 1))}};
  const Json view = View({load, interval, interval, load, {{"schema", "ringside.doctor/1"}}});
  ASSERT_EQ(view["reports"].size(), 3u);
  const Json heat = SectionOf(view["reports"][0], "Latency over time")["blocks"][0];
  EXPECT_EQ(heat["maps"][0]["columns"].size(), 2u);
  EXPECT_TRUE(SectionOf(view["reports"][1], "Latency over time").is_null());
  EXPECT_EQ(view["reports"][2]["heading"], "Not shown: a result of ringside.doctor/1");
}

TEST(View, GivesEachClassOfAMixItsOwnIntervals) {
  const Json first = {{"name", "first"}}, second = {{"name", "second"}};
  const Json mix = {{"schema", "ringside.load_mix/1"}, {"classes", {first, second}}};
  const Json interval = {{"schema", "ringside.interval/1"},
                         {"class", "second"},
                         {"hdr", stats::EncodeHdr(Latencies(1000, 10, 1))}};
  const Json report = View({mix, interval})["reports"][0];
  EXPECT_TRUE(SectionOf(report, "first: Latency over time").is_null());
  EXPECT_FALSE(SectionOf(report, "second: Latency over time").is_null());
}

TEST(View, OfLittleIsShort) {
  EXPECT_EQ(View({})["title"], "No results – ringside");
  for (const char* schema : {"ringside.compare/2", "ringside.load/1", "ringside.load_mix/1"}) {
    EXPECT_EQ(View({{{"schema", schema}}})["reports"].size(), 1u) << schema;
  }
  EXPECT_EQ(View({Json(), Json::array({1}), Json("text")})["reports"].size(), 3u);
}

}  // namespace
}  // namespace report::html
