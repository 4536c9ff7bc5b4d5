#include "stats/needs.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace stats {
namespace {

// Of one process, beside its connections: standard streams, listeners, what watches it, the
// process's files; and of each thread: ring or epoll, wake-up, timer, a listener.
constexpr uint64_t kOwnDescriptors = 48, kThreadDescriptors = 4;

// A thread of io_uring may get workers of the kernel, which count as threads (io_uring(7)).
constexpr uint64_t kThreadsOfAThread = 3;

// Memory of a connection at one end, in bytes. The kernel's: struct tcp_sock (2.5 KiB in its own
// slab), socket, file, and inode; 4.6 to 7.9 KB for both ends, measured over loopback on Linux
// 6.18 with and without descriptors, so half of 8 KB each. Ours: the loop's slot, the session.
constexpr uint64_t kKernelBytes = 4096, kOwnBytes = 300;

constexpr uint64_t kTableMax = 1 << 20;  // IORING_MAX_FIXED_FILES

Finding Make(const char* limit, Known has, Known needs) {
  Finding finding = {.limit = limit, .has = has, .needs = needs};
  if (!has || !needs) finding.severity = Severity::kUnknown;
  return finding;
}

bool FallsShort(const Finding& finding) {
  return finding.has && finding.needs && *finding.has < *finding.needs;
}

Finding& Say(Finding& finding, Severity severity, std::string text, std::string mend) {
  finding.severity = severity;
  finding.text = std::move(text);
  finding.mend = std::move(mend);
  return finding;
}

std::string SetSysctl(const char* name, uint64_t value) {
  return absl::StrCat("sysctl -w ", name, "=", value);
}

std::string DirectAdvice(const MachineLimits& limits, const Wanted& wanted) {
  if (wanted.direct || !wanted.can_direct) return "";
  const uint64_t threads = DirectThreads(limits, wanted.connections);
  if (threads == 0 || threads > kThreadsMax) return "";
  return absl::StrCat(", or use --direct -b io_uring -t ", std::max(threads, wanted.threads),
                      " (direct descriptors: the limit holds for each thread's table only)");
}

Finding NrOpen(const MachineLimits& limits, uint64_t descriptors) {
  // It bounds what RLIMIT_NOFILE can be raised to, and says nothing while that is enough.
  const bool raised = limits.nofile.hard && *limits.nofile.hard < descriptors;
  Finding finding = Make("fs.nr_open", limits.nr_open, descriptors);
  if (!raised || !FallsShort(finding)) return finding;
  return Say(finding, Severity::kStops,
             absl::StrCat("RLIMIT_NOFILE can be raised to ", *finding.has, " only, and ",
                          descriptors, " descriptors are needed"),
             SetSysctl("fs.nr_open", descriptors));
}

Finding FileMax(const MachineLimits& limits, const Wanted& wanted, uint64_t others) {
  // Each socket is an open file of the machine, also without a descriptor; at both ends.
  const Known needs = limits.files_open
                          ? Known(*limits.files_open + wanted.ends * (wanted.connections + others))
                          : std::nullopt;
  Finding finding = Make("fs.file-max", limits.file_max, needs);
  if (!FallsShort(finding)) return finding;
  // fs/file_table.c, alloc_empty_file (Linux 6.17).
  const bool exempt = limits.root == true;
  return Say(finding, exempt ? Severity::kNote : Severity::kStops,
             absl::StrCat("the machine may have ", *finding.has, " files open, and with both ends ",
                          *finding.needs, " would be",
                          exempt ? "; this process has CAP_SYS_ADMIN and may go beyond" : ""),
             SetSysctl("fs.file-max", *finding.needs));
}

Finding SynBacklog(const MachineLimits& limits, const Wanted& wanted) {
  // Without cookies, a listener leaves a quarter of it to peers that are known (net/ipv4/
  // tcp_input.c, tcp_conn_request, Linux 6.17); with cookies it isn't asked.
  const bool cookies = limits.syncookies.value_or(0) > 0;
  const uint64_t at_once = std::min(wanted.connections, wanted.backlog);
  Finding finding =
      Make("net.ipv4.tcp_max_syn_backlog", limits.syn_backlog, cookies ? 0 : at_once * 4 / 3);
  if (!FallsShort(finding)) return finding;
  if (!limits.syncookies) {
    finding.severity = Severity::kUnknown;
    return finding;
  }
  return Say(finding, Severity::kNote,
             absl::StrCat("net.ipv4.tcp_syncookies is 0, so SYNs are dropped while ",
                          *finding.has * 3 / 4, " connections are half open"),
             absl::StrCat(SetSysctl("net.ipv4.tcp_max_syn_backlog", *finding.needs), ", or ",
                          SetSysctl("net.ipv4.tcp_syncookies", 1)));
}

// So many addresses of loopback as --source takes them, as a shell writes them.
std::string SourceList(uint64_t count) {
  constexpr uint64_t kLast = 254;
  if (count <= kLast) return absl::StrCat("$(seq -s, -f 127.0.0.%g ", count, ")");
  return absl::StrCat("$(echo 127.0.{0..", (count - 1) / kLast, "}.{1..254} | tr ' ' ,)");
}

Finding PortFinding(const MachineLimits& limits, const Wanted& wanted) {
  // A connection is its two addresses and ports: from one source to one listener there are as many
  // as ports.
  const Known ports = limits.Ports();
  const Known has = ports ? Known(*ports * wanted.sources) : std::nullopt;
  Finding finding = Make("net.ipv4.ip_local_port_range", has, wanted.connections);
  if (!FallsShort(finding)) return finding;
  const uint64_t sources = *ports == 0 ? 0 : (wanted.connections + *ports - 1) / *ports;
  const std::string widen = "sysctl -w net.ipv4.ip_local_port_range=\"1024 65535\"";
  const bool wide_enough = wanted.connections <= 64512 - *limits.ports_reserved;
  const std::string text =
      absl::StrCat(*limits.port_first, " to ", *limits.port_last, " are ", *ports,
                   " ports that aren't reserved, and as many connections from a source address to "
                   "one listener");
  if (sources == 0) return Say(finding, Severity::kStops, text, widen);
  return Say(
      finding, Severity::kFlag, text,
      absl::StrCat("load --source ", SourceList(sources), wide_enough ? ", or " + widen : ""));
}

Finding TimeWait(const MachineLimits& limits, const Wanted& wanted) {
  const Known needs =
      limits.time_wait ? Known(*limits.time_wait + wanted.connections) : std::nullopt;
  Finding finding = Make("net.ipv4.tcp_max_tw_buckets", limits.time_wait_max, needs);
  if (!FallsShort(finding)) return finding;
  return Say(finding, Severity::kNote,
             absl::StrCat("closed at once, they are ", *needs, " in TIME-WAIT; beyond ",
                          *finding.has, " the kernel forgets them at once"),
             SetSysctl("net.ipv4.tcp_max_tw_buckets", *needs));
}

Finding Orphans(const MachineLimits& limits, const Wanted& wanted) {
  const Known needs =
      limits.orphans ? Known(*limits.orphans + wanted.ends * wanted.connections) : std::nullopt;
  Finding finding = Make("net.ipv4.tcp_max_orphans", limits.orphans_max, needs);
  if (!FallsShort(finding)) return finding;
  return Say(finding, Severity::kNote,
             absl::StrCat("a process that ends at once leaves up to ", *needs, " orphans; beyond ",
                          *finding.has, " the kernel resets them"),
             SetSysctl("net.ipv4.tcp_max_orphans", *needs));
}

Finding TcpMemory(const MachineLimits& limits, const Wanted& wanted) {
  // Idle sockets hold none of it. One with bytes under way is charged whole pages (sk_mem_charge):
  // one at least, at the end where they wait. tcp_mem's second number is where pressure begins.
  Finding finding = Make("net.ipv4.tcp_mem", limits.tcp_memory_pages[1], wanted.connections);
  if (!FallsShort(finding)) return finding;
  const uint64_t low = wanted.connections, high = 2 * wanted.connections;
  return Say(finding, Severity::kNote,
             absl::StrCat("of the connections ", *finding.has,
                          " can have a request under way at once (a page each) before the kernel "
                          "saves TCP memory"),
             absl::StrCat("sysctl -w net.ipv4.tcp_mem=\"", low, " ", low, " ", high, "\""));
}

Finding Conntrack(const MachineLimits& limits, const Wanted& wanted) {
  const Known needs =
      limits.conntrack_count ? Known(*limits.conntrack_count + wanted.connections) : std::nullopt;
  Finding finding = Make("net.netfilter.nf_conntrack_max", limits.conntrack_max, needs);
  if (!FallsShort(finding)) return finding;
  // The module tracks a namespace only while a rule there asks for it.
  const bool tracks = *limits.conntrack_count > 0;
  return Say(finding, tracks ? Severity::kStops : Severity::kNote,
             absl::StrCat("the connection tracker takes ", *finding.has, " and drops packets of ",
                          "more", tracks ? "" : "; it tracks nothing here at the moment"),
             absl::StrCat(SetSysctl("net.netfilter.nf_conntrack_max", *needs),
                          ", or iptables -t raw -A OUTPUT -o lo -j CT --notrack"));
}

Finding Memory(const MachineLimits& limits, const Wanted& wanted) {
  const uint64_t needs = wanted.connections * wanted.ends * (kKernelBytes + kOwnBytes);
  Finding finding = Make("memory", limits.MemoryLeft(), needs);
  if (!FallsShort(finding)) return finding;
  const bool cgroup = *finding.has < *limits.memory_available_bytes;
  return Say(finding, Severity::kStops,
             absl::StrCat("about ", needs >> 20, " MiB are needed, and ", *finding.has >> 20,
                          " MiB are left ", cgroup ? "of the control group's" : "on the machine"),
             cgroup ? absl::StrCat("raise memory.max of the group by ",
                                   (needs - *finding.has + (1 << 20) - 1) >> 20,
                                   " MiB (MemoryMax= in the unit, --memory of the container)")
                    : absl::StrCat("use ", *finding.has / (needs / wanted.connections),
                                   " connections, or a machine with more"));
}

// Threads: the tightest of what bounds them.
Finding Threads(const MachineLimits& limits, const Wanted& wanted) {
  const uint64_t needs = wanted.ends * (wanted.threads * kThreadsOfAThread + kThreadsOfAThread);
  Finding finding = Make("threads", limits.cgroup_pids.left, needs);
  const auto tighten = [&](const Known& limit) {
    if (limit && finding.has) finding.has = std::min(*finding.has, *limit);
    if (limit && !finding.has) finding = Make("threads", limit, needs);
  };
  tighten(limits.threads_max);
  tighten(limits.pid_max);
  if (limits.root == false) tighten(limits.nproc.soft);  // root isn't bound by it (getrlimit(2))
  if (!FallsShort(finding)) return finding;
  return Say(
      finding, Severity::kStops,
      absl::StrCat("both ends have up to ", needs, " threads, and ", *finding.has, " are allowed"),
      "raise the least of pids.max (TasksMax= in the unit, --pids-limit of the container), "
      "ulimit -u, kernel.threads-max and kernel.pid_max");
}

// Locked memory: io_uring's rings, of both ends, which are one user's here.
Finding LockedMemory(const MachineLimits& limits, const Wanted& wanted) {
  const uint64_t needs = wanted.ends * wanted.threads * wanted.ring_bytes;
  Finding finding = Make("RLIMIT_MEMLOCK", limits.memlock.soft, needs);
  if (!FallsShort(finding)) return finding;
  const uint64_t kib = (needs + 1023) / 1024;
  return Say(finding, wanted.direct ? Severity::kStops : Severity::kFlag,
             absl::StrCat("io_uring's rings of both ends need ", kib,
                          " KiB of locked memory, and RLIMIT_MEMLOCK allows all processes of this "
                          "user ",
                          *finding.has / 1024, " KiB"),
             absl::StrCat("ulimit -l ", kib, ", LimitMEMLOCK=", kib,
                          "K in the unit, or --ulimit memlock=", needs, " of the container",
                          wanted.direct ? "" : "; or use --backend epoll"));
}

Finding Loopback(const MachineLimits& limits) {
  const Known up = limits.loopback_up ? Known(*limits.loopback_up ? 1 : 0) : std::nullopt;
  Finding finding = Make("loopback", up, 1);
  if (!FallsShort(finding)) return finding;
  return Say(finding, Severity::kStops, "the loopback device of this network namespace is down",
             "ip link set lo up");
}

}  // namespace

