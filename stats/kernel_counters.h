#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

// What the kernel's network stack counted: the evidence that a load run met trouble below us. The
// counters are those of the whole network namespace, of all its programs, not of us alone; those
// of softnet, the counts of orphans and the memory are even of the whole machine. So a difference
// proves that something happened, and not that it happened to us.
// Sources: /proc/net/{snmp,netstat,snmp6,softnet_stat,sockstat,sockstat6}; the kernel's
// Documentation/networking/snmp_counter.rst; net/ipv4/proc.c, net/core/net-procfs.c (Linux 6.12).
namespace stats {

// A counter that is kept, and what a count of it is.
struct CounterKind {
  const char* name;     // As nstat(8) prints it: "TcpRetransSegs"; softnet's begin with "Softnet".
  const char* meaning;  // "segments sent again"
};

// All that are kept, in the order of each difference: TCP's opening of connections, SYN cookies,
// retransmission, memory and receive buffers, ends of connections, TIME-WAIT, acknowledgments,
// MPTCP; then UDP, UDP over IPv6, IP, IPv6; then the CPUs' packet backlogs.
std::span<const CounterKind> CounterKinds();

// What there is at the moment; -1 where the kernel doesn't say.
struct KernelGauges {
  int64_t sockets = -1;           // of any family
  int64_t tcp_sockets = -1;       // IPv4 and IPv6, those in TIME-WAIT left out
  int64_t tcp_time_wait = -1;     // IPv4 and IPv6
  int64_t tcp_orphans = -1;       // closed by their process, not yet by the kernel; the machine's
  int64_t tcp_memory_pages = -1;  // the machine's, in units of net.ipv4.tcp_mem
  int64_t udp_sockets = -1;       // IPv4 and IPv6
  int64_t udp_memory_pages = -1;  // the machine's, in units of net.ipv4.udp_mem
};

struct KernelCounters {
  // A snapshot; not atomic: the kernel adds up its CPUs' counts while they go on. `folder` is that
  // of a process: its network namespace is read. What this kernel doesn't count, or doesn't have
  // (IPv6), is left out. Errors: those of ReadProcFile(), NotFound only for `folder`/snmp. Some
  // 100 us.
  static absl::StatusOr<KernelCounters> Read(const std::string& folder = "/proc/self/net");

  std::map<std::string, uint64_t, std::less<>> values;  // by the names of CounterKinds()
  KernelGauges gauges;
};

struct CounterChange {
  std::string name;
  std::string meaning;
  uint64_t delta = 0;
};

struct KernelDifference {
  std::vector<CounterChange> changes;  // Those that are not 0, in the order of CounterKinds().
  KernelGauges before, after;
};

// What was counted between two snapshots. A counter that only one of them has is left out; so is
// one that went back, as softnet's do when a CPU goes offline.
KernelDifference Difference(const KernelCounters& before, const KernelCounters& after);

// The files' formats; for tests. Unknown columns and lines are read over, missing ones are left
// out; malformed values too.
namespace internal {

// snmp and netstat: a line of names and a line of values, each headed by the protocol.
void ParseColumns(std::string_view text, KernelCounters* counters);
// snmp6: a name and a value on each line.
void ParseLines(std::string_view text, KernelCounters* counters);
// softnet_stat: a line for each CPU that is online, of hexadecimal numbers of 32 bits.
void ParseSoftnet(std::string_view text, KernelCounters* counters);
// sockstat and sockstat6: "TCP: inuse 4 orphan 0 tw 0 alloc 4 mem 1"; adds to what is there.
void ParseSockstat(std::string_view text, KernelGauges* gauges);

}  // namespace internal
}  // namespace stats
