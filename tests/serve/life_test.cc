#include <fcntl.h>
#include <pwd.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <list>
#include <mutex>
#include <sstream>
#include <thread>

#include "server/takeover.h"
#include "tests/serve/plain_client.h"
#include "tests/tier.h"

// Starting, being replaced, and ending.
namespace serve_tests::life {
namespace {

using cli_tests::EachBackend;

class Life : public EachBackend {};
INSTANTIATE_TEST_SUITE_P(Backends, Life, testing::Values("epoll", "io_uring"),
                         [](const auto& test) { return test.param; });

// ---- takeover under load ------------------------------------------------------------------------

// What went wrong for clients; each of these is to stay 0.
struct Harm {
  std::atomic<uint64_t> refused{0}, reset{0}, timed_out{0}, lost_bytes{0}, other{0};

  void Add(int error, uint64_t bytes) {
    lost_bytes += bytes;
    if (error == 0) return;
    (error == ECONNREFUSED || error == ENOENT ? refused
     : error == ECONNRESET || error == EPIPE  ? reset
     : error == EAGAIN || error == ETIMEDOUT  ? timed_out
                                              : other) += 1;
  }
  std::string ToString() const {
    std::ostringstream text;
    text << refused << " refused, " << reset << " reset, " << timed_out << " timed out, "
         << lost_bytes << " bytes lost, " << other << " other errors";
    return text.str();
  }
};
constexpr const char* kNoHarm = "0 refused, 0 reset, 0 timed out, 0 bytes lost, 0 other errors";

// Text that differs from exchange to exchange.
std::string Words(uint64_t number) {
  std::string text = std::to_string(number) + ":";
  text.resize(text.size() + number * 37 % 3000, static_cast<char>('a' + number % 26));
  return text;
}

// How many of the first characters came back right.
size_t Matching(const std::string& sent, const std::string& got) {
  return std::mismatch(sent.begin(), sent.end(), got.begin(), got.end()).first - sent.begin();
}

// Clients in threads of their own, which load a server until they are stopped. `rounds` of each
// counts what it completed, so that a restart can be held back until all were at it.
class Load {
 public:
  Load() = default;
  ~Load() { Stop(); }

  // Connect, request, reply, close.
  void AddShort(const std::string& address, uint32_t client) {
    Run([this, address, client](std::atomic<uint64_t>& rounds) {
      for (uint64_t i = 1; !stop_; ++i) {
        // A new address each time: a port that is in TIME_WAIT doesn't matter at another one.
        PlainClient one(address, (127u << 24) | (client << 16) | (1 + i % 65000));
        const std::string text = Words(i);
        const std::string got = one.error() == 0 ? one.Ask(text) : "";
        one.End();
        const std::string more = one.error() == 0 ? one.Receive() : "";
        harm.Add(one.error(), text.size() - Matching(text, got) + more.size());
        exchanges += 1;
        rounds += 1;
      }
    });
  }

  // Connections that live over several restarts, of different numbers.
  void AddLong(const std::vector<std::string>& addresses) {
    Run([this, addresses](std::atomic<uint64_t>& rounds) {
      struct One {
        std::optional<PlainClient> client;
        int since = 0;
      };
      std::vector<One> all(addresses.size() * 3);
      uint64_t number = 0;
      for (bool more = true; more;) {
        more = !stop_;
        for (size_t i = 0; i < all.size(); ++i) {
          One& one = all[i];
          const int age = static_cast<int>(1 + i);  // in restarts
          if (one.client && (!more || restarts - one.since >= age)) {
            one.client->End();
            const std::string rest = one.client->Receive();
            harm.Add(one.client->error(), rest.size());
            if (restarts > one.since) outlived += 1;
            one.client.reset();
          }
          if (!more) continue;
          if (!one.client) {
            one.since = restarts;
            one.client.emplace(addresses[i % addresses.size()]);
          }
          const std::string text = Words(++number);
          const std::string got = one.client->error() == 0 ? one.client->Ask(text) : "";
          harm.Add(one.client->error(), text.size() - Matching(text, got));
          if (one.client->error() != 0) one.client.reset();
          exchanges += 1;
        }
        rounds += 1;
      }
    });
  }