const char* SeverityName(Severity severity) {
  switch (severity) {
    case Severity::kOk:
      return "ok";
    case Severity::kUnknown:
      return "unknown";
    case Severity::kNote:
      return "note";
    case Severity::kFlag:
      return "flag";
    case Severity::kStops:
      return "stops";
  }
  return "unknown";
}

std::string RaiseDescriptors(const MachineLimits& limits, uint64_t to) {
  const std::string numbers = absl::StrCat("--nofile=", to, ":", to);
  if (limits.raise == true) return absl::StrCat("ulimit -n ", to);
  // Root without the capability is a container's.
  return absl::StrCat(
      limits.root == true
          ? absl::StrCat("from outside: prlimit ", numbers, " --pid PID of the shell")
          : absl::StrCat("sudo prlimit ", numbers, " --pid $$"),
      ", LimitNOFILE=", to, " in the unit, or --ulimit nofile=", to, " of the container");
}

uint64_t DescriptorsOf(uint64_t connections, uint64_t threads) {
  return connections + kOwnDescriptors + kThreadDescriptors * threads;
}

uint64_t DirectThreads(const MachineLimits& limits, uint64_t connections) {
  if (!limits.nofile.hard || *limits.nofile.hard < 2) return 0;
  const uint64_t slots = std::min(*limits.nofile.hard, kTableMax) - 1;
  return (connections + slots - 1) / slots;
}

