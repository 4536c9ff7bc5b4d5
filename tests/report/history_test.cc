#include "report/history.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <random>

#include "absl/strings/str_format.h"
#include "stats/change_points.h"
#include "tests/cli/ringside.h"
#include "tests/report/sample.h"

namespace report_tests {
namespace {

std::vector<double> Noise(size_t count, double mean, std::mt19937_64* random) {
  std::normal_distribution<double> noise(mean, 1);
  std::vector<double> values(count);
  for (double& value : values) value = noise(*random);
  return values;
}

std::vector<double> Joined(std::vector<double> a, const std::vector<double>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

TEST(ChangePoints, AreWhereTheLevelChanges) {
  std::mt19937_64 random(3);
  const auto series =
      Joined(Joined(Noise(20, 100, &random), Noise(15, 110, &random)), Noise(25, 96, &random));
  const auto found = stats::FindChangePoints(series);
  ASSERT_EQ(found.size(), 2u);
  EXPECT_EQ(found[0].at, 20u);
  EXPECT_EQ(found[1].at, 35u);
  EXPECT_LE(found[0].p_value, 0.01);
}

TEST(ChangePoints, AreFoundDespiteAnOutlierAndNotMadeByOne) {
  std::mt19937_64 random(5);
  auto series = Noise(40, 100, &random);
  series[17] = 1000;
  EXPECT_TRUE(stats::FindChangePoints(series).empty());
}

// The rate of false alarms is what `significance` says: 200 series at 1 % have more than 8 in one
// of some 50,000 runs, and this one is always the same.
TEST(ChangePoints, AreSeldomFoundInNoise) {
  std::mt19937_64 random(11);
  int alarms = 0;
  for (int i = 0; i < 200; ++i) alarms += !stats::FindChangePoints(Noise(20, 5, &random)).empty();
  RecordProperty("alarms", alarms);
  EXPECT_LE(alarms, 8);
}

TEST(ChangePoints, NeedEnoughValues) {
  EXPECT_TRUE(stats::FindChangePoints({}).empty());
  EXPECT_TRUE(stats::FindChangePoints(std::vector<double>{1, 1, 1, 1, 9, 9, 9, 9, 9}).empty());
  EXPECT_EQ(stats::FindChangePoints(std::vector<double>{1, 1, 1, 1, 1, 9, 9, 9, 9, 9}).size(), 1u);
  EXPECT_TRUE(stats::FindChangePoints(std::vector<double>(100, 7)).empty());
}

// A directory of comparisons, one a day; from the tenth on the arm is slower.
class History : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = testing::TempDir() + "ringside_history_" + std::to_string(getpid());
    std::filesystem::create_directory(folder_);
    for (int day = 1; day <= 18; ++day) {
      Json json = Sample({.slower_by = (day < 10 ? 1 : 1.3) + 0.001 * (day % 3)});
      json["time_utc"] = absl::StrFormat("2026-10-%02dT12:00:00Z", day);
      // Names in another order than that of time.
      std::ofstream(absl::StrFormat("%s/%02d.json", folder_, 40 - day)) << json.dump();
    }
    std::ofstream(folder_ + "/damaged.json") << "{\"schema\": \"ringside.compare/2\", \"arms\": ";
    std::ofstream(folder_ + "/other.json") << "{\"name\": \"not ours\"}";
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::string folder_;
};

TEST_F(History, MarksWhereAMetricChanged) {
  const auto ended = cli_tests::Ringside({"report", "--history", folder_, "-f", "json"});
  ASSERT_EQ(ended.exit_code, 0) << ended.err;
  EXPECT_NE(ended.err.find("damaged.json: cut off"), std::string::npos) << ended.err;
  EXPECT_EQ(ended.err.find("other.json"), std::string::npos) << ended.err;
  const Json json = Json::parse(ended.out);
  EXPECT_EQ(json["schema"], "ringside.history/1");
  EXPECT_EQ(json["results"], 18);
  size_t seen = 0;
  for (const Json& series : json["series"]) {
    ASSERT_EQ(series["points"].size(), 18u);
    if (series["metric"] != "server_cpu_us") continue;
    ++seen;
    if (series["arm"] == "epoll") {
      EXPECT_TRUE(series["changes"].empty());
      continue;
    }
    ASSERT_EQ(series["changes"].size(), 1u);
    EXPECT_EQ(series["changes"][0]["time_utc"], "2026-10-10T12:00:00Z");
    EXPECT_NEAR(
        series["changes"][0]["after"].get<double>() / series["changes"][0]["before"].get<double>(),
        1.3, 0.01);
  }
  EXPECT_EQ(seen, 2u);
}

TEST_F(History, IsSaidToBeNoGate) {
  const auto ended = cli_tests::Ringside({"report", "--history", folder_});
  EXPECT_EQ(ended.exit_code, 0) << ended.err;
  EXPECT_NE(ended.out.find("A history, not a gate"), std::string::npos);
  EXPECT_NE(ended.out.find("changed at 2026-10-10T12:00:00Z"), std::string::npos) << ended.out;
  const auto csv = cli_tests::Ringside({"report", "--history", folder_, "-f", "csv"});
  EXPECT_NE(csv.out.find(",server_cpu_us,us,2026-10-01T12:00:00Z,"), std::string::npos);
}

TEST_F(History, SaysWhatIsWrong) {
  const auto code = [](std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {"report", "--history"});
    return cli_tests::Ringside(arguments).exit_code;
  };
  EXPECT_EQ(code({"/nowhere"}), 1);
  EXPECT_EQ(code({folder_, "-f", "junit"}), 2);
  EXPECT_EQ(code({folder_, "--merge"}), 2);
  EXPECT_EQ(code({folder_, folder_ + "/39.json"}), 2);
  for (int i = 22; i < 40; ++i) std::filesystem::remove(absl::StrFormat("%s/%d.json", folder_, i));
  EXPECT_EQ(code({folder_}), 1);
}

}  // namespace
}  // namespace report_tests
