#include "report/compare_words.h"

#include <algorithm>
#include <cmath>

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "report/fields.h"
#include "report/format.h"

namespace report {
namespace {

using Json = nlohmann::ordered_json;

// What a table shows of a scenario beside its gating metric, in this order, where it is known.
constexpr const char* kShown[] = {"requests_per_s",
                                  "p50_ns",
                                  "p99_ns",
                                  "p99_9_ns",
                                  "server_cpu_us",
                                  "full_server_cpu_us",
                                  "server_syscalls",
                                  "full_server_syscalls",
                                  "client_cpu_us",
                                  "full_client_cpu_us",
                                  "server_memory_bytes"};
// Where nothing was played at full speed.
constexpr const char* kShownPaced[] = {"achieved_rps",   "paced_p50_ns",       "paced_p99_ns",
                                       "paced_p99_9_ns", "server_cpu_us",      "server_syscalls",
                                       "client_cpu_us",  "server_memory_bytes"};

const Json& MetricOf(const Json& result, const std::string& key) {
  return fields::At(fields::At(result, "metrics"), key.c_str());
}

std::string Unsigned(double ratio) { return absl::StrFormat("%.1f %%", std::abs(ratio - 1) * 100); }

// "at 100k/s", "full speed"; "" where neither is meant.
std::string Where(const Json& result, const Json& scenario, const std::string& key) {
  const std::string part = fields::Text(fields::At(MetricOf(result, key), "part"));
  if (part == "full") return "full speed";
  if (part != "paced" || fields::At(scenario, "pace_rps").is_null()) return "";
  return absl::StrCat("at ", FormatRate(fields::Number(fields::At(scenario, "pace_rps"))));
}

// "10 pairs, 98.2 % interval −3.1 to +2.6 %".
std::string Evidence(const Json& verdict) {
  const uint64_t pairs = fields::Count(fields::At(verdict, "pairs"));
  const std::string count = absl::StrCat(pairs, pairs == 1 ? " pair" : " pairs");
  if (fields::At(verdict, "ratio_low").is_null() || fields::At(verdict, "ratio_high").is_null())
    return count;
  return absl::StrFormat("%.3g %% interval %s to %s %%, %s",
                         fields::Number(fields::At(verdict, "confidence")) * 100,
                         DifferenceText(fields::Number(fields::At(verdict, "ratio_low"))),
                         DifferenceText(fields::Number(fields::At(verdict, "ratio_high"))), count);
}

// How a metric is said to be smaller or larger.
std::string Comparative(const std::string& unit, bool smaller) {
  if (unit == "ns") return smaller ? "lower" : "higher";
  if (unit == "us" || unit == "bytes") return smaller ? "less" : "more";
  return smaller ? "fewer" : "more";
}

// "6.2 % less server CPU a request at 100k/s".
std::string Difference(const Json& result, const Json& scenario, double ratio) {
  const std::string key = fields::Text(fields::At(scenario, "metric")),
                    where = Where(result, scenario, key);
  if (key == "rate_max") {
    return absl::StrCat(Unsigned(ratio), ratio < 1 ? " lower" : " higher", " rate that keeps ",
                        fields::Text(fields::At(scenario, "objective")));
  }
  const Json& metric = MetricOf(result, key);
  return absl::StrCat(Unsigned(ratio), " ",
                      Comparative(fields::Text(fields::At(metric, "unit")), ratio < 1), " ",
                      fields::Text(fields::At(metric, "label"), key),
                      where.empty()             ? ""
                      : where.starts_with("at") ? " "
                                                : " at ",
                      where);
}

bool Knows(const Json& scenario, const std::string& key) {
  return std::any_of(fields::At(scenario, "arms").begin(), fields::At(scenario, "arms").end(),
                     [&](const Json& arm) {
                       return fields::At(fields::At(arm, "medians"), key.c_str()).is_number();
                     });
}

}  // namespace

const Json& ArmOf(const Json& compare, const Json& index) {
  static const Json kNone;
  const Json& arms = fields::At(compare, "arms");
  if (!index.is_number_unsigned() && !index.is_number_integer()) return kNone;
  const auto i = index.get<int64_t>();
  return arms.is_array() && i >= 0 && i < static_cast<int64_t>(arms.size()) ? arms[i] : kNone;
}

std::string ArmName(const Json& compare, const Json& index) {
  return fields::Text(fields::At(ArmOf(compare, index), "name"), "?");
}

bool IsSelfCheck(const Json& compare, const Json& index) {
  return fields::Text(fields::At(ArmOf(compare, index), "role")) == "self-check";
}

std::string DifferenceText(double ratio) {
  const double percent = (ratio - 1) * 100;
  const int decimals = std::abs(percent) < 9.95 ? 1 : 0;
  const std::string digits = absl::StrFormat("%.*f", decimals, std::abs(percent));
  const bool zero = digits.find_first_not_of("0.") == std::string::npos;
  return absl::StrCat(zero ? "±" : percent < 0 ? "−" : "+", digits);
}

std::string EstimateText(const Json& estimate) {
  if (!estimate.is_object() || fields::At(estimate, "ratio").is_null()) return "";
  const std::string text =
      absl::StrCat(DifferenceText(fields::Number(fields::At(estimate, "ratio"))), " %");
  if (fields::At(estimate, "ratio_low").is_null() || fields::At(estimate, "ratio_high").is_null())
    return text;
  return absl::StrCat(text, "  (",
                      DifferenceText(fields::Number(fields::At(estimate, "ratio_low"))), " to ",
                      DifferenceText(fields::Number(fields::At(estimate, "ratio_high"))), ")");
}

std::string MetricText(const Json& result, const std::string& key, const Json& value) {
  if (!value.is_number()) return "–";
  const double number = value.get<double>();
  const std::string unit = fields::Text(fields::At(MetricOf(result, key), "unit"));
  if (unit == "ns") return FormatDuration(fields::Integer(value));
  if (unit == "us") return absl::StrFormat("%.2f µs", number);
  if (unit == "bytes") return FormatBytes(fields::Count(value));
  if (unit == "per_s") return FormatCount(fields::Count(Json(std::round(number))));
  return number < 1 ? absl::StrFormat("%.3f", number) : absl::StrFormat("%.2f", number);
}

std::string MetricLabel(const Json& result, const Json& scenario, const std::string& key) {
  std::string label = fields::Text(fields::At(MetricOf(result, key), "label"), key);
  if (!fields::At(scenario, "objective").is_null() && key == "rate_max") {
    return absl::StrCat("highest rate with ", fields::Text(fields::At(scenario, "objective")));
  }
  const std::string where = Where(result, scenario, key);
  return where.empty() ? label : absl::StrCat(label, ", ", where);
}

std::string VerdictWord(const Json& comparison) {
  const Json& verdict = fields::At(comparison, "verdict");
  return verdict.is_null() ? "not judged" : fields::Text(fields::At(verdict, "verdict"));
}

std::string VerdictSentence(const Json& result, const Json& scenario, const Json& comparison) {
  const std::string a = ArmName(result, fields::At(comparison, "against"));
  const std::string b = ArmName(result, fields::At(comparison, "arm"));
  const Json& verdict = fields::At(comparison, "verdict");
  if (verdict.is_null()) return absl::StrCat("No round of ", b, " against ", a, " was played.");
  if (!fields::At(verdict, "why").is_null()) {
    return absl::StrCat("Can't tell whether ", b, " is faster or slower than ", a, ": ",
                        fields::Text(fields::At(verdict, "why")), ".");
  }
  if (fields::At(verdict, "ratio").is_null()) {
    return absl::StrCat("Can't tell anything of ", b, " against ", a,
                        ": no pair of rounds counts.");
  }
  const std::string name = fields::Text(fields::At(verdict, "verdict"));
  const std::string margin =
      absl::StrFormat("%g %%", fields::Number(fields::At(scenario, "margin")) * 100);
  const std::string difference =
      Difference(result, scenario, fields::Number(fields::At(verdict, "ratio")));
  const std::string evidence = Evidence(verdict);
  if (name == "faster" || name == "slower") {
    return absl::StrCat(b, " is ", name, " than ", a, ": ", difference, " (", evidence, ").");
  }
  if (name == "same") {
    return absl::StrCat(b, " is the same as ", a, " within ", margin, ": ", difference, " (",
                        evidence, ").");
  }
  if (name == "small difference") {
    return absl::StrCat(b, " differs a little from ", a, ": ", difference, ", and ", margin,
                        " is within the interval (", evidence, ").");
  }
  std::string more;
  if (!fields::At(verdict, "reachable").is_null()) {
    more = absl::StrFormat(" A difference of about %.2g %% is within reach here.",
                           fields::Number(fields::At(verdict, "reachable")) * 100);
  }
  if (const uint64_t pairs = fields::Count(fields::At(verdict, "more_pairs")); pairs > 0) {
    absl::StrAppend(&more, " About ", pairs, " more pairs would tell: --budget, --pairs.");
  }
  return absl::StrCat("Can't tell whether ", b, " is faster or slower than ", a, " by more than ",
                      margin, ": ", difference, " (", evidence, ").", more);
}

std::vector<std::string> ShownMetrics(const Json& scenario) {
  std::vector<std::string> keys = {fields::Text(fields::At(scenario, "metric"))};
  const auto add = [&](const char* key) {
    if (Knows(scenario, key) && key != keys[0]) keys.emplace_back(key);
  };
  // At a pace, CPU and system calls repeat better: those at full speed are left out.
  const bool paced = Knows(scenario, "server_cpu_us"), full = Knows(scenario, "requests_per_s");
  if (!full) {
    for (const char* key : kShownPaced) add(key);
    return keys;
  }
  for (const char* key : kShown) {
    if (!paced || !std::string(key).starts_with("full_")) add(key);
  }
  return keys;
}

std::string TransportText(const Json& result) {
  const std::string name = fields::Text(fields::At(fields::At(result, "plan"), "transport"));
  if (name == "tcp") return "loopback TCP";
  if (name == "udp") return "loopback UDP";
  if (name == "unix") return "Unix streams";
  if (name == "seqpacket") return "Unix seqpackets";
  return "Unix datagrams";
}

std::string VoidText(const Json& result, const Json& scenario) {
  size_t voids = 0;
  std::string why, arm;
  for (const Json& round : fields::At(scenario, "rounds")) {
    if (fields::At(round, "void").is_null()) continue;
    ++voids;
    why = fields::Text(fields::At(fields::At(round, "void"), "why"));
    arm = ArmName(result, fields::At(fields::At(round, "void"), "arm"));
  }
  if (voids == 0) return "";
  while (!why.empty() && why.back() == '\n') why.pop_back();
  return absl::StrCat(voids, voids == 1 ? " round was" : " rounds were", " void",
                      voids == 1 ? "" : "; the last", " (", arm, "): ", why);
}

}  // namespace report
