#pragma once

#include <cmath>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "stats/hdr_codec.h"
#include "stats/histogram.h"

// Results of "ringside.compare/2" with histograms in them, of what such a comparison measures.
namespace web_tests {

using Json = nlohmann::ordered_json;

// `count` latencies around `median_ns`, with a tail.
inline stats::Histogram Latencies(double median_ns, int count, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::lognormal_distribution<double> body(std::log(median_ns), 0.25);
  std::exponential_distribution<double> tail(1 / (6 * median_ns));
  stats::Histogram histogram;
  for (int i = 0; i < count; ++i) {
    const double ns = i % 100 == 99 ? median_ns + tail(random) : body(random);
    histogram.Record(std::llround(ns));
  }
  return histogram;
}

inline Json Round(double begin_s, const std::vector<double>& medians_ns) {
  Json round = {
      {"begin_s", begin_s}, {"order", Json::array()}, {"void", nullptr}, {"arms", Json::array()}};
  for (size_t arm = 0; arm < medians_ns.size(); ++arm) {
    const auto seed = static_cast<uint64_t>(begin_s * 100) + arm;
    const std::string hdr = stats::EncodeHdr(Latencies(medians_ns[arm], 2000, seed));
    round["order"].push_back(arm);
    round["arms"].push_back({{"server_cpu_us", 4 + medians_ns[arm] / 1e6},
                             {"requests_per_s", 2e13 / medians_ns[arm] / 1e3},
                             {"steal", 0.001},
                             {"hdr", {{"full", hdr}, {"paced", hdr}}}});
  }
  return round;
}

inline Json Verdict(const std::string& word, double ratio) {
  return {{"verdict", word},
          {"pairs", 10},
          {"ratio", ratio},
          {"ratio_low", ratio * 0.98},
          {"ratio_high", ratio * 1.02},
          {"confidence", 0.9818},
          {"more_pairs", word == "cannot tell" ? 30 : 0},
          {"reachable", 0.02},
          {"why", nullptr}};
}

// A scenario of these arms, the second and further ones against the first, in 6 rounds of which one
// is void.
inline Json Scenario(const std::string& name, const Json& x, size_t arms, const std::string& word,
                     double ratio) {
  Json scenario = {{"name", name},
                   {"x", x},
                   {"workload", "rr"},
                   {"service", "echo"},
                   {"connections", 64},
                   {"message_bytes", 64},
                   {"pace_rps", 100000.0},
                   {"metric", "server_cpu_us"},
                   {"margin", 0.05},
                   {"arms", Json::array()},
                   {"comparisons", Json::array()},
                   {"rounds", Json::array()}};
  std::vector<double> medians;
  for (size_t arm = 0; arm < arms; ++arm) {
    medians.push_back(200e3 + 30e3 * static_cast<double>(arm));
    const Json times = {{"count", 20000},
                        {"hdr", stats::EncodeHdr(Latencies(medians[arm], 20000, arm))}};
    const Json counter = {
        {"name", "TcpExtListenOverflows"}, {"delta", 7 * arm}, {"meaning", "full"}};
    scenario["arms"].push_back({{"medians", {{"server_cpu_us", 4.5}, {"requests_per_s", 100000.0}}},
                                {"latency", {{"full", times}, {"paced", times}}},
                                {"kernel", Json::array({counter})},
                                {"generator_bound", 0}});
    if (arm == 0) continue;
    scenario["comparisons"].push_back({{"arm", arm},
                                       {"against", 0},
                                       {"verdict", Verdict(word, ratio)},
                                       {"metrics",
                                        {{"requests_per_s",
                                          {{"ratio", 1.04},
                                           {"ratio_low", 1.01},
                                           {"ratio_high", 1.08},
                                           {"p_holm", 0.01},
                                           {"difference", "higher"}}}}}});
  }
  for (int i = 0; i < 6; ++i) scenario["rounds"].push_back(Round(2.5 * i, medians));
  scenario["rounds"][3]["void"] = {{"arm", 1}, {"why", "it missed its pace by 9 %"}};
  scenario["rounds"][3]["arms"][1]["void"] = "it missed its pace by 9 %";
  return scenario;
}

// A comparison of arms with these names in one scenario.
inline Json Comparison(const std::vector<std::string>& names, const std::string& word = "faster",
                       double ratio = 0.94) {
  Json compare = {{"schema", "ringside.compare/2"}, {"kind", "compare"}, {"arms", Json::array()}};
  for (size_t arm = 0; arm < names.size(); ++arm) {
    compare["arms"].push_back({{"name", names[arm]},
                               {"command", "ringside serve"},
                               {"load", ""},
                               {"role", arm == 0 ? "baseline" : "arm"}});
  }
  compare["metrics"] = {
      {"server_cpu_us",
       {{"label", "server CPU a request"}, {"unit", "us"}, {"better", "lower"}, {"part", "paced"}}},
      {"requests_per_s",
       {{"label", "requests/s"}, {"unit", "per_s"}, {"better", "higher"}, {"part", "full"}}}};
  compare["plan"] = {{"transport", "tcp"}, {"warmup_s", 0.15}, {"seed", 12345678901234567890u}};
  compare["sweep"] = nullptr;
  compare["scenarios"] = Json::array({Scenario("64 × 64 B", nullptr, names.size(), word, ratio)});
  compare["self_check"] = {{"passed", true}};
  compare["interrupted"] = false;
  compare["problem"] = nullptr;
  compare["version"] = "0.1.0";
  compare["revision"] = "abc";
  compare["arguments"] = Json::array({"compare", "--arm", names.back()});
  compare["environment"] = {{"machine_id", "00"}, {"machine", {{"cpu", "a CPU"}}}};
  return compare;
}

}  // namespace web_tests
