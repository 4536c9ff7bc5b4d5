#include "stress/ramp_limits.h"

#include <unistd.h>

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "report/format.h"
#include "stats/needs.h"
#include "stats/proc_file.h"
#include "stress/descriptors.h"

namespace stress {
namespace {

constexpr int64_t kStalledNs = 500'000'000;  // then somebody is asked why

// The numbers of a file of /proc/sys; none where it can't be read.
std::vector<int64_t> Numbers(const std::string& path) {
  std::vector<int64_t> numbers;
  const auto text = stats::ReadProcFile(path);
  if (!text.ok()) return numbers;
  for (const std::string_view word : stats::Words(*text)) {
    if (const auto number = stats::ParseNumber<int64_t>(word)) numbers.push_back(*number);
  }
  return numbers;
}

Limit Descriptors(const char* whose, int64_t limit, uint64_t connections) {
  return {.name = "RLIMIT_NOFILE",
          .value = absl::StrCat(report::FormatCount(static_cast<uint64_t>(limit)), ", of ", whose),
          .mend = absl::StrCat("--direct (io_uring), --processes 2 or more; or ",
                               RaiseDescriptors(stats::DescriptorsOf(connections, 1)))};
}

std::optional<Limit> OfServer(pid_t pid, uint64_t connections) {
  const int64_t open = OpenDescriptors(pid), limit = DescriptorLimit(pid);
  if (open < 0 || limit < 0 || open < limit) return std::nullopt;
  return Descriptors("the server", limit, connections);
}

// The table of connections that the firewall tracks.
std::optional<Limit> Tracking() {
  const std::string folder = "/proc/sys/net/netfilter/";
  const auto count = Numbers(folder + "nf_conntrack_count");
  const auto most = Numbers(folder + "nf_conntrack_max");
  if (count.empty() || most.empty() || count[0] < most[0]) return std::nullopt;
  return Limit{.name = "net.netfilter.nf_conntrack_max",
               .value = absl::StrCat(most[0]),
               .mend = absl::StrCat("sysctl -w net.netfilter.nf_conntrack_max=", 4 * most[0],
                                    ", or leave these connections untracked (NOTRACK)")};
}

std::optional<Limit> OfProblem(const std::string& problem, uint64_t connections) {
  if (absl::StrContains(problem, "EMFILE")) {
    const int64_t limit = DescriptorLimit(getpid());  // each load process has the same
    return Descriptors("the client", limit, connections);
  }
  if (absl::StrContains(problem, "ENFILE")) {
    const auto most = Numbers("/proc/sys/fs/file-max");
    return Limit{.name = "fs.file-max",
                 .value = most.empty() ? "reached" : absl::StrCat(most[0]),
                 .mend = "sysctl -w fs.file-max=10000000"};
  }
  return std::nullopt;
}

Limit OutOfMemory(const char* symbol) {
  return {.name = "kernel memory",
          .value = absl::StrCat("connecting failed with ", symbol),
          .mend = "free memory, raise the cgroup's memory.max, or net.ipv4.tcp_mem"};
}

}  // namespace

std::optional<Limit> RampWatch::Check(int64_t now_ns, uint64_t answered) {
  if (auto limit = guard_.Check()) return limit;
  if (answered != answered_ || since_ns_ == 0) {
    answered_ = answered;
    since_ns_ = now_ns;
    return std::nullopt;
  }
  return WhyNobodyIsAnswered(now_ns - since_ns_);
}

std::optional<Limit> RampWatch::WhyNobodyIsAnswered(int64_t stalled_ns) const {
  if (stalled_ns < std::min(kStalledNs, timeout_ns_)) return std::nullopt;
  for (const pid_t pid : servers_) {
    if (auto limit = OfServer(pid, connections_)) return limit;
  }
  if (auto limit = Tracking()) return limit;
  if (stalled_ns < timeout_ns_) return std::nullopt;
  return Limit{.name = "the server's answers",
               .value = absl::StrCat("none for ", report::FormatDuration(timeout_ns_), ", after ",
                                     report::FormatCount(answered_)),
               .mend =
                   "the server's own limits (of ours: --serve-flags '--connections-max N'), or "
                   "--connect-timeout, where it is only slow"};
}

std::optional<Limit> LimitOfOurEnd(uint64_t connections, bool out_of_ports,
                                   const std::string& problem, const Json& by_errno,
                                   const PortBudget* ports) {
  if (out_of_ports) {
    Limit limit = {.name = "net.ipv4.ip_local_port_range", .value = "used up"};
    if (ports != nullptr) limit = PortLimit(*ports);
    limit.mend =
        "more addresses (--source 127.0.0.1,127.0.0.2), or a wider range (sysctl -w "
        "net.ipv4.ip_local_port_range='1024 65535')";
    return limit;
  }
  if (auto limit = OfProblem(problem, connections)) return limit;
  for (const char* symbol : {"ENOMEM", "ENOBUFS"}) {
    if (by_errno.contains(symbol) || absl::StrContains(problem, symbol)) return OutOfMemory(symbol);
  }
  return std::nullopt;
}

std::optional<Limit> TcpMemoryLimit(int64_t pages, const std::string& folder) {
  const auto marks = Numbers(folder + "/sys/net/ipv4/tcp_mem");
  if (marks.size() < 3 || pages < marks[2]) return std::nullopt;
  return Limit{.name = "net.ipv4.tcp_mem",
               .value = absl::StrCat(marks[0], " ", marks[1], " ", marks[2], " pages, of which ",
                                     pages, " are used"),
               .mend = absl::StrCat("sysctl -w net.ipv4.tcp_mem='", marks[0] * 2, " ", marks[1] * 2,
                                    " ", marks[2] * 2, "'")};
}

}  // namespace stress
