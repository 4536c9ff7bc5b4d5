#include "report/schema.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace report {
namespace schema {
namespace {

using Json = nlohmann::ordered_json;

// Shapes are JSON: an object has the members named, "name?" may be missing, and "*" is the shape of
// all others; an array has elements of the one shape in it. ["null", shape] may be null, and so may
// a type that ends with "?". Types: text, number, count (an integer from 0), bool, object, any.
constexpr const char* kTimes = R"({
  "count": "count", "min": "number?", "mean": "number?", "stddev": "number?", "max": "number?",
  "p50": "number?", "p90": "number?", "p99": "number?", "p99_9": "number?", "p99_99": "number?",
  "intervals_95": [{"percentile": "number", "value": "number?", "low": "number", "high": "number?",
                    "enough": "bool", "count": "count"}],
  "hdr": "text"})";

constexpr const char* kEstimate = R"({
  "ratio": "number?", "ratio_low": "number?", "ratio_high": "number?", "p_holm": "number?",
  "difference": "text"})";

constexpr const char* kCompare = R"({
  "kind": "text",
  "arms": [{"name": "text", "command": "text", "load": "text", "role": "text",
            "feature?": ["null", {"name": "text", "change": "text"}]}],
  "metrics": {"*": {"label": "text", "unit": "text", "better": "text", "part": "text"}},
  "plan": {"transport": "text", "client_backend": "text", "warmup_s": "number",
           "window_s": "number", "server_cpus": ["count"], "client_cpus": ["count"],
           "seed": "count", "pairs_max": "count?", "budget_s": "number?", "steal_max": "number?",
           "others_max": "number?", "inconclusive": "text"},
  "sweep": ["null", {"parameter": "text", "values": ["number"]}],
  "scenarios": [{
    "name": "text", "x": "number?", "workload": "text", "service": "text", "connections": "count",
    "size": "text", "message_bytes": "count?", "depth": "count", "threads": "count?",
    "load": "text", "pace_rps": "number?", "arrivals": "text?", "metric": "text",
    "margin": "number", "objective": "text?",
    "arms": [{"medians": {"*": "number?"},
              "latency": {"full": ["null", "times"], "paced": ["null", "times"]},
              "kernel": [{"name": "text", "delta": "number", "meaning": "text"}],
              "generator_bound": "count"}],
    "comparisons": [{
      "arm": "count", "against": "count",
      "verdict": ["null", {"verdict": "text", "pairs": "count", "ratio": "number?",
                           "ratio_low": "number?", "ratio_high": "number?", "confidence": "number",
                           "more_pairs": "count", "reachable": "number?", "why": "text?"}],
      "metrics": {"*": "estimate"}}],
    "rounds": [{"begin_s": "number?", "order": ["count"],
                "void": ["null", {"arm": "count", "why": "text"}],
                "arms": [["null", {"steal": "number?", "others": "number?", "void": "text?",
                                   "hdr": {"full": "text?", "paced": "text?"}, "*": "number?"}]]}]
  }],
  "self_check": ["null", {"passed": "bool"}],
  "time": {"wall_s": "number?", "measured_s": "number?", "warmup_s": "number?",
           "overhead_share": "number?"},
  "interrupted": "bool", "problem": "text?", "version": "text", "revision": "text",
  "arguments": ["text"], "time_utc": "text",
  "environment": {"machine_id": "text", "machine": {"*": "text"}, "system": {"*": "text"},
                  "limits": {"*": "text"}, "sysctls": {"*": "text"}, "build": {"*": "text"}}})";

constexpr const char* kKernel = R"({
  "counters": [{"name": "text", "delta": "number", "meaning": "text"}]})";

constexpr const char* kServer = R"({"cpu_us_per_request": "number", "cpu_share": "number"})";

constexpr const char* kReconciliation = R"({
  "checked": ["text"], "differences": ["text"], "unchecked": ["text"]})";