  // Numbered datagrams, some of them under way at any time. One whose answer is late is followed by
  // others; in the end all have come.
  void AddDatagrams(const std::string& address) {
    Run([this, address](std::atomic<uint64_t>& rounds) {
      PlainClient client(address);
      uint64_t next = 0;
      std::vector<bool> came;
      uint64_t under_way = 0;
      const auto receive_some = [&](int timeout_ms) {
        pollfd readable = {.fd = client.fd(), .events = POLLIN, .revents = 0};
        if (poll(&readable, 1, timeout_ms) == 0) return false;
        const std::string got = client.Message();
        if (client.error() != 0) return false;
        const uint64_t id = std::strtoull(got.c_str(), nullptr, 10);
        if (id >= came.size() || got != Words(id)) {
          foreign += 1;
        } else if (came[id]) {
          doubled += 1;
        } else {
          came[id] = true;
          --under_way;
          replies += 1;
        }
        return true;
      };
      while (!stop_) {
        for (int i = 0; i < 4; ++i) {
          came.push_back(false);
          ++under_way;
          client.Send(Words(next++));
        }
        while (under_way > 8 && receive_some(100)) {
        }
        if (under_way > 8) retries += 1;
        harm.Add(client.error(), 0);
        rounds += 1;
      }
      while (under_way > 0 && receive_some(5000)) {
      }
      datagrams += next;
      lost_datagrams += under_way;
    });
  }

  // Waits until each client has completed `more` rounds more.
  bool Progress(uint64_t more) {
    std::vector<uint64_t> before;
    for (auto& rounds : rounds_) before.push_back(rounds);
    return Until([&] {
      size_t i = 0;
      return std::ranges::all_of(rounds_,
                                 [&](auto& rounds) { return rounds >= before[i++] + more; });
    });
  }

  void Stop() {
    stop_ = true;
    for (std::thread& thread : threads_) thread.join();
    threads_.clear();
  }

  Harm harm;
  std::atomic<uint64_t> exchanges{0}, outlived{0};
  std::atomic<uint64_t> datagrams{0}, replies{0}, lost_datagrams{0}, foreign{0}, doubled{0},
      retries{0};
  std::atomic<int> restarts{0};

 private:
  template <class F>
  void Run(F body) {
    std::atomic<uint64_t>& rounds = rounds_.emplace_back(0);
    threads_.emplace_back([body, &rounds] { body(rounds); });
  }

  std::atomic<bool> stop_{false};
  std::list<std::atomic<uint64_t>> rounds_;
  std::vector<std::thread> threads_;
};

std::vector<std::string> Backends() {
  std::vector<std::string> backends;
  for (const char* backend : {"epoll", "io_uring"}) {
    if (cli_tests::Available(backend)) backends.emplace_back(backend);
  }
  return backends;
}

// Takes over again and again, with the number of threads that `threads` gives, and checks all.
void RestartUnderLoad(int restarts, const std::string& takeover,
                      const std::vector<std::string>& threads) {
  const std::vector<std::string> backends = Backends();
  const std::string path = Scratch("u");
  // Which nobody is given between two servers.
  const std::string address = "127.0.0.1:" + cli_tests::FreePort(),
                    udp = "udp://127.0.0.1:" + cli_tests::FreePort();
  const auto arguments = [&](int i) {
    return std::vector<std::string>{address,
                                    "--listen",
                                    "echo=unix:" + path,
                                    "--listen",
                                    "echo=" + udp,
                                    "--takeover",
                                    takeover,
                                    "--backend",
                                    backends[i % backends.size()],
                                    "--threads",
                                    threads[i % threads.size()],
                                    "--drain",
                                    "60s"};
  };
  std::list<Serving> servers;
  servers.emplace_back(arguments(0));
  EXPECT_FALSE(servers.back().ready()["listeners"][0]["inherited"].get<bool>());

  Load load;
  load.AddShort(address, 10);
  load.AddShort(address, 11);
  load.AddShort("unix:" + path, 12);
  load.AddLong({address, "unix:" + path});
  load.AddDatagrams(udp);
  uint64_t ended = 0;
  for (int i = 1; i <= restarts; ++i) {
    ASSERT_TRUE(load.Progress(5)) << "nobody is served after restart " << i - 1;
    servers.emplace_back(arguments(i));
    ++load.restarts;
    for (int listener = 0; listener < 3; ++listener) {
      ASSERT_TRUE(servers.back().ready()["listeners"][listener]["inherited"].get<bool>());
    }
    ASSERT_EQ(servers.back().address(0), address);
    while (servers.size() > 20) {  // the oldest connections are of the last few restarts
      servers.front().Ending();
      servers.pop_front();
      ++ended;
    }
  }
  ASSERT_TRUE(load.Progress(1));
  load.Stop();
  while (servers.size() > 1) {
    servers.front().Ending();
    servers.pop_front();
    ++ended;
  }
  EXPECT_EQ(ended, restarts);
  EXPECT_TRUE(std::filesystem::exists(path));
  servers.back().Stop();
  EXPECT_FALSE(std::filesystem::exists(path));
  EXPECT_FALSE(std::filesystem::exists(takeover));

  EXPECT_EQ(load.harm.ToString(), kNoHarm);
  EXPECT_EQ(load.lost_datagrams, 0) << "of " << load.datagrams;
  EXPECT_EQ(load.foreign, 0);
  EXPECT_EQ(load.doubled, 0);
  EXPECT_EQ(load.replies, load.datagrams);
  EXPECT_GE(load.outlived, restarts / 4);
  std::cout << restarts << " restarts, " << load.exchanges << " exchanges on connections, "
            << load.outlived << " connections outlived a restart, " << load.datagrams
            << " datagrams, " << load.retries << " retries; " << load.harm.ToString() << ", "
            << load.lost_datagrams << " datagrams lost\n";
}

const int kRestarts = kSanitized ? 20 : tier::Tenth(100);

TEST(Takeover, LosesNothingInAHundredRestarts) {
  RestartUnderLoad(kRestarts, Scratch("takeover"), {"1"});
}

TEST(Takeover, LosesNothingWhereTheNumberOfThreadsChanges) {
  // By a name without a file.
  RestartUnderLoad(kSanitized ? 6 : 18,
                   "@" + std::filesystem::path(Scratch("t")).filename().string(), {"2", "3", "1"});
}

// ---- takeover, one by one -----------------------------------------------------------------------

// Starts a server that delays its replies, and asks it from all `addresses`, which `serve` makes of
// it; all are told to wait then. On a machine too slow for that the delay grows.
struct Delayed {
  std::optional<Serving> server;
  std::vector<PlainClient> clients;
  std::string delay;

