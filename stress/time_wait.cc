#include "stress/time_wait.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "report/format.h"
#include "stats/kernel_counters.h"
#include "stats/proc_file.h"

namespace stress {
namespace {

constexpr double kTimeWaitS = 60, kReusedAfterS = 1;

// A setting that is a number; -1: it can't be read.
int64_t Setting(const char* path) {
  const auto text = stats::ReadProcFile(path);
  if (!text.ok()) return -1;
  const auto lines = stats::Lines(*text);
  return lines.empty() ? -1 : stats::ParseNumber<int64_t>(lines[0]).value_or(-1);
}

}  // namespace

std::optional<double> PortBudget::UsedUpAfter(double rate) const {
  if (rate <= rate_max()) return std::nullopt;
  return static_cast<double>(ports) / rate;
}

absl::StatusOr<PortBudget> ReadPortBudget(size_t sources, bool loopback) {
  const auto local = loadgen::ReadLocalPorts();
  if (!local.ok()) return local.status();
  PortBudget budget = {.first = local->first, .last = local->last};
  budget.sources = std::max<size_t>(1, sources);
  budget.ports = local->Usable().size() * budget.sources;
  const int64_t reuse = Setting("/proc/sys/net/ipv4/tcp_tw_reuse");
  const bool stamped = Setting("/proc/sys/net/ipv4/tcp_timestamps") != 0;  // reuse needs them
  const bool reused = stamped && (reuse == 1 || (reuse == 2 && loopback));
  budget.held_s = reused ? kReusedAfterS : kTimeWaitS;
  return budget;
}

Limit PortLimit(const PortBudget& budget) {
  return {.name = "net.ipv4.ip_local_port_range",
          .value = absl::StrCat(budget.first, " ", budget.last, ": ",
                                report::FormatCount(budget.ports), " ports of ",
                                budget.sources == 1 ? std::string("one address")
                                                    : absl::StrCat(budget.sources, " addresses")),
          .mend = std::string(loadgen::MorePorts()) +
                  ", or a server that closes first (--closes server)"};
}

Json ToJson(const PortBudget& budget, double rate, bool held) {
  Json used_up;
  if (const auto after = budget.UsedUpAfter(rate); held && after) used_up = *after;
  return {{"first", budget.first},
          {"last", budget.last},
          {"sources", budget.sources},
          {"ports", budget.ports},
          {"held_s", held ? budget.held_s : 0},
          {"rate_max", held ? Json(budget.rate_max()) : Json()},
          {"used_up_after_s", used_up}};
}

void TimeWaitSeries::Sample(double at_s) {
  if (calls_++ % every_ != 0) return;
  const auto counters = stats::KernelCounters::Read();
  if (!counters.ok() || counters->gauges.tcp_time_wait < 0) return;
  looks_.push_back({at_s, counters->gauges.tcp_time_wait});
  if (looks_.size() < kLooksMax) return;
  for (size_t i = 0; 2 * i < looks_.size(); ++i) looks_[i] = looks_[2 * i];
  looks_.resize((looks_.size() + 1) / 2);
  every_ *= 2;
}

Json TimeWaitSeries::ToJson() const {
  Json json = Json::array();
  for (const Look& look : looks_) json.push_back({{"at_s", look.at_s}, {"sockets", look.count}});
  return json;
}

int64_t TimeWaitSeries::peak() const {
  int64_t peak = -1;
  for (const Look& look : looks_) peak = std::max(peak, look.count);
  return peak;
}

}  // namespace stress
