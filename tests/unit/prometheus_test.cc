#include "server/prometheus.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "bench/process.h"

namespace server::prometheus_tests {
namespace {

std::string Finished(PrometheusPage& page) {
  auto text = page.Finish();
  return text.ok() ? *text : text.status().ToString();
}

TEST(Prometheus, WritesEveryKind) {
  PrometheusPage page;
  page.Counter("a_requests_total", "Requests that were answered.");
  page.Sample(7, {{"service", "echo"}, {"listener", "127.0.0.1:9"}});
  page.Sample(8u, {{"service", "greet"}, {"listener", "127.0.0.1:9"}});
  page.Gauge("a_connections", "Connections that are open.");
  page.Sample(-1.5);
  page.Histogram("a_wait_seconds", "How long.");
  page.Sample(MetricHistogram{.buckets = {{0.001, 1}, {0.5, 3}}, .count = 4, .sum = 2.25});
  page.Sample(MetricHistogram{.count = 0, .sum = 0}, {{"thread", "1"}});
  EXPECT_EQ(Finished(page),
            "# HELP a_requests_total Requests that were answered.\n"
            "# TYPE a_requests_total counter\n"
            "a_requests_total{service=\"echo\",listener=\"127.0.0.1:9\"} 7\n"
            "a_requests_total{service=\"greet\",listener=\"127.0.0.1:9\"} 8\n"
            "# HELP a_connections Connections that are open.\n"
            "# TYPE a_connections gauge\n"
            "a_connections -1.5\n"
            "# HELP a_wait_seconds How long.\n"
            "# TYPE a_wait_seconds histogram\n"
            "a_wait_seconds_bucket{le=\"0.001\"} 1\n"
            "a_wait_seconds_bucket{le=\"0.5\"} 3\n"
            "a_wait_seconds_bucket{le=\"+Inf\"} 4\n"
            "a_wait_seconds_sum 2.25\n"
            "a_wait_seconds_count 4\n"
            "a_wait_seconds_bucket{thread=\"1\",le=\"+Inf\"} 0\n"
            "a_wait_seconds_sum{thread=\"1\"} 0\n"
            "a_wait_seconds_count{thread=\"1\"} 0\n");
}

TEST(Prometheus, WritesNumbersAsTheyAre) {
  EXPECT_EQ(MetricValue(0).text(), "0");
  EXPECT_EQ(MetricValue(std::numeric_limits<uint64_t>::max()).text(), "18446744073709551615");
  EXPECT_EQ(MetricValue(std::numeric_limits<int64_t>::min()).text(), "-9223372036854775808");
  EXPECT_EQ(MetricValue(0.1).text(), "0.1");
  EXPECT_EQ(MetricValue(1e300).text(), "1e+300");
  EXPECT_EQ(MetricValue(5e-324).text(), "5e-324");
  EXPECT_EQ(MetricValue(-0.0).text(), "-0");
  EXPECT_EQ(MetricValue(std::nan("")).text(), "NaN");
  EXPECT_EQ(MetricValue(-std::nan("")).text(), "NaN");
  EXPECT_EQ(MetricValue(HUGE_VAL).text(), "+Inf");
  EXPECT_EQ(MetricValue(-HUGE_VAL).text(), "-Inf");
}

std::string OneLabel(const std::string& value) {
  PrometheusPage page;
  page.Gauge("g", "H.");
  page.Sample(1, {{"l", value}});
  const std::string text = Finished(page);
  const std::string before = "# HELP g H.\n# TYPE g gauge\ng{l=\"", behind = "\"} 1\n";
  EXPECT_TRUE(text.starts_with(before) && text.ends_with(behind)) << text;
  return text.substr(before.size(), text.size() - before.size() - behind.size());
}

TEST(Prometheus, EscapesLabelValues) {
  EXPECT_EQ(OneLabel(""), "");
  EXPECT_EQ(OneLabel("a\\b\"c\nd"), "a\\\\b\\\"c\\nd");
  EXPECT_EQ(OneLabel("tab\tand\rstay"), "tab\tand\rstay");
  EXPECT_EQ(OneLabel("é€😀"), "é€😀");
  // What is no UTF-8: a stray continuation, a cut character, overlong forms, a surrogate, and
  // beyond the last character.
  EXPECT_EQ(OneLabel("\x80"), "\xef\xbf\xbd");
  EXPECT_EQ(OneLabel("a\xe2\x82"), "a\xef\xbf\xbd\xef\xbf\xbd");
  EXPECT_EQ(OneLabel("\xc0\xaf"), "\xef\xbf\xbd\xef\xbf\xbd");
  EXPECT_EQ(OneLabel("\xe0\x80\xaf"), "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd");
  EXPECT_EQ(OneLabel("\xed\xa0\x80"), "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd");
  EXPECT_EQ(OneLabel("\xf4\x90\x80\x80").size(), 12u);
  EXPECT_EQ(OneLabel("\xf8z"), "\xef\xbf\xbdz");
}

TEST(Prometheus, EscapesHelpButNotItsQuotes) {
  PrometheusPage page;
  page.Gauge("g", "A \"quoted\"\nback\\slash.");
  EXPECT_EQ(Finished(page), "# HELP g A \"quoted\"\\nback\\\\slash.\n# TYPE g gauge\n");
}

struct Wrong {
  const char* says;
  void (*write)(PrometheusPage& page);
};

TEST(Prometheus, MisuseIsToldAndLeftOut) {
  const Wrong wrongs[] = {
      {"not a name", [](auto& page) { page.Gauge("", "H."); }},
      {"not a name", [](auto& page) { page.Gauge("1a", "H."); }},
      {"not a name", [](auto& page) { page.Gauge("a-b", "H."); }},
      {"not a name", [](auto& page) { page.Gauge("é", "H."); }},
      {"ends in _total", [](auto& page) { page.Counter("requests", "H."); }},
      {"no help", [](auto& page) { page.Gauge("a", ""); }},
      {"taken", [](auto& page) { page.Gauge("good", "H."); }},
      {"taken",
       [](auto& page) {
         page.Histogram("h", "H.");
         page.Gauge("h_sum", "H.");
       }},
      {"belongs to",
       [](auto& page) {
         page.Histogram("h", "H.");
         page.Sample(1);
       }},
      {"belongs to", [](auto& page) { page.Sample(MetricHistogram{}); }},
      {"never below 0",
       [](auto& page) {
         page.Counter("c_total", "H.");
         page.Sample(-1);
       }},
      {"never below 0",
       [](auto& page) {
         page.Counter("c_total", "H.");
         page.Sample(std::nan(""));
       }},
      {"'1' may not be",
       [](auto& page) {
         page.Sample(1, {{"1", "x"}});
       }},
      {"'a:b' may not be",
       [](auto& page) {
         page.Sample(1, {{"a:b", "x"}});
       }},
      {"'__x' may not be",
       [](auto& page) {
         page.Sample(1, {{"__x", "x"}});
       }},
      {"'' may not be",
       [](auto& page) {
         page.Sample(1, {{"", "x"}});
       }},
      {"'le' may not be",
       [](auto& page) {
         page.Histogram("h", "H.");
         page.Sample(MetricHistogram{}, {{"le", "1"}});
       }},
      {"the label 'a' twice",
       [](auto& page) {
         page.Sample(1, {{"a", "x"}, {"a", "y"}});
       }},
      {"same labels",
       [](auto& page) {
         page.Sample(1, {{"a", "x"}, {"b", "y"}});
         page.Sample(2, {{"b", "y"}, {"a", "x"}});
       }},
      {"bounds rise",
       [](auto& page) {
         page.Histogram("h", "H.");
         page.Sample(MetricHistogram{.buckets = {{1, 0}, {1, 0}}});
       }},
      {"bounds are finite",
       [](auto& page) {
         page.Histogram("h", "H.");
         page.Sample(MetricHistogram{.buckets = {{HUGE_VAL, 0}}});
       }},
      {"add up",
       [](auto& page) {
         page.Histogram("h", "H.");
         page.Sample(MetricHistogram{.buckets = {{1, 2}, {2, 1}}, .count = 3});
       }},
      {"add up",
       [](auto& page) {
         page.Histogram("h", "H.");
         page.Sample(MetricHistogram{.buckets = {{1, 2}}, .count = 1});
       }},
  };
  for (const Wrong& wrong : wrongs) {
    PrometheusPage page;
    page.Gauge("good", "H.");
    wrong.write(page);
    const auto text = page.Finish();
    ASSERT_FALSE(text.ok()) << "expected: " << wrong.says;
    EXPECT_EQ(text.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_NE(text.status().message().find(wrong.says), std::string::npos) << text.status();
  }
}

TEST(Prometheus, HistogramOfNanosecondsIsInSeconds) {
  stats::Histogram recorded;
  recorded.Record(1'000'000);        // 1 ms
  recorded.Record(2'000'000, 2);     // 2 ms
  recorded.Record(900'000'000'000);  // beyond what it holds: 100 s
  const double bounds[] = {0.0005, 0.0015, 0.01, 1000};
  const MetricHistogram histogram = SecondsHistogram(recorded, bounds);
  ASSERT_EQ(histogram.buckets.size(), 4u);
  EXPECT_EQ(histogram.buckets[0].at_or_below, 0u);
  EXPECT_EQ(histogram.buckets[1].at_or_below, 1u);
  EXPECT_EQ(histogram.buckets[2].at_or_below, 3u);
  EXPECT_EQ(histogram.buckets[3].at_or_below, 4u);
  EXPECT_EQ(histogram.buckets[3].bound, 1000);
  EXPECT_EQ(histogram.count, 4u);
  EXPECT_NEAR(histogram.sum, 100.005, 0.06);
}

// ---- a reader of the format, by its page and not by the writer
// ------------------------------------

struct Parsed {
  std::string name;
  std::map<std::string, std::string> labels;
  double value;
};

class LineReader {
 public:
  explicit LineReader(const std::string& line) : line_(line) {}

  std::optional<Parsed> Read() {
    Parsed parsed;
    parsed.name = Name(":");
    if (parsed.name.empty()) return std::nullopt;
    if (Take('{')) {
      while (!Take('}')) {
        const std::string label = Name("");
        std::string value;
        if (label.empty() || !Take('=') || !Value(&value)) return std::nullopt;
        if (!parsed.labels.emplace(label, value).second) return std::nullopt;
        if (!Take(',') && Peek() != '}') return std::nullopt;
      }
    }
    if (!Take(' ')) return std::nullopt;
    char* end = nullptr;
    parsed.value = std::strtod(line_.c_str() + at_, &end);
    if (end == line_.c_str() + at_ || end != line_.c_str() + line_.size()) return std::nullopt;
    return parsed;
  }

 private:
  char Peek() const { return at_ < line_.size() ? line_[at_] : '\0'; }
  bool Take(char c) {
    if (Peek() != c) return false;
    ++at_;
    return true;
  }
  std::string Name(const std::string& also) {
    std::string name;
    while (std::isalnum(static_cast<unsigned char>(Peek())) != 0 || Peek() == '_' ||
           (Peek() != '\0' && also.find(Peek()) != std::string::npos)) {
      name += line_[at_++];
    }
    return name.empty() || std::isdigit(static_cast<unsigned char>(name[0])) != 0 ? "" : name;
  }
  bool Value(std::string* value) {
    if (!Take('"')) return false;
    while (at_ < line_.size() && line_[at_] != '"') {
      char c = line_[at_++];
      if (c == '\\') {
        c = Peek();
        ++at_;
        if (c == 'n') {
          c = '\n';
        } else if (c != '\\' && c != '"') {
          return false;
        }
      }
      *value += c;
    }
    return Take('"');
  }

  const std::string line_;
  size_t at_ = 0;
};

std::vector<std::string> LinesOf(const std::string& text) {
  std::vector<std::string> lines;
  for (size_t at = 0; at < text.size();) {
    const size_t end = text.find('\n', at);
    lines.push_back(text.substr(at, end - at));
    at = end == std::string::npos ? text.size() : end + 1;
  }
  return lines;
}

TEST(Prometheus, EveryLineReadsBack) {
  const bool holds = rc::check("labels and values read back as they were written", [] {
    // Bytes below 0x80 are UTF-8 whatever they are; the others have a test of their own. NUL is
    // one.
    const auto text = rc::gen::container<std::string>(rc::gen::inRange<char>(0, 127));
    const std::string help = *rc::gen::suchThat(text, [](const auto& t) { return !t.empty(); });
    const auto values = *rc::gen::uniqueBy<std::vector<std::pair<std::string, double>>>(
        rc::gen::pair(text, rc::gen::arbitrary<double>()), [](const auto& p) { return p.first; });
    PrometheusPage page;
    page.Gauge("some:gauge", help);
    for (const auto& [label, value] : values) page.Sample(value, {{"x", label}, {"y", "1"}});
    const auto written = page.Finish();
    RC_ASSERT(written.ok());
    RC_ASSERT(written->back() == '\n');
    const std::vector<std::string> lines = LinesOf(*written);
    RC_ASSERT(lines.size() == values.size() + 2);
    RC_ASSERT(lines[0].starts_with("# HELP some:gauge "));
    RC_ASSERT(lines[1] == "# TYPE some:gauge gauge");
    for (size_t i = 0; i < values.size(); ++i) {
      const auto parsed = LineReader(lines[i + 2]).Read();
      RC_ASSERT(parsed.has_value());
      RC_ASSERT(parsed->name == "some:gauge");
      RC_ASSERT(parsed->labels.at("x") == values[i].first);
      const bool same = parsed->value == values[i].second ||
                        (std::isnan(parsed->value) && std::isnan(values[i].second));
      RC_ASSERT(same);
    }
  });
  EXPECT_TRUE(holds);
}

TEST(Prometheus, EveryLineParsesWhateverBytesALabelHas) {
  const bool holds = rc::check("each line is one sample", [] {
    const auto value = *rc::gen::arbitrary<std::string>();
    PrometheusPage page;
    page.Histogram("h", "H.");
    page.Sample(MetricHistogram{.buckets = {{0.1, 1}}, .count = 2, .sum = 3}, {{"x", value}});
    const auto written = page.Finish();
    RC_ASSERT(written.ok());
    const std::vector<std::string> lines = LinesOf(*written);
    RC_ASSERT(lines.size() == 6u);
    for (size_t i = 2; i < lines.size(); ++i) {
      const auto parsed = LineReader(lines[i]).Read();
      RC_ASSERT(parsed.has_value());
      RC_ASSERT(parsed->labels.count("x") == 1u);
    }
  });
  EXPECT_TRUE(holds);
}

TEST(Prometheus, ReaderOfTheTestsRefusesWhatIsWrong) {
  for (const char* line :
       {"", "1a 1", "a", "a ", "a x", "a{ 1", "a{b} 1", "a{b=c} 1", "a{b=\"c} 1", "a{b=\"\\x\"} 1",
        "a{b=\"c\" 1", "a{b=\"c\"} 1 x", "a{b=\"c\",b=\"d\"} 1"}) {
    EXPECT_FALSE(LineReader(line).Read().has_value()) << line;
  }
}

// ---- Prometheus' own reader
// -----------------------------------------------------------------------

// Runs `promtool check metrics` over a page; nothing where there is no promtool.
std::optional<bench::Process> PromtoolOver(const std::string& text) {
  const std::string path = testing::TempDir() + "/metrics_" + std::to_string(getpid());
  std::ofstream(path, std::ios::binary) << text;
  auto process = bench::Process::Start(
      {"sh", "-c",
       "command -v promtool >/dev/null || exit 77; exec promtool check metrics <" + path},
      {});
  EXPECT_TRUE(process.ok()) << process.status();
  EXPECT_EQ(process->Wait(60'000'000'000, -1), bench::Process::Waited::kEnded);
  std::filesystem::remove(path);
  if (process->exit_code() == 77) return std::nullopt;
  return *std::move(process);
}

TEST(Prometheus, PromtoolFindsNothing) {
  PrometheusPage page;
  page.Counter("ringside_requests_total", "Requests that were answered: a \\ and a \"quote\".");
  page.Sample(std::numeric_limits<uint64_t>::max(), {{"listener", "a \\ \" \n \xff é"}});
  page.Sample(0, {{"listener", ""}});
  page.Counter("ringside_cpu_seconds_total", "CPU time of the threads.");
  page.Sample(12.000000001, {{"thread", "0"}});
  page.Gauge("ringside_connections", "Connections that are open.");
  page.Sample(std::nan(""), {{"listener", "a"}});
  page.Sample(HUGE_VAL, {{"listener", "b"}});
  page.Sample(-HUGE_VAL, {{"listener", "c"}});
  page.Sample(5e-324, {{"listener", "d"}});
  page.Histogram("ringside_latency_seconds", "How long a request took.");
  page.Sample(MetricHistogram{.buckets = {{1e-6, 1}, {1e-3, 3}}, .count = 4, .sum = 2.25},
              {{"listener", "a"}});
  page.Sample(MetricHistogram{}, {{"listener", "b"}});
  const auto process = PromtoolOver(Finished(page));
  if (!process) GTEST_SKIP() << "promtool is not installed";
  EXPECT_EQ(process->exit_code(), 0) << process->Output() << process->Errors();
  EXPECT_EQ(process->Errors(), "");
}

TEST(Prometheus, PromtoolWouldFindSomething) {
  const auto process = PromtoolOver("a{b=\"c\nd\"} 1\n");
  if (!process) GTEST_SKIP() << "promtool is not installed";
  EXPECT_NE(process->exit_code(), 0);
}

}  // namespace
}  // namespace server::prometheus_tests
