#include "report/merge.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "report/fields.h"
#include "report/json_text.h"
#include "stats/hdr_codec.h"
#include "stats/histogram.h"
#include "stats/histogram_json.h"

namespace report {
namespace merging {
namespace {

using Json = nlohmann::ordered_json;
using Runs = std::span<const Json>;

constexpr size_t kListedMax = 100;
constexpr int64_t kCountMax = std::numeric_limits<int64_t>::max();

constexpr const char* kTimes[] = {"latency_ns", "service_ns",    "lag_ns",
                                  "connect_ns", "first_byte_ns", "loop_lag_ns"};

bool IsCount(const Json& value) {  // a 0 that was not parsed is signed
  return value.is_number_unsigned() || (value.is_number_integer() && value.get<int64_t>() >= 0);
}

// Adds up, and remembers the first sum that a result can't have.
class Sums {
 public:
  // Adds up two numbers: counts as such, others as what they are.
  Json Sum(const char* name, const Json& a, const Json& b) {
    if (IsCount(a) && IsCount(b)) return Count(name, a, b);
    const double sum = fields::Number(a) + fields::Number(b);
    if (std::abs(sum) > kNumberMax) TooLarge(name);
    return sum;
  }

  // Adds the numbers of `from` to those of the same names; others stay.
  void Add(const Json& from, Json* to) {
    for (const auto& [name, value] : from.items()) {
      if (!value.is_number()) continue;
      Json& sum = (*to)[name];
      if (sum.is_null()) {
        sum = value;
      } else if (sum.is_number()) {
        sum = Sum(name.c_str(), sum, value);
      }
    }
  }

  Json Count(const char* name, const Json& a, const Json& b) {
    const uint64_t first = fields::Count(a), second = fields::Count(b);
    if (second > std::numeric_limits<uint64_t>::max() - first) {
      TooLarge(name);
      return first;
    }
    return first + second;
  }

  const absl::Status& status() const { return status_; }

 private:
  static constexpr double kNumberMax = 9e18;  // as report/schema.cc takes it

  void TooLarge(const char* name) {
    if (!status_.ok()) return;
    status_ = absl::InvalidArgumentError(absl::StrCat("these can't be merged: the sum of `", name,
                                                      "` is larger than a result may have"));
  }

