#include "cli/thresholds.h"

#include <gtest/gtest.h>

#include <string>

#include <nlohmann/json.hpp>

#include "absl/strings/match.h"

namespace cli {
namespace {

using Json = nlohmann::ordered_json;

// A run over datagrams in open loop, with a server that was measured: it has every figure.
Json OpenLoop() {
  return {{"requests", 500'000},
          {"throughput_rps", 99'900.0},
          {"errors", {{"total", 2}}},
          {"connections", {{"silent", 1}}},
          {"latency_ns",
           {{"kind", "response"},
            {"count", 500'000},
            {"min", 90'000},
            {"mean", 210'500.5},
            {"p50", 200'000},
            {"p99", 1'300'000},
            {"p99_9", 2'000'000},
            {"max", 70'000'000'000}}},
          {"service_ns", {{"count", 500'000}, {"p50", 100'000}, {"max", 900'000}}},
          {"connect_ns", {{"count", 64}, {"p99", 400'000}, {"max", 410'000}}},
          {"client", {{"cpu_us_per_request", 2.5}}},
          {"server", {{"cpu_us_per_request", 1.25}}},
          {"datagrams", {{"lost", 500}, {"loss_share", 0.001}}}};
}

// A stream in closed loop; its server's process was not named.
Json ClosedLoop() {
  Json json = OpenLoop();
  json["latency_ns"]["kind"] = "service";
  for (const char* key : {"service_ns", "connect_ns", "server", "datagrams"}) json.erase(key);
  return json;
}

std::optional<double> NoLookup(std::string_view /*times*/, double /*percentile*/) {
  return std::nullopt;
}

std::string ParseError(const std::string& text) {
  const auto threshold = ParseThreshold(text);
  return threshold.ok() ? "(no error)" : std::string(threshold.status().message());
}

// The outcome's line, or the error.
std::string LineOf(const std::string& text, const Json& load,
                   const PercentileLookup& lookup = NoLookup) {
  const auto threshold = ParseThreshold(text);
  if (!threshold.ok()) return std::string(threshold.status().message());
  const auto outcome = EvaluateThreshold(*threshold, load, lookup);
  if (!outcome.ok()) return std::string(outcome.status().message());
  EXPECT_EQ(outcome->text, threshold->text);
  EXPECT_TRUE(absl::StrContains(outcome->line, outcome->actual));
  EXPECT_EQ(outcome->breached, absl::StrContains(outcome->line, " says ")) << outcome->line;
  return outcome->line;
}

TEST(ParseThreshold, TakesEveryOperatorAndUnit) {
  const auto p99 = ParseThreshold("p99>1ms");
  ASSERT_TRUE(p99.ok());
  EXPECT_EQ(p99->metric, "p99");
  EXPECT_EQ(p99->op, Threshold::Operator::kGreater);
  EXPECT_EQ(p99->value, 1e6);
  EXPECT_EQ(p99->percentile, 99);
  const auto spaced = ParseThreshold("  response.p99.9  >=  1 s ");
  ASSERT_TRUE(spaced.ok());
  EXPECT_EQ(spaced->text, "response.p99.9  >=  1 s");
  EXPECT_EQ(spaced->metric, "response.p99.9");
  EXPECT_EQ(spaced->op, Threshold::Operator::kGreaterEqual);
  EXPECT_EQ(spaced->percentile, 99.9);
  EXPECT_EQ(ParseThreshold("rps<100k")->value, 1e5);
  EXPECT_EQ(ParseThreshold("rps<100k")->op, Threshold::Operator::kLess);
  EXPECT_EQ(ParseThreshold("rps<=2.5M/s")->value, 2.5e6);
  EXPECT_EQ(ParseThreshold("rps<=2.5M/s")->op, Threshold::Operator::kLessEqual);
  EXPECT_EQ(ParseThreshold("loss>0.1%")->value, 0.001);
  EXPECT_EQ(ParseThreshold("errors>10k")->value, 10'000);
  EXPECT_EQ(ParseThreshold("cpu_us_per_request>1.5")->value, 1.5);
  EXPECT_EQ(ParseThreshold("cpu_us_per_request>2ms")->value, 2000);
  EXPECT_EQ(ParseThreshold("max>1s")->percentile, 100);
  EXPECT_EQ(ParseThreshold("connect.mean>1s")->percentile, -1);
}

TEST(ParseThreshold, SaysWhatIsMissing) {
  EXPECT_EQ(ParseError(" "),
            "the threshold is empty; write METRIC, one of > >= < <=, and VALUE, such as 'p99>1ms'");
  EXPECT_EQ(ParseError("p99"),
            "'p99': no comparison; write METRIC, one of > >= < <=, and VALUE, such as 'p99>1ms'");
  EXPECT_TRUE(absl::StartsWith(ParseError("p99=1ms"), "'p99=1ms': '=' is no comparison; "));
  EXPECT_TRUE(absl::StartsWith(ParseError("p99=>1ms"), "'p99=>1ms': '=>' is no comparison; "));
  EXPECT_TRUE(absl::StartsWith(ParseError("p99!=1ms"), "'p99!=1ms': '!=' is no comparison; "));
  EXPECT_TRUE(absl::StartsWith(ParseError(">1ms"), "'>1ms': the metric is missing; "));
  EXPECT_TRUE(absl::StartsWith(ParseError("p99>"), "'p99>': the value is missing; "));
}

TEST(ParseThreshold, SaysWhichMetricsThereAre) {
  EXPECT_EQ(ParseError("error>0"), "'error>0': there is no metric 'error'; did you mean errors?");
  EXPECT_EQ(ParseError("servce.p99>1ms"),
            "'servce.p99>1ms': there is no metric 'servce.p99'; did you mean service.p99?");
  EXPECT_EQ(ParseError("happiness<1"),
            "'happiness<1': there is no metric 'happiness'; it is one of pN, mean, min, max (also "
            "with response., service. or connect. before it), rps, errors, silent, lost, requests, "
            "loss, cpu_us_per_request");
  for (const char* metric : {"p", "p.", "p9x", "p.5", "p99.", "p1e1", "p-1", "p1.2.3", "service.",
                             "service", "connect.rps", "response.service.p50"}) {
    EXPECT_TRUE(absl::StrContains(ParseError(std::string(metric) + ">1ms"), "there is no metric"))
        << metric;
  }
  EXPECT_EQ(ParseError("p0>1ms"),
            "'p0>1ms': there is no percentile p0; it is above p0 and at most p100");
  EXPECT_TRUE(absl::StrContains(ParseError("p100.1>1ms"), "there is no percentile p100.1"));
}

TEST(ParseThreshold, WantsTheUnitOfTheMetric) {
  EXPECT_EQ(ParseError("p99>5"), "'p99>5': 5 has no unit; add one, such as 5s or 5ms");
  EXPECT_EQ(ParseError("p99>5k"),
            "'p99>5k': '5k' has an unknown unit 'k'; use ns, us, ms, s, m or h");
  EXPECT_EQ(ParseError("loss>0.1"), "'loss>0.1': 0.1 has no unit; write 0.1%");
  EXPECT_EQ(ParseError("errors>1%"),
            "'errors>1%': '1%' has an unknown unit '%'; give a number such as 64, 10k or 1M");
  EXPECT_TRUE(absl::StrContains(ParseError("rps<5ms"), "'5ms' has an unknown unit 'ms'"));
  EXPECT_TRUE(absl::StrContains(ParseError("errors>-1"), "-1 is negative"));
  EXPECT_TRUE(absl::StrContains(ParseError("cpu_us_per_request>1%"), "unknown unit '%'"));
}

TEST(EvaluateThreshold, FindsEveryFigure) {
  const Json load = OpenLoop();
  EXPECT_EQ(LineOf("p99>1ms", load), "p99 is 1.3 ms, and --fail-if says p99>1ms");
  EXPECT_EQ(LineOf("p99 > 2ms", load), "p99 is 1.3 ms, which passes --fail-if p99 > 2ms");
  EXPECT_EQ(LineOf("response.p99.90>=2ms", load),
            "response.p99.90 is 2 ms, and --fail-if says response.p99.90>=2ms");
  EXPECT_EQ(LineOf("service.p50<100us", load),
            "service.p50 is 100 µs, which passes --fail-if service.p50<100us");
  EXPECT_EQ(LineOf("connect.p99<=1ms", load),
            "connect.p99 is 400 µs, and --fail-if says connect.p99<=1ms");
  EXPECT_EQ(LineOf("mean>1us", load), "mean is 211 µs, and --fail-if says mean>1us");
  EXPECT_EQ(LineOf("min>1us", load), "min is 90 µs, and --fail-if says min>1us");
  EXPECT_EQ(LineOf("max>1m", load), "max is 1m10s, and --fail-if says max>1m");
  EXPECT_EQ(LineOf("connect.p100>1ms", load),
            "connect.p100 is 410 µs, which passes --fail-if connect.p100>1ms");
  EXPECT_EQ(LineOf("rps<1M", load), "rps is 99.9k/s, and --fail-if says rps<1M");
  EXPECT_EQ(LineOf("errors>0", load), "errors is 2, and --fail-if says errors>0");
  EXPECT_EQ(LineOf("silent>0", load), "silent is 1, and --fail-if says silent>0");
  EXPECT_EQ(LineOf("lost>=500", load), "lost is 500, and --fail-if says lost>=500");
  EXPECT_EQ(LineOf("requests<1M", load), "requests is 500,000, and --fail-if says requests<1M");
  EXPECT_EQ(LineOf("loss>0.05%", load), "loss is 0.1 %, and --fail-if says loss>0.05%");
  EXPECT_EQ(LineOf("loss>0.1%", load), "loss is 0.1 %, which passes --fail-if loss>0.1%");
  EXPECT_EQ(LineOf("cpu_us_per_request>1", load),
            "cpu_us_per_request is 1.25 µs, and --fail-if says cpu_us_per_request>1");
  EXPECT_EQ(LineOf("server.cpu_us_per_request>1us", load),
            "server.cpu_us_per_request is 1.25 µs, and --fail-if says "
            "server.cpu_us_per_request>1us");
  EXPECT_EQ(LineOf("client.cpu_us_per_request>3", load),
            "client.cpu_us_per_request is 2.5 µs, which passes --fail-if "
            "client.cpu_us_per_request>3");
}

TEST(EvaluateThreshold, ComparesAtTheBoundItself) {
  const Json load = OpenLoop();
  EXPECT_TRUE(absl::StrContains(LineOf("errors>2", load), "passes"));
  EXPECT_TRUE(absl::StrContains(LineOf("errors>=2", load), "says"));
  EXPECT_TRUE(absl::StrContains(LineOf("errors<2", load), "passes"));
  EXPECT_TRUE(absl::StrContains(LineOf("errors<=2", load), "says"));
}

TEST(EvaluateThreshold, IsExactWhereRoundedItWouldMislead) {
  Json load = OpenLoop();
  load["latency_ns"]["p99"] = 1'000'400;
  EXPECT_EQ(LineOf("p99>1ms", load), "p99 is 1000400 ns, and --fail-if says p99>1ms");
  load["throughput_rps"] = 99'999.5;
  EXPECT_EQ(LineOf("rps<100k", load), "rps is 99999.5/s, and --fail-if says rps<100k");
}

TEST(EvaluateThreshold, ServiceTimeIsTheLatencyOfAClosedLoop) {
  EXPECT_EQ(LineOf("service.p99>1ms", ClosedLoop()),
            "service.p99 is 1.3 ms, and --fail-if says service.p99>1ms");
}

TEST(EvaluateThreshold, AsksForOtherPercentiles) {
  std::string asked;
  const PercentileLookup lookup = [&](std::string_view times, double percentile) {
    asked += std::string(times) + " " + std::to_string(percentile) + "\n";
    return std::optional<double>(5e6);
  };
  EXPECT_EQ(LineOf("p95>1ms", OpenLoop(), lookup), "p95 is 5 ms, and --fail-if says p95>1ms");
  EXPECT_EQ(LineOf("p95>1ms", ClosedLoop(), lookup), "p95 is 5 ms, and --fail-if says p95>1ms");
  EXPECT_EQ(LineOf("connect.p99.95<1s", OpenLoop(), lookup),
            "connect.p99.95 is 5 ms, and --fail-if says connect.p99.95<1s");
  EXPECT_EQ(asked, "response 95.000000\nservice 95.000000\nconnect 99.950000\n");
  EXPECT_EQ(LineOf("p95>1ms", OpenLoop()),
            "--fail-if p95>1ms: this run has no p95: its result doesn't tell");
}

TEST(EvaluateThreshold, IsNeverPassedByWhatIsMissing) {
  const Json load = ClosedLoop();
  EXPECT_EQ(LineOf("response.p99>1ms", load),
            "--fail-if response.p99>1ms: this run has no response.p99: in closed loop no request "
            "has a time at which it was due; give --rate, or ask for service.pN");
  EXPECT_EQ(LineOf("connect.p99>1ms", load),
            "--fail-if connect.p99>1ms: this run has no connect.p99: connecting was not measured");
  EXPECT_EQ(LineOf("loss>1%", load),
            "--fail-if loss>1%: this run has no loss: only datagrams get lost (udp://, "
            "unix-dgram:)");
  EXPECT_EQ(
      LineOf("cpu_us_per_request>1", load),
      "--fail-if cpu_us_per_request>1: this run has no cpu_us_per_request: the server's process "
      "could not be found (give --server-pid), so only client.cpu_us_per_request was measured");
}

TEST(EvaluateThreshold, IsNeverPassedByNothing) {
  Json sink = ClosedLoop();
  sink["latency_ns"] = {{"kind", nullptr}, {"count", 0}, {"p99", nullptr}};
  EXPECT_EQ(LineOf("p99>1ms", sink),
            "--fail-if p99>1ms: this run has no p99: its service has no replies to wait for");
  Json idle = ClosedLoop();
  idle["requests"] = 0;
  idle["latency_ns"] = {{"kind", "service"}, {"count", 0}, {"p99", nullptr}};
  EXPECT_EQ(LineOf("p99>1ms", idle),
            "--fail-if p99>1ms: this run has no p99: no request was answered while it measured");
  EXPECT_EQ(LineOf("client.cpu_us_per_request>1", idle),
            "--fail-if client.cpu_us_per_request>1: this run has no client.cpu_us_per_request: no "
            "request was answered while it measured");
}

}  // namespace
}  // namespace cli
