#include <sys/stat.h>

#include <filesystem>
#include <fstream>

#include "tests/serve/peers.h"

// What a server is asked for and can't do: one sentence, an exit code, and nothing left behind.
namespace serve_tests {
namespace {

// One line on stderr with each of `words` in it.
void ExpectRefusal(const cli_tests::Ended& ended, int exit_code,
                   const std::vector<std::string>& words) {
  EXPECT_EQ(ended.exit_code, exit_code) << ended.err;
  EXPECT_EQ(ended.out, "");
  EXPECT_EQ(ended.err.rfind("ringside serve: ", 0), 0u) << ended.err;
  EXPECT_EQ(ended.err.find('\n'), ended.err.size() - 1) << "more than one line: " << ended.err;
  for (const std::string& word : words) {
    EXPECT_NE(ended.err.find(word), std::string::npos) << word << " is not in: " << ended.err;
  }
}

struct Refused {
  const char* name;
  std::vector<std::string> arguments;
  std::vector<std::string> says;
};
void PrintTo(const Refused& refused, std::ostream* out) { *out << refused.name; }

class ServeRefuses : public testing::TestWithParam<Refused> {};

TEST_P(ServeRefuses, WithOneSentenceAndExitCode2) {
  std::vector<std::string> arguments = GetParam().arguments;
  arguments.insert(arguments.begin(), "serve");
  ExpectRefusal(cli_tests::Ringside(arguments), 2, GetParam().says);
}

const std::string kLongPath = "/run/" + std::string(103, 'p');  // 108 bytes

INSTANTIATE_TEST_SUITE_P(
    All, ServeRefuses,
    testing::Values(
        Refused{"ALongUnixPath", {"unix:" + kLongPath}, {kLongPath, "108", "107", "shorter"}},
        Refused{"ALongUnixName", {"unix:@" + std::string(107, 'n')}, {"108", "107"}},
        Refused{"DirectWithEpoll", {"0", "--direct", "--backend", "epoll"}, {"--direct", "epoll"}},
        Refused{"DirectWithoutTcp", {"udp://0", "--direct"}, {"--direct", "TCP"}},
        Refused{"ATableBeyondTheLimit",
                {"0", "--direct", "--connections-max", "16000000"},
                {"--connections-max", "RLIMIT_NOFILE", "--threads"}},
        Refused{"AnEmptyUnixPath", {"unix:"}, {"path is missing", "unix:/run/x.sock"}},
        Refused{"AListenerWithoutService", {"--listen", "9999"}, {"--listen", "'9999'", "echo="}},
        Refused{"AListenerOfNoService", {"--listen", "ecko=0"}, {"--listen", "'ecko'", "echo"}},
        Refused{"AListenerWithoutAddress", {"--listen", "echo="}, {"--listen", "HOST:PORT"}},
        Refused{"AnAllowedName", {"0", "--allow", "example.org"}, {"--allow", "'example.org'"}},
        Refused{"ADeniedPrefixTooLong", {"0", "--deny", "10.0.0.0/33"}, {"--deny", "10.0.0.0/33"}},
        Refused{
            "ADeniedBitBeyondThePrefix", {"0", "--deny", "10.0.0.1/8"}, {"--deny", "10.0.0.1/8"}},
        Refused{"AnEmptyItem", {"0", "--allow", "10.0.0.0/8,,::1"}, {"--allow"}},
        Refused{"TheSecondOfTwoLists",
                {"0", "--deny", "10.0.0.0/8", "--deny", "10.0.0.0/8, 300.1.1.1"},
                {"--deny", "'300.1.1.1'"}},
        Refused{"AModeThatIsNone", {"0", "--unix-mode", "rw"}, {"--unix-mode", "'rw'"}},
        Refused{"AModeForNobody", {"0", "--unix-mode", "0444"}, {"--unix-mode", "0444"}},
        Refused{"AnUnknownOwner", {"0", "--unix-owner", "nosuch:"}, {"--unix-owner", "nosuch"}},
        Refused{"AnUnknownUser", {"0", "--allow-uid", "nosuch"}, {"--allow-uid", "nosuch"}},
        Refused{"AnUnknownGroup", {"0", "--allow-gid", "nosuch"}, {"--allow-gid", "nosuch"}},
        Refused{"MetricsOnUdp", {"0", "--metrics", "udp://127.0.0.1:0"}, {"--metrics", "TCP"}},
        Refused{"MetricsNowhere", {"0", "--metrics", "here"}, {"--metrics", "'here'"}},
        Refused{"AnUnknownUserToBecome", {"0", "--user", "nosuch"}, {"--user", "nosuch"}},
        Refused{"ALongTakeoverPath", {"0", "--takeover", kLongPath}, {"--takeover", "107"}}),
    [](const auto& test) { return test.param.name; });

std::string SharedPath(const std::string& name) { return peers::SocketPath("bad-" + name); }

TEST(ServeFails, WhereThePathIsNoSocket) {
  const std::string path = SharedPath("file");
  std::ofstream(path) << "precious";
  for (const char* transport : {"unix:", "unix-seqpacket:", "unix-dgram:"}) {
    ExpectRefusal(cli_tests::Ringside({"serve", transport + path}), 1,
                  {path, "EADDRINUSE", "choose another path, or remove it"});
  }
  std::string text;
  std::ifstream(path) >> text;
  EXPECT_EQ(text, "precious");
  std::filesystem::remove(path);
}

TEST(ServeFails, WhereAnotherListensOnThePath) {
  const std::string path = SharedPath("served");
  cli_tests::Server server({"--listen", "echo=unix:" + path});
  for (const char* transport : {"unix:", "unix-seqpacket:", "unix-dgram:"}) {
    ExpectRefusal(cli_tests::Ringside({"serve", transport + path}), 1, {path, "in use"});
  }
  EXPECT_TRUE(peers::Peer::Connected("unix:" + path).Echoes("still there"));
  server.Stop();
}

TEST(ServeFails, NotWhereASocketIsStale) {
  const std::string path = SharedPath("stale");
  cli_tests::Server killed({"--listen", "echo=unix:" + path});
  killed.process().Signal(SIGKILL);
  cli_tests::WaitFor(killed.process());
  struct stat file = {};
  ASSERT_EQ(stat(path.c_str(), &file), 0) << "it left nothing stale";
  cli_tests::Server server({"--listen", "echo=unix:" + path});
  EXPECT_TRUE(peers::Peer::Connected("unix:" + path).Echoes("here"));
  server.Stop();
}

// What was opened before the failure is closed and removed again.
TEST(ServeFails, WithoutATrace) {
  const std::string path = SharedPath("trace");
  const std::string port = cli_tests::FreePort();
  ExpectRefusal(cli_tests::Ringside({"serve", "--listen", "echo=unix:" + path, "--listen",
                                     "echo=" + port, "--listen", "echo=unix:/nosuch/x.sock"}),
                1, {"/nosuch/x.sock", "directory"});
  struct stat file = {};
  EXPECT_NE(stat(path.c_str(), &file), 0) << "the path is still there";
  EXPECT_EQ(peers::Peer("127.0.0.1:" + port).Connect(), ECONNREFUSED);
}

TEST(ServeFails, OnAPrivilegedPortWithoutTheRight) {
  if (geteuid() != 0) GTEST_SKIP() << "only root can give the right away";
  if (!cli_tests::Installed("setpriv")) GTEST_SKIP() << "setpriv (util-linux) is not installed";
  peers::OwnNetwork network;  // where nobody has moved net.ipv4.ip_unprivileged_port_start
  if (!network.missing().empty()) GTEST_SKIP() << network.missing();
  for (const char* address : {"7", "udp://127.0.0.1:7"}) {
    ExpectRefusal(
        cli_tests::RunToEnd({"setpriv", "--reuid", "65534", "--clear-groups", "--bounding-set",
                             "-all", "--inh-caps", "-all", RINGSIDE_BINARY, "serve", address}),
        1, {"port 7", "privileged", "CAP_NET_BIND_SERVICE"});
  }
}

TEST(ServeFails, WhereTheMetricsPortIsInUse) {
  cli_tests::Server server({});
  ExpectRefusal(cli_tests::Ringside({"serve", "0", "--metrics", server.port()}), 1,
                {"--metrics", "port " + server.port(), "in use", "choose another port"});
  server.Stop();
}

TEST(ServeFails, WhereTheTakeoverPathIsADirectory) {
  const std::string path = SharedPath("directory");
  std::filesystem::create_directory(path);
  ExpectRefusal(cli_tests::Ringside({"serve", "0", "--takeover", path}), 1, {path, "--takeover"});
  EXPECT_TRUE(std::filesystem::is_directory(path));
  std::filesystem::remove(path);
}

using BadPeersOf = cli_tests::EachBackend;
INSTANTIATE_TEST_SUITE_P(Backends, BadPeersOf, testing::Values("epoll", "io_uring"),
                         [](const auto& test) { return test.param; });

TEST_P(BadPeersOf, CounterMeetAnEndToEndlessLines) {
  cli_tests::Server server({"--backend", GetParam(), "--service", "counter", "--metrics", "0"});
  peers::Peer endless = peers::Peer::Connected("127.0.0.1:" + server.port());
  peers::Peer good = peers::Peer::Connected("127.0.0.1:" + server.port());
  const std::string part(10'000, 'x');
  size_t sent = 0;
  while (endless.Send(part)) {
    sent += part.size();
    ASSERT_LT(sent, 100u << 20) << "it takes whatever comes";
  }
  endless.Receive(1);
  EXPECT_TRUE(good.Send("a line\n"));
  EXPECT_EQ(good.Receive(2), "1\n") << "the line that never ended was counted";
  EXPECT_EQ(peers::Metric(server, "ringside_refusals_total", "{reason=\"protocol_violation\"}"), 1);
  good.Close();
  endless.Close();
  const cli_tests::Json summary = server.Stop();
  EXPECT_EQ(summary["limits"]["protocol_violations"], 1);
  EXPECT_EQ(summary["requests"], 1);
  EXPECT_LE(summary["bytes"]["received"], 1u << 20) << "not bounded";
}

}  // namespace
}  // namespace serve_tests
