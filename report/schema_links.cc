#include "report/schema_links.h"

#include <algorithm>
#include <cstdint>
#include <initializer_list>

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "report/fields.h"
#include "stats/hdr_codec.h"
#include "stats/histogram.h"

namespace report::schema {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kArmsMax = 64;
constexpr size_t kFiguresMax = 4'000'000;  // of all rounds; a page has a cell for each

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
    if (arms_ < 2 || arms_ > kArmsMax) return "arms: 2 to 64 are wanted";
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
    size_t rounds = 0;
    for (const Json& scenario : result_["scenarios"]) rounds += 1 + scenario["rounds"].size();
    if (rounds > kFiguresMax / arms_ / std::max<size_t>(1, result_["metrics"].size())) {
      return "scenarios: more rounds, arms and metrics than any comparison has";
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
      if (round["order"].size() > arms_) return absl::StrCat(at, "order: it has more than arms");
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

std::string WrongInCompare(const Json& compare) { return Links(compare).Wrong(); }

std::string WrongInLoad(const Json& load) {
  const size_t columns = load["series"]["columns"].size();
  const Json& rows = load["series"]["rows"];
  for (size_t i = 0; i < rows.size(); ++i) {
    if (rows[i].size() == columns) continue;
    return absl::StrCat("series.rows[", i, "]: a number for each of columns is wanted");
  }
  const Json& client = load["client"];
  const bool sampled = client.contains("share_of_latency");
  if (sampled != client.contains("wait_ns")) {
    return absl::StrCat("client.", sampled ? "wait_ns" : "share_of_latency", " is missing");
  }
  if (sampled && client["wait_ns"]["count"] == 0) {
    return "client.wait_ns.count: above 0 is wanted";
  }
  return "";
}

std::string WrongInTimes(const Json& times) {
  const auto count = times["count"].get<uint64_t>();
  if (count > 0) {
    for (const char* name :
         {"min", "mean", "stddev", "max", "p50", "p90", "p99", "p99_9", "p99_99"}) {
      if (times[name].is_null()) return absl::StrCat(name, ": a number is wanted, as of any count");
    }
  }
  const Json& rows = times["intervals_95"];
  for (size_t i = 0; i < rows.size(); ++i) {
    const Json& row = rows[i];
    const double percentile = row["percentile"].get<double>();
    if (percentile <= 0 || percentile >= 100) {
      return absl::StrCat("intervals_95[", i, "].percentile: above 0 and below 100 is wanted");
    }
    const bool enough = row["count"] != 0 && row["enough"].get<bool>();
    if (enough && (row["value"].is_null() || row["high"].is_null())) {
      return absl::StrCat("intervals_95[", i, "]: a value and its bounds are wanted");
    }
  }
  const auto histogram = stats::DecodeHdr(times["hdr"].get_ref<const std::string&>());
  if (!histogram.ok()) return absl::StrCat("hdr: ", histogram.status().message());
  return histogram->count() == count ? "" : "count: as many as hdr has are wanted";
}

std::string WrongInHdr(const std::string& text) {
  const auto histogram = stats::DecodeHdr(text);
  return histogram.ok() ? "" : absl::StrCat(": ", histogram.status().message());
}

}  // namespace report::schema
