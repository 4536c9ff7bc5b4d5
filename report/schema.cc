#include "report/schema.h"

#include <algorithm>
#include <cstdint>
#include <map>
#include <string>

#include <nlohmann/json.hpp>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "report/fields.h"
#include "report/schema_links.h"

namespace report {
namespace schema {
namespace {

using Json = nlohmann::ordered_json;

// Shapes are JSON: an object has the members named, "name?" may be missing, and "*" is the shape of
// all others, whose names are words; an array has up to 500 elements of the one shape in it, and
// ["many", shape] as many as a file has. ["null", shape] may be null, and so may a type that ends
// with "?". Types: text, name (a short one), word (a name of ASCII letters, digits and _), number,
// amount (a number from 0), seconds (the same, of less than three centuries), moment (which may be
// below 0), count (an integer from 0), bool, hdr (a histogram), blob (one of a *times* object).
constexpr const char* kTimes = R"({
  "count": "count", "min": "amount?", "mean": "amount?", "stddev": "amount?", "max": "amount?",
  "p50": "amount?", "p90": "amount?", "p99": "amount?", "p99_9": "amount?", "p99_99": "amount?",
  "intervals_95": [{"percentile": "number", "value": "amount?", "low": "amount", "high": "amount?",
                    "enough": "bool", "count": "count"}],
  "hdr": "blob"})";

constexpr const char* kEstimate = R"({
  "ratio": "number?", "ratio_low": "number?", "ratio_high": "number?", "p_holm": "number?",
  "difference": "name"})";

constexpr const char* kCompare = R"({
  "kind": "text",
  "arms": [{"name": "name", "command": "text", "load": "text", "role": "text",
            "feature?": ["null", {"name": "name", "change?": "name?"}]}],
  "metrics": {"*": {"label": "name", "unit": "text", "better": "text", "part": "name"}},
  "plan": {"transport": "text", "client_backend": "text", "warmup_s": "seconds",
           "window_s": "seconds", "server_cpus": ["many", "count"],
           "client_cpus": ["many", "count"], "seed": "count", "pairs_max": "count?",
           "budget_s": "seconds?", "steal_max": "number?", "others_max": "number?",
           "inconclusive": "text"},
  "sweep": ["null", {"parameter": "name", "values": ["many", "number"]}],
  "scenarios": ["many", {
    "name": "name", "x": "number?", "workload": "text", "service": "name", "connections": "count",
    "size": "text", "message_bytes": "count?", "depth": "count", "threads": "count?",
    "load": "text", "pace_rps": "amount?", "arrivals": "text?", "metric": "text",
    "margin": "amount", "objective": "name?",
    "arms": [{"medians": {"*": "number?"},
              "latency": {"full": ["null", "times"], "paced": ["null", "times"]},
              "kernel": [{"name": "name", "delta": "amount", "meaning": "text"}],
              "generator_bound": "count"}],
    "comparisons": [{
      "arm": "count", "against": "count",
      "verdict": ["null", {"verdict": "text", "pairs": "count", "ratio": "number?",
                           "ratio_low": "number?", "ratio_high": "number?", "confidence": "number",
                           "more_pairs": "count", "reachable": "number?", "why": "text?"}],
      "metrics": {"*": "estimate"}}],
    "rounds": ["many", {"begin_s": "moment?", "order": ["count"],
                "void": ["null", {"arm": "count", "why": "text"}],
                "arms": [["null", {"steal": "number?", "others": "number?", "void": "text?",
                                   "hdr": {"full": "hdr?", "paced": "hdr?"}, "*": "number?"}]]}]
  }],
  "self_check": ["null", {"passed": "bool"}],
  "time": {"wall_s": "seconds?", "measured_s": "seconds?", "warmup_s": "seconds?",
           "overhead_share": "number?"},
  "interrupted": "bool", "problem": "text?", "version": "name", "revision": "name",
  "arguments": ["many", "text"], "time_utc": "name",
  "environment": {"machine_id": "name", "machine": {"*": "text"}, "system": {"*": "text"},
                  "limits": {"*": "text"}, "sysctls": {"*": "text"}, "build": {"*": "text"}}})";

constexpr const char* kKernel = R"({
  "counters": [{"name": "name", "delta": "count", "meaning": "text"}]})";

constexpr const char* kServer = R"({"cpu_us_per_request": "amount", "cpu_share": "amount"})";

constexpr const char* kReconciliation = R"({
  "checked": ["text"], "differences": ["text"], "unchecked": ["text"]})";

