#include "stats/cpu_usage.h"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <system_error>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "stats/cpu_clock.h"
#include "stats/proc_file.h"

namespace stats {
namespace {

int64_t TickNanos() { return 1'000'000'000 / sysconf(_SC_CLK_TCK); }

// The columns of a line "cpu" or "cpuN"; those that an old kernel doesn't have are 0.
CpuNanos ParseColumns(const std::vector<std::string_view>& words) {
  enum { kUser, kNice, kSystem, kIdle, kIowait, kIrq, kSoftirq, kSteal, kColumns };
  int64_t ns[kColumns] = {};
  // The two guest columns that follow are contained in user and nice.
  for (size_t i = 0; i < kColumns && i + 1 < words.size(); ++i) {
    ns[i] = ParseNumber<int64_t>(words[i + 1]).value_or(0) * TickNanos();
  }
  return {.user_ns = ns[kUser] + ns[kNice],
          .system_ns = ns[kSystem],
          .interrupt_ns = ns[kIrq] + ns[kSoftirq],
          .idle_ns = ns[kIdle] + ns[kIowait],
          .steal_ns = ns[kSteal]};
}

}  // namespace

std::optional<RunQueue> RunQueueOf(pid_t tid, const std::string& tasks) {
  const absl::StatusOr<std::string> text =
      ReadProcFile(absl::StrCat(tasks, "/", tid, "/schedstat"));
  return text.ok() ? internal::ParseSchedstat(*text) : std::nullopt;
}

std::map<pid_t, int64_t> ThreadsRan(pid_t pid) {
  std::map<pid_t, int64_t> ran;
  const std::string tasks = absl::StrCat("/proc/", pid, "/task");
  std::error_code gone;
  for (std::filesystem::directory_iterator at(tasks, gone), end; !gone && at != end;
       at.increment(gone)) {
    pid_t tid = 0;
    if (!absl::SimpleAtoi(at->path().filename().string(), &tid)) continue;
    if (const auto queue = RunQueueOf(tid, tasks)) ran[tid] = queue->ran_ns;
  }
  return ran;
}

ThreadUsage ThreadUsage::Now() {
  rusage usage{};
  getrusage(RUSAGE_THREAD, &usage);  // It can't fail: the thread is there, and so is `usage`.
  const std::optional<RunQueue> queue = RunQueueOf(gettid());
  return {.cpu_ns = ThreadCpuNanos(),
          .waited_ns = queue ? queue->waited_ns : -1,
          .voluntary_switches = usage.ru_nvcsw,
          .involuntary_switches = usage.ru_nivcsw,
          .minor_faults = usage.ru_minflt,
          .major_faults = usage.ru_majflt};
}

ThreadUsage operator-(const ThreadUsage& after, const ThreadUsage& before) {
  const bool both_waited = after.waited_ns >= 0 && before.waited_ns >= 0;
  return {.cpu_ns = after.cpu_ns - before.cpu_ns,
          .waited_ns = both_waited ? after.waited_ns - before.waited_ns : -1,
          .voluntary_switches = after.voluntary_switches - before.voluntary_switches,
          .involuntary_switches = after.involuntary_switches - before.involuntary_switches,
          .minor_faults = after.minor_faults - before.minor_faults,
          .major_faults = after.major_faults - before.major_faults};
}

absl::StatusOr<MachineCpu> MachineCpu::Read(const std::string& path) {
  const absl::StatusOr<std::string> text = ReadProcFile(path);
  if (!text.ok()) return text.status();
  absl::StatusOr<MachineCpu> machine = Parse(*text);
  if (machine.ok()) return machine;
  return absl::InternalError(absl::StrCat(path, ": ", machine.status().message()));
}

absl::StatusOr<MachineCpu> MachineCpu::Parse(std::string_view text) {
  constexpr std::string_view kCpu = "cpu";
  MachineCpu machine;
  bool found = false;
  for (const std::string_view line : Lines(text)) {
    if (!line.starts_with(kCpu)) continue;
    const std::vector<std::string_view> words = Words(line);
    if (words[0] == kCpu) {
      machine.all = ParseColumns(words);
      found = words.size() > 4;  // up to idle, which each kernel has
    } else if (const auto cpu = ParseNumber<int>(words[0].substr(kCpu.size()))) {
      machine.cpus[*cpu] = ParseColumns(words);
    }
  }
  if (!found) return absl::InternalError("there is no line \"cpu\" with the times of all CPUs");
  return machine;
}

CpuShares Shares(const CpuNanos& before, const CpuNanos& after) {
  const auto spent = [](int64_t first, int64_t last) {
    return static_cast<double>(std::max<int64_t>(last - first, 0));
  };
  const double busy = spent(before.busy_ns(), after.busy_ns());
  const double idle = spent(before.idle_ns, after.idle_ns);
  const double steal = spent(before.steal_ns, after.steal_ns);
  const double total = busy + idle + steal;
  if (total <= 0) return {};
  return {.busy = busy / total, .idle = idle / total, .steal = steal / total};
}

OthersCpu Others(const MachineCpu& before, const MachineCpu& after, int64_t known_ns) {
  const int64_t others = after.all.busy_ns() - before.all.busy_ns() - known_ns;
  const int64_t interrupts = after.all.interrupt_ns - before.all.interrupt_ns;
  const int64_t cpu_ns = std::max<int64_t>(others, 0);
  return {.cpu_ns = cpu_ns,
          .interrupt_ns = std::clamp<int64_t>(interrupts, 0, cpu_ns),
          .error_ns = TickNanos() * static_cast<int64_t>(after.cpus.size())};
}

namespace internal {

std::optional<RunQueue> ParseSchedstat(std::string_view text) {
  const std::vector<std::string_view> lines = Lines(text);
  if (lines.empty()) return std::nullopt;
  const std::vector<std::string_view> words = Words(lines[0]);
  if (words.size() < 3) return std::nullopt;
  const auto ran = ParseNumber<int64_t>(words[0]), waited = ParseNumber<int64_t>(words[1]),
             slices = ParseNumber<int64_t>(words[2]);
  if (!ran || !waited || !slices || (*ran == 0 && *slices == 0)) return std::nullopt;
  return RunQueue{.ran_ns = *ran, .waited_ns = *waited, .slices = *slices};
}

}  // namespace internal
}  // namespace stats
