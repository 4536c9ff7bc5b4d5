#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <csignal>
#include <set>
#include <sstream>

#include "tests/cli/ringside.h"
#include "tests/tier.h"

namespace cli_tests {
namespace {

using ServeOn = EachBackend;
INSTANTIATE_TEST_SUITE_P(Backends, ServeOn, testing::Values("epoll", "io_uring"),
                         [](const auto& test) { return test.param; });

// A plain client socket, connected.
class Client {
 public:
  explicit Client(const std::string& port) : fd_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in at = {};
    at.sin_family = AF_INET;
    at.sin_port = htons(static_cast<uint16_t>(std::stoi(port)));
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (connect(fd_, reinterpret_cast<sockaddr*>(&at), sizeof(at)) != 0) perror("connect");
  }
  ~Client() { close(fd_); }
  void Send(const std::string& text) {
    ASSERT_EQ(write(fd_, text.data(), text.size()), ssize_t(text.size()));
  }
  // Until `bytes` came, or the end.
  std::string Receive(size_t bytes) {
    std::string text;
    char part[4096];
    while (text.size() < bytes) {
      const ssize_t n = read(fd_, part, std::min(sizeof(part), bytes - text.size()));
      if (n <= 0) break;
      text.append(part, n);
    }
    return text;
  }
  void End() { shutdown(fd_, SHUT_WR); }

