#include "stats/kernel_counters.h"

#include <algorithm>
#include <iterator>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "stats/proc_file.h"

namespace stats {
namespace {

constexpr char kSoftnetDropped[] = "SoftnetDropped";
constexpr char kSoftnetTimeSqueeze[] = "SoftnetTimeSqueeze";

constexpr CounterKind kKinds[] = {
    {"TcpAttemptFails", "connections that failed before they were established"},
    {"TcpExtListenOverflows", "times that a full accept queue refused a SYN or an ACK"},
    {"TcpExtListenDrops", "times that a listener refused a SYN or an ACK, for any reason"},
    {"TcpExtTCPReqQFullDrop", "SYNs dropped as the queue of half-open connections was full"},
    {"TcpExtTCPReqQFullDoCookies",
     "SYNs answered by a cookie as the queue of half-open connections was full"},
    {"TcpExtSyncookiesSent", "SYN cookies sent"},
    {"TcpExtSyncookiesRecv", "connections opened by a SYN cookie that came back"},
    {"TcpExtSyncookiesFailed", "SYN cookies that came back and were not valid"},
    {"TcpRetransSegs", "segments sent again"},
    {"TcpExtTCPSynRetrans", "SYNs and SYN-ACKs sent again"},
    {"TcpExtTCPTimeouts", "retransmission timers that expired"},
    {"TcpExtTCPLossProbes", "tail loss probes sent as an acknowledgment was late"},
    {"TcpExtTCPSpuriousRtxHostQueues",
     "retransmissions left out as the first copy was still queued in this host"},
    {"TcpExtTCPAbortOnMemory", "connections ended for lack of memory or too many orphans"},
    {"TcpExtTCPMemoryPressures", "times that TCP's memory came under pressure (net.ipv4.tcp_mem)"},
    {"TcpExtPruneCalled", "times that a receive buffer was over its limit and was compacted"},
    {"TcpExtRcvPruned", "times that segments were dropped as compacting made no room"},
    {"TcpExtTCPRcvCollapsed", "segments merged in receive queues to save memory"},
    {"TcpExtTCPBacklogDrop", "segments dropped as the backlog of a socket in use was full"},
    {"TcpExtTCPToZeroWindowAdv", "times that a receive window was closed: its reader was slow"},
    {"TcpExtTCPWantZeroWindowAdv",
     "times that a receive window should have closed and had been promised already"},
    {"TcpExtTCPZeroWindowDrop", "segments dropped as the receive window was closed"},
    {"TcpInErrs", "segments that were malformed or had a wrong checksum"},
    {"TcpOutRsts", "segments sent with RST"},
    {"TcpEstabResets", "established connections that were reset, by either end"},
    {"TcpExtTCPTimeWaitOverflow",
     "connections closed without TIME-WAIT (net.ipv4.tcp_max_tw_buckets)"},
    {"TcpExtTW", "connections whose TIME-WAIT ran to its end"},
    {"TcpExtTWRecycled", "connections whose TIME-WAIT a new connection cut short"},
    {"TcpExtDelayedACKs", "acknowledgments sent by the delay timer"},
    {"MPTcpExtMPCapableFallbackACK", "MPTCP connections that a peer made plain TCP"},
    {"MPTcpExtMPTCPRetrans", "MPTCP segments sent again on any subflow"},
    {"UdpInErrors", "IPv4 datagrams that could not be delivered, for any reason"},
    {"UdpRcvbufErrors", "IPv4 datagrams dropped as a receive buffer was full"},
    {"UdpSndbufErrors", "IPv4 datagrams not sent for lack of buffers"},
    {"UdpNoPorts", "IPv4 datagrams to ports without a socket"},
    {"UdpMemErrors", "IPv4 datagrams dropped as UDP's memory was used up (net.ipv4.udp_mem)"},
    {"Udp6InErrors", "IPv6 datagrams that could not be delivered, for any reason"},
    {"Udp6RcvbufErrors", "IPv6 datagrams dropped as a receive buffer was full"},
    {"Udp6SndbufErrors", "IPv6 datagrams not sent for lack of buffers"},
    {"Udp6NoPorts", "IPv6 datagrams to ports without a socket"},
    {"Udp6MemErrors", "IPv6 datagrams dropped as UDP's memory was used up (net.ipv4.udp_mem)"},
    {"IpInHdrErrors", "IPv4 packets dropped for their header"},
    {"IpInDiscards", "IPv4 packets received and dropped for lack of resources"},
    {"IpOutDiscards", "IPv4 packets not sent for lack of resources"},
    {"IpOutNoRoutes", "IPv4 packets without a route"},
    {"Ip6InHdrErrors", "IPv6 packets dropped for their header"},
    {"Ip6InDiscards", "IPv6 packets received and dropped for lack of resources"},
    {"Ip6OutDiscards", "IPv6 packets not sent for lack of resources"},
    {"Ip6OutNoRoutes", "IPv6 packets without a route"},
    {kSoftnetDropped, "packets dropped as a CPU's backlog was full (net.core.netdev_max_backlog)"},
    {kSoftnetTimeSqueeze,
     "times that a CPU put off packets as its budget was spent (net.core.netdev_budget)"},
};

bool IsKept(std::string_view name) {
  return std::ranges::any_of(kKinds, [&](const CounterKind& kind) { return name == kind.name; });
}

void Keep(std::string name, std::string_view value, KernelCounters* counters) {
  const auto number = ParseNumber<uint64_t>(value);
  if (number && IsKept(name)) counters->values.insert_or_assign(std::move(name), *number);
}

std::optional<uint64_t> Delta(const CounterKind& kind, const KernelCounters& before,
                              const KernelCounters& after) {
  const std::string_view name = kind.name;
  const auto first = before.values.find(name), last = after.values.find(name);
  if (first == before.values.end() || last == after.values.end()) return std::nullopt;
  if (name == kSoftnetDropped || name == kSoftnetTimeSqueeze) {
    // A sum of numbers of 32 bits, each of which may have begun anew.
    const auto delta = static_cast<uint32_t>(last->second - first->second);
    return delta > INT32_MAX ? std::nullopt : std::optional<uint64_t>(delta);
  }
  if (last->second < first->second) return std::nullopt;
  return last->second - first->second;
}

// The values' parsers, by file.
using Parse = void (*)(std::string_view text, KernelCounters* counters);
struct File {
  const char* name;
  Parse parse;
};
constexpr File kFiles[] = {
    {"snmp", internal::ParseColumns},
    {"netstat", internal::ParseColumns},
    {"snmp6", internal::ParseLines},
    {"softnet_stat", internal::ParseSoftnet},
    {"sockstat",
     [](std::string_view text, KernelCounters* counters) {
       internal::ParseSockstat(text, &counters->gauges);
     }},
    {"sockstat6",
     [](std::string_view text, KernelCounters* counters) {
       internal::ParseSockstat(text, &counters->gauges);
     }},
};

}  // namespace

namespace internal {

void ParseColumns(std::string_view text, KernelCounters* counters) {
  std::vector<std::string_view> names;
  for (const std::string_view line : Lines(text)) {
    const std::vector<std::string_view> words = Words(line);
    if (words.empty() || !words[0].ends_with(':')) continue;
    if (names.empty() || names[0] != words[0]) {
      names = words;
      continue;
    }
    const std::string_view protocol = words[0].substr(0, words[0].size() - 1);
    for (size_t i = 1; i < std::min(names.size(), words.size()); ++i) {
      Keep(std::string(protocol).append(names[i]), words[i], counters);
    }
    names.clear();
  }
}

void ParseLines(std::string_view text, KernelCounters* counters) {
  for (const std::string_view line : Lines(text)) {
    const std::vector<std::string_view> words = Words(line);
    if (words.size() >= 2) Keep(std::string(words[0]), words[1], counters);
  }
}

void ParseSoftnet(std::string_view text, KernelCounters* counters) {
  for (const std::string_view line : Lines(text)) {
    const std::vector<std::string_view> words = Words(line);
    if (words.size() < 3) continue;
    // Behind packets; the columns that follow differ by version.
    const auto dropped = ParseNumber<uint32_t>(words[1], 16);
    const auto squeezed = ParseNumber<uint32_t>(words[2], 16);
    if (!dropped || !squeezed) continue;
    counters->values[kSoftnetDropped] += *dropped;
    counters->values[kSoftnetTimeSqueeze] += *squeezed;
  }
}

void ParseSockstat(std::string_view text, KernelGauges* gauges) {
  const struct {
    std::string_view protocol, name;
    int64_t* gauge;
  } wanted[] = {
      {"sockets:", "used", &gauges->sockets},    {"TCP:", "inuse", &gauges->tcp_sockets},
      {"TCP6:", "inuse", &gauges->tcp_sockets},  {"TCP:", "tw", &gauges->tcp_time_wait},
      {"TCP:", "orphan", &gauges->tcp_orphans},  {"TCP:", "mem", &gauges->tcp_memory_pages},
      {"UDP:", "inuse", &gauges->udp_sockets},   {"UDP6:", "inuse", &gauges->udp_sockets},
      {"UDP:", "mem", &gauges->udp_memory_pages}};
  for (const std::string_view line : Lines(text)) {
    const std::vector<std::string_view> words = Words(line);
    for (size_t i = 1; i + 1 < words.size(); i += 2) {
      for (const auto& [protocol, name, gauge] : wanted) {
        if (protocol != words[0] || name != words[i]) continue;
        const auto value = ParseNumber<int64_t>(words[i + 1]);
        if (value) *gauge = std::max<int64_t>(*gauge, 0) + *value;
      }
    }
  }
}

}  // namespace internal

std::span<const CounterKind> CounterKinds() { return kKinds; }

absl::StatusOr<KernelCounters> KernelCounters::Read(const std::string& folder) {
  KernelCounters counters;
  for (const File& file : kFiles) {
    const absl::StatusOr<std::string> text = ReadProcFile(absl::StrCat(folder, "/", file.name));
    if (text.ok()) {
      file.parse(*text, &counters);
    } else if (!absl::IsNotFound(text.status()) || &file == std::begin(kFiles)) {
      return text.status();  // Only the first is there on any kernel with IPv4.
    }
  }
  return counters;
}

KernelDifference Difference(const KernelCounters& before, const KernelCounters& after) {
  KernelDifference difference{.changes = {}, .before = before.gauges, .after = after.gauges};
  for (const CounterKind& kind : kKinds) {
    const std::optional<uint64_t> delta = Delta(kind, before, after);
    if (delta.value_or(0) == 0) continue;
    difference.changes.push_back({.name = kind.name, .meaning = kind.meaning, .delta = *delta});
  }
  return difference;
}

}  // namespace stats
