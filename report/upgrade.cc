#include <string>

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "report/result.h"

namespace report {
namespace upgrade {
namespace {

using Json = nlohmann::ordered_json;

// What "ringside.compare/1" measured; its results don't say so themselves.
struct OldMetric {
  const char *key, *label, *unit, *better, *part;
};
constexpr OldMetric kOldMetrics[] = {
    {"server_cpu_us", "server CPU a request", "us", "lower", "paced"},
    {"requests_per_s", "requests/s", "per_s", "higher", "full"},
    {"p99_ns", "p99 latency", "ns", "lower", "full"},
    {"full_server_cpu_us", "server CPU a request", "us", "lower", "full"},
    {"full_server_syscalls", "server's system calls a request", "count", "lower", "full"},
    {"full_client_cpu_us", "client CPU a request", "us", "lower", "full"},
    {"server_syscalls", "server's system calls a request", "count", "lower", "paced"},
    {"client_cpu_us", "client CPU a request", "us", "lower", "paced"}};

constexpr const char* kArms[] = {"a", "b"};

// A member, or null.
Json Of(const Json& object, const char* name) {
  return object.contains(name) ? object[name] : Json();
}

// Without a pace, the server's CPU was of full speed.
Json Metrics(const Json& old) {
  bool paced = false;
  for (const Json& scenario : old.at("scenarios")) {
    const Json pace = Of(scenario, "pace_rps");
    paced = paced || (pace.is_number() && pace.get<double>() > 0);
  }
  Json metrics = Json::object();
  for (const OldMetric& metric : kOldMetrics) {
    const bool full = !paced && std::string(metric.part) == "paced";
    metrics[metric.key] = {{"label", metric.label},
                           {"unit", metric.unit},
                           {"better", metric.better},
                           {"part", full ? "full" : metric.part}};
  }
  return metrics;
}

Json Plan(const Json& old) {
  return {{"transport", old.value("transport", "tcp")},
          {"client_backend", old.at("client_backend")},
          {"warmup_s", old.at("warmup_s")},
          {"window_s", old.at("window_s")},
          {"server_cpus", old.at("server_cpus")},
          {"client_cpus", old.at("client_cpus")},
          {"seed", old.at("seed")},
          {"pairs_max", nullptr},
          {"budget_s", nullptr},
          {"steal_max", nullptr},
          {"others_max", nullptr},
          {"inconclusive", "fail"}};
}

Json RoundArm(const Json& figures) {
  Json arm = Json::object();
  for (const OldMetric& metric : kOldMetrics) {
    if (figures.contains(metric.key)) arm[metric.key] = figures[metric.key];
  }
  arm["steal"] = Of(figures, "steal");
  arm["others"] = nullptr;
  arm["void"] = nullptr;
  arm["hdr"] = {{"full", nullptr}, {"paced", nullptr}};
  return arm;
}

// Of void pairs only the arm and why were kept: rounds without figures.
Json Rounds(const Json& scenario) {
  Json rounds = Json::array();
  for (const Json& pair : scenario.at("pairs")) {
    const bool b_first = pair.at("first") == "b";
    rounds.push_back({{"begin_s", nullptr},
                      {"order", b_first ? Json({1, 0}) : Json({0, 1})},
                      {"void", nullptr},
                      {"arms", {RoundArm(pair.at("a")), RoundArm(pair.at("b"))}}});
  }
  for (const Json& pair : Of(scenario, "void_pairs")) {
    rounds.push_back({{"begin_s", nullptr},
                      {"order", Json::array()},
                      {"void", {{"arm", pair.at("arm") == "b" ? 1 : 0}, {"why", pair.at("why")}}},
                      {"arms", {nullptr, nullptr}}});
  }
  return rounds;
}

Json Arm(const Json& scenario, const char* arm) {
  Json medians = Json::object();
  for (const auto& [key, both] : scenario.at("medians").items()) medians[key] = both.at(arm);
  return {{"medians", medians},
          {"latency", {{"full", nullptr}, {"paced", nullptr}}},
          {"kernel", Json::array()},
          {"generator_bound", 0}};
}

Json Scenario(const Json& old, const Json& scenario) {
  const uint64_t bytes = scenario.at("message_bytes");
  Json verdict = scenario.at("verdict");
  if (verdict.is_object()) verdict["why"] = nullptr;
  const Json pace = Of(scenario, "pace_rps");
  const bool paced = pace.is_number() && pace.get<double>() > 0;
  Json arms = Json::array();
  for (const char* arm : kArms) arms.push_back(Arm(scenario, arm));
  return {{"name", scenario.at("name")},
          {"x", nullptr},
          {"workload", "rr"},
          {"service", old.at("service")},
          {"connections", scenario.at("connections")},
          {"message_bytes", bytes},
          {"size", absl::StrCat(bytes, "B")},
          {"depth", scenario.at("depth")},
          {"threads", nullptr},
          {"load", ""},
          {"pace_rps", paced ? pace : Json()},
          {"arrivals", paced ? Json("bursts") : Json()},
          {"metric", old.at("metric")},
          {"margin", old.at("margin")},
          {"objective", nullptr},
          {"arms", arms},
          {"comparisons", Json::array({{{"arm", 1},
                                        {"against", 0},
                                        {"verdict", verdict},
                                        {"metrics", scenario.at("secondary")}}})},
          {"rounds", Rounds(scenario)}};
}

}  // namespace
}  // namespace upgrade

nlohmann::ordered_json UpgradeCompare(const nlohmann::ordered_json& old) {
  using upgrade::Json;
  Json json = {{"schema", "ringside.compare/2"}, {"kind", "compare"}};
  json["arms"] = Json::array();
  for (const char* arm : upgrade::kArms) {
    json["arms"].push_back({{"name", old.at(arm).at("name")},
                            {"command", old.at(arm).at("command")},
                            {"load", ""},
                            {"role", arm == upgrade::kArms[0] ? "baseline" : "arm"}});
  }
  json["metrics"] = upgrade::Metrics(old);
  json["plan"] = upgrade::Plan(old);
  json["sweep"] = nullptr;
  json["scenarios"] = Json::array();
  for (const Json& scenario : old.at("scenarios")) {
    json["scenarios"].push_back(upgrade::Scenario(old, scenario));
  }
  json["self_check"] = nullptr;
  json["time"] = {{"wall_s", nullptr},
                  {"measured_s", nullptr},
                  {"warmup_s", nullptr},
                  {"overhead_share", nullptr}};
  json["interrupted"] = old.value("interrupted", false);
  json["problem"] = nullptr;
  json["version"] = old.at("version");
  json["revision"] = old.at("revision");
  json["arguments"] = old.value("arguments", Json::array());
  json["time_utc"] = old.at("time_utc");
  json["environment"] = old.at("environment");
  return json;
}

}  // namespace report
