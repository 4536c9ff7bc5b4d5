#include "cli/doctor_json.h"

#include <algorithm>
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

#include "cli/version.h"
#include "report/environment_json.h"
#include "stats/needs.h"

namespace cli {
namespace {

using Json = nlohmann::ordered_json;
using stats::Finding;
using stats::Severity;

// A number, "unlimited", or null where nothing is known.
Json Value(const stats::Known& known) {
  if (!known) return nullptr;
  if (*known == stats::kUnlimited) return "unlimited";
  return *known;
}

Json Value(const std::optional<bool>& known) { return known ? Json(*known) : Json(nullptr); }

template <size_t kCount>
Json Values(const std::array<stats::Known, kCount>& known) {
  Json values = Json::array();
  for (const stats::Known& one : known) values.push_back(Value(one));
  return values;
}

Json Text(const std::string& text) { return text.empty() ? Json(nullptr) : Json(text); }

Json FindingsJson(const std::vector<Finding>& findings) {
  Json all = Json::array();
  for (const Finding& finding : findings) {
    all.push_back({{"limit", finding.limit},
                   {"has", Value(finding.has)},
                   {"needs", Value(finding.needs)},
                   {"severity", stats::SeverityName(finding.severity)},
                   {"text", Text(finding.text)},
                   {"mend", Text(finding.mend)}});
  }
  return all;
}

// The names of those findings.
Json Named(const std::vector<Finding>& findings, Severity severity) {
  Json names = Json::array();
  for (const Finding& finding : findings) {
    if (finding.severity == severity) names.push_back(finding.limit);
  }
  return names;
}

Json FeaturesJson(const std::vector<io::KernelFeature>& features) {
  Json all = Json::array();
  for (const io::KernelFeature& feature : features) {
    all.push_back({{"name", feature.name},
                   {"since", feature.since},
                   {"used", feature.used},
                   {"available", feature.available}});
  }
  return all;
}

bool Has(const std::vector<io::KernelFeature>& features, std::string_view name) {
  return std::ranges::any_of(features, [&](const io::KernelFeature& feature) {
    return feature.name == name && feature.available;
  });
}

bool CanDirect(const Examination& found) {
  return found.io_uring.ok() && Has(found.io_uring_features, "direct descriptors") &&
         Has(found.io_uring_features, "socket options");
}

// The same connections without a descriptor each.
Json DirectJson(const Examination& found, stats::Wanted wanted) {
  Json json = {{"fits", false}, {"threads", nullptr}, {"stopped_by", Json::array()}};
  if (!wanted.can_direct) {
    json["stopped_by"].push_back("io_uring");
    return json;
  }
  const uint64_t threads = stats::DirectThreads(found.limits, wanted.connections);
  if (threads == 0 || threads > stats::kThreadsMax) {
    json["stopped_by"].push_back("RLIMIT_NOFILE");
    return json;
  }
  wanted.direct = true;
  wanted.threads = threads;
  const std::vector<Finding> findings = stats::Assess(found.limits, wanted);
  json["fits"] = stats::Fits(findings);
  json["threads"] = threads;
  json["stopped_by"] = Named(findings, Severity::kStops);
  return json;
}

Json LimitsJson(const stats::MachineLimits& l) {
  const auto both = [](const stats::ResourceLimit& limit) {
    return Json{{"soft", Value(limit.soft)}, {"hard", Value(limit.hard)}};
  };
  const auto group = [](const stats::CgroupLimit& limit) {
    return Json{{"max", Value(limit.max)}, {"left", Value(limit.left)}};
  };
  return {{"nofile", both(l.nofile)},
          {"memlock_bytes", both(l.memlock)},
          {"nproc", both(l.nproc)},
          {"may_raise", Value(l.raise)},
          {"nr_open", Value(l.nr_open)},
          {"file_max", Value(l.file_max)},
          {"files_open", Value(l.files_open)},
          {"somaxconn", Value(l.somaxconn)},
          {"tcp_max_syn_backlog", Value(l.syn_backlog)},
          {"tcp_syncookies", Value(l.syncookies)},
          {"port_first", Value(l.port_first)},
          {"port_last", Value(l.port_last)},
          {"ports_reserved", Value(l.ports_reserved)},
          {"ports", Value(l.Ports())},
          {"time_wait", Value(l.time_wait)},
          {"tcp_max_tw_buckets", Value(l.time_wait_max)},
          {"tcp_tw_reuse", Value(l.time_wait_reuse)},
          {"orphans", Value(l.orphans)},
          {"tcp_max_orphans", Value(l.orphans_max)},
          {"page_bytes", Value(l.page_bytes)},
          {"tcp_mem_pages", Values(l.tcp_memory_pages)},
          {"tcp_mem_used_pages", Value(l.tcp_memory_used_pages)},
          {"tcp_rmem_bytes", Values(l.tcp_receive_bytes)},
          {"tcp_wmem_bytes", Values(l.tcp_send_bytes)},
          {"conntrack", l.conntrack},
          {"conntrack_count", Value(l.conntrack_count)},
          {"conntrack_max", Value(l.conntrack_max)},
          {"memory_bytes", Value(l.memory_bytes)},
          {"memory_available_bytes", Value(l.memory_available_bytes)},
          {"cgroup_memory_bytes", group(l.cgroup_memory_bytes)},
          {"cgroup_pids", group(l.cgroup_pids)},
          {"pid_max", Value(l.pid_max)},
          {"threads_max", Value(l.threads_max)},
          {"io_uring_disabled", Value(l.io_uring_disabled)},
          {"loopback_up", Value(l.loopback_up)},
          {"loopback_mtu_bytes", Value(l.loopback_mtu_bytes)},
          {"own_network_namespace", Value(l.own_namespace)}};
}

Json StealShare(const stats::CpuTimes& times) {
  return times.total_s > 0 ? Json(times.steal_s / times.total_s) : Json(nullptr);
}

}  // namespace

Json DoctorJson(const Examination& found, uint64_t connections) {
  const stats::Wanted wanted = {.connections = connections,
                                .can_direct = CanDirect(found),
                                .ring_bytes = found.rings.charged ? found.rings.loop_bytes : 0};
  const std::vector<Finding> findings = stats::Assess(found.limits, wanted);
  const Json why =
      found.io_uring.ok() ? Json(nullptr) : Text(std::string(found.io_uring.message()));
  return {{"schema", "ringside.doctor/1"},
          {"version", Version()},
          {"connections", connections},
          {"ends", wanted.ends},
          {"fits", stats::Fits(findings)},
          {"stopped_by", Named(findings, Severity::kStops)},
          {"unknown", Named(findings, Severity::kUnknown)},
          {"direct", DirectJson(found, wanted)},
          {"findings", FindingsJson(findings)},
          {"limits", LimitsJson(found.limits)},
          {"io_uring",
           {{"available", found.io_uring.ok()},
            {"why_not", why},
            {"features", FeaturesJson(found.io_uring_features)}}},
          {"epoll", {{"features", FeaturesJson(found.epoll_features)}}},
          {"steal_share", StealShare(found.cpu_times)},
          {"environment", report::EnvironmentJson(found.environment)}};
}

}  // namespace cli
