#include <gtest/gtest.h>

#include <cerrno>
#include <string>

#include <nlohmann/json.hpp>

#include "io/endpoint.h"
#include "probe/probe_json.h"
#include "report/text.h"

namespace probe::text_tests {
namespace {

ScanOptions OptionsAt(const char* address) {
  return {.at = *io::Resolve(address), .backend = "epoll", .in_flight = 8};
}

Listener ListenerAt(const char* local, uint32_t inode) {
  return {.socket = {.protocol = "tcp",
                     .state = "LISTEN",
                     .local = local,
                     .recv_queue = 1,
                     .send_queue = 128,
                     .uid = 1000,
                     .inode = inode,
                     .drops = 0}};
}

// This machine: an open port with two holders, one that nobody is seen to hold, one that nobody
// listens on, a closed one and some that are silent.
Report ThisMachine() {
  Report report = {.host = "localhost", .here = true};
  report.options = OptionsAt("127.0.0.1:61001");
  report.scan = {.ports = {{61001, PortState::kOpen, 0, 48'000},
                           {61002, PortState::kOpen, 0, 1'500'000},
                           {61003, PortState::kOpen, 0, 0},
                           {61004, PortState::kClosed, 0, 20'000},
                           {61005, PortState::kFiltered, 0, 0},
                           {61006, PortState::kFiltered, 0, 0},
                           {61007, PortState::kFiltered, EHOSTUNREACH, 0},
                           {61008, PortState::kUnknown, EADDRNOTAVAIL, 0}},
                 .duration_ns = 1'200'000'000};
  Listener first = ListenerAt("127.0.0.1:61001", 11);
  first.holders = {{.pid = 70, .fd = 6, .process = "nginx"},
                   {.pid = 71, .fd = 6, .process = "nginx"}};
  first.connections = 1234;
  first.peers = {"127.0.0.1:50000"};
  Listener second = ListenerAt("[::]:61002", 12);
  second.unseen = "nobody can be seen";
  report.listeners = ListenerList{.listeners = {first, second}};
  return report;
}

TEST(ProbeText, IsATableAndASentence) {
  EXPECT_EQ(report::ProbeText(ToJson(ThisMachine())), R"(
127.0.0.1 (localhost), this machine: 8 TCP ports asked in 1.2 s (connect, epoll)

  port   service  time    queue     connected               bound to         process
  61001           48 µs   1 of 128  1,234: 127.0.0.1:50000  127.0.0.1:61001  nginx (pid 70, fd 6), nginx (pid 71, fd 6)
  61002           1.5 ms  1 of 128  0                       [::]:61002       of user 1000: nobody can be seen
  61003                                                                      it answered, and no socket of this network namespace listens there: another namespace's does, behind a packet filter that redirects, or it was closed meanwhile

  ports        3 open, 1 closed, 3 filtered, 1 unknown
               61005-61006: no answer in time
               61007: EHOSTUNREACH
               61008: EADDRNOTAVAIL
  connect      p50 48 µs, p90 1.5 ms, p99 1.5 ms, max 1.5 ms (2)
  refused      p50 20 µs, p90 20 µs, p99 20 µs, max 20 µs (1)

3 of 8 ports are open; 3 gave no answer, as where a packet filter drops what it is asked; 1 could not be asked from this machine.
)");
}

std::string LastLine(const Report& report) {
  std::string text = report::ProbeText(ToJson(report));
  text.pop_back();
  return text.substr(text.rfind('\n') + 1);
}

TEST(ProbeText, SaysWhereNothingAnswered) {
  Report report = {.host = "192.0.2.1"};
  report.options = OptionsAt("192.0.2.1:1");
  report.scan.ports = {{1, PortState::kFiltered, 0, 0}, {2, PortState::kFiltered, 0, 0}};
  EXPECT_EQ(LastLine(report),
            "No port gave an answer: the host is down or out of reach, or a packet filter drops "
            "what it is asked.");
}

TEST(ProbeText, SaysWhatAnInterruptLeft) {
  Report report = {.host = "192.0.2.1"};
  report.options = OptionsAt("192.0.2.1:1");
  report.scan.ports = {{1, PortState::kOpen, 0, 10}, {2, PortState::kUnasked, 0, 0}};
  report.scan.interrupted = true;
  EXPECT_EQ(LastLine(report), "Interrupted: of the ports asked so far, 1 of 1 port is open.");
  report.scan.ports[0].state = PortState::kClosed;
  EXPECT_EQ(LastLine(report), "Interrupted: of the ports asked so far, none of 1 port is open.");
}

TEST(ProbeText, HidesNoSilentPort) {
  Report report = {.host = "192.0.2.1"};
  report.options = OptionsAt("192.0.2.1:1");
  for (uint16_t port = 1; port < 40; port += 2) {
    report.scan.ports.push_back({port, PortState::kFiltered, 0, 0});
  }
  EXPECT_NE(report::ProbeText(ToJson(report)).find("and 12 more runs of ports"), std::string::npos);
}

TEST(ProbeText, ListsListeners) {
  Report report = {.host = "this machine", .here = true};
  Listener tcp = ListenerAt("[::]:443", 1);
  tcp.socket.v6_only = true;
  for (int i = 0; i < 5; ++i) tcp.holders.push_back({.pid = 9 + i, .fd = 4, .process = "web"});
  Listener udp = {.socket = {.protocol = "udp", .state = "UNCONN", .local = "0.0.0.0:53"}};
  udp.unseen = "nobody can be seen";
  report.listeners = ListenerList{.listeners = {tcp, udp}};
  EXPECT_EQ(report::ProbeText(ToJson(report)), R"(
  socket  bound to              queue       connected  process
  tcp     [::]:443 (IPv6 only)  1 of 128    0          web (pid 9, fd 4), web (pid 10, fd 4), web (pid 11, fd 4), and 2 more
  udp     0.0.0.0:53            0 B unread  0          of user 0: nobody can be seen

2 sockets wait for peers in this network namespace.
)");
}

TEST(ProbeText, WorksWithoutTheListeners) {
  Report report = ThisMachine();
  report.listeners.reset();
  report.listeners_problem = "there are no AF_NETLINK sockets here";
  const std::string text = report::ProbeText(ToJson(report));
  EXPECT_NE(text.find("  processes    there are no AF_NETLINK sockets here"), std::string::npos);
  EXPECT_NE(text.find("3 of 8 ports are open"), std::string::npos);
}

TEST(ListenersAt, AreWhomTheKernelPrefers) {
  const ListenerList all = {
      .listeners = {ListenerAt("127.0.0.1:80", 1), ListenerAt("0.0.0.0:80", 2),
                    ListenerAt("0.0.0.0:81", 3), ListenerAt("[::]:82", 4),
                    ListenerAt("[::1]:83", 5), ListenerAt("[::]:84", 6),
                    ListenerAt("[fe80::1%eth0]:85", 7), ListenerAt("[::ffff:127.0.0.1]:86", 8)}};
  ListenerList list = all;
  list.listeners[5].socket.v6_only = true;
  const auto inode = [&](const char* at) -> uint32_t {
    const auto found = ListenersAt(*io::Resolve(at), list);
    return found.size() == 1 ? found[0]->socket.inode : 0;
  };
  EXPECT_EQ(inode("127.0.0.1:80"), 1u);
  EXPECT_EQ(inode("127.0.0.2:80"), 2u);
  EXPECT_EQ(inode("127.0.0.1:81"), 3u);
  EXPECT_EQ(inode("127.0.0.1:82"), 4u);
  EXPECT_EQ(inode("[::1]:82"), 4u);
  EXPECT_EQ(inode("[::1]:83"), 5u);
  EXPECT_EQ(inode("[::1]:84"), 6u);
  EXPECT_EQ(inode("127.0.0.1:84"), 0u) << "IPv6 only";
  EXPECT_EQ(inode("127.0.0.1:86"), 8u);
  EXPECT_EQ(inode("127.0.0.1:87"), 0u);
  EXPECT_EQ(inode("[::1]:80"), 0u);
}

}  // namespace
}  // namespace probe::text_tests
