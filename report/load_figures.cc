#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "report/format.h"
#include "report/formats.h"
#include "report/json_text.h"
#include "report/reader.h"

namespace report {
namespace figures {
namespace {

constexpr const char* kQuantiles[] = {"min", "mean",  "stddev", "p50", "p90",
                                      "p99", "p99_9", "p99_99", "max"};

// The times "latency_ns" as "latency_p50_ns", ...
void AddTimes(Reader load, const std::string& name, std::vector<LoadFigure>* figures) {
  if (!load.contains(name)) return;
  const Reader times = load[name];
  const std::string stem = name.substr(0, name.size() - 3);
  figures->push_back({stem + "_count", times["count"].json()});
  for (const char* quantile : kQuantiles) {
    figures->push_back({absl::StrCat(stem, "_", quantile, "_ns"), times[quantile].json()});
  }
}

}  // namespace
}  // namespace figures

std::string NumberText(const nlohmann::ordered_json& value) {
  return value.is_null() ? "" : JsonText(value);
}

std::vector<LoadFigure> LoadFigures(const nlohmann::ordered_json& json) {
  const Reader load = json;
  std::vector<LoadFigure> all = {{"requests", load["requests"].json()},
                                 {"throughput_rps", load["throughput_rps"].json()},
                                 {"duration_s", load["duration_s"].json()},
                                 {"errors", load["errors"]["total"].json()},
                                 {"connections", load["connections"]["opened"].json()},
                                 {"bytes_sent_per_s", load["bytes"]["sent_per_s"].json()},
                                 {"bytes_received_per_s", load["bytes"]["received_per_s"].json()}};
  for (const char* name : {"latency_ns", "service_ns", "lag_ns", "connect_ns", "first_byte_ns"}) {
    figures::AddTimes(load, name, &all);
  }
  all.push_back({"client_cpu_us_per_request", load["client"]["cpu_us_per_request"].json()});
  all.push_back({"client_syscalls_per_request", load["client"]["syscalls_per_request"].json()});
  all.push_back({"client_cpu_share", load["client"]["cpu_share"].json()});
  if (load.contains("server")) {
    all.push_back({"server_cpu_us_per_request", load["server"]["cpu_us_per_request"].json()});
    all.push_back({"server_cpu_share", load["server"]["cpu_share"].json()});
  }
  return all;
}

std::string LoadName(const nlohmann::ordered_json& json) {
  const Reader load = json;
  if (load.contains("name")) return load["name"].get<std::string>();
  return absl::StrCat(load["service"].get<std::string>(), " ", load["workload"].get<std::string>(),
                      ", ", load["connections"]["requested"].get<uint64_t>(), " × ",
                      FormatBytes(load["message_bytes"].get<uint64_t>()));
}

std::vector<const nlohmann::ordered_json*> LoadsOf(const nlohmann::ordered_json& result) {
  if (!result.contains("classes")) return {&result};
  std::vector<const nlohmann::ordered_json*> loads;
  for (const auto& load : result["classes"]) loads.push_back(&load);
  return loads;
}

}  // namespace report