  Delayed(const std::vector<std::string>& arguments, size_t listeners) {
    for (int ms = 300; ms < 60'000; ms *= 2) {
      clients.clear();
      delay = std::to_string(ms) + "ms";
      std::vector<std::string> its = arguments;
      its.insert(its.end(), {"--delay", delay});
      server.reset();
      server.emplace(its);
      for (size_t i = 0; i < listeners; ++i) {
        clients.emplace_back(server->address(i));
        clients.back().Send("later");
      }
      for (int line = 1;; ++line) {
        server->process().Signal(SIGUSR1);
        const Json status = server->AwaitLine(line);
        if (status["limits"]["delayed_replies"] == listeners) return;
        if (status["bytes"]["sent"] > 0) break;
      }
    }
    ADD_FAILURE() << "the replies are never all delayed";
  }
};

class TakeoverOn : public EachBackend {
 protected:
  std::vector<std::string> Arguments(const std::string& address,
                                     std::vector<std::string> more = {}) const {
    more.insert(more.begin(), {address, "--backend", GetParam(), "--takeover", takeover_});
    return more;
  }
  // The server that answers at an address still does.
  static void ExpectEcho(const std::string& address) {
    PlainClient client(address);
    EXPECT_EQ(client.Ask("still there"), "still there")
        << address << ": " << strerror(client.error());
  }
  static std::string FixedAddress() { return "127.0.0.1:" + cli_tests::FreePort(); }