// What a report looks at; of a class of a mix too.
constexpr const char* kLoad = R"({
  "version": "text", "valid": "bool", "interrupted": "bool",
  "verdict": {"kind": "text", "reason": "text"},
  "accusations": [{"code": "text", "text": "text", "mend": "text"}],
  "address": "text", "backend": "text", "service": "text", "workload": "text", "threads": "count",
  "depth": "count", "message_bytes": "count", "warmup_s": "number", "duration_s": "number",
  "requests": "count", "throughput_rps": "number", "requests_total": "count",
  "errors": {"total": "count", "by_errno": {"*": "count"}, "connect_failed": "count",
             "connect_timed_out": "count", "closed_by_server": "count", "timeouts": "count",
             "unanswered": "count", "surplus": "count", "corrupt_connections": "count",
             "service": "count", "lost_requests": "count", "problem?": "text",
             "corruptions": [{"connection": "count", "offset": "count", "expected": "count",
                              "got": "count"}],
             "failures": [{"kind": "text", "connection": "count", "errno": "text?",
                           "at_s": "number", "requests": "count", "in_flight": "count"}]},
  "connections": {"requested": "count", "opened": "count", "answered": "count", "silent": "count",
                  "requests_min": "count", "requests_median?": "count", "requests_max": "count",
                  "opening_s": "number"},
  "bytes": {"sent": "count", "received": "count", "corrupt": "count", "verified": "bool",
            "sent_per_s": "number", "received_per_s": "number"},
  "latency_ns": "load times", "service_ns?": "times", "lag_ns?": "times",
  "pace?": {"requested_rps": "number", "achieved_rps": "number", "late_max_ns": "number",
            "arrivals": "text", "offered": "count", "shed": "count", "unsent": "count",
            "seed": "count"},
  "sizes?": {"min": "count", "mean": "number", "max": "count"}, "name?": "text",
  "connect_ns": "times", "first_byte_ns": "times", "loop_lag_ns": "times",
  "client": {"cpu_us_per_request": "number", "syscalls_per_request": "number",
             "cpu_share": "number", "cpu_share_max": "number", "share_of_latency?": "number",
             "wait_ns?": "times"},
  "datagrams?": {"lost": "count", "late": "count", "reordered": "count", "doubled": "count",
                 "loss_share": "number", "loss_max": "number", "timeout_s": "number"},
  "server?": "server", "series": {"interval_s": "number", "columns": ["text"], "rows": [["number"]]},
  "kernel?": "kernel", "reconciliation?": "reconciliation"})";

constexpr const char* kMix = R"({
  "version": "text", "valid": "bool", "interrupted": "bool",
  "verdict": {"kind": "text", "reason": "text"}, "classes": ["load"], "kernel": "kernel",
  "server?": "server", "reconciliation?": "reconciliation"})";

constexpr const char* kIntervals = R"({
  "intervals": [{"number": "count", "begin_s": "number", "length_s": "number",
                 "offered_rps": "number?", "achieved_rps": "number", "requests": "count",
                 "errors": "count", "connections": "count", "bytes_received": "count",
                 "bytes_sent": "count", "latency_ns": {"count": "count", "*": "number?"},
                 "class?": "text", "hdr?": "text"}]})";

const Json& Shape(const std::string& name) {
  static const std::map<std::string, Json> shapes = [] {
    std::map<std::string, Json> all;
    for (const auto& [key, text] : {std::pair("times", kTimes),
                                    {"estimate", kEstimate},
                                    {"compare", kCompare},
                                    {"kernel", kKernel},
                                    {"server", kServer},
                                    {"reconciliation", kReconciliation},
                                    {"load", kLoad},
                                    {"mix", kMix},
                                    {"intervals", kIntervals}}) {
      all[key] = Json::parse(text);
    }
    all["load times"] = all["times"];
    all["load times"].update({{"kind", "text?"}, {"censored", "count"}});
    return all;
  }();
  static const Json none;
  const auto found = shapes.find(name);
  return found == shapes.end() ? none : found->second;
}

const char* Wanted(const std::string& type) {
  if (type == "text") return "text";
  if (type == "number") return "a number";
  if (type == "count") return "an integer from 0";
  if (type == "bool") return "true or false";
  return "an object";
}

