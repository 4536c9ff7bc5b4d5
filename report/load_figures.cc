#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "report/format.h"
#include "report/formats.h"

namespace report {
namespace figures {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kQuantiles[] = {"min", "mean",  "stddev", "p50", "p90",
                                      "p99", "p99_9", "p99_99", "max"};

// The times "latency_ns" as "latency_p50_ns", ...
void AddTimes(const Json& load, const std::string& name, std::vector<LoadFigure>* figures) {
  if (!load.contains(name)) return;
  const std::string stem = name.substr(0, name.size() - 3);
  figures->push_back({stem + "_count", load[name]["count"]});
  for (const char* quantile : kQuantiles) {
    figures->push_back({absl::StrCat(stem, "_", quantile, "_ns"), load[name][quantile]});
  }
}

}  // namespace
}  // namespace figures

std::string NumberText(const nlohmann::ordered_json& value) {
  return value.is_null() ? "" : value.dump();
}

std::vector<LoadFigure> LoadFigures(const nlohmann::ordered_json& load) {
  std::vector<LoadFigure> all = {{"requests", load["requests"]},
                                 {"throughput_rps", load["throughput_rps"]},
                                 {"duration_s", load["duration_s"]},
                                 {"errors", load["errors"]["total"]},
                                 {"connections", load["connections"]["opened"]},
                                 {"bytes_sent_per_s", load["bytes"]["sent_per_s"]},
                                 {"bytes_received_per_s", load["bytes"]["received_per_s"]}};
  for (const char* name : {"latency_ns", "service_ns", "lag_ns", "connect_ns", "first_byte_ns"}) {
    figures::AddTimes(load, name, &all);
  }
  all.push_back({"client_cpu_us_per_request", load["client"]["cpu_us_per_request"]});
  all.push_back({"client_syscalls_per_request", load["client"]["syscalls_per_request"]});
  all.push_back({"client_cpu_share", load["client"]["cpu_share"]});
  if (load.contains("server")) {
    all.push_back({"server_cpu_us_per_request", load["server"]["cpu_us_per_request"]});
    all.push_back({"server_cpu_share", load["server"]["cpu_share"]});
  }
  return all;
}

std::string LoadName(const nlohmann::ordered_json& load) {
  if (load.contains("name")) return load["name"];
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
