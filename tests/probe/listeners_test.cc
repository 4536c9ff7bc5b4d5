// Who listens on this machine, as `ringside probe` tells it.

#include <sys/un.h>

#include "tests/probe/network.h"

namespace probe_tests {
namespace {

class Listeners : public OwnNetwork {};

// The one that is bound there.
Json Named(const Json& result, const std::string& local) {
  for (const Json& listener : result.at("listeners")) {
    if (listener.at("local") == local) return listener;
  }
  ADD_FAILURE() << local << " is not among " << result;
  return Json::object();
}

TEST_F(Listeners, OfAnotherProcessAreNamedWithPidAndDescriptor) {
  cli_tests::Server server({"--backend", "epoll"});
  const Json result = ProbeJson({"127.0.0.1:" + server.port()});
  ASSERT_EQ(result["open"].size(), 1u);
  const Json& holders = result["open"][0]["listeners"][0]["holders"];
  ASSERT_GE(holders.size(), 1u) << "the server may keep a copy of its own";
  for (const Json& holder : holders) {
    EXPECT_EQ(holder["pid"], server.process().pid());
    EXPECT_EQ(holder["process"], "ringside");
    char link[64] = {};
    const std::string path = "/proc/" + std::to_string(server.process().pid()) + "/fd/" +
                             std::to_string(holder["fd"].get<int>());
    ASSERT_GT(readlink(path.c_str(), link, sizeof(link) - 1), 0) << path;
    EXPECT_EQ(std::string(link).substr(0, 8), "socket:[");
  }
  server.Stop();
}

TEST_F(Listeners, OfEachKindAreListed) {
  const Fd tcp = Bound("::", 1001, 9, /*v6_only=*/true);
  At at = AddressOf("127.0.0.1", 1002);
  const Fd udp(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  ASSERT_EQ(bind(udp.get(), at.get(), at.size), 0);
  sockaddr_un name = {.sun_family = AF_UNIX, .sun_path = "\0probe-test"};
  const Fd stream(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  ASSERT_EQ(bind(stream.get(), reinterpret_cast<sockaddr*>(&name), sizeof(sa_family_t) + 11), 0);
  ASSERT_EQ(listen(stream.get(), 3), 0);
  const Json result = ProbeJson({"--listeners"});
  const auto expect = [&](const Json& found, const char* protocol, const Fd& fd) {
    EXPECT_EQ(found["protocol"], protocol);
    EXPECT_EQ(found["holders"][0]["pid"], getpid());
    EXPECT_EQ(found["holders"][0]["fd"], fd.get());
  };
  expect(Named(result, "[::]:1001"), "tcp", tcp);
  EXPECT_EQ(Named(result, "[::]:1001")["v6_only"], true);
  EXPECT_EQ(Named(result, "[::]:1001")["backlog"], 9);
  expect(Named(result, "127.0.0.1:1002"), "udp", udp);
  EXPECT_EQ(Named(result, "127.0.0.1:1002")["unread_bytes"], 0);
  expect(Named(result, "@probe-test"), "unix", stream);
}

Fd ConnectedTo(const std::string& host, int port) {
  At at = AddressOf(host, port);
  Fd fd(socket(at.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  EXPECT_EQ(connect(fd.get(), at.get(), at.size), 0) << strerror(errno);
  return fd;
}

std::string PeerOf(const Fd& client) {
  sockaddr_in local = {};
  socklen_t size = sizeof(local);
  getsockname(client.get(), reinterpret_cast<sockaddr*>(&local), &size);
  return "127.0.0.1:" + std::to_string(ntohs(local.sin_port));
}

TEST_F(Listeners, TellWhoIsConnected) {
  const Fd exact = Bound("127.0.0.1", 1001, 5), any = Bound("0.0.0.0", 1002, 5);
  const Fd both = Bound("::", 1003, 5);
  const Fd first = ConnectedTo("127.0.0.1", 1001), second = ConnectedTo("127.0.0.1", 1001);
  const Fd third = ConnectedTo("127.0.0.1", 1002), fourth = ConnectedTo("127.0.0.1", 1003);
  const Fd fifth = ConnectedTo("::1", 1003);
  const Json result = ProbeJson({"--listeners", "--connections", "1"});
  const Json found = Named(result, "127.0.0.1:1001");
  EXPECT_EQ(found["connections"], 2);
  ASSERT_EQ(found["peers"].size(), 1u);
  EXPECT_TRUE(found["peers"][0] == PeerOf(first) || found["peers"][0] == PeerOf(second));
  EXPECT_EQ(found["queue"], 2) << "nobody has accepted them";
  EXPECT_EQ(Named(result, "0.0.0.0:1002")["peers"][0], PeerOf(third));
  EXPECT_EQ(Named(result, "[::]:1003")["connections"], 2);
  const Json probed = ProbeJson({"--ports", "1001-1003"});
  EXPECT_EQ(probed["open"][0]["listeners"][0]["connections"], 2);
  EXPECT_EQ(probed["open"][0]["listeners"][0]["queue"], 2) << "the probe's own is not in it";
  EXPECT_FALSE(probed["open"][0]["listeners"][0].contains("peers"));
}

TEST_F(Listeners, OfAGroupAreAllTold) {
  std::vector<Fd> group;
  for (int i = 0; i < 3; ++i) {
    At at = AddressOf("127.0.0.1", 1001);
    Fd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const int on = 1;
    setsockopt(fd.get(), SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on));
    ASSERT_EQ(bind(fd.get(), at.get(), at.size), 0);
    ASSERT_EQ(listen(fd.get(), 5), 0);
    group.push_back(std::move(fd));
  }
  const Json result = ProbeJson({"127.0.0.1:1001"});
  std::set<int> found, expected;
  for (const Json& listener : result["open"][0]["listeners"]) {
    found.insert(listener["holders"][0]["fd"].get<int>());
  }
  for (const Fd& fd : group) expected.insert(fd.get());
  EXPECT_EQ(found, expected);
}

// A socket on its way between processes is in no process's table.
TEST_F(Listeners, ThatNobodyIsSeenToHoldSayWhy) {
  Fd listener = Bound("127.0.0.1", 1001, 5);
  int pair[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
  const Fd here(pair[0]), there(pair[1]);
  char byte = 0;
  iovec part = {&byte, 1};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr message = {
      .msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)};
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  *header = {.cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
  const int fd = listener.get();
  memcpy(CMSG_DATA(header), &fd, sizeof(fd));
  ASSERT_EQ(sendmsg(here.get(), &message, 0), 1);
  listener.Close();
  const Json result = ProbeJson({"127.0.0.1:1001"});
  ASSERT_EQ(result["open"].size(), 1u);
  const Json& found = result["open"][0]["listeners"][0];
  EXPECT_TRUE(found["holders"].empty());
  ASSERT_TRUE(found["unseen"].is_string());
  EXPECT_NE(found["unseen"].get<std::string>().size(), 0u);
}

TEST_F(Listeners, AreATableOnATerminal) {
  const Fd listener = Bound("127.0.0.1", 1001, 5);
  const Ended listed = cli_tests::Ringside({"probe", "--listeners"});
  EXPECT_EQ(listed.exit_code, 0);
  EXPECT_NE(listed.out.find("127.0.0.1:1001  0 of 5"), std::string::npos) << listed.out;
  const Ended probed = cli_tests::Ringside({"probe", "--ports", "1001-1002"});
  EXPECT_EQ(probed.exit_code, 0);
  EXPECT_NE(probed.out.find("\n1 of 2 ports is open.\n"), std::string::npos) << probed.out;
  EXPECT_NE(probed.out.find("pid " + std::to_string(getpid())), std::string::npos) << probed.out;
}

}  // namespace
}  // namespace probe_tests