// What a report looks at; of a class of a mix too.
constexpr const char* kLoad = R"({
  "version": "name", "valid": "bool", "interrupted": "bool",
  "verdict": {"kind": "name", "reason": "text"},
  "accusations": [{"code": "text", "text": "text", "mend": "text"}],
  "address": "text", "backend": "name", "service": "name", "workload": "name", "threads": "count",
  "depth": "count", "message_bytes": "count", "warmup_s": "seconds", "duration_s": "seconds",
  "requests": "count", "throughput_rps": "amount", "requests_total": "count",
  "errors": {"total": "count", "by_errno": {"*": "count"}, "connect_failed": "count",
             "connect_timed_out": "count", "closed_by_server": "count", "timeouts": "count",
             "unanswered": "count", "surplus": "count", "corrupt_connections": "count",
             "service": "count", "lost_requests": "count", "problem?": "text",
             "corruptions": [{"connection": "count", "offset": "count", "expected": "count",
                              "got": "count"}],
             "failures": [{"kind": "name", "connection": "count", "errno": "name?",
                           "at_s": "moment", "requests": "count", "in_flight": "count"}]},
  "connections": {"requested": "count", "opened": "count", "answered": "count", "silent": "count",
                  "closed_by_client?": "count", "closed_by_server?": "count",
                  "retried_requests?": "count",
                  "requests_min": "count", "requests_median?": "count", "requests_max": "count",
                  "opening_s": "seconds"},
  "bytes": {"sent": "count", "received": "count", "corrupt": "count", "verified": "bool",
            "sent_per_s": "amount", "received_per_s": "amount"},
  "latency_ns": "load times", "service_ns?": "times", "lag_ns?": "times",
  "pace?": {"requested_rps": "amount", "achieved_rps": "amount", "late_max_ns": "amount",
            "arrivals": "name", "offered": "count", "shed": "count", "unsent": "count",
            "seed": "count"},
  "sizes?": {"min": "count", "mean": "amount", "max": "count"}, "name?": "name",
  "connect_ns": "times", "first_byte_ns": "times", "loop_lag_ns": "times",
  "client": {"cpu_us_per_request": "amount", "syscalls_per_request": "amount",
             "cpu_share": "amount", "cpu_share_max": "amount", "share_of_latency?": "amount",
             "wait_ns?": "times"},
  "datagrams?": {"lost": "count", "late": "count", "reordered": "count", "doubled": "count",
                 "loss_share": "amount", "loss_max": "amount", "timeout_s": "seconds"},
  "server?": "server",
  "series": {"interval_s": "seconds", "columns": ["name"], "rows": ["many", ["number"]]},
  "kernel?": "kernel", "reconciliation?": "reconciliation"})";

constexpr const char* kMix = R"({
  "version": "name", "valid": "bool", "interrupted": "bool",
  "verdict": {"kind": "name", "reason": "text"}, "classes": ["load"], "kernel": "kernel",
  "server?": "server", "reconciliation?": "reconciliation"})";

constexpr const char* kIntervals = R"({
  "intervals": ["many", {
    "number": "count", "begin_s": "moment", "length_s": "seconds", "offered_rps": "amount?",
    "achieved_rps": "amount", "requests": "count", "errors": "count", "connections": "count",
    "bytes_received": "count", "bytes_sent": "count",
    "latency_ns": {"count": "count", "*": "amount?"}, "class?": "name", "hdr?": "hdr"}]})";

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
    // Only a class of a mix has no kernel's counters of its own.
    all["run"] = all["load"];
    all["run"].erase("kernel?");
    all["run"]["kernel"] = "kernel";
    all["load times"] = all["times"];
    all["load times"].update({{"kind", "text?"}, {"censored", "count"}});
    return all;
  }();
  static const Json none;
  const auto found = shapes.find(name);
  return found == shapes.end() ? none : found->second;
}

constexpr size_t kElementsMax = 500;    // of arrays that aren't "many"
constexpr size_t kTextMax = 128 << 10;  // bytes: the last words of a server, a command
constexpr size_t kNameMax = 1000;       // of what a report repeats in each of its rows
constexpr double kNumberMax = 9e18;     // in ns or bytes it fits 64 bits with a sign
constexpr double kSecondsMax = 9e9;     // and so do these in ns

const char* Wanted(const std::string& type, const Json& value) {
  if (type == "hdr" || type == "blob") return "text";
  if (type == "text") return value.is_string() ? "text of at most 128 KiB" : "text";
  if (type == "name") return value.is_string() ? "text of at most 1,000 bytes" : "text";
  if (type == "count") return "an integer from 0";
  if (type == "bool") return "true or false";
  if (type == "object") return "an object";
  if (!value.is_number()) return "a number";
  if (type == "amount") return "a number from 0 to 9e18";
  if (type == "seconds") return "a number from 0 to 9e9";
  if (type == "moment") return "a number of at most 9e9";
  return "a number of at most 9e18";
}