  const std::string takeover_ = Scratch("takeover");
};
INSTANTIATE_TEST_SUITE_P(Backends, TakeoverOn, testing::Values("epoll", "io_uring"),
                         [](const auto& test) { return test.param; });

TEST_P(TakeoverOn, IsToldInTheReadyLineAndByThePredecessor) {
  const std::string address = FixedAddress();
  Serving old(Arguments(address));
  EXPECT_FALSE(old.ready()["listeners"][0]["inherited"].get<bool>());
  bench::Process next =
      cli_tests::Start({RINGSIDE_BINARY, "serve", address, "--takeover", takeover_});
  ASSERT_TRUE(Until([&] { return next.Output().find('\n') != std::string::npos; }));
  EXPECT_NE(next.Output().find("taken over"), std::string::npos) << next.Output();
  old.Ending();
  const std::string said = "process " + std::to_string(next.pid()) + " has taken over";
  EXPECT_NE(old.process().Errors().find(said), std::string::npos) << old.process().Errors();
  ExpectEcho(address);
  next.Signal(SIGTERM);
  EXPECT_EQ(cli_tests::WaitFor(next).exit_code, 0);
}

TEST_P(TakeoverOn, OfFewerListenersClosesTheOthers) {
  const std::string address = FixedAddress(), path = "unix:" + Scratch("u");
  const std::string other = FixedAddress();
  Serving old(Arguments(address, {"--listen", "counter=" + other, "--listen", "echo=" + path}));
  Serving next(Arguments(address));
  old.Ending();
  EXPECT_EQ(next.ready()["listeners"].size(), 1u);
  ExpectEcho(address);
  EXPECT_EQ(PlainClient(other).error(), ECONNREFUSED);
  EXPECT_EQ(PlainClient(path).error(), ECONNREFUSED);
  for (const std::string& gone : {"counter=" + other, "echo=" + path}) {
    EXPECT_NE(next.process().Errors().find(gone + " is not served any more"), std::string::npos)
        << next.process().Errors();
  }
  // One that asks for more again gets what is there, and opens the rest.
  Serving third(Arguments(address, {"--listen", "echo=" + path}));
  EXPECT_TRUE(third.ready()["listeners"][0]["inherited"].get<bool>());
  EXPECT_FALSE(third.ready()["listeners"][1]["inherited"].get<bool>());
  ExpectEcho(path);
}

TEST_P(TakeoverOn, ByASuccessorThatIsKilledInTheMiddleChangesNothing) {
  if (!Installed("strace")) GTEST_SKIP() << "strace is not installed";
  const std::string address = FixedAddress();
  Serving old(Arguments(address));
  // With the sockets in its hands, before its threads: that is where it makes its eventfds, but for
  // the two of its output.
  for (const std::string where : {"recvmsg", "eventfd2"}) {
    const std::string when =
        "inject=" + where + ":signal=SIGKILL:when=" + (where == "recvmsg" ? "1" : "3");
    bench::Process killed = Serving::Launch(
        Arguments(address),
        {"strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=" + where, "-e", when});
    const Ended ended = cli_tests::WaitFor(killed);
    if (ended.err.find("ptrace") != std::string::npos) GTEST_SKIP() << ended.err;
    EXPECT_EQ(ended.exit_code, 128 + SIGKILL) << where << ended.err;
    EXPECT_EQ(ended.out, "");
    ExpectEcho(address);
  }
  EXPECT_TRUE(Until([&] { return !old.process().Errors().empty(); })) << "it doesn't say so";
  Serving next(Arguments(address));
  EXPECT_TRUE(next.ready()["listeners"][0]["inherited"].get<bool>());
  old.Ending();
  ExpectEcho(address);
}

TEST_P(TakeoverOn, ByASuccessorThatGivesUpChangesNothing) {
  const std::string address = FixedAddress();
  Serving old(Arguments(address));
  for (int i = 0; i < 3; ++i) {
    auto successor = server::TakeoverClient::Connect(takeover_);
    ASSERT_TRUE(successor.ok()) << successor.status();
    ASSERT_TRUE(successor->has_value());
    const auto sockets = (*successor)->TakeSockets();
    EXPECT_EQ(sockets.size(), 1u);
    ExpectEcho(address);  // also while it hesitates
    for (const server::PassedSocket& socket : sockets) close(socket.fd);
    successor->reset();
    ExpectEcho(address);
  }
  // One that fails by itself: what it is to listen on besides is somebody else's.
  Serving other({"127.0.0.1:0"});
  bench::Process fails =
      Serving::Launch(Arguments(address, {"--listen", "echo=" + other.address()}));
  const Ended ended = cli_tests::WaitFor(fails);
  EXPECT_EQ(ended.exit_code, 1);
  EXPECT_NE(ended.err.find("in use"), std::string::npos) << ended.err;
  ExpectEcho(address);
  old.Stop();
}

TEST_P(TakeoverOn, ByAnotherUserIsRefused) {
  if (geteuid() != 0) GTEST_SKIP() << "only root can start a process of another user";
  if (!Installed("setpriv")) GTEST_SKIP() << "setpriv is not installed";
  const std::vector<std::string> as_nobody = {"setpriv", "--reuid", "65534",
                                              "--regid", "65534",   "--clear-groups"};
  const std::string address = FixedAddress();
  const std::string name = "@" + std::filesystem::path(takeover_).filename().string();
  const std::vector<std::string> arguments = {address, "--backend", GetParam(), "--takeover", name};
  Serving old(arguments);
  bench::Process foreign = Serving::Launch(arguments, as_nobody);
  const Ended ended = cli_tests::WaitFor(foreign);
  if (ended.err.find("setpriv") != std::string::npos) GTEST_SKIP() << ended.err;
  EXPECT_EQ(ended.exit_code, 1);
  EXPECT_NE(ended.err.find("65534"), std::string::npos) << ended.err;
  EXPECT_TRUE(Until([&] { return old.process().Errors().find("65534") != std::string::npos; }));
  ExpectEcho(address);
  old.Stop();

  // Nor does root take a stranger's sockets.
  Serving theirs(arguments, as_nobody);
  bench::Process ours = Serving::Launch(arguments);
  const Ended refused = cli_tests::WaitFor(ours);
  EXPECT_EQ(refused.exit_code, 1);
  EXPECT_NE(refused.err.find("65534"), std::string::npos) << refused.err;
  ExpectEcho(address);
}

TEST_P(TakeoverOn, AtAPathThatIsNoSocketIsAnError) {
  std::ofstream(takeover_) << "kept";
  bench::Process process = Serving::Launch(Arguments("127.0.0.1:0"));
  const Ended ended = cli_tests::WaitFor(process);
  EXPECT_EQ(ended.exit_code, 1);
  EXPECT_NE(ended.err.find(takeover_), std::string::npos) << ended.err;
  EXPECT_NE(ended.err.find("not a socket"), std::string::npos) << ended.err;
  std::stringstream kept;
  kept << std::ifstream(takeover_).rdbuf();
  EXPECT_EQ(kept.str(), "kept");
  std::filesystem::remove(takeover_);
}

TEST_P(TakeoverOn, LeavesDelayedRepliesToThePredecessor) {
  const std::string address = FixedAddress();
  std::vector<std::string> arguments =
      Arguments(address, {"--service", "delay", "--listen", "delay=udp://" + address, "--listen",
                          "delay=unix-dgram:" + Scratch("d")});
  Delayed old(arguments, 3);
  Serving next(arguments);
  EXPECT_EQ(old.clients[0].Receive(5), "later");
  EXPECT_EQ(old.clients[1].Message(), "later");
  EXPECT_EQ(old.clients[2].Message(), "later");
  old.clients[0].End();
  EXPECT_EQ(old.clients[0].Receive(), "");
  const Json summary = old.server->Ending();
  EXPECT_EQ(summary["requests"], 3);
  EXPECT_EQ(summary["datagrams"]["dropped"], 0);
  for (size_t i = 0; i < 3; ++i) {
    PlainClient client(next.address(i));
    client.Send("x");
    EXPECT_EQ(client.Message(), "x");
  }
}

TEST_P(TakeoverOn, PassesTheMetricsAddressToo) {
  const std::string address = FixedAddress(), path = Scratch("m");
  for (const std::string& metrics : {FixedAddress(), "unix:" + path}) {
    Serving old(Arguments(address, {"--metrics", metrics}));
    EXPECT_NE(Get(metrics, "/metrics"), "");
    PlainClient stays(address);
    EXPECT_EQ(stays.Ask("x"), "x");
    Serving next(Arguments(address, {"--metrics", metrics}));
    for (int i = 0; i < 10; ++i) {  // the new one's page, always
      EXPECT_NE(Get(metrics, "/metrics").find("ringside_connections{thread=\"0\"} 0"),
                std::string::npos);
    }
    EXPECT_EQ(stays.Ask("x"), "x");
    stays.End();
    old.Ending();
    next.Stop();
  }
  EXPECT_FALSE(std::filesystem::exists(path));
}

TEST_P(TakeoverOn, LosesNobodyWhoWaitsForRoom) {
  const std::string address = FixedAddress();
  Serving old(Arguments(address, {"--connections-max", "2"}));
  std::vector<PlainClient> clients;
  for (int i = 0; i < 8; ++i) {
    clients.emplace_back(address);
    clients.back().Send("hello");
  }
  EXPECT_EQ(clients[0].Receive(5), "hello");
  EXPECT_EQ(clients[1].Receive(5), "hello");
  Serving next(Arguments(address));
  for (size_t i = 0; i < clients.size(); ++i) {
    if (i > 1) {
      EXPECT_EQ(clients[i].Receive(5), "hello") << i << strerror(clients[i].error());
    }
    clients[i].End();
    EXPECT_EQ(clients[i].Receive(), "");
    EXPECT_EQ(clients[i].error(), 0) << i;
  }
  old.Ending();
}

// ---- the service manager ------------------------------------------------------------------------

// What a service manager hears.
class Manager {
 public:
  Manager() : path_(Scratch("notify")), fd_(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)) {
    sockaddr_un at = {};
    at.sun_family = AF_UNIX;
    path_.copy(at.sun_path, sizeof(at.sun_path) - 1);
    EXPECT_EQ(bind(fd_, reinterpret_cast<sockaddr*>(&at), sizeof(at)), 0) << strerror(errno);
    const timeval patience = {.tv_sec = 30, .tv_usec = 0};
    setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
  }
  ~Manager() {
    close(fd_);
    std::filesystem::remove(path_);
  }
  std::string environment() const { return "NOTIFY_SOCKET=" + path_; }
  std::string Next() {
    char text[4096];
    const ssize_t n = TEMP_FAILURE_RETRY(recv(fd_, text, sizeof(text), 0));
    return std::string(text, static_cast<size_t>(std::max<ssize_t>(n, 0)));
  }
  bool Silent() {
    pollfd readable = {.fd = fd_, .events = POLLIN, .revents = 0};
    return poll(&readable, 1, 0) == 0;
  }

