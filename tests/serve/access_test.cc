#include <netinet/ip.h>
#include <netinet/udp.h>
#include <sys/stat.h>

#include <iostream>
#include <map>

#include "tests/serve/peers.h"
#include "tests/tier.h"

// Who is served, and who isn't: by address, by Unix credentials, and what datagrams are not
// answered. "Never" is decided by order, not by time: on loopback a packet is processed in the
// sender's own system call, so what a neighbour sends later arrives later.
namespace serve_tests {
namespace {

using peers::ActAs;
using peers::OwnNetwork;
using peers::SocketPath;
using peers::Watcher;

constexpr uid_t kNobody = 65534;

using AccessOn = cli_tests::EachBackend;
INSTANTIATE_TEST_SUITE_P(Backends, AccessOn, testing::Values("epoll", "io_uring"),
                         [](const auto& test) { return test.param; });

cli_tests::Server ServeAt(const std::string& backend, std::vector<std::string> arguments) {
  std::vector<std::string> command = {RINGSIDE_BINARY, "serve", "--json", "--backend", backend};
  command.insert(command.end(), arguments.begin(), arguments.end());
  return cli_tests::Server::By(command);
}

std::string AddressOf(cli_tests::Server& server, size_t listener = 0) {
  return server.ready()["listeners"][listener]["address"];
}

// The server's port at another of its addresses.
std::string At(const std::string& host, cli_tests::Server& server, size_t listener = 0) {
  const cli_tests::Json& it = server.ready()["listeners"][listener];
  const std::string text = it["address"];
  return absl::StrCat(text.rfind("udp", 0) == 0 ? "udp://" : "", host, ":", it["port"].get<int>());
}

// How the server met a connection from `source`, as seen once a connection from `witness`, which is
// served, was made after it.
enum class Met { kServed, kReset, kIgnored };
std::ostream& operator<<(std::ostream& out, Met met) {
  return out << (met == Met::kServed ? "served" : met == Met::kReset ? "reset" : "ignored");
}
Met MeetTcp(const std::string& to, const std::string& source, const std::string& witness) {
  peers::Peer peer(to, peers::Peer::AnyPort(to, source));
  const int flags = fcntl(peer.fd(), F_GETFL);
  peer.Nonblocking();
  const int error = peer.Connect();
  fcntl(peer.fd(), F_SETFL, flags);
  EXPECT_TRUE(peers::Peer::Connected(to, witness).Echoes("witness"));
  if (error == EINPROGRESS && peer.TcpState() == TCP_SYN_SENT) return Met::kIgnored;
  if (peer.Send("hello") && peer.Receive(5) == "hello") return Met::kServed;
  EXPECT_TRUE(peer.end() == ECONNRESET || peer.end() == 0) << io::ErrnoName(peer.end());
  return Met::kReset;
}
Met MeetUdp(const std::string& to, const std::string& source, const std::string& witness) {
  peers::Peer peer = peers::Peer::Connected(to, source);
  EXPECT_TRUE(peer.Send("hello"));
  EXPECT_TRUE(peers::Peer::Connected(to, witness).Echoes("witness"));
  char reply[16];
  return recv(peer.fd(), reply, sizeof(reply), MSG_DONTWAIT) == 5 ? Met::kServed : Met::kIgnored;
}

// ---- by address
// ----------------------------------------------------------------------------------

struct Rule {
  std::vector<std::string> flags;
  std::vector<std::string> denied, allowed;
};

// Plays each rule on a server at `listen` over TCP and UDP, reached as `host`.
void ExpectHeld(const std::string& backend, const std::string& listen, const std::string& host,
                const std::vector<Rule>& rules) {
  for (const Rule& rule : rules) {
    std::vector<std::string> flags = {"--listen", "echo=" + listen, "--listen",
                                      "echo=udp://" + listen};
    flags.insert(flags.end(), rule.flags.begin(), rule.flags.end());
    SCOPED_TRACE(testing::PrintToString(flags));
    cli_tests::Server server = ServeAt(backend, flags);
    const std::string witness = rule.allowed[0];
    for (const std::string& source : rule.denied) {
      EXPECT_NE(MeetTcp(At(host, server, 0), source, witness), Met::kServed) << source;
      EXPECT_NE(MeetUdp(At(host, server, 1), source, witness), Met::kServed) << source;
    }
    for (const std::string& source : rule.allowed) {
      EXPECT_EQ(MeetTcp(At(host, server, 0), source, witness), Met::kServed) << source;
      EXPECT_EQ(MeetUdp(At(host, server, 1), source, witness), Met::kServed) << source;
    }
    server.Stop();
  }
}

TEST_P(AccessOn, HoldsItsListsOverIPv4) {
  ExpectHeld(GetParam(), "127.0.0.1:0", "127.0.0.1",
             {{{"--deny", "127.0.0.2"}, {"127.0.0.2"}, {"127.0.0.1", "127.0.0.3"}},
              {{"--allow", "127.0.0.2/31"}, {"127.0.0.1", "127.0.0.4"}, {"127.0.0.2", "127.0.0.3"}},
              {{"--allow", "127.0.0.0/8", "--deny", "127.0.1.0/24,127.0.0.9"},
               {"127.0.1.7", "127.0.0.9"},
               {"127.0.0.8", "127.0.2.1"}},
              {{"--allow", "127.0.0.2", "--allow", "127.0.0.3", "--deny", "127.0.0.3"},
               {"127.0.0.1", "127.0.0.3"},
               {"127.0.0.2"}}});
}

TEST_P(AccessOn, HoldsItsListsOverIPv6) {
  OwnNetwork network;
  if (!network.missing().empty()) GTEST_SKIP() << network.missing();
  for (const char* address : {"2001:db8::1/128", "2001:db8::2/128", "2001:db8:1::3/128"}) {
    network.AddAddress(address);
  }
  ExpectHeld(GetParam(), "[2001:db8::1]:0", "[2001:db8::1]",
             {{{"--deny", "2001:db8::2"}, {"2001:db8::2"}, {"2001:db8::1", "2001:db8:1::3"}},
              {{"--allow", "2001:db8::/48"}, {"2001:db8:1::3"}, {"2001:db8::1", "2001:db8::2"}},
              {{"--allow", "2001:db8::/32", "--deny", "2001:db8::/64"},
               {"2001:db8::1", "2001:db8::2"},
               {"2001:db8:1::3"}}});
}

TEST_P(AccessOn, HoldsItsListsOverBothAtOnce) {
  OwnNetwork network;
  if (!network.missing().empty()) GTEST_SKIP() << network.missing();
  network.AddAddress("2001:db8::1/128");
  network.AddAddress("2001:db8::2/128");
  ExpectHeld(GetParam(), "*:0", "127.0.0.1",
             {{{"--deny", "127.0.0.2"}, {"127.0.0.2"}, {"127.0.0.1"}},
              {{"--deny", "::/0"}, {}, {"127.0.0.1", "127.0.0.2"}},
              {{"--allow", "127.0.0.2"}, {"127.0.0.1"}, {"127.0.0.2"}}});
  ExpectHeld(GetParam(), "*:0", "[2001:db8::1]",
             {{{"--deny", "2001:db8::2"}, {"2001:db8::2"}, {"2001:db8::1"}},
              {{"--deny", "0.0.0.0/0"}, {}, {"2001:db8::1", "2001:db8::2"}}});
}

TEST_P(AccessOn, LooksFilteredToTheDenied) {
  OwnNetwork network;
  if (!network.missing().empty()) GTEST_SKIP() << network.missing();
  cli_tests::Server server = ServeAt(GetParam(), {"127.0.0.1:0", "--threads", "2", "--listen",
                                                  "echo=udp://127.0.0.1:0", "--deny", "127.0.0.2"});
  EXPECT_EQ(server.process().Errors(), "");
  Watcher watcher;
  EXPECT_EQ(MeetTcp(AddressOf(server), "127.0.0.2", "127.0.0.3"), Met::kIgnored);
  EXPECT_EQ(MeetUdp(AddressOf(server, 1), "127.0.0.2", "127.0.0.3"), Met::kIgnored);
  const Watcher::Seen denied = watcher.With("127.0.0.2"), allowed = watcher.With("127.0.0.3");
  EXPECT_GE(denied.from, 2u) << "the watcher is blind";
  EXPECT_EQ(denied.syn_acks, 0u);
  EXPECT_EQ(denied.resets, 0u);
  EXPECT_EQ(denied.to, 0u) << "something answered";
  EXPECT_EQ(allowed.syn_acks, 1u);
  const cli_tests::Json summary = server.Stop();
  EXPECT_EQ(summary["connections"]["accepted"], 1) << "accepted whom it denies";
  EXPECT_EQ(summary["datagrams"]["received"], 1);
  // What the watcher sees where nothing filters: a reset.
  peers::Peer refused(AddressOf(server), "127.0.0.2:0");
  EXPECT_EQ(refused.Connect(), ECONNREFUSED);
  EXPECT_EQ(watcher.With("127.0.0.2").resets, 1u);
}

TEST_P(AccessOn, HoldsItsListWithoutTheRightToFilter) {
  if (geteuid() != 0) GTEST_SKIP() << "only root can give the right away";
  if (!cli_tests::Installed("setpriv")) GTEST_SKIP() << "setpriv (util-linux) is not installed";
  cli_tests::Server server = cli_tests::Server::By(
      {"setpriv", "--bounding-set", "-net_admin", "--inh-caps", "-net_admin", RINGSIDE_BINARY,
       "serve", "0", "--json", "--backend", GetParam(), "--listen", "echo=udp://127.0.0.1:0",
       "--deny", "127.0.0.2", "--metrics", "0"});
  const std::string errors = server.process().Errors();
  if (errors.find("access list") == std::string::npos) {
    GTEST_SKIP() << "this kernel asks for no capability to filter";
  }
  EXPECT_NE(errors.find("checked after the handshake only"), std::string::npos) << errors;
  EXPECT_NE(errors.find("CAP_NET_ADMIN"), std::string::npos) << errors;
  EXPECT_EQ(MeetTcp(AddressOf(server), "127.0.0.2", "127.0.0.3"), Met::kReset);
  EXPECT_EQ(MeetTcp(AddressOf(server), "127.0.0.4", "127.0.0.3"), Met::kServed);
  EXPECT_EQ(MeetUdp(AddressOf(server, 1), "127.0.0.2", "127.0.0.3"), Met::kIgnored);
  EXPECT_EQ(peers::Metric(server, "ringside_refusals_total", "{reason=\"denied\"}"), 1);
  const cli_tests::Json summary = server.Stop();
  EXPECT_EQ(summary["limits"]["denied"], 1);
  EXPECT_EQ(summary["connections"]["refused"], 1);
}

// ---- after a takeover
// ----------------------------------------------------------------------------

std::string TakeoverName(const std::string& what) { return absl::StrCat("@", what, "-", getpid()); }

TEST_P(AccessOn, HoldsTheSuccessorsListOnTheSameSocket) {
  const std::string name = TakeoverName("ringside-access");
  const std::vector<std::string> common = {"127.0.0.1:0", "--listen", "echo=udp://127.0.0.1:0",
                                           "--takeover", name};
  const auto with = [&](std::vector<std::string> more) {
    more.insert(more.begin(), common.begin(), common.end());
    return ServeAt(GetParam(), more);
  };
  cli_tests::Server first = with({"--deny", "127.0.0.2"});
  EXPECT_NE(MeetTcp(AddressOf(first), "127.0.0.2", "127.0.0.3"), Met::kServed);
  cli_tests::Server second = with({"--deny", "127.0.0.3"});
  EXPECT_EQ(cli_tests::WaitFor(first.process()).exit_code, 0);
  ASSERT_EQ(AddressOf(second), AddressOf(first));
  EXPECT_EQ(second.ready()["listeners"][0]["inherited"], true);
  EXPECT_NE(MeetTcp(AddressOf(second), "127.0.0.3", "127.0.0.4"), Met::kServed);
  EXPECT_NE(MeetUdp(AddressOf(second, 1), "127.0.0.3", "127.0.0.4"), Met::kServed);
  EXPECT_EQ(MeetTcp(AddressOf(second), "127.0.0.2", "127.0.0.4"), Met::kServed);
  EXPECT_EQ(MeetUdp(AddressOf(second, 1), "127.0.0.2", "127.0.0.4"), Met::kServed);
  cli_tests::Server third = with({});
  EXPECT_EQ(cli_tests::WaitFor(second.process()).exit_code, 0);
  ASSERT_EQ(AddressOf(third), AddressOf(first));
  EXPECT_EQ(MeetTcp(AddressOf(third), "127.0.0.3", "127.0.0.4"), Met::kServed);
  EXPECT_EQ(MeetUdp(AddressOf(third, 1), "127.0.0.3", "127.0.0.4"), Met::kServed);
  third.Stop();
}

TEST_P(AccessOn, KeepsItsListWhereTheSuccessorFails) {
  const std::string name = TakeoverName("ringside-failing");
  cli_tests::Server first =
      ServeAt(GetParam(), {"127.0.0.1:0", "--takeover", name, "--deny", "127.0.0.2"});
  const cli_tests::Ended second =
      cli_tests::Ringside({"serve", "127.0.0.1:0", "--takeover", name, "--deny", "127.0.0.3",
                           "--metrics", AddressOf(first)});  // in use: it can't start
  EXPECT_EQ(second.exit_code, 1);
  EXPECT_EQ(MeetTcp(AddressOf(first), "127.0.0.3", "127.0.0.4"), Met::kServed);
  EXPECT_NE(MeetTcp(AddressOf(first), "127.0.0.2", "127.0.0.4"), Met::kServed);
  EXPECT_EQ(first.Stop()["limits"]["denied"], 0) << "its own filter is gone";
}

TEST_P(AccessOn, KeepsItsPathWhereTheSuccessorFails) {
  const std::string name = TakeoverName("ringside-path"), at = "unix:" + SocketPath("kept");
  cli_tests::Server first = ServeAt(GetParam(), {at, "--takeover", name});
  const cli_tests::Ended second = cli_tests::Ringside(
      {"serve", at, "--listen", "echo=unix:/nosuch/x.sock", "--takeover", name});
  EXPECT_EQ(second.exit_code, 1);
  const cli_tests::Ended third =
      cli_tests::Ringside({"serve", at, "--metrics", "unix:/nosuch/x.sock", "--takeover", name});
  EXPECT_EQ(third.exit_code, 1);
  EXPECT_TRUE(peers::Peer::Connected(at).Echoes("still here"));
  first.Stop();
}

// ---- Unix
// ----------------------------------------------------------------------------------------

TEST_P(AccessOn, GivesPathsTheirModeAndOwner) {
  const std::string plain = SocketPath("plain"), shared = SocketPath("shared");
  struct stat file = {};
  {
    cli_tests::Server server = ServeAt(GetParam(), {"unix:" + plain});
    ASSERT_EQ(stat(plain.c_str(), &file), 0);
    EXPECT_EQ(file.st_mode & 07777, 0600u);
    EXPECT_EQ(file.st_uid, geteuid());
    server.Stop();
    EXPECT_NE(stat(plain.c_str(), &file), 0) << "the path is still there";
  }
  if (geteuid() != 0) GTEST_SKIP() << "only root can give a path away";
  for (const char* transport : {"unix:", "unix-seqpacket:", "unix-dgram:"}) {
    cli_tests::Server server =
        ServeAt(GetParam(), {transport + shared, "--unix-mode", "0620", "--unix-owner", "1:65534"});
    ASSERT_EQ(stat(shared.c_str(), &file), 0);
    EXPECT_EQ(file.st_mode & 07777, 0620u) << transport;
    EXPECT_EQ(file.st_uid, 1u);
    EXPECT_EQ(file.st_gid, 65534u);
    server.Stop();
  }
}

bool ServedAs(uid_t id, const std::string& to) {
  const ActAs another(id);
  peers::Peer peer(to);
  if (peer.Connect() != 0) return false;
  return peer.Echoes("hello");
}

TEST_P(AccessOn, ServesOnlyUnixPeersOfItsUsersAndGroups) {
  if (geteuid() != 0) GTEST_SKIP() << "only root can act as another user";
  for (const std::string transport : {"unix:", "unix-seqpacket:"}) {
    for (const std::string& where : {SocketPath("users"), TakeoverName("users")}) {
      const std::string at = transport + where;
      SCOPED_TRACE(at);
      {
        cli_tests::Server server = ServeAt(
            GetParam(), {at, "--unix-mode", "666", "--allow-uid", "root", "--metrics", "0"});
        EXPECT_FALSE(ServedAs(kNobody, at));
        EXPECT_FALSE(ServedAs(1, at));
        EXPECT_TRUE(ServedAs(0, at));
        EXPECT_EQ(peers::Metric(server, "ringside_refusals_total", "{reason=\"denied\"}"), 2);
        const cli_tests::Json summary = server.Stop();
        EXPECT_EQ(summary["limits"]["denied"], 2);
        EXPECT_EQ(summary["connections"]["refused"], 2);
        EXPECT_EQ(summary["requests"], 1);
      }
      cli_tests::Server server = ServeAt(
          GetParam(), {at, "--unix-mode", "666", "--allow-uid", "1", "--allow-gid", "65534"});
      EXPECT_TRUE(ServedAs(kNobody, at)) << "its group is allowed";
      EXPECT_TRUE(ServedAs(1, at)) << "its user is allowed";
      EXPECT_FALSE(ServedAs(0, at)) << "root is no exception";
      EXPECT_EQ(server.Stop()["limits"]["denied"], 1);
    }
  }
}

TEST_P(AccessOn, ShutsOthersOutByThePathsMode) {
  if (geteuid() != 0) GTEST_SKIP() << "only root can act as another user";
  const std::string path = SocketPath("mode");
  cli_tests::Server server = ServeAt(GetParam(), {"unix:" + path});
  {
    const ActAs nobody(kNobody);
    EXPECT_EQ(peers::Peer("unix:" + path).Connect(), EACCES);
  }
  EXPECT_EQ(server.Stop()["connections"]["accepted"], 0);
}

// Who sent a datagram is not known as who connected is.
TEST(UnixDatagramAccess, TakesNoListsOfUsersAndSaysSo) {
  for (const char* flag : {"--allow-uid", "--allow-gid"}) {
    for (const std::string& where : {SocketPath("dgram"), TakeoverName("dgram")}) {
      const cli_tests::Ended ended =
          cli_tests::Ringside({"serve", "0", "--listen", "echo=unix-dgram:" + where, flag, "0"});
      EXPECT_EQ(ended.exit_code, 2);
      EXPECT_EQ(ended.out, "");
      EXPECT_NE(ended.err.find(flag), std::string::npos) << ended.err;
      EXPECT_NE(ended.err.find("unix-dgram:"), std::string::npos) << ended.err;
      EXPECT_NE(ended.err.find("--unix-mode"), std::string::npos) << ended.err;
      EXPECT_EQ(ended.err.find('\n'), ended.err.size() - 1) << ended.err;
    }
  }
}

// ---- datagrams
// -----------------------------------------------------------------------------------

// Sends a datagram with any source, as a forger would. Root only.
void Forge(const std::string& from, int from_port, const std::string& to, int to_port,
           const std::string& text) {
  std::string packet(sizeof(iphdr) + sizeof(udphdr), '\0');
  packet += text;
  iphdr ip = {};
  ip.version = 4;
  ip.ihl = 5;
  ip.ttl = 64;
  ip.protocol = IPPROTO_UDP;
  inet_pton(AF_INET, from.c_str(), &ip.saddr);
  inet_pton(AF_INET, to.c_str(), &ip.daddr);
  udphdr udp = {};  // without a checksum, which IPv4 allows
  udp.source = htons(static_cast<uint16_t>(from_port));
  udp.dest = htons(static_cast<uint16_t>(to_port));
  udp.len = htons(static_cast<uint16_t>(sizeof(udp) + text.size()));
  std::memcpy(packet.data(), &ip, sizeof(ip));
  std::memcpy(packet.data() + sizeof(ip), &udp, sizeof(udp));
  const int raw = socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW);
  sockaddr_in at = {};
  at.sin_family = AF_INET;
  at.sin_addr.s_addr = ip.daddr;
  const ssize_t sent =
      sendto(raw, packet.data(), packet.size(), 0, reinterpret_cast<sockaddr*>(&at), sizeof(at));
  const int error = errno;
  close(raw);
  if (sent < 0) throw std::runtime_error("raw socket: " + io::ErrnoName(error));
}

int PortOf(cli_tests::Server& server, size_t listener = 0) {
  return server.ready()["listeners"][listener]["port"];
}

TEST_P(AccessOn, AnswersNoDatagramThatCouldBounceForEver) {
  OwnNetwork network;
  if (!network.missing().empty()) GTEST_SKIP() << network.missing();
  cli_tests::Server server =
      ServeAt(GetParam(), {"udp://127.0.0.1:0", "--listen", "echo=udp://127.0.0.1:0", "--listen",
                           "echo=udp://*:0", "--metrics", "0"});
  const std::string to = AddressOf(server);
  peers::Peer port7(to, "udp://127.0.0.1:7"), port1023(to, "udp://127.0.0.1:1023"),
      port1024(to, "udp://127.0.0.1:1024");
  for (peers::Peer* peer : {&port7, &port1023}) {
    ASSERT_EQ(peer->Connect(), 0);
    EXPECT_TRUE(peer->Send("bounce"));
  }
  // From a port of its own: the same socket, its neighbour, and the one at all addresses.
  for (size_t i = 0; i < 3; ++i) {
    Forge("127.0.0.1", PortOf(server, i), "127.0.0.1", PortOf(server), "bounce");
  }
  ASSERT_EQ(port1024.Connect(), 0);
  EXPECT_TRUE(port1024.Echoes("served"));
  for (peers::Peer* peer : {&port7, &port1023}) {
    char reply[16];
    EXPECT_LT(recv(peer->fd(), reply, sizeof(reply), MSG_DONTWAIT), 0);
  }
  EXPECT_EQ(peers::Metric(server, "ringside_refusals_total", "{reason=\"datagram_loop\"}"), 5);
  const cli_tests::Json summary = server.Stop();
  EXPECT_EQ(summary["datagrams"]["received"], 6);
  EXPECT_EQ(summary["datagrams"]["sent"], 1);
  EXPECT_EQ(summary["datagrams"]["refused"], 5);
}

// Two servers whose ports the other doesn't know, and a forged datagram from the one to the other.
void ExpectNoEndlessBouncing(const std::string& backend, const std::string& host,
                             const std::string& service, const std::string& other_service) {
  SCOPED_TRACE(absl::StrCat(service, " and ", other_service, " at ", host));
  cli_tests::Server one = ServeAt(backend, {"udp://" + host + ":0", "--service", service}),
                    two = ServeAt(backend, {"udp://" + host + ":0", "--service", other_service});
  Forge(host, PortOf(one), host, PortOf(two), "bounce, bounce, bounce");
  const auto received = [&] {
    return one.Status()["datagrams"]["received"].get<int>() +
           two.Status()["datagrams"]["received"].get<int>();
  };
  int count = 0, same = 0;
  peers::Await("the bouncing ends", [&] {
    const int now = received();
    same = now == count && now > 0 ? same + 1 : 0;
    count = now;
    usleep(2000);
    return same == 20 || count > 1000;
  });
  EXPECT_LE(count, 300) << "it never ends";
  peers::Peer client = peers::Peer::Connected("udp://" + host + ":" + std::to_string(PortOf(one)));
  EXPECT_TRUE(client.Send("and a real client is served"));
  EXPECT_NE(client.Receive(1), "");
  one.Stop();
  two.Stop();
}

TEST_P(AccessOn, BouncesNoDatagramForEverBetweenTwoServers) {
  LEFT_TO_ALL();
  OwnNetwork network;
  if (!network.missing().empty()) GTEST_SKIP() << network.missing();
  network.AddAddress("10.9.0.1/24");
  ExpectNoEndlessBouncing(GetParam(), "127.0.0.1", "echo", "echo");
  ExpectNoEndlessBouncing(GetParam(), "10.9.0.1", "echo", "echo");
  ExpectNoEndlessBouncing(GetParam(), "127.0.0.1", "counter", "echo");
  ExpectNoEndlessBouncing(GetParam(), "127.0.0.1", "reply", "delay");
}

TEST_P(AccessOn, NeverAnswersWithMoreThanItWasAskedFromElsewhere) {
  OwnNetwork network;
  if (!network.missing().empty()) GTEST_SKIP() << network.missing();
  network.AddAddress("10.9.0.1/24");
  network.AddAddress("10.9.0.2/24");
  const std::string at = "udp://10.9.0.1:0";
  std::vector<std::string> flags = {"--reply-text", "eighteen bytes, eh", "--metrics", "0"};
  const std::vector<std::string> services = {"reply", "chargen", "counter",
                                             "greet", "echo",    "delay"};
  for (const std::string& service : services) {
    flags.insert(flags.end(), {"--listen", service + "=" + at});
  }
  cli_tests::Server server = ServeAt(GetParam(), flags);
  std::map<std::string, size_t> answered;
  size_t asked = 0;
  for (size_t i = 0; i < services.size(); ++i) {
    peers::Peer peer = peers::Peer::Connected(AddressOf(server, i), "10.9.0.2");
    Watcher watcher;
    for (size_t size = 0; size < 200; size += size < 30 ? 1 : 17, ++asked) {
      ASSERT_TRUE(peer.Send(std::string(size, 'q')));
    }
    // A thread sends in order: what answers these has left when a later one is answered.
    peers::Await("all have been asked", [&] {
      const cli_tests::Json status = server.Status();
      return status["datagrams"]["received"] == asked && status["limits"]["delayed_replies"] == 0;
    });
    ASSERT_TRUE(peers::Peer::Connected(AddressOf(server, 4), "10.9.0.1").Echoes("w"));
    ++asked;
    const Watcher::Seen seen = watcher.With("10.9.0.2");
    EXPECT_GT(seen.udp_from, 0u);
    EXPECT_LE(seen.udp_to, seen.udp_from) << services[i] << " amplifies";
    char reply[65536];
    size_t largest = 0;
    for (ssize_t n; (n = recv(peer.fd(), reply, sizeof(reply), MSG_DONTWAIT)) >= 0;) {
      largest = std::max<size_t>(largest, n);
      ++answered[services[i]];
    }
    EXPECT_LT(largest, 200u) << services[i];
  }
  EXPECT_EQ(answered["reply"], 22u) << "of those with 18 bytes or more, each";
  EXPECT_GE(peers::Metric(server, "ringside_refusals_total", "{reason=\"datagram_amplification\"}"),
            18);
  const cli_tests::Json summary = server.Stop();
  EXPECT_GE(summary["datagrams"]["amplifying"], 18);
}

TEST_P(AccessOn, TakesNoHarmFromAnyDatagram) {
  cli_tests::Server server =
      ServeAt(GetParam(), {"udp://127.0.0.1:0", "--listen", "counter=udp://127.0.0.1:0", "--listen",
                           "discard=udp://127.0.0.1:0", "--listen", "greet=udp://127.0.0.1:0",
                           "--recv-buffer-bytes", "1000", "--metrics", "0"});
  int oversized = 0;
  for (size_t listener = 0; listener < 4; ++listener) {
    peers::Peer peer = peers::Peer::Connected(AddressOf(server, listener));
    std::string garbage;
    for (int i = 0; i < 256; ++i) garbage.push_back(static_cast<char>(i));
    for (const std::string& text :
         {std::string(), garbage, std::string(1, '\0'), std::string(1000, '\xff'),
          std::string(1001, 'o'), std::string(9000, 'o'), std::string(65507, 'o')}) {
      EXPECT_TRUE(peer.Send(text));
      oversized += text.size() > 1000 ? 1 : 0;
    }
  }
  peers::Peer peer = peers::Peer::Connected(AddressOf(server));
  EXPECT_TRUE(peer.Echoes(std::string(1000, 'e'))) << "as long as a buffer";
  EXPECT_TRUE(peer.Send(""));
  EXPECT_EQ(peer.Receive(1), "");
  EXPECT_EQ(peer.end(), peers::Peer::kFin) << "an empty datagram's echo is empty";
  peers::Await("all have come",
               [&] { return server.Status()["limits"]["truncated_messages"] == oversized; });
  EXPECT_EQ(peers::Metric(server, "ringside_truncated_messages_total"), oversized);
  EXPECT_EQ(server.Stop()["limits"]["truncated_messages"], oversized);
}

}  // namespace
}  // namespace serve_tests
