#include "bench/cpu_watch.h"

#include <algorithm>
#include <chrono>

#include "stats/cpu_clock.h"

namespace bench {
namespace {

int64_t NowNs() {
  return std::chrono::nanoseconds(std::chrono::steady_clock::now().time_since_epoch()).count();
}

stats::MachineCpu Read() {
  auto machine = stats::MachineCpu::Read();
  return machine.ok() ? *std::move(machine) : stats::MachineCpu();
}

}  // namespace

int64_t CpuWatch::Worked(const stats::MachineCpu& machine) const {
  int64_t ns = 0;
  for (const auto& [cpu, times] : machine.cpus) {
    if (!cpus_.empty() && std::find(cpus_.begin(), cpus_.end(), cpu) == cpus_.end()) continue;
    ns += times.user_ns + times.system_ns;
  }
  return ns;
}

void CpuWatch::Begin() {
  begun_ns_ = NowNs();
  own_ns_ = stats::OwnCpuNanos();
  before_ = Read();
}

void CpuWatch::End(int64_t known_ns) {
  const stats::MachineCpu after = Read();
  const size_t cpus = cpus_.empty() ? after.cpus.size() : cpus_.size();
  known_ns += stats::OwnCpuNanos() - own_ns_;
  others_ns_ += Worked(after) - Worked(before_) - known_ns;
  cpu_time_ns_ += (NowNs() - begun_ns_) * static_cast<int64_t>(cpus);
}

double CpuWatch::others() const {
  if (cpu_time_ns_ <= 0) return 0;
  return std::clamp(static_cast<double>(others_ns_) / cpu_time_ns_, 0.0, 1.0);
}

}  // namespace bench
