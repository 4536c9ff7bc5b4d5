#include <fcntl.h>

#include <fstream>
#include <mutex>
#include <set>
#include <sstream>
#include <thread>

#include "tests/serve/plain_client.h"
#include "tests/tier.h"

// Every service over every kind of socket, asked by clients that aren't ours.
namespace serve_tests::services {
namespace {

class Services : public cli_tests::EachBackend {};
INSTANTIATE_TEST_SUITE_P(Backends, Services, testing::Values("epoll", "io_uring"),
                         [](const auto& test) { return test.param; });

const std::vector<std::string> kServices = {"echo",    "counter", "greet", "reply",
                                            "discard", "chargen", "delay"};

// A kind of socket: where a server listens, and how socat connects.
struct Kind {
  std::string name;
  std::string listen;              // "" with PATH for a path of its own
  std::vector<std::string> socat;  // addresses, with PORT and PATH
  bool datagrams = false;
};

const std::vector<Kind>& Kinds() {
  static const std::vector<Kind> kinds = {
      {"tcp", "127.0.0.1:0", {"TCP:127.0.0.1:PORT"}},
      {"tcp6", "[::1]:0", {"TCP6:[::1]:PORT"}},
      {"dual", "*:0", {"TCP4:127.0.0.1:PORT", "TCP6:[::1]:PORT"}},
      {"mptcp", "mptcp://127.0.0.1:0", {"TCP:127.0.0.1:PORT"}},
      {"unix", "unix:PATH", {"UNIX-CONNECT:PATH"}},
      {"seqpacket", "unix-seqpacket:PATH", {"UNIX-CONNECT:PATH,type=5"}},
      {"dgram", "unix-dgram:PATH", {"UNIX-SENDTO:PATH,bind=OWN"}, true},
      {"udp", "udp://127.0.0.1:0", {"UDP:127.0.0.1:PORT"}, true}};
  return kinds;
}

std::string Replaced(std::string text, const std::string& what, const std::string& by) {
  const size_t at = text.find(what);
  return at == std::string::npos ? text : text.replace(at, what.size(), by);
}

// A server of all services on all kinds of sockets that there are.
struct Everything {
  explicit Everything(const std::string& backend, const std::string& delay = "20ms") {
    std::vector<std::string> arguments;
    for (const Kind& kind : Kinds()) {
      const std::string path = Scratch("s");
      if (!CanListen(Replaced(kind.listen, "PATH", path), backend)) {
        std::cout << "no " << kind.name << " here\n";
        continue;
      }
      for (const std::string& service : kServices) {
        paths.push_back(path + service);
        of.emplace_back(service, &kind);
        arguments.insert(arguments.end(),
                         {"--listen", service + "=" + Replaced(kind.listen, "PATH", paths.back())});
      }
    }
    arguments.insert(arguments.end(), {"--backend", backend, "--threads", "2", "--delay", delay});
    server.emplace(arguments);
  }

  // How socat gets to listener i.
  std::vector<std::string> Socat(size_t i) const {
    std::vector<std::string> addresses;
    const std::string port = std::to_string(server->ready()["listeners"][i]["port"].get<int>());
    for (const std::string& text : of[i].second->socat) {
      addresses.push_back(Replaced(Replaced(Replaced(text, "PORT", port), "PATH", paths[i]), "OWN",
                                   Scratch("own")));
    }
    return addresses;
  }

