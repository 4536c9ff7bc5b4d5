#include "cli/load_values.h"

#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

namespace cli {
namespace {

constexpr int64_t kSecond = 1'000'000'000;

template <typename T>
std::string Problem(const absl::StatusOr<T>& result) {
  return result.ok() ? "(no error)" : std::string(result.status().message());
}

// "BEGIN:END/LENGTH" of each part, in seconds, and whether it is per connection.
std::string Rates(const std::string& text) {
  const auto rates = ParseRates(text);
  if (!rates.ok()) return std::string(rates.status().message());
  std::string all = rates->per_connection ? "conn" : "";
  for (const auto& [begin, end, length] : rates->plan.segments) {
    const std::string seconds =
        length == loadgen::kNever ? "-" : std::to_string(length / (kSecond / 1000)) + "ms";
    all += " " + std::to_string(std::lround(begin)) + ":" + std::to_string(std::lround(end)) + "/" +
           seconds;
  }
  return all;
}

TEST(ParseRates, TakesConstantsStepsAndRamps) {
  EXPECT_EQ(Rates("200k"), " 200000:200000/-");
  EXPECT_EQ(Rates("200k/s"), " 200000:200000/-");
  EXPECT_EQ(Rates("1_000_000"), " 1000000:1000000/-");
  EXPECT_EQ(Rates("10k/10s"), " 10000:10000/10000ms");
  EXPECT_EQ(Rates("10k/s/10s"), " 10000:10000/10000ms");
  EXPECT_EQ(Rates("10k:100k/60s"), " 10000:100000/60000ms");
  EXPECT_EQ(Rates("10k/s:100k/s/1m"), " 10000:100000/60000ms");
  EXPECT_EQ(Rates("10k/10s,50k/10s,100k/10s"),
            " 10000:10000/10000ms 50000:50000/10000ms 100000:100000/10000ms");
  EXPECT_EQ(Rates("0/1s,0:5k/500ms,5k"), " 0:0/1000ms 0:5000/500ms 5000:5000/-");
  EXPECT_DOUBLE_EQ(ParseRates("33333.3")->plan.segments[0].begin_rate, 33'333.3);
}

TEST(ParseRates, TakesRatesOfEachConnection) {
  EXPECT_EQ(Rates("100/conn"), "conn 100:100/-");
  EXPECT_EQ(Rates("100/s/conn"), "conn 100:100/-");
  EXPECT_EQ(Rates("100/conn/5s"), "conn 100:100/5000ms");
  EXPECT_EQ(Rates("10:100/conn/5s,100/conn"), "conn 10:100/5000ms 100:100/-");
  EXPECT_EQ(Rates("10/conn:100/conn/5s"), "conn 10:100/5000ms");
  EXPECT_EQ(Rates("10/5s,100/conn"),
            "'10/5s,100/conn' mixes rates per connection with rates of all; write /conn in every "
            "part, or in none");
}

TEST(ParseRates, SaysWhatIsWrong) {
  const std::string want = "; give rates such as 200k, 100/conn, 10k/10s,50k/10s or 10k:100k/60s";
  EXPECT_EQ(Rates(""), "the value is empty" + want);
  EXPECT_EQ(Rates("10k/10s,"), "a part of the rates is missing" + want);
  EXPECT_EQ(Rates(",10k"), "a part of the rates is missing" + want);
  EXPECT_EQ(Rates("/10s"), "a rate is missing" + want);
  EXPECT_EQ(Rates(":10k/10s"), "a rate is missing" + want);
  EXPECT_EQ(Rates("10k:/10s"), "a rate is missing" + want);
  EXPECT_EQ(Rates("/conn"), "a rate is missing" + want);
  EXPECT_EQ(Rates("10k/0s"), "a part of the rates takes no time" + want);
  EXPECT_EQ(Rates("10k,50k/10s"),
            "part 1 of the rates has no length; only the last one may lack it, as in 10k/10s,50k");
  EXPECT_EQ(Rates("1,000"),
            "part 1 of the rates has no length; only the last one may lack it, as in 10k/10s,50k");
  EXPECT_EQ(Rates("10k:100k"),
            "a ramp has no length; say in which time it gets there, as in 10k:100k/60s");
  EXPECT_EQ(Rates("0"), "no request is ever due; give a rate above 0");
  EXPECT_EQ(Rates("2G"),
            "a rate of 2e+09 requests per second is out of range; use 0 for a pause, or 0.001 to "
            "1G");
  EXPECT_EQ(Rates("10k/10"), "10 has no unit; add one, such as 10s or 10ms");
  EXPECT_EQ(Rates("10k/fast"),
            "'fast' is not a duration; give a duration such as 250ms, 10s or 1m30s");
  EXPECT_EQ(Rates("many"),
            "'many' is not a rate; give a rate per second such as 500, 100k/s or 2.5M");
  for (const char* junk : {"-5", "10k:20k:30k/5s", "5/5s/5s", "5/conn/conn", "10k 20k", "/", ":"}) {
    EXPECT_FALSE(ParseRates(junk).ok()) << junk;
  }
}

TEST(ParseCounts, TakesOneAndARange) {
  EXPECT_EQ(*ParseCounts("100"), std::pair(uint64_t{100}, uint64_t{100}));
  EXPECT_EQ(*ParseCounts("1..10k"), std::pair(uint64_t{1}, uint64_t{10'000}));
  EXPECT_EQ(*ParseCounts("7..7"), std::pair(uint64_t{7}, uint64_t{7}));
  for (const char* wrong : {"", "0", "0..5", "5..", "..5", "9..5", "a", "1...5", "-1", "1e30"}) {
    EXPECT_FALSE(ParseCounts(wrong).ok()) << wrong;
  }
}

TEST(ParseSizes, TakesOneSize) {
  for (const auto& [text, bytes] : {std::pair("64", 64u),
                                    {"16KiB", 16'384u},
                                    {"1,000", 1000u},
                                    {"1GiB", 1u << 30},
                                    {"1", 1u}}) {
    const auto plan = ParseSizes(text);
    ASSERT_TRUE(plan.ok()) << text;
    EXPECT_FALSE(plan->varies());
    EXPECT_EQ(plan->Max(), bytes);
  }
}

// Whether two plans give the same sizes.
bool Same(const absl::StatusOr<services::SizePlan>& a, const services::SizePlan& b) {
  if (!a.ok()) return false;
  for (uint64_t i = 0; i < 1000; ++i) {
    if (a->At(i % 7, i) != b.At(i % 7, i)) return false;
  }
  return true;
}

TEST(ParseSizes, TakesDistributions) {
  using services::SizePlan;
  EXPECT_TRUE(Same(ParseSizes("64..16KiB"), SizePlan::Uniform(64, 16'384)));
  EXPECT_FALSE(Same(ParseSizes("64..16KiB"), SizePlan::Uniform(64, 16'385)));
  const std::vector<SizePlan::Weight> weights = {{64, 90}, {16'384, 10}};
  EXPECT_TRUE(Same(ParseSizes("64:90,16KiB:10"), SizePlan::Weighted(weights)));
  EXPECT_TRUE(Same(ParseSizes("64:90%,16KiB:10%"), SizePlan::Weighted(weights)));
  EXPECT_TRUE(Same(ParseSizes("64:9,16KiB:1.0"), SizePlan::Weighted(weights)));
  EXPECT_TRUE(Same(ParseSizes("64:1"), SizePlan::Fixed(64)));
  EXPECT_TRUE(Same(ParseSizes("exp:1KiB"), SizePlan::Exponential(1024)));
  EXPECT_TRUE(Same(ParseSizes("lognormal:1KiB,2.0"), SizePlan::LogNormal(1024, 2)));
  EXPECT_TRUE(Same(ParseSizes("pareto:64,1.2"), SizePlan::Pareto(64, 1.2)));
  EXPECT_TRUE(Same(ParseSizes("pareto:1,000,1.2"), SizePlan::Pareto(1000, 1.2)));
}

TEST(ParseSizes, SaysWhatIsWrong) {
  const auto problem = [](const char* text) { return Problem(ParseSizes(text)); };
  const std::string want =
      "; give sizes such as 64, 64..16KiB, 64:90,16KiB:10, exp:1KiB, lognormal:1KiB,2.0 or "
      "pareto:64,1.2";
  EXPECT_EQ(problem(""), "the value is empty" + want);
  EXPECT_EQ(problem("0"), "a request has at least one byte" + want);
  EXPECT_EQ(problem("0..5"), "a request has at least one byte" + want);
  EXPECT_EQ(problem("2GiB"), "2GiB is more than 1 GiB" + want);
  EXPECT_EQ(problem("1..2MiB"), "2MiB is more than 1 MiB, the most of sizes that vary" + want);
  EXPECT_EQ(problem("9..5"), "9..5 runs backwards" + want);
  EXPECT_EQ(problem("..5"), "a size is missing" + want);
  EXPECT_EQ(problem("5.."), "a size is missing" + want);
  EXPECT_EQ(problem("exp:"), "a size is missing" + want);
  EXPECT_EQ(problem("zipf:64,2"), "'zipf' is not a distribution" + want);
  EXPECT_EQ(problem("lognormal:1KiB"), "'1KiB' has no sigma" + want);
  EXPECT_EQ(problem("pareto:64"), "'64' has no alpha" + want);
  EXPECT_EQ(problem("pareto:64,0"), "alpha 0 is not within 0.01 to 100" + want);
  EXPECT_EQ(problem("pareto:64,-1"), "'-1' is no alpha" + want);
  EXPECT_EQ(problem("64:90,16KiB"), "'16KiB' has no weight" + want);
  EXPECT_EQ(problem("64:x"), "'x' is no weight" + want);
  EXPECT_EQ(problem("64:0,5:0"), "all weights are 0; give one above 0");
  EXPECT_EQ(problem("big"), "'big' is not a size; give a size such as 64, 16KiB or 1MB");
  for (const char* junk :
       {"64:", ":5", "64:5,", "64:5:5", "64:inf", "64:1e5", "exp:5,5", "lognormal:,2",
        "lognormal:5,", "1...5", "1..5..9", "-5", "64:.", "nan"}) {
    EXPECT_FALSE(ParseSizes(junk).ok()) << junk;
  }
}

TEST(ParseEscapes, ReplacesWhatIsEscaped) {
  EXPECT_EQ(*ParseEscapes("PING\\r\\n"), "PING\r\n");
  EXPECT_EQ(*ParseEscapes(""), "");
  EXPECT_EQ(*ParseEscapes("a\\tb\\\\c\\\\n"), "a\tb\\c\\n");
  EXPECT_EQ(*ParseEscapes("\\0\\x00\\xfF\\x417\\01"), std::string("\0\0\xff"
                                                                  "A7\0"
                                                                  "1",
                                                                  7));
  EXPECT_EQ(*ParseEscapes("'\"µ"), "'\"µ");
}

TEST(ParseEscapes, SaysWhatIsWrong) {
  const auto problem = [](const char* text) { return Problem(ParseEscapes(text)); };
  const std::string want = "; use \\r, \\n, \\t, \\0, \\\\ or \\xHH with two hex digits";
  EXPECT_EQ(problem("a\\qb"), "'\\q' means nothing" + want);
  EXPECT_EQ(problem("\\R"), "'\\R' means nothing" + want);
  EXPECT_EQ(problem("a\\"), "the text ends in a backslash" + want);
  EXPECT_EQ(problem("\\\\\\"), "the text ends in a backslash" + want);
  EXPECT_EQ(problem("\\xg0z"), "'\\xg0' is no byte" + want);
  EXPECT_EQ(problem("\\x4"), "'\\x4' is no byte" + want);
  EXPECT_EQ(problem("\\x"), "'\\x' is no byte" + want);
}

}  // namespace
}  // namespace cli