bool IsNumber(const Json& value, double least, double most) {
  if (!value.is_number()) return false;
  const auto number = value.get<double>();
  return number >= least && number <= most;  // false of NaN
}

bool Is(const Json& value, const std::string& type) {
  if (type == "hdr" || type == "blob") return value.is_string();
  if (type == "text" || type == "name") {
    return value.is_string() &&
           value.get_ref<const std::string&>().size() <= (type == "text" ? kTextMax : kNameMax);
  }
  if (type == "number") return IsNumber(value, -kNumberMax, kNumberMax);
  if (type == "amount") return IsNumber(value, 0, kNumberMax);
  if (type == "seconds") return IsNumber(value, 0, kSecondsMax);
  if (type == "moment") return IsNumber(value, -kSecondsMax, kSecondsMax);
  if (type == "bool") return value.is_boolean();
  if (type == "count") {
    return value.is_number_unsigned() || (value.is_number_integer() && value.get<int64_t>() >= 0);
  }
  return value.is_object();
}

// A name that any format has as it is.
bool IsWord(const std::string& name) {
  return !name.empty() && name.size() <= 64 &&
         std::all_of(name.begin(), name.end(),
                     [](unsigned char c) { return absl::ascii_isalnum(c) || c == '_'; });
}

// Compares values with shapes; remembers the first that is wrong.
class Checker {
 public:
  bool Check(const Json& value, const Json& shape, const std::string& at) {
    if (shape.is_string()) return CheckType(value, shape, at);
    if (shape.is_object()) return CheckObject(value, shape, at);
    if (shape[0] == "null") return CheckNullable(value, shape[1], at);
    if (!value.is_array()) return Wrong(at, "an array");
    const bool many = shape[0] == "many";
    if (!many && value.size() > kElementsMax) {
      return Wrong(at, absl::StrCat("an array of at most ", kElementsMax));
    }
    for (size_t i = 0; i < value.size(); ++i) {
      if (!Check(value[i], shape[many ? 1 : 0], absl::StrCat(at, "[", i, "]"))) return false;
    }
    return true;
  }
  const std::string& wrong() const { return wrong_; }

 private:
  bool Say(const std::string& at, const std::string& what) {
    wrong_ = absl::StrCat(at.empty() ? "the result" : at, ": ", what);
    return false;
  }
  bool Wrong(const std::string& at, const std::string& wanted) {
    return Say(at, absl::StrCat(wanted, null_ ? " or null" : "", " is wanted"));
  }
  // `wrong` begins with the place below `at`.
  bool Linked(const std::string& at, const std::string& wrong) {
    if (wrong.empty()) return true;
    wrong_ = absl::StrCat(at, at.empty() || wrong[0] == ':' ? "" : ".", wrong);
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
    if (const Json& named = Shape(type); !named.is_null()) {
      if (!Check(value, named, at)) return false;
      return Linked(at, type.ends_with("times") ? WrongInTimes(value)
                        : type == "load"        ? WrongInLoad(value)
                                                : "");
    }
    const bool null = type.ends_with("?");
    if (null) type.pop_back();
    if (null && value.is_null()) return true;
    if (Is(value, type)) {
      return type != "hdr" || Linked(at, WrongInHdr(value.get_ref<const std::string&>()));
    }
    null_ = null_ || null;
    return Wrong(at, Wanted(type, value));
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
      if (!IsWord(name) && shape["*"] != "text") {
        return Say(at, "a name in it is no word of ASCII letters, digits and _");
      }
      if (!Check(inner, shape["*"], below(name))) return false;
    }
    return true;
  }

  std::string wrong_;
  bool null_ = false;
};

}  // namespace
}  // namespace schema

absl::Status CheckSchema(const nlohmann::ordered_json& result) {
  const std::string name = fields::Text(fields::At(result, "schema"));
  const char* shape = name == "ringside.compare/2"    ? "compare"
                      : name == "ringside.load/1"     ? "run"
                      : name == "ringside.load_mix/1" ? "mix"
                      : name == "ringside.interval/1" ? "intervals"
                                                      : nullptr;
  if (shape == nullptr) return absl::UnimplementedError(absl::StrCat("no schema '", name, "'"));
  schema::Checker checker;
  if (!checker.Check(result, schema::Shape(shape), "")) {
    return absl::InvalidArgumentError(checker.wrong());
  }
  const std::string wrong = name == "ringside.compare/2" ? schema::WrongInCompare(result)
                            : name == "ringside.load/1"  ? schema::WrongInLoad(result)
                                                         : "";
  return wrong.empty() ? absl::OkStatus() : absl::InvalidArgumentError(wrong);
}

}  // namespace report
