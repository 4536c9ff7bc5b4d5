#include "report/merge.h"

#include <algorithm>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "stats/hdr_codec.h"
#include "stats/histogram.h"
#include "stats/histogram_json.h"

namespace report {
namespace merging {
namespace {

using Json = nlohmann::ordered_json;
using Runs = std::span<const Json>;

// Adds the numbers of `from` to those of the same names; others stay.
void AddUp(const Json& from, Json* to) {
  for (const auto& [name, value] : from.items()) {
    if (!value.is_number()) continue;
    Json& sum = (*to)[name];
    if (sum.is_null()) {
      sum = value;
    } else if (value.is_number_integer() && sum.is_number_integer()) {
      sum = sum.get<uint64_t>() + value.get<uint64_t>();
    } else {
      sum = sum.get<double>() + value.get<double>();
    }
  }
}

absl::Status CheckSame(Runs runs) {
  if (runs.size() < 2) return absl::InvalidArgumentError("--merge needs two results or more");
  for (const Json& run : runs) {
    if (run["schema"] == "ringside.load/1") continue;
    return absl::InvalidArgumentError(
        absl::StrCat("--merge takes results of `load` (ringside.load/1), not ",
                     run["schema"].get<std::string>()));
  }
  for (const char* name : {"service", "workload", "message_bytes", "depth", "sizes"}) {
    for (const Json& run : runs) {
      const Json &first = runs[0].contains(name) ? runs[0][name] : Json(),
                 &other = run.contains(name) ? run[name] : Json();
      if (first == other) continue;
      return absl::InvalidArgumentError(
          absl::StrCat("these can't be merged: `", name, "` is ", first.dump(), " in one and ",
                       other.dump(), " in another; latencies of different loads have no sum"));
    }
  }
  for (const Json& run : runs) {
    if (run["latency_ns"]["kind"] == runs[0]["latency_ns"]["kind"]) continue;
    return absl::InvalidArgumentError(
        "these can't be merged: response times of open loop and service times of closed loop are "
        "two things");
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

absl::Status MergeAllTimes(Runs runs, Json* merged) {
  for (const char* name :
       {"latency_ns", "service_ns", "lag_ns", "connect_ns", "first_byte_ns", "loop_lag_ns"}) {
    if (!merged->contains(name)) continue;
    auto times = MergedTimes(runs, name);
    if (!times.ok()) return times.status();
    (*merged)[name].update(*times);
  }
  uint64_t censored = 0;
  for (const Json& run : runs) censored += run["latency_ns"]["censored"].get<uint64_t>();
  (*merged)["latency_ns"]["censored"] = censored;
  return absl::OkStatus();
}

void MergeErrors(const Json& run, Json* errors) {
  AddUp(run["errors"], errors);
  AddUp(run["errors"]["by_errno"], &(*errors)["by_errno"]);
  for (const char* list : {"corruptions", "failures"}) {
    for (const Json& one : run["errors"][list]) (*errors)[list].push_back(one);
  }
  if (run["errors"].contains("problem")) (*errors)["problem"] = run["errors"]["problem"];
}

void MergeConnections(const Json& run, Json* connections) {
  const Json& more = run["connections"];
  for (const char* name : {"requested", "opened", "answered", "silent"}) {
    (*connections)[name] = (*connections)[name].get<uint64_t>() + more[name].get<uint64_t>();
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
  if (run["client"]["cpu_share_max"] > (*client)["cpu_share_max"]) {
    (*client)["cpu_share_max"] = run["client"]["cpu_share_max"];
  }
}

void MergePace(const Json& run, Json* pace) {
  const Json late = std::max((*pace)["late_max_ns"], run["pace"]["late_max_ns"]);
  AddUp(run["pace"], pace);
  (*pace)["late_max_ns"] = late;
  (*pace)["seed"] = run["pace"]["seed"];
  pace->erase("plan");
}

// Lower is more serious; as in results/SCHEMA.md, of those that hold the first.
size_t Rank(const Json& verdict) {
  constexpr const char* kKinds[] = {"incomplete", "noisy", "client-bound", "server-bound", "valid"};
  return std::find(std::begin(kKinds), std::end(kKinds), verdict["kind"]) - std::begin(kKinds);
}

void MergeRun(const Json& run, Json* merged) {
  MergeClient(run, *merged, &(*merged)["client"]);
  for (const char* name : {"requests", "requests_total", "throughput_rps", "threads"}) {
    AddUp({{name, run[name]}}, merged);
  }
  MergeErrors(run, &(*merged)["errors"]);
  MergeConnections(run, &(*merged)["connections"]);
  AddUp(run["bytes"], &(*merged)["bytes"]);
  (*merged)["bytes"]["verified"] =
      (*merged)["bytes"]["verified"].get<bool>() && run["bytes"]["verified"].get<bool>();
  (*merged)["valid"] = (*merged)["valid"].get<bool>() && run["valid"].get<bool>();
  (*merged)["interrupted"] = (*merged)["interrupted"].get<bool>() || run["interrupted"].get<bool>();
  for (const char* name : {"duration_s", "warmup_s"}) {
    if (run[name] > (*merged)[name]) (*merged)[name] = run[name];
  }
  if (merged->contains("pace")) MergePace(run, &(*merged)["pace"]);
  if (Rank(run["verdict"]) < Rank((*merged)["verdict"])) (*merged)["verdict"] = run["verdict"];
  for (const Json& one : run["accusations"]) {
    Json& all = (*merged)["accusations"];
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
  for (const Json& run : runs.subspan(1)) merging::MergeRun(run, &merged);
  const absl::Status times = merging::MergeAllTimes(runs, &merged);
  if (!times.ok()) return times;
  merged["address"] = merging::Addresses(runs);
  merged["merged"] = runs.size();
  return merged;
}

}  // namespace report