bool Is(const Json& value, const std::string& type) {
  if (type == "any") return true;
  if (type == "text") return value.is_string();
  if (type == "number") return value.is_number();
  if (type == "bool") return value.is_boolean();
  if (type == "count") {
    return value.is_number_unsigned() || (value.is_number_integer() && value.get<int64_t>() >= 0);
  }
  return value.is_object();
}

// Compares values with shapes; remembers the first that is wrong.
class Checker {
 public:
  bool Check(const Json& value, const Json& shape, const std::string& at) {
    if (shape.is_string()) return CheckType(value, shape, at);
    if (shape.is_object()) return CheckObject(value, shape, at);
    if (shape.size() == 2) return CheckNullable(value, shape[1], at);
    if (!value.is_array()) return Wrong(at, "an array");
    for (size_t i = 0; i < value.size(); ++i) {
      if (!Check(value[i], shape[0], absl::StrCat(at, "[", i, "]"))) return false;
    }
    return true;
  }
  const std::string& wrong() const { return wrong_; }

 private:
  bool Wrong(const std::string& at, const std::string& wanted) {
    wrong_ = absl::StrCat(at.empty() ? "the result" : at, ": ", wanted, null_ ? " or null" : "",
                          " is wanted");
    return false;
  }

  bool CheckNullable(const Json& value, const Json& shape, const std::string& at) {
    if (value.is_null()) return true;
    null_ = !value.is_object();  // what is wrong inside of an object isn't about null
    const bool good = Check(value, shape, at);
    null_ = false;
    return good;
  }

  bool CheckType(const Json& value, std::string type, const std::string& at) {
    if (const Json& named = Shape(type); !named.is_null()) return Check(value, named, at);
    const bool null = type.ends_with("?");
    if (null) type.pop_back();
    if ((null && value.is_null()) || Is(value, type)) return true;
    null_ = null_ || null;
    return Wrong(at, Wanted(type));
  }

  bool CheckObject(const Json& value, const Json& shape, const std::string& at) {
    if (!value.is_object()) return Wrong(at, "an object");
    const auto below = [&](const std::string& name) {
      return at.empty() ? name : absl::StrCat(at, ".", name);
    };
    for (const auto& [key, inner] : shape.items()) {
      if (key == "*") continue;
      const bool optional = key.ends_with("?");
      const std::string name = optional ? key.substr(0, key.size() - 1) : key;
      if (!value.contains(name)) {
        if (optional) continue;
        wrong_ = absl::StrCat(below(name), " is missing");
        return false;
      }
      if (!Check(value[name], inner, below(name))) return false;
    }
    if (!shape.contains("*")) return true;
    for (const auto& [name, inner] : value.items()) {
      if (shape.contains(name) || shape.contains(name + "?")) continue;
      if (!Check(inner, shape["*"], below(name))) return false;
    }
    return true;
  }

  std::string wrong_;
  bool null_ = false;
};

bool OneOf(const Json& value, std::initializer_list<const char*> words) {
  return std::any_of(words.begin(), words.end(), [&](const char* word) { return value == word; });
}

// What of a comparison a shape can't say: that indices and names lead somewhere.
class Links {
 public:
  explicit Links(const Json& result) : result_(result), arms_(result["arms"].size()) {}

  std::string Wrong() const {
    if (!OneOf(result_["kind"], {"compare", "ablation"}))
      return "kind: compare or ablation is wanted";
    if (arms_ < 2) return "arms: at least two are wanted";
    for (size_t i = 0; i < arms_; ++i) {
      if (OneOf(result_["arms"][i]["role"], {"baseline", "arm", "self-check"})) continue;
      return absl::StrCat("arms[", i, "].role: baseline, arm or self-check is wanted");
    }
    if (result_["scenarios"].empty()) return "scenarios: at least one is wanted";
    for (const auto& [key, metric] : result_["metrics"].items()) {
      if (!OneOf(metric["unit"], {"ns", "us", "bytes", "per_s", "count"})) {
        return absl::StrCat("metrics.", key, ".unit: ns, us, bytes, per_s or count is wanted");
      }
    }
    for (size_t i = 0; i < result_["scenarios"].size(); ++i) {
      const std::string wrong = OfScenario(result_["scenarios"][i]);
      if (!wrong.empty()) return absl::StrCat("scenarios[", i, "].", wrong);
    }
    return "";
  }