 private:
  std::string path_;
  int fd_;
};

TEST_P(Life, TellsTheServiceManagerWhenItServesAndStops) {
  Manager manager;
  const std::string address = "127.0.0.1:" + cli_tests::FreePort();
  bench::Process process =
      Serving::Launch({address, "--backend", GetParam()}, {"env", manager.environment()});
  EXPECT_EQ(manager.Next().substr(0, 7), "READY=1");
  EXPECT_EQ(PlainClient(address).Ask("x"), "x");
  EXPECT_TRUE(manager.Silent());
  process.Signal(SIGTERM);
  EXPECT_EQ(manager.Next().substr(0, 10), "STOPPING=1");
  EXPECT_EQ(cli_tests::WaitFor(process).exit_code, 0);
}

TEST_P(Life, TellsTheServiceManagerWhoTookOver) {
  Manager manager;
  const std::vector<std::string> arguments = {"127.0.0.1:" + cli_tests::FreePort(), "--backend",
                                              GetParam(), "--takeover", Scratch("takeover")};
  Serving old(arguments, {"env", manager.environment()});
  EXPECT_EQ(manager.Next(), "READY=1");
  Serving next(arguments, {"env", manager.environment()});
  std::vector<std::string> said = {manager.Next(), manager.Next()};
  std::ranges::sort(said);
  EXPECT_EQ(said[0], "MAINPID=" + std::to_string(next.pid()));
  EXPECT_EQ(said[1], "READY=1");
  old.Ending();
  EXPECT_TRUE(manager.Silent());
}

TEST_P(Life, FeedsTheWatchdog) {
  Manager manager;
  Serving server({"127.0.0.1:0", "--backend", GetParam()},
                 {"env", manager.environment(), "WATCHDOG_USEC=100000"});
  EXPECT_EQ(manager.Next(), "READY=1");
  for (int i = 0; i < 4; ++i) EXPECT_EQ(manager.Next(), "WATCHDOG=1");
  server.Stop();
}

// A connection that is tried until somebody listens.
PlainClient EventuallyConnect(const std::string& address) {
  std::optional<PlainClient> client;
  EXPECT_TRUE(Until([&] {
    client.emplace(address);
    return client->error() == 0;
  }));
  return std::move(*client);
}

TEST_P(Life, IsActivatedBySockets) {
  if (!Installed("systemd-socket-activate")) {
    GTEST_SKIP() << "systemd-socket-activate is not installed";
  }
  Manager manager;
  const std::string tcp = "127.0.0.1:" + cli_tests::FreePort(), path = Scratch("activated"),
                    plain = "127.0.0.1:" + cli_tests::FreePort();
  bench::Process process =
      Serving::Launch({"--backend", GetParam(), "--service", "reply", "--threads", "2"},
                      {"systemd-socket-activate", "-E", manager.environment(), "-l", tcp, "-l",
                       path, "-l", plain, "--fdname=counter:echo:web"});
  PlainClient counter = EventuallyConnect(tcp);  // starts it
  counter.Send("a\nb\n");
  EXPECT_EQ(counter.Receive(4), "1\n2\n");
  EXPECT_EQ(manager.Next(), "READY=1");
  const Json ready = cli_tests::Line(process.Output(), 0);
  ASSERT_EQ(ready["listeners"].size(), 3u) << ready;
  for (const Json& listener : ready["listeners"]) EXPECT_TRUE(listener["inherited"].get<bool>());
  EXPECT_EQ(ready["listeners"][0]["address"], tcp);
  EXPECT_EQ(ready["listeners"][1]["address"], "unix:" + path);
  EXPECT_EQ(ready["listeners"][2]["service"], "reply");  // of no service's name: the first's
  for (int i = 0; i < 10; ++i) EXPECT_EQ(PlainClient("unix:" + path).Ask("hello"), "hello");
  PlainClient web(plain);
  web.Send("?");
  EXPECT_EQ(web.Receive(5), "I got");
  process.Signal(SIGTERM);
  counter.End();
  web.End();
  EXPECT_EQ(cli_tests::WaitFor(process).exit_code, 0) << process.Errors();
  EXPECT_EQ(manager.Next(), "STOPPING=1");
  EXPECT_TRUE(std::filesystem::exists(path)) << "it is the manager's to remove";
  std::filesystem::remove(path);
}

// ---- another user -------------------------------------------------------------------------------

// "Uid" and the like of /proc/PID/status: the words after it.
std::vector<std::string> StatusField(pid_t pid, const std::string& field) {
  std::ifstream status("/proc/" + std::to_string(pid) + "/status");
  for (std::string line; std::getline(status, line);) {
    if (line.rfind(field + ":", 0) != 0) continue;
    std::istringstream words(line.substr(field.size() + 1));
    return {std::istream_iterator<std::string>(words), {}};
  }
  return {};
}

// A privileged TCP port that nobody has now; "" where none could be had.
std::string PrivilegedPort() {
  for (int i = 0; i < 400; ++i) {
    const auto port = static_cast<uint16_t>(600 + (getpid() + i) % 400);  // others look too
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in at = {};
    at.sin_family = AF_INET;
    at.sin_port = htons(port);
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const bool free = bind(fd, reinterpret_cast<sockaddr*>(&at), sizeof(at)) == 0;
    close(fd);
    if (free) return std::to_string(port);
  }
  return "";
}

TEST_P(Life, BecomesAnotherUserOnceAllIsBound) {
  const passwd* nobody = getpwnam("nobody");
  if (geteuid() != 0) GTEST_SKIP() << "only root can become another user";
  if (nobody == nullptr) GTEST_SKIP() << "there is no user nobody";
  const std::string uid = std::to_string(nobody->pw_uid), gid = std::to_string(nobody->pw_gid);
  // A folder of that user's, so that its processes can replace the file in it.
  const std::string folder = Scratch("nobody");
  std::filesystem::create_directory(folder);
  ASSERT_EQ(chown(folder.c_str(), nobody->pw_uid, nobody->pw_gid), 0);
  const std::string port = PrivilegedPort();
  ASSERT_NE(port, "");
  for (const std::string& takeover :
       {folder + "/t", "@" + std::filesystem::path(folder).filename().string()}) {
    const std::vector<std::string> arguments = {
        "127.0.0.1:" + port, "--backend", GetParam(),  "--user", "nobody",
        "--takeover",        takeover,    "--threads", "2"};
    std::optional<Serving> old;
    for (int i = 0; i < 3; ++i) {
      // Who gave up root can't be traced, and so not be searched for leaks.
      Serving server(arguments, kSanitized
                                    ? std::vector<std::string>{"env", "ASAN_OPTIONS=detect_leaks=0"}
                                    : std::vector<std::string>());
      EXPECT_EQ(server.ready()["listeners"][0]["inherited"].get<bool>(), i > 0);
      EXPECT_EQ(server.ready()["backend"], GetParam());
      EXPECT_EQ(StatusField(server.pid(), "Uid"), std::vector<std::string>(4, uid));
      EXPECT_EQ(StatusField(server.pid(), "Gid"), std::vector<std::string>(4, gid));
      for (const char* set : {"CapInh", "CapPrm", "CapEff", "CapAmb"}) {
        EXPECT_EQ(StatusField(server.pid(), set),
                  std::vector<std::string>(1, std::string(16, '0')));
      }
      for (const auto& task :
           std::filesystem::directory_iterator("/proc/" + std::to_string(server.pid()) + "/task")) {
        EXPECT_EQ(StatusField(std::stoi(task.path().filename()), "Uid"),
                  std::vector<std::string>(4, uid));
      }
      PlainClient client("127.0.0.1:" + port);
      EXPECT_EQ(client.Ask("hello"), "hello");
      if (old) old->Ending();
      EXPECT_EQ(server.process().Errors(), "");
      old.emplace(std::move(server));
    }
    old->Stop();
  }
  std::filesystem::remove_all(folder);
}

// ---- the end ------------------------------------------------------------------------------------

TEST_P(Life, AnswersDelayedRepliesBeforeItEnds) {
  const std::string path = Scratch("d");
  Delayed delayed({"127.0.0.1:0", "--backend", GetParam(), "--service", "delay", "--listen",
                   "delay=unix:" + path, "--listen", "delay=udp://127.0.0.1:0", "--listen",
                   "delay=unix-dgram:" + path + "d", "--drain", "60s"},
                  4);
  delayed.server->process().Signal(SIGTERM);
  for (size_t i : {0, 1}) {
    EXPECT_EQ(delayed.clients[i].Receive(), "later");  // and the FIN
    delayed.clients[i].End();
  }
  for (size_t i : {2, 3}) EXPECT_EQ(delayed.clients[i].Message(), "later");
  const Json summary = delayed.server->Ending();
  EXPECT_EQ(summary["connections"]["reset_at_deadline"], 0);
  EXPECT_EQ(summary["datagrams"]["sent"], 2);
  EXPECT_EQ(summary["datagrams"]["dropped"], 0);
}

TEST_P(Life, EndsAtOnceAtTheSecondSignalWhateverIsDelayed) {
  Serving server({"127.0.0.1:" + cli_tests::FreePort(), "--backend", GetParam(), "--service",
                  "delay", "--delay", "1h", "--drain", "1h"});
  PlainClient client(server.address());
  client.Send("never");
  int line = 0;
  ASSERT_TRUE(Until([&] {
    server.process().Signal(SIGUSR1);
    return server.AwaitLine(++line)["limits"]["delayed_replies"] == 1;
  }));
  server.process().Signal(SIGTERM);
  // It drains when it refuses.
  ASSERT_TRUE(Until([&] { return PlainClient(server.address()).error() == ECONNREFUSED; }));
  EXPECT_FALSE(server.process().Wait(0, -1) == bench::Process::Waited::kEnded);
  server.process().Signal(SIGTERM);
  EXPECT_EQ(server.Ending()["connections"]["reset_at_deadline"], 1);
}

TEST_P(Life, RemovesItsUnixPathsAndNoOther) {
  for (const bool replaced : {false, true}) {
    const std::string path = Scratch("u"), metrics = Scratch("m");
    Serving server({"unix:" + path, "--backend", GetParam(), "--metrics", "unix:" + metrics});
    for (const std::string& each : {path, metrics}) {
      EXPECT_TRUE(std::filesystem::is_socket(each));
      if (!replaced) continue;
      std::filesystem::remove(each);
      std::ofstream(each) << "another's";
    }
    server.Stop();
    for (const std::string& each : {path, metrics}) {
      EXPECT_EQ(std::filesystem::exists(each), replaced) << each;
      std::filesystem::remove(each);
    }
  }
}

TEST_P(Life, ReplacesASocketThatADeadServerLeft) {
  for (const char* kind : {"unix:", "unix-seqpacket:", "unix-dgram:"}) {
    const std::string address = kind + Scratch("u");
    Serving killed({address, "--backend", GetParam()});
    killed.process().Signal(SIGKILL);
    cli_tests::WaitFor(killed.process());
    EXPECT_TRUE(std::filesystem::exists(address.substr(address.find(':') + 1)));
    // The rings of a killed process let go of its sockets a moment later.
    ASSERT_TRUE(Until([&] { return PlainClient(address).error() == ECONNREFUSED; }));
    Serving server({address, "--backend", GetParam()});
    PlainClient client(address);
    client.Send("hello");
    EXPECT_EQ(client.Message(), "hello");
    client.End();
    server.Stop();
    EXPECT_FALSE(std::filesystem::exists(address.substr(address.find(':') + 1)));
  }
}

TEST_P(Life, LeavesALivingServersPathAndAPlainFileAlone) {
  for (const char* kind : {"unix:", "unix-seqpacket:", "unix-dgram:"}) {
    const std::string path = Scratch("u");
    Serving server({kind + path, "--backend", GetParam()});
    bench::Process second = Serving::Launch({kind + path, "--backend", GetParam()});
    const Ended ended = cli_tests::WaitFor(second);
    EXPECT_EQ(ended.exit_code, 1);
    EXPECT_NE(ended.err.find(path), std::string::npos) << ended.err;
    PlainClient client(kind + path);
    client.Send("hello");
    EXPECT_EQ(client.Message(), "hello");

    const std::string file = Scratch("file");
    std::ofstream(file) << "kept";
    bench::Process at_file = Serving::Launch({kind + file, "--backend", GetParam()});
    const Ended refused = cli_tests::WaitFor(at_file);
    EXPECT_EQ(refused.exit_code, 1);
    EXPECT_NE(refused.err.find(file), std::string::npos) << refused.err;
    EXPECT_EQ(std::filesystem::file_size(file), 4u);
    std::filesystem::remove(file);
  }
}

}  // namespace
}  // namespace serve_tests::life
