#include "loadgen/evidence.h"

#include <time.h>

#include <algorithm>

#include "stats/cpu_clock.h"

namespace loadgen {
namespace {

int64_t MonotonicNanos() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1'000'000'000 + now.tv_nsec;
}

// What came between the two; nothing where the group changed.
stats::CgroupThrottling Between(const stats::CgroupThrottling& begin,
                                const stats::CgroupThrottling& end) {
  if (end.group.empty() || begin.group != end.group || end.periods < begin.periods) return {};
  stats::CgroupThrottling between = end;
  between.periods -= begin.periods;
  between.ns = std::max<int64_t>(0, end.ns - begin.ns);
  return between;
}

}  // namespace

Witness::Readings Witness::Read() const {
  Readings readings;
  auto machine = stats::MachineCpu::Read();
  if (!machine.ok()) return readings;
  readings.machine = *std::move(machine);
  readings.own_ns = stats::OwnCpuNanos();
  if (server_pid_ > 0) {
    const auto server = stats::ProcessTreeCpuNanos(server_pid_);
    if (server.ok()) readings.server_ns = *server;
    readings.server_throttled = stats::CgroupThrottled(server_pid_);
  }
  readings.throttled = stats::CgroupThrottled();
  readings.at_ns = MonotonicNanos();
  return readings;
}

void Witness::RunBegins() { kernel_before_ = stats::KernelCounters::Read(); }

void Witness::WindowBegins() { begin_ = Read(); }

void Witness::WindowEnds() {
  if (begin_.at_ns != 0 && end_.at_ns == 0) end_ = Read();
}

Evidence Witness::RunEnds() {
  Evidence evidence;
  const auto kernel = stats::KernelCounters::Read();
  if (kernel_before_.ok() && kernel.ok()) {
    evidence.kernel = stats::Difference(*kernel_before_, *kernel);
  }
  WindowEnds();
  if (begin_.at_ns == 0 || end_.at_ns <= begin_.at_ns) return evidence;
  const auto window_ns = static_cast<double>(end_.at_ns - begin_.at_ns);
  const int64_t own = end_.own_ns - begin_.own_ns;
  // A server that ended meanwhile has taken its figures with it.
  const int64_t server = std::max<int64_t>(0, end_.server_ns - begin_.server_ns);
  const stats::OthersCpu others = stats::Others(begin_.machine, end_.machine, own + server);
  evidence.window = true;
  evidence.others_known = others_known_;
  evidence.window_s = window_ns / 1e9;
  evidence.client_cpus = static_cast<double>(own) / window_ns;
  evidence.others_cpus =
      static_cast<double>(std::max<int64_t>(0, others.cpu_ns - others.interrupt_ns)) / window_ns;
  evidence.others_error_cpus = static_cast<double>(others.error_ns) / window_ns;
  evidence.throttled = Between(begin_.throttled, end_.throttled);
  if (end_.server_throttled.group != end_.throttled.group) {
    evidence.server_throttled = Between(begin_.server_throttled, end_.server_throttled);
  }
  evidence.steal_share = stats::Shares(begin_.machine.all, end_.machine.all).steal;
  return evidence;
}

}  // namespace loadgen