  std::vector<std::pair<std::string, const Kind*>> of;  // service and kind of each listener
  std::vector<std::string> paths;
  std::optional<Serving> server;
};

// What a shell script, between whose standard output and input and the server socat stands, writes
// to its standard error. When one side has ended, the other has 30 s to end too; datagrams never
// do.
std::string ThroughSocat(const std::string& address, const std::string& script) {
  const std::string path = Scratch("script");
  std::ofstream(path) << "exec 2>" << path << ".got\n" << script << "\n";
  RunToEnd(
      {"timeout", "30", "socat",
       address.find("SENDTO") != std::string::npos || address.find("UDP") == 0 ? "-t0" : "-t30",
       address, "SYSTEM:sh " + path});
  std::stringstream got;
  got << std::ifstream(path + ".got").rdbuf();
  std::filesystem::remove(path);
  std::filesystem::remove(path + ".got");
  return got.str();
}

// The number in a greeting; 0: it is none.
uint64_t Greeting(const std::string& text) {
  const std::string before = "server> You've reached me ", after = " time(s)\n";
  if (!text.starts_with(before) || !text.ends_with(after)) return 0;
  return std::strtoull(text.c_str() + before.size(), nullptr, 10);
}

TEST_P(Services, AnswerSocatOnEveryKindOfSocket) {
  LEFT_TO_ALL();
  if (!Installed("socat")) GTEST_SKIP() << "socat is not installed";
  Everything everything(GetParam());
  std::multiset<uint64_t> numbers, greetings;
  std::vector<int> asked(everything.of.size(), 0);
  for (size_t i = 0; i < everything.of.size(); ++i) {
    const auto& [service, kind] = everything.of[i];
    SCOPED_TRACE(service + " over " + kind->name);
    for (const std::string& address : everything.Socat(i)) {
      ++asked[i];
      if (service == "echo" || service == "delay") {
        EXPECT_EQ(ThroughSocat(address, "printf hello; head -c 5 >&2"), "hello");
      } else if (service == "counter") {
        const std::string got = ThroughSocat(address, "printf 'a\\n'; head -n 1 >&2");
        numbers.insert(std::strtoull(got.c_str(), nullptr, 10));
      } else if (service == "greet") {
        const std::string got =
            ThroughSocat(address, kind->datagrams ? "printf x; head -n 1 >&2" : "cat >&2");
        greetings.insert(Greeting(got));
      } else if (service == "reply") {
        EXPECT_EQ(ThroughSocat(address, "printf hello; head -c 18 >&2"), "I got your message");
      } else if (service == "discard") {
        EXPECT_EQ(ThroughSocat(address, "printf hello"), "");
      } else if (kind->datagrams) {  // chargen: some characters, or none
        PlainClient client(everything.server->address(i));
        client.Send("x");
        const std::string got = client.Message();
        EXPECT_EQ(client.error(), 0);
        EXPECT_LE(got.size(), 512u);
        EXPECT_EQ(got, cli_tests::ChargenText(0, got.size()));
      } else {
        EXPECT_EQ(ThroughSocat(address, "head -c 500 >&2"), cli_tests::ChargenText(0, 500));
      }
    }
  }
  for (const auto& all : {numbers, greetings}) {
    ASSERT_FALSE(all.empty());
    uint64_t expected = 1;
    for (uint64_t number : all) EXPECT_EQ(number, expected++);
  }
  const Json summary = everything.server->Stop();
  for (size_t i = 0; i < everything.of.size(); ++i) {
    if (everything.of[i].first == "chargen") continue;  // a receive that brings nothing counts none
    EXPECT_GE(summary["listeners"][i]["requests"], asked[i]) << summary["listeners"][i];
  }
  for (const std::string& path : everything.paths) EXPECT_FALSE(std::filesystem::exists(path));
}

TEST_P(Services, AnswerNetcat) {
  if (!Installed("nc")) GTEST_SKIP() << "netcat is not installed";
  Everything everything(GetParam());
  uint64_t number = 0;
  for (size_t i = 0; i < everything.of.size(); ++i) {
    const auto& [service, kind] = everything.of[i];
    SCOPED_TRACE(service + " over " + kind->name);
    const std::string port =
        std::to_string(everything.server->ready()["listeners"][i]["port"].get<int>());
    std::string nc;  // -N ends its side with its input, -W1 ends it with the first answer
    if (kind->name == "tcp" || kind->name == "dual" || kind->name == "mptcp")
      nc = "-N 127.0.0.1 " + port;
    if (kind->name == "tcp6") nc = "-N ::1 " + port;
    if (kind->name == "unix") nc = "-N -U " + everything.paths[i];
    if (kind->name == "udp") nc = "-u -W1 127.0.0.1 " + port;
    if (nc.empty() || service == "chargen" || (service == "discard" && kind->datagrams)) continue;
    // Who writes to a connection that greet has closed hears of that before it reads.
    const bool greeted = service == "greet" && !kind->datagrams;
    const std::string input = greeted ? ":" : "printf 'hello\\n'";
    const Ended ended = RunToEnd({"sh", "-c", input + " | timeout 30 nc " + nc});
    if (service == "greet") {
      EXPECT_NE(Greeting(ended.out), 0u) << ended.out << ended.err;
      continue;
    }
    const std::string expected = service == "reply"     ? "I got your message"
                                 : service == "discard" ? ""
                                 : service == "counter" ? std::to_string(++number) + "\n"
                                                        : "hello\n";
    EXPECT_EQ(ended.out, expected) << ended.err;
  }
  EXPECT_GT(number, 0u);
}

TEST_P(Services, EchoToCurlsTelnet) {
  if (!Installed("curl")) GTEST_SKIP() << "curl is not installed";
  Serving server({"127.0.0.1:0", "--backend", GetParam()});
  const std::string fifo = Scratch("fifo");
  ASSERT_EQ(mkfifo(fifo.c_str(), 0600), 0);
  const int keys = open(fifo.c_str(), O_RDWR | O_CLOEXEC);
  bench::Process curl =
      cli_tests::Start({"sh", "-c", "exec curl -sN telnet://" + server.address() + " <" + fifo});
  ASSERT_EQ(write(keys, "hello\n", 6), 6);
  EXPECT_TRUE(Until([&] { return curl.Output() == "hello\n"; })) << curl.Output() << curl.Errors();
  server.process().Signal(SIGTERM);  // it ends when the server does
  close(keys);
  cli_tests::WaitFor(curl);
  server.Ending();
  std::filesystem::remove(fifo);
}

// The sum over all listeners and threads of a counter, thread by thread.
uint64_t OfThread(const std::string& page, const std::string& name, int thread) {
  const std::string key = name + "{thread=\"" + std::to_string(thread) + "\"} ";
  const size_t at = page.find("\n" + key);
  return at == std::string::npos ? 0
                                 : std::strtoull(page.c_str() + at + 1 + key.size(), nullptr, 10);
}

TEST_P(Services, ThreadsShareAUnixListener) {
  for (const char* kind : {"unix:", "unix-seqpacket:", "unix-dgram:"}) {
    Serving server({kind + Scratch("u"), "--backend", GetParam(), "--threads", "2", "--metrics",
                    "127.0.0.1:0"});
    const std::string metrics = MetricsAddress(server);
    const std::string counter = std::string(kind) == "unix-dgram:"
                                    ? "ringside_datagrams_received_total"
                                    : "ringside_connections_accepted_total";
    std::string page;
    EXPECT_TRUE(Until([&] {
      std::vector<PlainClient> clients;
      for (int i = 0; i < 20; ++i) {
        clients.emplace_back(server.address());
        clients.back().Send("hello");
      }
      for (PlainClient& client : clients) EXPECT_EQ(client.Message(), "hello");
      page = Get(metrics, "/metrics");
      return OfThread(page, counter, 0) > 0 && OfThread(page, counter, 1) > 0;
    })) << kind
        << page;
  }
}

TEST_P(Services, CountWithoutAGapOverAllListenersAtOnce) {
  Everything everything(GetParam());
  constexpr int kClients = 2, kLines = kSanitized ? 50 : 300;
  std::mutex mutex;
  std::vector<bool> came;
  uint64_t total = 0, doubled = 0;
  std::vector<std::thread> clients;
  for (size_t i = 0; i < everything.of.size(); ++i) {
    if (everything.of[i].first != "counter") continue;
    for (int n = 0; n < kClients; ++n) {
      total += kLines;
      clients.emplace_back([&, i] {
        PlainClient client(Replaced(everything.server->address(i), "*", "127.0.0.1"));
        uint64_t last = 0;
        for (int line = 0; line < kLines; ++line) {
          client.Send("one\n");
          const uint64_t number = std::strtoull(client.Message().c_str(), nullptr, 10);
          EXPECT_GT(number, last) << everything.of[i].second->name;
          last = number;
          const std::lock_guard lock(mutex);
          if (came.size() <= number) came.resize(number + 1);
          doubled += came[number];
          came[number] = true;
        }
      });
    }
  }
  for (std::thread& client : clients) client.join();
  EXPECT_EQ(doubled, 0u);
  EXPECT_EQ(came.size(), total + 1);
  EXPECT_EQ(std::ranges::count(came, true), static_cast<int64_t>(total));
}

TEST_P(Services, DelayIsNeverEarlyAndKeepsTheOrder) {
  using Clock = std::chrono::steady_clock;
  constexpr int kMessages = 100;
  Everything everything(GetParam(), "10ms..40ms");
  for (size_t i = 0; i < everything.of.size(); ++i) {
    const auto& [service, kind] = everything.of[i];
    if (service != "delay") continue;
    SCOPED_TRACE(kind->name);
    PlainClient client(Replaced(everything.server->address(i), "*", "127.0.0.1"));
    std::vector<Clock::time_point> sent;
    std::string stream;
    for (int n = 0, came = 0; came < kMessages;) {
      if (n < kMessages) {
        sent.push_back(Clock::now());
        ASSERT_TRUE(client.Send(std::to_string(100000 + n++)));
        pollfd readable = {.fd = client.fd(), .events = POLLIN, .revents = 0};
        if (poll(&readable, 1, 1) == 0) continue;
      }
      const std::string got = client.Message();
      const auto now = Clock::now();
      ASSERT_EQ(client.error(), 0) << came << " came";
      stream += got;
      for (; stream.size() >= 6; ++came, stream.erase(0, 6)) {
        const size_t number = std::stoul(stream.substr(0, 6)) - 100000;
        ASSERT_LT(number, sent.size());
        EXPECT_GE(now - sent[number], std::chrono::milliseconds(10));
        if (!kind->datagrams) {
          ASSERT_EQ(number, static_cast<size_t>(came));
        }
      }
    }
    if (kind->datagrams) continue;
    client.End();
    EXPECT_EQ(client.Receive(), "");
  }
}

}  // namespace
}  // namespace serve_tests::services