Finding DescriptorFinding(const MachineLimits& limits, const Wanted& wanted, uint64_t descriptors) {
  Finding finding = Make("RLIMIT_NOFILE", limits.nofile.hard, descriptors);
  if (!FallsShort(finding)) return finding;
  const std::string whether = !limits.raise   ? "the hard limit"
                              : *limits.raise ? "the hard limit, which may be raised here"
                                              : "the hard limit, which can't be raised here: "
                                                "CAP_SYS_RESOURCE is missing";
  return Say(finding, Severity::kStops,
             absl::StrCat(descriptors,
                          " file descriptors are needed in a process, and "
                          "RLIMIT_NOFILE allows ",
                          *finding.has, " (", whether, ")"),
             absl::StrCat(RaiseDescriptors(limits, descriptors), DirectAdvice(limits, wanted)));
}

Finding BacklogFinding(const MachineLimits& limits, const Wanted& wanted) {
  const uint64_t needs = std::min(wanted.backlog, wanted.connections);
  Finding finding = Make("net.core.somaxconn", limits.somaxconn, needs);
  if (!FallsShort(finding)) return finding;
  return Say(finding, Severity::kNote,
             absl::StrCat("the kernel caps a listener's backlog of ", needs, " at ", *finding.has,
                          "; of more that come at once, each tries again after a second"),
             SetSysctl("net.core.somaxconn", needs));
}

