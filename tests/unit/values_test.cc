#include "cli/values.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <cmath>
#include <limits>

#include "report/format.h"

namespace cli {
using report::FormatBytes, report::FormatCount, report::FormatDuration, report::FormatRate;
namespace {

template <typename T>
std::string Error(const absl::StatusOr<T>& result) {
  return result.ok() ? "(no error)" : std::string(result.status().message());
}

TEST(ParseCount, TakesPlainNumbersAndThousands) {
  EXPECT_EQ(*ParseCount("0"), 0u);
  EXPECT_EQ(*ParseCount("64"), 64u);
  EXPECT_EQ(*ParseCount("0064"), 64u);
  EXPECT_EQ(*ParseCount("10k"), 10'000u);
  EXPECT_EQ(*ParseCount("10K"), 10'000u);
  EXPECT_EQ(*ParseCount("1M"), 1'000'000u);
  EXPECT_EQ(*ParseCount("2.5M"), 2'500'000u);
  EXPECT_EQ(*ParseCount(".5k"), 500u);
  EXPECT_EQ(*ParseCount("3G"), 3'000'000'000u);
  EXPECT_EQ(*ParseCount("18446744073709551615"), std::numeric_limits<uint64_t>::max());
}

TEST(ParseCount, TakesDigitsGroupedInThrees) {
  EXPECT_EQ(*ParseCount("1,000"), 1'000u);
  EXPECT_EQ(*ParseCount("1_000_000"), 1'000'000u);
  EXPECT_EQ(Error(ParseCount("1,00")),
            "'1,00' is not a number; give a number such as 64, 10k or 1M");
  EXPECT_FALSE(ParseCount("1,0000").ok());
  EXPECT_FALSE(ParseCount("1000,000").ok());
  EXPECT_FALSE(ParseCount("1,").ok());
  EXPECT_FALSE(ParseCount(",000").ok());
}

TEST(ParseCount, SaysWhatIsWrong) {
  EXPECT_EQ(Error(ParseCount("")), "the value is empty; give a number such as 64, 10k or 1M");
  EXPECT_EQ(Error(ParseCount("-5")), "-5 is negative; give a number such as 64, 10k or 1M");
  EXPECT_EQ(Error(ParseCount("many")),
            "'many' is not a number; give a number such as 64, 10k or 1M");
  EXPECT_EQ(Error(ParseCount("10q")),
            "'10q' has an unknown unit 'q'; give a number such as 64, 10k or 1M");
  EXPECT_EQ(Error(ParseCount("1.5")),
            "1.5 is not a whole number; give a number such as 64, 10k or 1M");
  EXPECT_EQ(Error(ParseCount("18446744073709551616")),
            "18446744073709551616 is too large; give a number such as 64, 10k or 1M");
  EXPECT_EQ(Error(ParseCount(std::string(400, '9'))),
            std::string(400, '9') + " is too large; give a number such as 64, 10k or 1M");
  for (const char* junk : {"0x10", "1e6", "+5", "--5", "5 6", "1.2.3", "k", ".", " ", "5k5", "inf",
                           "nan", "10kk", "10KiB"}) {
    EXPECT_FALSE(ParseCount(junk).ok()) << junk;
  }
}

TEST(ParseBytes, KnowsBothKindsOfUnits) {
  EXPECT_EQ(*ParseBytes("64"), 64u);
  EXPECT_EQ(*ParseBytes("64B"), 64u);
  EXPECT_EQ(*ParseBytes("16KiB"), 16'384u);
  EXPECT_EQ(*ParseBytes("16kib"), 16'384u);
  EXPECT_EQ(*ParseBytes("16Ki"), 16'384u);
  EXPECT_EQ(*ParseBytes("1.5 KiB"), 1'536u);
  EXPECT_EQ(*ParseBytes("16k"), 16'000u);
  EXPECT_EQ(*ParseBytes("16KB"), 16'000u);
  EXPECT_EQ(*ParseBytes("1MiB"), 1'048'576u);
  EXPECT_EQ(*ParseBytes("1TiB"), uint64_t{1} << 40);
}

TEST(ParseBytes, SaysWhatIsWrong) {
  EXPECT_EQ(Error(ParseBytes("")), "the value is empty; give a size such as 64, 16KiB or 1MB");
  EXPECT_EQ(Error(ParseBytes("-1KiB")), "-1KiB is negative; give a size such as 64, 16KiB or 1MB");
  EXPECT_EQ(Error(ParseBytes("big")), "'big' is not a size; give a size such as 64, 16KiB or 1MB");
  EXPECT_EQ(Error(ParseBytes("5s")),
            "'5s' has an unknown unit 's'; give a size such as 64, 16KiB or 1MB");
  EXPECT_EQ(Error(ParseBytes("0.3KiB")),
            "0.3KiB is not a whole number; give a size such as 64, 16KiB or 1MB");
  EXPECT_EQ(Error(ParseBytes("16777216TiB")),
            "16777216TiB is too large; give a size such as 64, 16KiB or 1MB");
  EXPECT_FALSE(ParseBytes("1iB").ok());
  EXPECT_FALSE(ParseBytes("1KiBB").ok());
}

TEST(ParseDuration, AddsUpItsParts) {
  EXPECT_EQ(*ParseDuration("10s"), 10'000'000'000);
  EXPECT_EQ(*ParseDuration("1m30s"), 90'000'000'000);
  EXPECT_EQ(*ParseDuration("1h 1min"), 3'660'000'000'000);
  EXPECT_EQ(*ParseDuration("250ms"), 250'000'000);
  EXPECT_EQ(*ParseDuration("1.5s"), 1'500'000'000);
  EXPECT_EQ(*ParseDuration("48us"), 48'000);
  EXPECT_EQ(*ParseDuration("48 µs"), 48'000);
  EXPECT_EQ(*ParseDuration("640ns"), 640);
  EXPECT_EQ(*ParseDuration("0s"), 0);
  EXPECT_EQ(*ParseDuration("9223372036854775807ns"), std::numeric_limits<int64_t>::max());
}

TEST(ParseDuration, SaysWhatIsWrong) {
  EXPECT_EQ(Error(ParseDuration("")),
            "the value is empty; give a duration such as 250ms, 10s or 1m30s");
  EXPECT_EQ(Error(ParseDuration("10")), "10 has no unit; add one, such as 10s or 10ms");
  EXPECT_EQ(Error(ParseDuration("0")), "0 has no unit; add one, such as 0s or 0ms");
  EXPECT_EQ(Error(ParseDuration("1m30")), "1m30 has no unit; add one, such as 1m30s or 1m30ms");
  EXPECT_EQ(Error(ParseDuration("-1s")),
            "-1s is negative; give a duration such as 250ms, 10s or 1m30s");
  EXPECT_EQ(Error(ParseDuration("inf")),
            "'inf' is not a duration; give a duration such as 250ms, 10s or 1m30s");
  EXPECT_EQ(Error(ParseDuration("3d")), "'3d' has an unknown unit 'd'; use ns, us, ms, s, m or h");
  EXPECT_EQ(Error(ParseDuration("0.5ns")),
            "0.5ns is finer than a nanosecond; give a duration such as 250ms, 10s or 1m30s");
  EXPECT_EQ(Error(ParseDuration("9223372036854775808ns")),
            "9223372036854775808ns is too long; give a duration such as 250ms, 10s or 1m30s");
  EXPECT_FALSE(ParseDuration("2562048h").ok());
  EXPECT_FALSE(ParseDuration("1m-30s").ok());
  EXPECT_FALSE(ParseDuration("10S").ok());
  EXPECT_FALSE(ParseDuration(std::string(100, '9') + "s").ok());
}

TEST(ParseRate, IsPerSecond) {
  EXPECT_DOUBLE_EQ(*ParseRate("100k"), 1e5);
  EXPECT_DOUBLE_EQ(*ParseRate("100k/s"), 1e5);
  EXPECT_DOUBLE_EQ(*ParseRate("850/s"), 850);
  EXPECT_DOUBLE_EQ(*ParseRate("2.5M"), 2.5e6);
  EXPECT_DOUBLE_EQ(*ParseRate("0.5"), 0.5);
  EXPECT_DOUBLE_EQ(*ParseRate("1,000"), 1000);
}

TEST(ParseRate, SaysWhatIsWrong) {
  const std::string want = "; give a rate per second such as 500, 100k/s or 2.5M";
  EXPECT_EQ(Error(ParseRate("")), "the value is empty" + want);
  EXPECT_EQ(Error(ParseRate("-1k")), "-1k is negative" + want);
  EXPECT_EQ(Error(ParseRate("inf")), "'inf' is not a rate" + want);
  EXPECT_EQ(Error(ParseRate("nan")), "'nan' is not a rate" + want);
  EXPECT_EQ(Error(ParseRate("100/m")), "'100/m' has an unknown unit '/m'" + want);
  EXPECT_EQ(Error(ParseRate(std::string(400, '9'))),
            std::string(400, '9') + " is too large" + want);
}

TEST(ParseCpuList, TakesNumbersAndRanges) {
  EXPECT_EQ(*ParseCpuList("0"), std::vector<int>({0}));
  EXPECT_EQ(*ParseCpuList("0,2-3"), std::vector<int>({0, 2, 3}));
  EXPECT_EQ(*ParseCpuList("5,1"), std::vector<int>({5, 1}));
  EXPECT_EQ(*ParseCpuList("4-4"), std::vector<int>({4}));
}

TEST(ParseCpuList, SaysWhatIsWrong) {
  const std::string want = "; give CPU numbers such as 0 or 0,2-3";
  EXPECT_EQ(Error(ParseCpuList("")), "the list is empty" + want);
  EXPECT_EQ(Error(ParseCpuList("all")), "'all' is not a CPU number from 0 to 8191" + want);
  EXPECT_EQ(Error(ParseCpuList("-1")), "'-1' is not a CPU number from 0 to 8191" + want);
  EXPECT_EQ(Error(ParseCpuList("0,")), "'' is not a CPU number from 0 to 8191" + want);
  EXPECT_EQ(Error(ParseCpuList("0-4000000000")),
            "'0-4000000000' is not a CPU number from 0 to 8191" + want);
  EXPECT_EQ(Error(ParseCpuList("3-2")), "3-2 runs backwards" + want);
  EXPECT_EQ(Error(ParseCpuList("0,0-1")), "CPU 0 is named twice; name each CPU once");
  EXPECT_FALSE(ParseCpuList("0 1").ok());
  EXPECT_FALSE(ParseCpuList("1-2-3").ok());
}

TEST(ParsePercent, GivesAFraction) {
  EXPECT_DOUBLE_EQ(*ParsePercent("5%"), 0.05);
  EXPECT_DOUBLE_EQ(*ParsePercent("5"), 0.05);
  EXPECT_DOUBLE_EQ(*ParsePercent("0.5 %"), 0.005);
  EXPECT_DOUBLE_EQ(*ParsePercent("150%"), 1.5);
}

TEST(ParsePercent, SaysWhatIsWrong) {
  const std::string want = "; give a percentage such as 5% or 0.5%";
  EXPECT_EQ(Error(ParsePercent("")), "the value is empty" + want);
  EXPECT_EQ(Error(ParsePercent("-5%")), "-5% is negative" + want);
  EXPECT_EQ(Error(ParsePercent("%")), "'%' is not a percentage" + want);
  EXPECT_EQ(Error(ParsePercent("5%%")), "'5%%' has an unknown unit '%%'" + want);
}

TEST(Format, Bytes) {
  EXPECT_EQ(FormatBytes(0), "0 B");
  EXPECT_EQ(FormatBytes(64), "64 B");
  EXPECT_EQ(FormatBytes(1000), "1000 B");
  EXPECT_EQ(FormatBytes(1024), "1 KiB");
  EXPECT_EQ(FormatBytes(16'384), "16 KiB");
  EXPECT_EQ(FormatBytes(1'572'864), "1.5 MiB");
  EXPECT_EQ(FormatBytes(1'048'575), "1 MiB");
}

TEST(Format, Duration) {
  EXPECT_EQ(FormatDuration(0), "0 ns");
  EXPECT_EQ(FormatDuration(640), "640 ns");
  EXPECT_EQ(FormatDuration(-640), "-640 ns");
  EXPECT_EQ(FormatDuration(48'000), "48 µs");
  EXPECT_EQ(FormatDuration(1'234), "1.23 µs");
  EXPECT_EQ(FormatDuration(999'499), "999 µs");
  EXPECT_EQ(FormatDuration(999'950), "1 ms");
  EXPECT_EQ(FormatDuration(1'500'000'000), "1.5 s");
  EXPECT_EQ(FormatDuration(59'900'000'000), "59.9 s");
  EXPECT_EQ(FormatDuration(59'960'000'000), "1m");
  EXPECT_EQ(FormatDuration(90'000'000'000), "1m30s");
  EXPECT_EQ(FormatDuration(3'600'000'000'000), "1h");
  EXPECT_EQ(FormatDuration(3'665'000'000'000), "1h1m5s");
}

TEST(Format, CountAndRate) {
  EXPECT_EQ(FormatCount(0), "0");
  EXPECT_EQ(FormatCount(999), "999");
  EXPECT_EQ(FormatCount(1'000), "1,000");
  EXPECT_EQ(FormatCount(100'000), "100,000");
  EXPECT_EQ(FormatCount(1'234'567), "1,234,567");
  EXPECT_EQ(FormatRate(0), "0/s");
  EXPECT_EQ(FormatRate(0.5), "0.5/s");
  EXPECT_EQ(FormatRate(850), "850/s");
  EXPECT_EQ(FormatRate(100'000), "100k/s");
  EXPECT_EQ(FormatRate(2'500'000), "2.5M/s");
  EXPECT_EQ(FormatRate(999'700), "1M/s");
}

// What is printed can be pasted back: exactly for counts, else to the three digits printed.
TEST(Format, CanBeParsedAgain) {
  EXPECT_TRUE(rc::check("counts", [](uint64_t count) {
    RC_ASSERT(ParseCount(FormatCount(count)).value() == count);
  }));
  EXPECT_TRUE(rc::check("durations", [] {
    const auto ns = *rc::gen::inRange<int64_t>(0, 100'000'000'000'000);
    const double again = static_cast<double>(ParseDuration(FormatDuration(ns)).value());
    RC_ASSERT(std::abs(again - static_cast<double>(ns)) <= 0.01 * static_cast<double>(ns));
  }));
  EXPECT_TRUE(rc::check("rates", [] {
    const double rate = *rc::gen::inRange<int64_t>(1, 100'000'000'000) / 10.0;
    RC_ASSERT(std::abs(ParseRate(FormatRate(rate)).value() - rate) <= 0.01 * rate);
  }));
}

TEST(ParseDelay, TakesATimeOrADistribution) {
  using services::Delay;
  using std::chrono::milliseconds;
  EXPECT_EQ(*ParseDelay("5ms"), (Delay{Delay::kFixed, milliseconds(5)}));
  EXPECT_EQ(*ParseDelay("0s"), (Delay{Delay::kFixed, milliseconds(0)}));
  EXPECT_EQ(*ParseDelay("1h"), (Delay{Delay::kFixed, Delay::kMax}));
  EXPECT_EQ(*ParseDelay("1ms..10ms"), (Delay{Delay::kUniform, milliseconds(1), milliseconds(10)}));
  EXPECT_EQ(*ParseDelay("0.5ms..1.5ms"), (Delay{Delay::kUniform, std::chrono::microseconds(500),
                                                std::chrono::microseconds(1500)}));
  EXPECT_EQ(*ParseDelay("2ms..2ms"), (Delay{Delay::kUniform, milliseconds(2), milliseconds(2)}));
  EXPECT_EQ(*ParseDelay("exp:5ms"), (Delay{Delay::kExponential, milliseconds(5)}));
  EXPECT_EQ(*ParseDelay("normal:5ms,1ms"),
            (Delay{Delay::kNormal, milliseconds(5), milliseconds(1)}));
  EXPECT_EQ(*ParseDelay("normal:1,000ms,1ms"),
            (Delay{Delay::kNormal, milliseconds(1000), milliseconds(1)}));
}

TEST(ParseDelay, SaysWhatIsWrong) {
  const std::string want = "; give a delay such as 5ms, 1ms..10ms, exp:5ms or normal:5ms,1ms";
  EXPECT_EQ(Error(ParseDelay("")), "the value is empty" + want);
  EXPECT_EQ(Error(ParseDelay("5")), "5 has no unit; add one, such as 5s or 5ms");
  EXPECT_EQ(Error(ParseDelay("2h")), "2h is longer than an hour" + want);
  EXPECT_EQ(Error(ParseDelay("10ms..1ms")), "10ms..1ms runs backwards" + want);
  EXPECT_EQ(Error(ParseDelay("1ms..")), "a time is missing" + want);
  EXPECT_EQ(Error(ParseDelay("..1ms")), "a time is missing" + want);
  EXPECT_EQ(Error(ParseDelay("1..10ms")), "1 has no unit; add one, such as 1s or 1ms");
  EXPECT_EQ(Error(ParseDelay("exp:")), "a time is missing" + want);
  EXPECT_EQ(Error(ParseDelay("pareto:5ms")), "'pareto' is not a distribution" + want);
  EXPECT_EQ(Error(ParseDelay("normal:5ms")), "normal:5ms has no standard deviation" + want);
  EXPECT_EQ(Error(ParseDelay("normal:5ms,2h")), "2h is longer than an hour" + want);
  for (const char* junk : {"exp:5ms,1ms", "exp:1ms..2ms", "Exp:5ms", "1ms..2ms..3ms", "-1ms",
                           ":5ms", "normal:,", "exp:exp:5ms", "5ms:exp"}) {
    EXPECT_FALSE(ParseDelay(junk).ok()) << junk;
  }
}

// Whatever is typed, each parser answers, and its message is one line with both halves.
TEST(Parse, AnswersWhateverIsTyped) {
  EXPECT_TRUE(rc::check([] {
    const auto text = *rc::gen::container<std::string>(
        rc::gen::elementOf(std::string("0123456789.,_-+ kKMGiBnums%/xe")));
    for (const std::string& error :
         {Error(ParseCount(text)), Error(ParseBytes(text)), Error(ParseDuration(text)),
          Error(ParseRate(text)), Error(ParseCpuList(text)), Error(ParsePercent(text)),
          Error(ParseDelay(text)), Error(ParseDelay("exp:" + text)),
          Error(ParseDelay("normal:" + text)), Error(ParseDelay(text + "ms.." + text + "ms"))}) {
      RC_ASSERT(error == "(no error)" || error.find("; ") != std::string::npos);
    }
  }));
}

}  // namespace
}  // namespace cli