 private:
  bool Metric(const std::string& key) const { return result_["metrics"].contains(key); }

  std::string OfScenario(const Json& scenario) const {
    const std::string metric = scenario["metric"];
    if (!Metric(metric)) return absl::StrCat("metric: ", metric, " is not in metrics");
    if (metric == "rate_max" && scenario["objective"].is_null()) return "objective: text is wanted";
    if (scenario["arms"].size() != arms_) return absl::StrCat("arms: ", arms_, " are wanted");
    for (size_t arm = 0; arm < arms_; ++arm) {
      const Json& medians = scenario["arms"][arm]["medians"];
      if (!medians.contains(metric)) {
        return absl::StrCat("arms[", arm, "].medians.", metric, " is missing");
      }
      const std::string wrong = Named(medians);
      if (!wrong.empty()) return absl::StrCat("arms[", arm, "].medians.", wrong);
    }
    const std::string wrong = OfComparisons(scenario["comparisons"]);
    return wrong.empty() ? OfRounds(scenario["rounds"]) : wrong;
  }

  // "" where all names are of metrics.
  std::string Named(const Json& values) const {
    for (const auto& [key, value] : values.items()) {
      if (!Metric(key)) return absl::StrCat(key, ": is not in metrics");
    }
    return "";
  }

  std::string OfComparisons(const Json& comparisons) const {
    if (comparisons.size() != arms_ - 1) {
      return absl::StrCat("comparisons: ", arms_ - 1, " are wanted");
    }
    for (size_t i = 0; i < comparisons.size(); ++i) {
      const Json& comparison = comparisons[i];
      const std::string at = absl::StrCat("comparisons[", i, "].");
      if (comparison["arm"] != i + 1) return absl::StrCat(at, "arm: ", i + 1, " is wanted");
      if (comparison["against"] != 0) return absl::StrCat(at, "against: 0 is wanted");
      const Json& verdict = comparison["verdict"];
      if (!verdict.is_null() && !OneOf(verdict["verdict"], {"faster", "slower", "same",
                                                            "small difference", "cannot tell"})) {
        return absl::StrCat(at, "verdict.verdict: no such verdict");
      }
      const std::string wrong = Named(comparison["metrics"]);
      if (!wrong.empty()) return absl::StrCat(at, "metrics.", wrong);
    }
    return "";
  }

  std::string OfRounds(const Json& rounds) const {
    for (size_t i = 0; i < rounds.size(); ++i) {
      const Json& round = rounds[i];
      const std::string at = absl::StrCat("rounds[", i, "].");
      if (round["arms"].size() != arms_) return absl::StrCat(at, "arms: ", arms_, " are wanted");
      if (!round["void"].is_null() && round["void"]["arm"] >= arms_) {
        return absl::StrCat(at, "void.arm: there is no such arm");
      }
      for (size_t j = 0; j < round["order"].size(); ++j) {
        if (round["order"][j] >= arms_) {
          return absl::StrCat(at, "order[", j, "]: there is no such arm");
        }
      }
    }
    return "";
  }

  const Json& result_;
  const size_t arms_;
};

}  // namespace
}  // namespace schema

absl::Status CheckSchema(const nlohmann::ordered_json& result) {
  const std::string name = result.is_object() ? result.value("schema", "") : "";
  const char* shape = name == "ringside.compare/2"    ? "compare"
                      : name == "ringside.load/1"     ? "load"
                      : name == "ringside.load_mix/1" ? "mix"
                      : name == "ringside.interval/1" ? "intervals"
                                                      : nullptr;
  if (shape == nullptr) return absl::UnimplementedError(absl::StrCat("no schema '", name, "'"));
  schema::Checker checker;
  if (!checker.Check(result, schema::Shape(shape), "")) {
    return absl::InvalidArgumentError(checker.wrong());
  }
  if (name != "ringside.compare/2") return absl::OkStatus();
  const std::string wrong = schema::Links(result).Wrong();
  return wrong.empty() ? absl::OkStatus() : absl::InvalidArgumentError(wrong);
}

}  // namespace report