std::vector<Finding> Assess(const MachineLimits& limits, const Wanted& wanted) {
  const uint64_t threads = std::max<uint64_t>(wanted.threads, 1);
  const uint64_t plain = wanted.direct ? 0 : wanted.connections;
  const uint64_t table = wanted.direct ? wanted.connections / threads + 1 : 0;
  const uint64_t descriptors = std::max(DescriptorsOf(plain, threads), table);
  std::vector<Finding> findings = {DescriptorFinding(limits, wanted, descriptors),
                                   NrOpen(limits, descriptors),
                                   FileMax(limits, wanted, DescriptorsOf(0, threads)),
                                   Memory(limits, wanted),
                                   Threads(limits, wanted),
                                   PortFinding(limits, wanted)};
  if (wanted.ring_bytes > 0) findings.push_back(LockedMemory(limits, wanted));
  if (wanted.backlog > 0) {
    findings.push_back(BacklogFinding(limits, wanted));
    findings.push_back(SynBacklog(limits, wanted));
  }
  findings.push_back(TcpMemory(limits, wanted));
  if (limits.conntrack) findings.push_back(Conntrack(limits, wanted));
  findings.push_back(TimeWait(limits, wanted));
  findings.push_back(Orphans(limits, wanted));
  findings.push_back(Loopback(limits));
  return findings;
}

bool Fits(const std::vector<Finding>& findings) {
  return std::ranges::none_of(
      findings, [](const Finding& finding) { return finding.severity == Severity::kStops; });
}

std::string Sentence(const Finding& finding) {
  return finding.mend.empty() ? finding.text : absl::StrCat(finding.text, "; ", finding.mend);
}

}  // namespace stats