 private:
  int fd_;
};

TEST_P(ServeOn, TellsItsRealAddressAndBackend) {
  Server server({"--backend", GetParam()});
  EXPECT_EQ(server.ready()["schema"], "ringside.serve/1");
  EXPECT_EQ(server.ready()["backend"], GetParam());
  EXPECT_EQ(server.ready()["service"], "echo");
  EXPECT_GT(server.ready()["port"].get<int>(), 0);
  EXPECT_EQ(server.ready()["address"], "127.0.0.1:" + server.port());
}

TEST_P(ServeOn, GivesNetcatItsBytesBack) {
  if (!Installed("nc")) GTEST_SKIP() << "netcat is not installed";
  Server server({"--backend", GetParam()});
  const Ended ended = RunToEnd({"sh", "-c", "echo hello | nc -q1 127.0.0.1 " + server.port()});
  EXPECT_EQ(ended.out, "hello\n") << ended.err;
}

TEST_P(ServeOn, GivesSocatTenMebibytesBack) {
  if (!Installed("socat")) GTEST_SKIP() << "socat is not installed";
  Server server({"--backend", GetParam()});
  const Ended ended = RunToEnd(
      {"sh", "-c",
       "head -c 10485760 /dev/zero | tr '\\0' 'r' | socat -t 30 - TCP:127.0.0.1:" + server.port() +
           " | tr -d 'r' | wc -c; exit ${PIPESTATUS:-0}"});
  EXPECT_EQ(ended.out, "0\n") << "foreign bytes; " << ended.err;
  EXPECT_EQ(server.Stop()["bytes"]["sent"], 10485760);
}

TEST_P(ServeOn, RepliesToNetcatWithItsText) {
  LEFT_TO_ALL();
  if (!Installed("nc")) GTEST_SKIP() << "netcat is not installed";
  Server server({"--backend", GetParam(), "--service", "reply"});
  Ended ended = RunToEnd({"sh", "-c", "printf hello | nc -q1 127.0.0.1 " + server.port()});
  EXPECT_EQ(ended.out, "I got your message") << ended.err;
  EXPECT_EQ(server.Stop()["request_unit"], "receive");
  Server other({"--backend", GetParam(), "--service", "reply", "--reply-text", "so it is"});
  ended = RunToEnd({"sh", "-c", "printf hello | nc -q1 127.0.0.1 " + other.port()});
  EXPECT_EQ(ended.out, "so it is") << ended.err;
}

TEST_P(ServeOn, SaysNothingToNetcatWhereItDiscards) {
  if (!Installed("nc")) GTEST_SKIP() << "netcat is not installed";
  Server server({"--backend", GetParam(), "--service", "discard"});
  const Ended ended = RunToEnd({"sh", "-c", "printf hello | nc -q1 127.0.0.1 " + server.port()});
  EXPECT_EQ(ended.exit_code, 0) << ended.err;
  EXPECT_EQ(ended.out, "");
  EXPECT_EQ(server.Stop()["bytes"]["received"], 5);
}

TEST_P(ServeOn, GeneratesCharactersForSocatUntilItLeaves) {
  if (!Installed("socat")) GTEST_SKIP() << "socat is not installed";
  Server server({"--backend", GetParam(), "--service", "chargen"});
  const Ended ended =
      RunToEnd({"sh", "-c", "socat -u TCP:127.0.0.1:" + server.port() + " - | head -c 1000000"});
  EXPECT_TRUE(ended.out == ChargenText(0, 1'000'000)) << ended.out.substr(0, 200);
  const Json summary = server.Stop();
  EXPECT_GE(summary["bytes"]["sent"], 1'000'000);
  EXPECT_EQ(summary["connections"]["closed"], summary["connections"]["accepted"]);
  EXPECT_EQ(summary["connections"]["reset_at_deadline"], 0);
}

TEST_P(ServeOn, DrainsWhileItGenerates) {
  Server server({"--backend", GetParam(), "--service", "chargen"});
  Client client(server.port());
  EXPECT_EQ(client.Receive(1000), ChargenText(0, 1000));
  server.process().Signal(SIGTERM);
  std::string rest = client.Receive(~size_t{0});  // to the FIN
  EXPECT_TRUE(rest == ChargenText(1000, 1000 + rest.size()));
  client.End();
  const Ended ended = WaitFor(server.process());
  EXPECT_EQ(ended.exit_code, 0) << ended.err;
  const Json summary = Line(ended.out, 1);
  EXPECT_EQ(summary["connections"]["reset_at_deadline"], 0);
  EXPECT_EQ(summary["bytes"]["sent"], 1000 + rest.size());
}

TEST_P(ServeOn, ShowsItsListenerAndBacklog) {
  if (!Installed("ss")) GTEST_SKIP() << "ss is not installed";
  Server server({"--backend", GetParam(), "--backlog", "77"});
  const Ended ended = RunToEnd({"ss", "-Hltnp", "sport = :" + server.port()});
  EXPECT_NE(ended.out.find("ringside"), std::string::npos) << ended.out;
  EXPECT_NE(ended.out.find(" 77 "), std::string::npos) << ended.out;
}

TEST_P(ServeOn, ReportsWhatItDidWhenItIsTerminated) {
  Server server({"--backend", GetParam()});
  Client client(server.port());
  client.Send("ping");
  EXPECT_EQ(client.Receive(4), "ping");
  server.process().Signal(SIGTERM);
  EXPECT_EQ(client.Receive(1), "") << "no FIN";  // the server drains
  client.End();
  const Ended ended = WaitFor(server.process());
  EXPECT_EQ(ended.exit_code, 0) << ended.err;
  const Json summary = Line(ended.out, 1);
  EXPECT_EQ(summary["requests"], 1);
  EXPECT_EQ(summary["connections"]["accepted"], 1);
  EXPECT_EQ(summary["connections"]["open"], 1);
  EXPECT_EQ(summary["bytes"]["received"], 4);
  EXPECT_EQ(summary["bytes"]["sent"], 4);
  EXPECT_EQ(summary["errors"]["total"], 0);
  EXPECT_GT(summary["syscalls_per_request"].get<double>(), 0);
  EXPECT_GT(summary["cpu_us_per_request"].get<double>(), 0);
}

TEST_P(ServeOn, EndsAtTheSecondSignal) {
  Server server({"--backend", GetParam(), "--drain", "1h"});
  Client client(server.port());
  client.Send("x");
  EXPECT_EQ(client.Receive(1), "x");
  server.process().Signal(SIGINT);
  EXPECT_EQ(client.Receive(1), "");  // draining, and this client stays
  server.process().Signal(SIGINT);
  const Ended ended = WaitFor(server.process());
  EXPECT_EQ(ended.exit_code, 0) << ended.err;
  EXPECT_EQ(Line(ended.out, 1)["connections"]["reset_at_deadline"], 1);
}

TEST_P(ServeOn, AnswersWhatWasSentBeforeTheSignal) {
  Server server({"--backend", GetParam()});
  Client client(server.port());
  client.Send("a");
  EXPECT_EQ(client.Receive(1), "a");  // accepted
  server.process().Signal(SIGSTOP);
  client.Send(std::string(1000, 'b'));
  server.process().Signal(SIGTERM);
  server.process().Signal(SIGCONT);
  EXPECT_EQ(client.Receive(1000), std::string(1000, 'b'));
  client.End();
  EXPECT_EQ(WaitFor(server.process()).exit_code, 0);
}

TEST_P(ServeOn, RestartsOnItsPortFiftyTimes) {
  const std::string port = FreePort();
  for (int i = 0; i < 50; ++i) {
    bench::Process process =
        Start({RINGSIDE_BINARY, "serve", port, "--json", "--backend", GetParam()});
    while (process.Output().find('\n') == std::string::npos) {
      ASSERT_NE(process.Wait(1'000'000, -1), bench::Process::Waited::kEnded) << process.Errors();
    }
    Client client(port);
    client.Send("x");
    ASSERT_EQ(client.Receive(1), "x");
    process.Signal(i % 2 == 0 ? SIGTERM : SIGKILL);
    client.End();
    ASSERT_EQ(WaitFor(process).exit_code, i % 2 == 0 ? 0 : 128 + SIGKILL);
  }
}

TEST_P(ServeOn, CountsUniquelyOverItsThreads) {
  Server server({"--backend", GetParam(), "--service", "counter", "--threads", "2"});
  std::set<int> numbers;
  for (int i = 0; i < 40; ++i) {
    Client client(server.port());
    client.Send("one\ntwo\n");
    client.End();
    std::istringstream lines(client.Receive(100));
    for (int number; lines >> number;) numbers.insert(number);
  }
  ASSERT_EQ(numbers.size(), 80u);
  EXPECT_EQ(*numbers.begin(), 1);
  EXPECT_EQ(*numbers.rbegin(), 80);
}

TEST_P(ServeOn, Greets) {
  Server server({"--backend", GetParam(), "--service", "greet"});
  for (int i = 1; i <= 3; ++i) {
    Client client(server.port());
    EXPECT_EQ(client.Receive(1000),
              "server> You've reached me " + std::to_string(i) + " time(s)\n");
  }
}

TEST_P(ServeOn, ServesIPv6) {
  bench::Process process =
      Start({RINGSIDE_BINARY, "serve", "[::1]:0", "--json", "--backend", GetParam()});
  while (process.Output().find('\n') == std::string::npos) {
    if (process.Wait(1'000'000, -1) == bench::Process::Waited::kEnded) {
      GTEST_SKIP() << "no IPv6 here: " << process.Errors();
    }
  }
  const Ended load = Ringside({"load", Line(process.Output(), 0)["address"], "-n", "100"});
  EXPECT_EQ(load.exit_code, 0) << load.err;
  process.Signal(SIGTERM);
  EXPECT_EQ(WaitFor(process).exit_code, 0);
}

TEST(Serve, RefusesAPortInUse) {
  for (const char* threads : {"1", "2"}) {
    Server server({"--threads", threads});
    const Ended ended = Ringside({"serve", server.port(), "--threads", threads});
    EXPECT_EQ(ended.exit_code, 1);
    EXPECT_NE(ended.err.find("in use"), std::string::npos) << ended.err;
    EXPECT_NE(ended.err.find("ss -ltnp"), std::string::npos) << ended.err;
  }
}

TEST(Serve, RefusesAPrivilegedPortWithoutTheRight) {
  if (!Installed("setpriv")) GTEST_SKIP() << "setpriv is not installed";
  if (geteuid() != 0) GTEST_SKIP() << "only root can give the right away";
  const Ended ended = RunToEnd({"setpriv", "--reuid", "65534", "--clear-groups", "--bounding-set",
                                "-all", "--inh-caps", "-all", RINGSIDE_BINARY, "serve", "7"});
  if (ended.exit_code == 127 || ended.err.find("setpriv") != std::string::npos) {
    GTEST_SKIP() << "setpriv can't run it: " << ended.err;
  }
  EXPECT_EQ(ended.exit_code, 1);
  EXPECT_NE(ended.err.find("CAP_NET_BIND_SERVICE"), std::string::npos) << ended.err;
}

TEST(Serve, HasATextSummaryToo) {
  bench::Process process = Start({RINGSIDE_BINARY, "serve", "0"});
  while (process.Output().find('\n') == std::string::npos) {
    ASSERT_NE(process.Wait(1'000'000, -1), bench::Process::Waited::kEnded) << process.Errors();
  }
  EXPECT_EQ(process.Output().rfind("ringside: echo on 127.0.0.1:", 0), 0u) << process.Output();
  process.Signal(SIGINT);
  const Ended ended = WaitFor(process);
  EXPECT_EQ(ended.exit_code, 0);
  EXPECT_NE(ended.out.find("connections"), std::string::npos) << ended.out;
}

}  // namespace
}  // namespace cli_tests