  absl::Status status_;
};

absl::Status CheckSame(Runs runs) {
  if (runs.size() < 2) return absl::InvalidArgumentError("--merge needs two results or more");
  for (const Json& run : runs) {
    const std::string schema = fields::Text(fields::At(run, "schema"), "something else");
    if (schema == "ringside.load/1") continue;
    return absl::InvalidArgumentError(
        absl::StrCat("--merge takes results of `load` (ringside.load/1), not ", schema));
  }
  for (const char* name :
       {"service", "workload", "message_bytes", "depth", "sizes", "requests_per_connection"}) {
    for (const Json& run : runs) {
      const Json &first = fields::At(runs[0], name), &other = fields::At(run, name);
      if (first == other) continue;
      return absl::InvalidArgumentError(
          absl::StrCat("these can't be merged: `", name, "` is ", JsonText(first), " in one and ",
                       JsonText(other), " in another; latencies of different loads have no sum"));
    }
  }
  for (const Json& run : runs) {
    if (run["latency_ns"]["kind"] == runs[0]["latency_ns"]["kind"]) continue;
    return absl::InvalidArgumentError(
        "these can't be merged: response times of open loop and service times of closed loop are "
        "two things");
  }
  for (size_t i = 1; i < runs.size(); ++i) {
    for (const char* name : {"service_ns", "lag_ns", "pace"}) {
      if (runs[i].contains(name) == runs[0].contains(name)) continue;
      return absl::InvalidArgumentError(
          absl::StrCat("these can't be merged: of the first and that in place ", i + 1,
                       " only one has `", name, "`; open loop and closed loop have no sum"));
    }
  }
  return absl::OkStatus();
}

// The buckets are added; the extremes are exact in each run, so they are in the whole.
absl::StatusOr<Json> MergedTimes(Runs runs, const char* name) {
  stats::Histogram all;
  Json min, max;
  for (const Json& run : runs) {
    const Json& times = run[name];
    const auto histogram = stats::DecodeHdr(times["hdr"].get<std::string>());
    if (!histogram.ok()) {
      return absl::InvalidArgumentError(
          absl::StrCat("the histogram of ", name, " is damaged: ", histogram.status().message()));
    }
    // As the histogram's format has it; each of them keeps to that.
    if (histogram->count() > static_cast<uint64_t>(kCountMax) - all.count()) {
      return absl::InvalidArgumentError(
          absl::StrCat("these can't be merged: together the histograms of ", name,
                       " have more than 2^63 values"));
    }
    all.Merge(*histogram);
    if (times["min"].is_null() || times["max"].is_null()) continue;
    if (min.is_null() || times["min"] < min) min = times["min"];
    if (max.is_null() || times["max"] > max) max = times["max"];
  }
  Json json = stats::TimesJson(all);
  json["min"] = min;
  json["max"] = max;
  for (const char* percentile : {"p50", "p90", "p99", "p99_9", "p99_99"}) {
    if (!json[percentile].is_null() && json[percentile] > max) json[percentile] = max;
  }
  for (Json& interval : json["intervals_95"]) {
    if (!interval["value"].is_null() && interval["value"] > max) interval["value"] = max;
    if (!interval["high"].is_null() && interval["high"] > max) interval["high"] = max;
  }
  return json;
}

absl::Status MergeAllTimes(Runs runs, Sums* sums, Json* merged) {
  for (const char* name : kTimes) {
    if (!merged->contains(name)) continue;
    auto times = MergedTimes(runs, name);
    if (!times.ok()) return times.status();
    (*merged)[name].update(*times);
  }
  Json censored = 0u;
  for (const Json& run : runs) {
    censored = sums->Count("censored", censored, run["latency_ns"]["censored"]);
  }
  (*merged)["latency_ns"]["censored"] = censored;
  return absl::OkStatus();
}

void MergeErrors(const Json& run, Sums* sums, Json* errors) {
  sums->Add(run["errors"], errors);
  sums->Add(run["errors"]["by_errno"], &(*errors)["by_errno"]);
  for (const char* list : {"corruptions", "failures"}) {
    Json& all = (*errors)[list];  // "the first few", of each
    for (const Json& one : run["errors"][list]) {
      if (all.size() < kListedMax) all.push_back(one);
    }
  }
  if (run["errors"].contains("problem")) (*errors)["problem"] = run["errors"]["problem"];
}

void MergeConnections(const Json& run, Sums* sums, Json* connections) {
  const Json& more = run["connections"];
  for (const char* name : {"requested", "opened", "answered", "silent"}) {
    (*connections)[name] = sums->Count(name, (*connections)[name], more[name]);
  }
  for (const char* name : {"closed_by_client", "closed_by_server", "retried_requests"}) {
    if (!more.contains(name)) continue;  // results of before have none
    (*connections)[name] = sums->Count(name, connections->value(name, Json(0u)), more[name]);
  }
  for (const char* name : {"requests_max", "opening_s"}) {
    if (more[name] > (*connections)[name]) (*connections)[name] = more[name];
  }
  if (more["requests_min"] < (*connections)["requests_min"]) {
    (*connections)["requests_min"] = more["requests_min"];
  }
}

// Means of the client weighted by what they are of; `sum` has the requests and threads so far.
void MergeClient(const Json& run, const Json& sum, Json* client) {
  const auto weighted = [&](const char* name, const char* by) {
    const double a = sum[by].get<double>(), b = run[by].get<double>();
    if (a + b <= 0) return;
    (*client)[name] =
        ((*client)[name].get<double>() * a + run["client"][name].get<double>() * b) / (a + b);
  };
  weighted("cpu_us_per_request", "requests");
  weighted("syscalls_per_request", "requests");
  weighted("cpu_share", "threads");
  for (const char* name : {"cpu_share_max", "stopped_s"}) {
    const double most = std::max(client->value(name, 0.0), run["client"].value(name, 0.0));
    if (client->contains(name)) (*client)[name] = most;
  }
}

void MergePace(const Json& run, Sums* sums, Json* pace) {
  const Json late = std::max((*pace)["late_max_ns"], run["pace"]["late_max_ns"]);
  Json more = run["pace"];
  for (const char* name : {"late_max_ns", "seed"}) more.erase(name);  // have no sum
  sums->Add(more, pace);
  (*pace)["late_max_ns"] = late;
  (*pace)["seed"] = run["pace"]["seed"];
  pace->erase("plan");
}

// Lower is more serious; as in results/SCHEMA.md, of those that hold the first.
size_t Rank(const Json& verdict) {
  constexpr const char* kKinds[] = {"incomplete", "noisy", "client-bound", "server-bound", "valid"};
  return std::find(std::begin(kKinds), std::end(kKinds), verdict["kind"]) - std::begin(kKinds);
}

void MergeRun(const Json& run, Sums* sums, Json* merged) {
  MergeClient(run, *merged, &(*merged)["client"]);
  for (const char* name : {"requests", "requests_total", "throughput_rps", "threads"}) {
    (*merged)[name] = sums->Sum(name, (*merged)[name], run[name]);
  }
  MergeErrors(run, sums, &(*merged)["errors"]);
  MergeConnections(run, sums, &(*merged)["connections"]);
  sums->Add(run["bytes"], &(*merged)["bytes"]);
  (*merged)["bytes"]["verified"] =
      (*merged)["bytes"]["verified"].get<bool>() && run["bytes"]["verified"].get<bool>();
  (*merged)["valid"] = (*merged)["valid"].get<bool>() && run["valid"].get<bool>();
  (*merged)["interrupted"] = (*merged)["interrupted"].get<bool>() || run["interrupted"].get<bool>();
  for (const char* name : {"duration_s", "warmup_s"}) {
    if (run[name] > (*merged)[name]) (*merged)[name] = run[name];
  }
  if (merged->contains("pace")) MergePace(run, sums, &(*merged)["pace"]);
  if (Rank(run["verdict"]) < Rank((*merged)["verdict"])) (*merged)["verdict"] = run["verdict"];
  for (const Json& one : run["accusations"]) {
    Json& all = (*merged)["accusations"];
    if (all.size() == kListedMax) break;
    if (std::find(all.begin(), all.end(), one) == all.end()) all.push_back(one);
  }
}

std::string Addresses(Runs runs) {
  std::vector<std::string> addresses;
  for (const Json& run : runs) {
    const std::string address = run["address"];
    if (std::find(addresses.begin(), addresses.end(), address) == addresses.end()) {
      addresses.push_back(address);
    }
  }
  return absl::StrJoin(addresses, ", ");
}

}  // namespace
}  // namespace merging

absl::StatusOr<nlohmann::ordered_json> MergeLoads(std::span<const nlohmann::ordered_json> runs) {
  using merging::Json;
  const absl::Status same = merging::CheckSame(runs);
  if (!same.ok()) return same;
  Json merged = runs[0];
  for (const char* name : {"tcp", "server", "machine", "reconciliation", "name", "datagrams"}) {
    merged.erase(name);
  }
  for (const char* name : {"share_of_latency", "wait_ns"}) merged["client"].erase(name);
  merged["connections"].erase("requests_median");
  merged["kernel"] = {{"counters", Json::array()}};
  merged["series"]["rows"] = Json::array();
  merging::Sums sums;
  for (const Json& run : runs.subspan(1)) merging::MergeRun(run, &sums, &merged);
  const absl::Status times = merging::MergeAllTimes(runs, &sums, &merged);
  if (!times.ok()) return times;
  if (!sums.status().ok()) return sums.status();
  merged["address"] = merging::Addresses(runs);
  merged["merged"] = runs.size();
  return merged;
}

}  // namespace report
