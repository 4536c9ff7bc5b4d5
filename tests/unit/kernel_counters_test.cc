#include "stats/kernel_counters.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <fstream>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "tests/unit/descriptors.h"

namespace stats::kernel_counters_tests {
namespace {

constexpr char kSnmp[] =
    "Ip: Forwarding DefaultTTL InDiscards\n"
    "Ip: 2 64 3\n"
    "Icmp: InMsgs\n"
    "Icmp: 1\n"
    "Tcp: RtoAlgorithm MaxConn RetransSegs InErrs OutRsts Later\n"
    "Tcp: 1 -1 512679 0 18446744073709551615 5\n"
    "Udp: NoPorts InErrors RcvbufErrors\n"
    "Udp: 11 12 13\n"
    "UdpLite: NoPorts\n"
    "UdpLite: 99\n";

uint64_t ValueOf(const KernelCounters& counters, const std::string& name) {
  const auto found = counters.values.find(name);
  EXPECT_NE(found, counters.values.end()) << name;
  return found == counters.values.end() ? 0 : found->second;
}

uint64_t DeltaOf(const KernelDifference& difference, const std::string& name) {
  for (const CounterChange& change : difference.changes) {
    if (change.name == name) return change.delta;
  }
  return 0;
}

KernelCounters MustRead() {
  absl::StatusOr<KernelCounters> counters = KernelCounters::Read();
  EXPECT_TRUE(counters.ok()) << counters.status();
  return counters.ok() ? *std::move(counters) : KernelCounters{};
}

TEST(KernelCounters, ColumnsAreFoundByName) {
  KernelCounters counters;
  internal::ParseColumns(kSnmp, &counters);
  EXPECT_EQ(ValueOf(counters, "TcpRetransSegs"), 512679u);
  EXPECT_EQ(ValueOf(counters, "TcpInErrs"), 0u);
  EXPECT_EQ(ValueOf(counters, "TcpOutRsts"), UINT64_MAX);
  EXPECT_EQ(ValueOf(counters, "IpInDiscards"), 3u);
  EXPECT_EQ(ValueOf(counters, "UdpNoPorts"), 11u);
  EXPECT_EQ(ValueOf(counters, "UdpRcvbufErrors"), 13u);
  EXPECT_EQ(counters.values.size(), 7u);  // and nothing of what isn't kept
}

TEST(KernelCounters, BrokenColumnsAreReadOver) {
  KernelCounters counters;
  internal::ParseColumns(
      "no colon\n\nTcp: RetransSegs InErrs\nTcp: 4\n"     // a value is missing
      "TcpExt: ListenDrops\nUdp: NoPorts\nUdp: 7 8 9\n"   // a line of values is missing
      "IpExt: InDiscards\nIpExt: x\nTcp: OutRsts\nTcp:",  // neither a number nor a value
      &counters);
  EXPECT_EQ(ValueOf(counters, "TcpRetransSegs"), 4u);
  EXPECT_EQ(ValueOf(counters, "UdpNoPorts"), 7u);
  EXPECT_EQ(counters.values.size(), 2u);
}

TEST(KernelCounters, LinesAreFoundByName) {
  KernelCounters counters;
  internal::ParseLines(
      "Ip6InDiscards                   \t5\nUdp6NoPorts\t6\nUdp6Unheard 7\nUdp6InErrors\n\n",
      &counters);
  EXPECT_EQ(ValueOf(counters, "Ip6InDiscards"), 5u);
  EXPECT_EQ(ValueOf(counters, "Udp6NoPorts"), 6u);
  EXPECT_EQ(counters.values.size(), 2u);
}

TEST(KernelCounters, SoftnetIsTheSumOfTheCpus) {
  KernelCounters counters;
  internal::ParseSoftnet("139f3394 00000cbd 00000033 00000000\n00000001 ffffffff 00000010\nbad\n",
                         &counters);
  EXPECT_EQ(ValueOf(counters, "SoftnetDropped"), 0xcbdull + 0xffffffffull);
  EXPECT_EQ(ValueOf(counters, "SoftnetTimeSqueeze"), 0x43u);
}

TEST(KernelCounters, SoftnetMayBeginAnew) {
  KernelCounters before, after;
  internal::ParseSoftnet("0 fffffffe 0\n0 5 9\n", &before);
  internal::ParseSoftnet("0 1 0\n0 5 8\n", &after);
  EXPECT_EQ(DeltaOf(Difference(before, after), "SoftnetDropped"), 3u);
  EXPECT_EQ(Difference(before, after).changes.size(), 1u);  // what went back is left out
}

TEST(KernelCounters, SocketsOfBothFamiliesAreAdded) {
  KernelGauges gauges;
  internal::ParseSockstat(
      "sockets: used 15\nTCP: inuse 4 orphan 2 tw 3 alloc 7 mem 288\nUDP: inuse 1 mem 9\n"
      "UDPLITE: inuse 50\nRAW: inuse 60\nFRAG: inuse 0 memory 0\n",
      &gauges);
  internal::ParseSockstat("TCP6: inuse 10\nUDP6: inuse 20\nUDPLITE6: inuse 30\n", &gauges);
  EXPECT_EQ(gauges.sockets, 15);
  EXPECT_EQ(gauges.tcp_sockets, 14);
  EXPECT_EQ(gauges.tcp_time_wait, 3);
  EXPECT_EQ(gauges.tcp_orphans, 2);
  EXPECT_EQ(gauges.tcp_memory_pages, 288);
  EXPECT_EQ(gauges.udp_sockets, 21);
  EXPECT_EQ(gauges.udp_memory_pages, 9);
}

TEST(KernelCounters, MissingGaugesAreUnknown) {
  KernelGauges gauges;
  internal::ParseSockstat("sockets: used\nTCP: inuse x orphan 1\n\n", &gauges);
  EXPECT_EQ(gauges.sockets, -1);
  EXPECT_EQ(gauges.tcp_sockets, -1);
  EXPECT_EQ(gauges.tcp_orphans, 1);
}

TEST(KernelCounters, DifferenceHasWhatChangedInItsOrder) {
  const KernelCounters before{
      .values = {{"UdpNoPorts", 5}, {"TcpOutRsts", 9}, {"TcpRetransSegs", 1}, {"TcpInErrs", 4}},
      .gauges = {.sockets = 3}};
  const KernelCounters after{.values = {{"UdpNoPorts", 7},
                                        {"TcpOutRsts", 8},      // went back
                                        {"TcpRetransSegs", 4},  // before UdpNoPorts
                                        {"TcpInErrs", 4},       // the same
                                        {"UdpInErrors", 6}},    // not known before
                             .gauges = {.sockets = 5}};
  const KernelDifference difference = Difference(before, after);
  ASSERT_EQ(difference.changes.size(), 2u);
  EXPECT_EQ(difference.changes[0].name, "TcpRetransSegs");
  EXPECT_EQ(difference.changes[0].meaning, "segments sent again");
  EXPECT_EQ(difference.changes[0].delta, 3u);
  EXPECT_EQ(difference.changes[1].name, "UdpNoPorts");
  EXPECT_EQ(difference.changes[1].delta, 2u);
  EXPECT_EQ(difference.before.sockets, 3);
  EXPECT_EQ(difference.after.sockets, 5);
}

TEST(KernelCounters, KindsAreDistinctAndExplained) {
  std::set<std::string> names, meanings;
  for (const CounterKind& kind : CounterKinds()) {
    EXPECT_TRUE(names.insert(kind.name).second) << kind.name;
    EXPECT_TRUE(meanings.insert(kind.meaning).second) << kind.meaning;
  }
  EXPECT_GT(names.size(), 40u);
}

class KernelCountersFiles : public unit_tests::LeavesNothingOpen {};

TEST_F(KernelCountersFiles, OnlySnmpHasToBeThere) {
  EXPECT_TRUE(absl::IsNotFound(KernelCounters::Read(InFolder("")).status()));
  std::ofstream(InFolder("snmp")) << kSnmp;
  const absl::StatusOr<KernelCounters> counters = KernelCounters::Read(InFolder(""));
  ASSERT_TRUE(counters.ok()) << counters.status();
  EXPECT_EQ(ValueOf(*counters, "TcpRetransSegs"), 512679u);
  EXPECT_EQ(counters->gauges.sockets, -1);
}

// A kernel that these are read on has nearly all of them: a wrong name would stay unseen else.
TEST(KernelCounters, ThisKernelCountsNearlyAllKinds) {
  const KernelCounters counters = MustRead();
  std::string missing;
  size_t missed = 0;
  for (const CounterKind& kind : CounterKinds()) {
    const std::string name = kind.name;
    // What depends on the kernel's configuration and version.
    if (name.find('6') != std::string::npos || name.starts_with("MPTcp")) continue;
    if (counters.values.contains(name)) continue;
    missing += " " + name;
    ++missed;
  }
  EXPECT_LE(missed, 1u) << missing;  // UdpMemErrors came with Linux 5.12.
  EXPECT_GE(counters.gauges.sockets, 0);
  EXPECT_GE(counters.gauges.tcp_sockets, 0);
  EXPECT_GE(counters.gauges.tcp_time_wait, 0);
  EXPECT_GE(counters.gauges.tcp_memory_pages, 0);
  EXPECT_GE(counters.gauges.udp_memory_pages, 0);
}

sockaddr_in Loopback(int fd) {
  sockaddr_in address{.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
  socklen_t size = sizeof(address);
  auto* generic = reinterpret_cast<sockaddr*>(&address);
  EXPECT_EQ(bind(fd, generic, size), 0);
  EXPECT_EQ(getsockname(fd, generic, &size), 0);
  return address;
}

TEST(KernelCounters, DatagramsThatAFullBufferLosesAreCounted) {
  const int receiver = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  const int sender = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  const int least = 1;
  ASSERT_EQ(setsockopt(receiver, SOL_SOCKET, SO_RCVBUF, &least, sizeof(least)), 0);
  const sockaddr_in to = Loopback(receiver);
  const KernelCounters before = MustRead();
  const std::string datagram(1000, 'x');
  uint64_t sent = 0, received = 0;
  for (; sent < 100; ++sent) {
    ASSERT_EQ(sendto(sender, datagram.data(), datagram.size(), 0,
                     reinterpret_cast<const sockaddr*>(&to), sizeof(to)),
              1000);
  }
  char buffer[1000];
  while (recv(receiver, buffer, sizeof(buffer), MSG_DONTWAIT) == 1000) ++received;
  ASSERT_LT(received, sent);
  const KernelDifference difference = Difference(before, MustRead());
  EXPECT_GE(DeltaOf(difference, "UdpRcvbufErrors"), sent - received);
  EXPECT_GE(DeltaOf(difference, "UdpInErrors"), sent - received);
  close(receiver);
  close(sender);
}

TEST(KernelCounters, AFullAcceptQueueIsCounted) {
  const int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const sockaddr_in to = Loopback(listener);
  const KernelCounters before = MustRead();
  ASSERT_EQ(listen(listener, 0), 0);  // room for one
  std::vector<int> clients;
  for (int i = 0; i < 8; ++i) {
    clients.push_back(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    ASSERT_EQ(connect(clients.back(), reinterpret_cast<const sockaddr*>(&to), sizeof(to)), -1);
    ASSERT_EQ(errno, EINPROGRESS);
  }
  // The limit ends a hang: the packets may wait for the kernel's softirq thread.
  const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  KernelDifference difference = Difference(before, MustRead());
  while (DeltaOf(difference, "TcpExtListenOverflows") == 0 &&
         std::chrono::steady_clock::now() < give_up) {
    std::this_thread::yield();
    difference = Difference(before, MustRead());
  }
  EXPECT_GE(DeltaOf(difference, "TcpExtListenOverflows"), 1u);
  EXPECT_GE(DeltaOf(difference, "TcpExtListenDrops"), 1u);
  for (const int client : clients) close(client);
  close(listener);
}

}  // namespace
}  // namespace stats::kernel_counters_tests
