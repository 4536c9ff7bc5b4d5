#include <gtest/gtest.h>

#include <cstdint>
#include <cstdlib>
#include <limits>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "report/export.h"
#include "report/history.h"
#include "report/merge.h"
#include "report/schema.h"
#include "tests/report/runs.h"
#include "tests/report/sample.h"

// Result files with one member that isn't as it should be. Each is refused, or every report can do
// with it: nothing throws, asserts, or is undefined. RINGSIDE_REPORT_MUTATIONS=N tries N of them,
// in place of some that are always the same.
namespace report_tests {
namespace {

// The first rounds are enough.
Json Shortened(Json compare) {
  for (Json& scenario : compare["scenarios"]) {
    Json& rounds = scenario["rounds"];
    if (rounds.size() > 3) rounds.erase(rounds.begin() + 3, rounds.end());
  }
  return compare;
}

Json Committed(const char* name) {
  const auto result =
      report::ReadResult(std::string(RINGSIDE_SOURCE_DIR) + "/results/" + name + ".json");
  EXPECT_TRUE(result.ok()) << result.status();
  return result.ok() ? *result : Json();
}

const std::vector<Json>& Whole() {
  static const std::vector<Json> all = {Shortened(Sample({.void_round = true})),
                                        Shortened(Committed("sweep-connections")),
                                        Shortened(Committed("ablation-epoll")),
                                        Shortened(Committed("slowed-1us-64x64B")),
                                        LoadRuns().closed,
                                        LoadRuns().open,
                                        LoadRuns().mix,
                                        *report::ParseResult("x", LoadRuns().timeseries)};
  return all;
}

// A place in a result: the members on the way there.
using Place = std::vector<std::string>;

// A member by chance: as often of a deep object as of a shallow one, and of few elements of arrays.
Place AnyPlace(const Json& json, std::mt19937_64& random) {
  Place place;
  for (const Json* at = &json; at->is_structured() && !at->empty();) {
    const size_t which = random() % at->size();
    auto member = at->begin();
    std::advance(member, which);
    place.push_back(at->is_object() ? member.key() : std::to_string(which));
    at = &*member;
    if (random() % 6 == 0) break;
  }
  return place;
}

Json& At(Json& json, const std::string& name) {
  return json.is_array() ? json[std::stoul(name)] : json[name];
}

// Does one thing to a member, and says what.
std::string Mutate(Json& json, const Place& place, size_t how) {
  static const std::vector<Json> values = {nullptr,
                                           "",
                                           "text",
                                           -1,
                                           0,
                                           2.5,
                                           1e300,
                                           -1e300,
                                           std::numeric_limits<uint64_t>::max(),
                                           std::numeric_limits<int64_t>::min(),
                                           true,
                                           Json::array(),
                                           Json::object(),
                                           Json::array({nullptr}),
                                           {{"x", 1}}};
  Json* parent = &json;
  for (size_t i = 0; i + 1 < place.size(); ++i) parent = &At(*parent, place[i]);
  std::string what;
  for (const std::string& name : place) what += "/" + name;
  if (how >= values.size()) {
    if (parent->is_array()) {
      parent->erase(std::stoul(place.back()));
    } else {
      parent->erase(place.back());
    }
    return what + " is taken out";
  }
  At(*parent, place.back()) = values[how];
  return what + " is " + values[how].dump();
}
constexpr size_t kHow = 18;  // and so one in six takes it out

void ExpectReports(const Json& result, const Json& whole) {
  for (const report::Format& format : report::Formats()) {
    if (std::string(format.name) == "svg") continue;  // a process each
    const auto text = report::Render(format.name, {&result, 1});
    EXPECT_TRUE(text.ok() ? !text->empty() : !text.status().message().empty()) << format.name;
  }
  const Json history = report::HistoryJson({&result, 1});
  EXPECT_FALSE(report::HistoryText(history).empty() || report::HistoryCsv(history).empty());
  const std::vector<Json> both = {whole, result};
  const auto merged = report::MergeLoads(both);
  if (merged.ok()) {
    EXPECT_EQ(report::CheckSchema(*merged), absl::OkStatus());
  }
}

TEST(Mutations, AreRefusedOrReported) {
  const char* given = std::getenv("RINGSIDE_REPORT_MUTATIONS");
  const int count = given != nullptr ? std::atoi(given) : 160;
  std::mt19937_64 random(given != nullptr ? std::random_device()() : 5);
  int refused = 0;
  for (int i = 0; i < count; ++i) {
    const Json& whole = Whole()[i % Whole().size()];
    Json json = whole;
    const Place place = AnyPlace(json, random);
    const std::string what = Mutate(json, place, random() % kHow);
    SCOPED_TRACE(whole["schema"].get<std::string>() + what);
    if (given != nullptr) std::cerr << what << "\n";
    try {
      if (!report::CheckSchema(json).ok()) {
        ++refused;
      } else {
        ExpectReports(json, whole);
      }
    } catch (const std::exception& error) {
      ADD_FAILURE() << error.what();
    }
  }
  EXPECT_GT(refused, count / 4);
  EXPECT_LT(refused, count * 9 / 10);
}

// The same for what an older program wrote.
TEST(Mutations, OfAnOlderResultAreRefusedOrReported) {
  const Json old =
      Json::parse(FileText(std::string(RINGSIDE_SOURCE_DIR) + "/results/slowed-1us-64x64B.json"));
  std::mt19937_64 random(7);
  int refused = 0;
  for (int i = 0; i < 60; ++i) {
    Json json = old;
    const std::string what = Mutate(json, AnyPlace(json, random), random() % kHow);
    SCOPED_TRACE(what);
    const auto result = report::ParseResult("old.json", json.dump());
    if (result.ok()) ExpectReports(*result, *result);
    refused += !result.ok();
    if (!result.ok()) {
      EXPECT_TRUE(std::string(result.status().message()).starts_with("old.json: "))
          << result.status();
    }
  }
  EXPECT_GT(refused, 10);
}

TEST(Merge, RefusesSumsThatDontFit) {
  const auto with = [](const char* pointer, const Json& value) {
    Json json = LoadRuns().closed;
    json[Json::json_pointer(pointer)] = value;
    EXPECT_EQ(report::CheckSchema(json), absl::OkStatus()) << pointer;
    return json;
  };
  constexpr uint64_t kHuge = std::numeric_limits<uint64_t>::max() - 100;
  for (const char* pointer :
       {"/requests", "/requests_total", "/threads", "/errors/total", "/errors/timeouts",
        "/connections/opened", "/bytes/sent", "/latency_ns/censored"}) {
    const std::vector<Json> runs(2, with(pointer, kHuge));
    const auto merged = report::MergeLoads(runs);
    ASSERT_FALSE(merged.ok()) << pointer;
    EXPECT_NE(merged.status().message().find("is larger than a result may have"), std::string::npos)
        << merged.status();
  }
  const std::vector<Json> fast(2, with("/throughput_rps", 8e18));
  EXPECT_FALSE(report::MergeLoads(fast).ok());
  const std::vector<Json> none = {LoadRuns().closed, with("/threads", 0)};
  EXPECT_EQ(report::CheckSchema(*report::MergeLoads(none)), absl::OkStatus());
  // Names that this program doesn't know may be anything.
  const std::vector<Json> unlike = {with("/errors/new", -3), with("/errors/new", "text")};
  EXPECT_TRUE(report::MergeLoads(unlike).ok());
  const std::vector<Json> below(2, with("/errors/new", -3));
  EXPECT_EQ((*report::MergeLoads(below))["errors"]["new"], -6);
}

TEST(Merge, RefusesHistogramsThatTogetherHaveTooMuch) {
  stats::Histogram much;
  much.Record(1000, uint64_t{1} << 62);
  Json json = LoadRuns().closed;
  json["latency_ns"].update(Json{{"count", much.count()}, {"hdr", stats::EncodeHdr(much)}});
  ASSERT_EQ(report::CheckSchema(json), absl::OkStatus());
  const std::vector<Json> runs(3, json);
  const auto merged = report::MergeLoads(runs);
  ASSERT_FALSE(merged.ok());
  EXPECT_NE(merged.status().message().find("2^63"), std::string::npos) << merged.status();
  EXPECT_TRUE(report::MergeLoads({runs.data(), 1}).status().code() ==
              absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace report_tests
