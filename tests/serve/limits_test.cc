#include <poll.h>
#include <signal.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <memory>
#include <random>
#include <sstream>

#include "tests/serve/peers.h"
#include "tests/serve/plain_client.h"
#include "tests/tier.h"

// What a server's limits keep out, cut off and let through, and that each is counted.
namespace serve_tests {
namespace {

using cli_tests::Installed;
using cli_tests::Json;
using cli_tests::Server;
using peers::Await;
using peers::Metric;
using peers::Peer;
using SteadyClock = std::chrono::steady_clock;

using LimitsOn = cli_tests::EachBackend;
INSTANTIATE_TEST_SUITE_P(Backends, LimitsOn, testing::Values("epoll", "io_uring"),
                         [](const auto& test) { return test.param; });

bool Readable(const Peer& peer) {
  pollfd readable = {.fd = peer.fd(), .events = POLLIN, .revents = 0};
  return poll(&readable, 1, 0) > 0;
}

double SecondsSince(SteadyClock::time_point begin) {
  return std::chrono::duration<double>(SteadyClock::now() - begin).count();
}

// ---- how many

TEST_P(LimitsOn, ServesNoMoreConnectionsThanItMayAndTheNextWhenOneCloses) {
  Server server({"--backend", GetParam(), "--connections-max", "3", "--metrics", "0"});
  std::vector<Peer> peers;
  for (int i = 0; i < 5; ++i) {
    peers.push_back(Peer::Connected(Address(server)));
    ASSERT_TRUE(peers[i].Send(absl::StrCat("peer ", i)));
    if (i < 3) {
      ASSERT_EQ(peers[i].Receive(6), absl::StrCat("peer ", i));
    }
  }
  Await("accepting pauses", [&] { return server.Status()["loop"]["accept_pauses"] >= 1; });
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(peers[i].Echoes("still served"));
  EXPECT_EQ(server.Status()["connections"]["open"], 3);
  EXPECT_FALSE(Readable(peers[3]));
  EXPECT_FALSE(Readable(peers[4]));
  EXPECT_GE(Metric(server, "ringside_accept_pauses_total"), 1);
  EXPECT_EQ(Metric(server, "ringside_connections{"), 3);
  peers[1].Close();
  EXPECT_EQ(peers[3].Receive(6), "peer 3");
  EXPECT_FALSE(Readable(peers[4]));
  peers[0].Close();
  EXPECT_EQ(peers[4].Receive(6), "peer 4");
  EXPECT_TRUE(peers[2].Echoes("from first to last"));
  for (Peer& peer : peers) peer.Close();
  const Json summary = server.Stop();
  EXPECT_EQ(summary["connections"]["accepted"], 5);
  EXPECT_EQ(summary["connections"]["closed"], 5);
  EXPECT_GE(summary["loop"]["accept_pauses"], 1);
}

TEST_P(LimitsOn, LosesNobodyWhoWaitsForAPlace) {
  Server server({"--backend", GetParam(), "--connections-max", "4"});
  const size_t count = kSanitized ? 30 : 100;
  std::vector<Peer> waiting;
  for (size_t i = 0; i < count; ++i) {
    waiting.push_back(Peer::Connected(Address(server)));
    ASSERT_TRUE(waiting.back().Send("hello"));
  }
  Await("all are served in turn", [&] {
    for (size_t i = 0; i < waiting.size(); ++i) {
      if (!Readable(waiting[i])) continue;
      EXPECT_EQ(waiting[i].Receive(5), "hello");
      waiting.erase(waiting.begin() + i--);
    }
    return waiting.empty();
  });
  const Json summary = server.Stop();
  EXPECT_EQ(summary["connections"]["accepted"], count);
  EXPECT_EQ(summary["requests"], count);
  EXPECT_EQ(summary["errors"]["total"], 0) << summary["errors"];
}

TEST_P(LimitsOn, ServesASourceNoMoreConnectionsThanItMayOverAllThreads) {
  Server server({"--backend", GetParam(), "--threads", "2", "--connections-per-source", "3",
                 "--metrics", "0"});
  std::vector<Peer> one, other;
  for (int i = 0; i < 3; ++i) {
    one.push_back(Peer::Connected(Address(server), "127.0.0.2"));
    ASSERT_TRUE(one.back().Echoes("one"));
  }
  const int refused = 5;  // more than would all hash to one thread by chance
  for (int i = 0; i < refused; ++i) {
    Peer peer = Peer::Connected(Address(server), "127.0.0.2");
    EXPECT_EQ(peer.Receive(1), "");
    EXPECT_EQ(peer.end(), ECONNRESET);
  }
  for (int i = 0; i < 3; ++i) {
    other.push_back(Peer::Connected(Address(server), "127.0.0.3"));
    EXPECT_TRUE(other.back().Echoes("other")) << "another source pays for the first";
  }
  for (Peer& peer : one) EXPECT_TRUE(peer.Echoes("still served"));
  EXPECT_EQ(Metric(server, "ringside_refusals_total", "{reason=\"over_source_limit\"}"), refused);
  EXPECT_EQ(server.Status()["connections"]["open"], 6);
  one.pop_back();
  Await("the close is seen", [&] { return server.Status()["connections"]["closed"] == 1; });
  EXPECT_TRUE(Peer::Connected(Address(server), "127.0.0.2").Echoes("again"));
  one.clear();
  other.clear();
  const Json summary = server.Stop();
  EXPECT_EQ(summary["limits"]["over_source_limit"], refused);
  EXPECT_EQ(summary["connections"]["refused"], refused);
}

// ---- how long

TEST_P(LimitsOn, ClosesWhoIdlesAndNotBeforeTheTime) {
  Server server({"--backend", GetParam(), "--idle-timeout", "200ms", "--metrics", "0"});
  const auto begin = SteadyClock::now();
  Peer silent = Peer::Connected(Address(server)), idle = Peer::Connected(Address(server));
  ASSERT_TRUE(idle.Echoes("once"));
  for (Peer* peer : {&silent, &idle}) {
    EXPECT_EQ(peer->Receive(1), "");
    EXPECT_EQ(peer->end(), Peer::kFin);
  }
  EXPECT_GE(SecondsSince(begin), 0.2);
  EXPECT_EQ(Metric(server, "ringside_refusals_total", "{reason=\"idle\"}"), 2);
  const Json summary = server.Stop();
  EXPECT_EQ(summary["limits"]["idle_closed"], 2);
  EXPECT_EQ(summary["limits"]["stalled_closed"], 0);
  EXPECT_EQ(summary["errors"]["total"], 0) << summary["errors"];
}

// A peer that does something every few milliseconds until `until`. Void, to be repeated, where this
// process itself was kept waiting for so long that the server was right to give up on the peer.
enum class Kept { kYes, kNo, kVoid };
Kept KeepsOn(const std::function<bool()>& act, const std::function<bool()>& until,
             double gap_max_s) {
  auto last = SteadyClock::now();
  double gap = 0;
  while (!until()) {
    const bool acted = act();
    gap = std::max(gap, SecondsSince(last));
    last = SteadyClock::now();
    if (!acted) return gap > gap_max_s ? Kept::kVoid : Kept::kNo;
    usleep(5000);
  }
  return Kept::kYes;
}

TEST_P(LimitsOn, KeepsWhoIsActive) {
  Kept kept = Kept::kVoid;
  for (int i = 0; i < 5 && kept == Kept::kVoid; ++i) {
    Server server({"--backend", GetParam(), "--idle-timeout", "400ms"});
    Peer active = Peer::Connected(Address(server));
    auto idle = std::make_unique<Peer>(Peer::Connected(Address(server)));
    int ends = 0;  // idle neighbours that came and were closed, one after the other
    kept = KeepsOn([&] { return active.Echoes("."); },
                   [&] {
                     if (!Readable(*idle)) return false;
                     EXPECT_EQ(idle->Receive(1), "");
                     idle = std::make_unique<Peer>(Peer::Connected(Address(server)));
                     return ++ends == 2;
                   },
                   0.2);
    if (kept == Kept::kYes) {
      EXPECT_EQ(server.Status()["limits"]["idle_closed"], 2);
      EXPECT_TRUE(active.Echoes("still served"));
    }
  }
  EXPECT_TRUE(kept == Kept::kYes) << (kept == Kept::kVoid ? "never in time to tell" : "closed");
}

TEST_P(LimitsOn, KeepsWhoOnlyWaitsForItsReply) {
  Server server({"--backend", GetParam(), "--service", "delay", "--delay", "900ms",
                 "--idle-timeout", "200ms", "--stall-timeout", "200ms"});
  server.process().Signal(SIGSTOP);  // the request is there when the connection is accepted
  Peer patient = Peer::Connected(Address(server));
  const auto begin = SteadyClock::now();
  ASSERT_TRUE(patient.Send("later"));
  server.process().Signal(SIGCONT);
  EXPECT_EQ(patient.Receive(5), "later");
  EXPECT_GE(SecondsSince(begin), 0.9);
  EXPECT_EQ(patient.Receive(1), "");  // and now it idles
  EXPECT_EQ(patient.end(), Peer::kFin);
  EXPECT_EQ(server.Stop()["limits"]["idle_closed"], 1);
}

TEST_P(LimitsOn, ResetsWhoNeverReads) {
  Server server({"--backend", GetParam(), "--stall-timeout", "300ms", "--metrics", "0"});
  Peer stuck = Peer::Connected(Address(server)), good = Peer::Connected(Address(server));
  const auto begin = SteadyClock::now();
  size_t sent = 0;
  Await("it is stuck", [&] {
    const size_t went = stuck.Stuff();
    sent += went;
    return went == 0 && server.Status()["loop"]["receive_pauses"] >= 1;
  });
  Await("it is reset", [&] {
    sent += stuck.Stuff();  // a slow server was only behind, and has sent it all by now
    return server.Status()["limits"]["stalled_closed"] == 1;
  });
  EXPECT_GE(SecondsSince(begin), 0.3);
  EXPECT_LT(stuck.Receive(sent).size(), sent);
  EXPECT_EQ(stuck.TcpState(), TCP_CLOSE);  // by a FIN it would be TCP_CLOSE_WAIT
  EXPECT_TRUE(good.Echoes("good"));
  EXPECT_EQ(Metric(server, "ringside_refusals_total", "{reason=\"stalled\"}"), 1);
  good.Close();
  EXPECT_EQ(server.Stop()["limits"]["stalled_closed"], 1);
}

// Who sends while it reads nothing is no better: chargen takes what comes, and goes on sending.
TEST_P(LimitsOn, ResetsWhoNeverReadsThoughItSends) {
  Server server({"--backend", GetParam(), "--service", "chargen", "--stall-timeout", "300ms"});
  Peer stuck = Peer::Connected(Address(server));
  int sent = 0;
  while (sent < 1000 && stuck.Send(".")) {
    usleep(5000);
    ++sent;
  }
  EXPECT_LT(sent, 1000) << "it may do that for ever";
  EXPECT_EQ(server.Status()["limits"]["stalled_closed"], 1);
}

TEST_P(LimitsOn, KeepsWhoReadsSlowly) {
  LEFT_TO_ALL();
  Kept kept = Kept::kVoid;
  for (int i = 0; i < 5 && kept == Kept::kVoid; ++i) {
    Server server({"--backend", GetParam(), "--stall-timeout", "800ms", "--idle-timeout", "800ms"});
    Peer slow = Peer::Connected(Address(server), "", 32 * 1024);
    Peer stuck = Peer::Connected(Address(server));
    size_t sent = 0, read = 0;
    kept = KeepsOn(
        [&] {
          sent += slow.Stuff();
          char part[32 * 1024];
          const ssize_t n = recv(slow.fd(), part, sizeof(part), MSG_DONTWAIT);
          if (n < 0) return errno == EAGAIN;
          read += n;
          return n > 0;
        },
        [&] {
          stuck.Stuff();
          return server.Status()["limits"]["stalled_closed"] == 1;
        },
        0.1);
    if (kept == Kept::kYes) {
      Await("only it is left", [&] { return server.Status()["connections"]["open"] == 1; });
      EXPECT_EQ(slow.Receive(sent - read).size(), sent - read) << "what it sent is not all there";
    }
  }
  EXPECT_TRUE(kept == Kept::kYes) << (kept == Kept::kVoid ? "never in time to tell" : "reset");
}

// ---- how much

TEST_P(LimitsOn, TakesNoMoreThanItCanSend) {
  Server server({"--backend", GetParam(), "--pending-bytes", "4KiB", "--recv-buffer-bytes", "4KiB",
                 "--metrics", "0"});
  Peer greedy = Peer::Connected(Address(server), "", 16 * 1024);
  size_t sent = 0;
  Await("its receives pause", [&] {
    sent += greedy.Stuff();
    return server.Status()["loop"]["receive_pauses"] >= 1;
  });
  const Json status = server.Status();
  // What was under way when the bound was reached may come on top.
  const size_t received = status["bytes"]["received"], returned = status["bytes"]["sent"];
  EXPECT_LE(received - returned, 64u * 1024);
  EXPECT_GE(Metric(server, "ringside_receive_pauses_total"), 1);
  EXPECT_EQ(greedy.Receive(sent), std::string(sent, 's'));
  EXPECT_TRUE(greedy.Echoes("in the end"));
  greedy.Close();
  EXPECT_GE(server.Stop()["loop"]["receive_pauses"], 1);
}

// ---- descriptors

double CpuSeconds(pid_t pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
  std::string text((std::istreambuf_iterator<char>(file)), {});
  std::istringstream fields(text.substr(text.rfind(')') + 2));
  std::string field;
  double ticks = 0;
  for (int i = 3; fields >> field && i <= 15; ++i) {
    if (i >= 14) ticks += std::stod(field);  // utime, stime: proc(5)
  }
  return ticks / static_cast<double>(sysconf(_SC_CLK_TCK));
}

// Whether a process has all descriptors that a limit allows; one inherited may be above it.
bool UsesAll(pid_t pid, int limit) {
  const std::filesystem::directory_iterator all("/proc/" + std::to_string(pid) + "/fd");
  return std::count_if(begin(all), end(all), [&](const auto& entry) {
           return std::stoi(entry.path().filename()) < limit;
         }) == limit;
}

TEST_P(LimitsOn, WaitsWithoutSpinningWhereNoDescriptorIsLeft) {
  if (!Installed("prlimit")) GTEST_SKIP() << "prlimit (util-linux) is not installed";
  Server server = Server::By({"prlimit", "--nofile=40:40", RINGSIDE_BINARY, "serve", "0", "--json",
                              "--backend", GetParam(), "--metrics", "127.0.0.1:0"});
  std::vector<Peer> waiting, served;
  for (int i = 0; i < 50; ++i) {
    waiting.push_back(Peer::Connected(Address(server)));
    ASSERT_TRUE(waiting.back().Send("hello"));
  }
  const auto take_served = [&] {
    for (size_t i = 0; i < waiting.size(); ++i) {
      if (!Readable(waiting[i])) continue;
      EXPECT_EQ(waiting[i].Receive(5), "hello");
      served.push_back(std::move(waiting[i]));
      waiting.erase(waiting.begin() + i--);
    }
  };
  // Telling its status takes a descriptor, too, for as long as that takes. So who looks from
  // outside and meanwhile asks nothing sees when connections have the last.
  const pid_t pid = server.process().pid();
  Await("no descriptor is left", [&] { return UsesAll(pid, 40); });
  Json before;
  Await("accepting pauses", [&] {
    before = server.Status();
    return before["loop"]["accept_pauses"] >= 1;
  });
  Await("those who were accepted being answered", [&] {
    take_served();
    return served.size() >= before["connections"]["open"].get<size_t>();
  });
  ASSERT_GE(served.size(), 10u);
  ASSERT_GE(waiting.size(), 10u);
  EXPECT_EQ(before["connections"]["open"], served.size());
  EXPECT_GE(before["errors"]["by_errno"]["EMFILE"], 1) << before["errors"];

  // One who asks for metrics meanwhile can't be served, and is no reason to spin either.
  const std::string errors = server.process().Errors(), words = "metrics on ";
  const size_t at = errors.find(words) + words.size();
  Peer scraper = Peer::Connected(errors.substr(at, errors.find('\n', at) - at));
  ASSERT_TRUE(scraper.Send("GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"));

  // Those who are connected are served all the while.
  const auto begin = SteadyClock::now();
  const double cpu_before = CpuSeconds(pid);
  int round_trips = 0;
  while (SecondsSince(begin) < 1) {
    for (Peer& peer : served) ASSERT_TRUE(peer.Echoes("meanwhile"));
    round_trips += static_cast<int>(served.size());
    usleep(200'000);
  }
  const double cpu = CpuSeconds(pid) - cpu_before;
  const Json after = server.Status();
  const double elapsed = SecondsSince(begin);
  const int turns = after["loop"]["turns"].get<int>() - before["loop"]["turns"].get<int>();
  RecordProperty("turns_per_second", static_cast<int>((turns - round_trips) / elapsed));
  RecordProperty("cpu_ms", static_cast<int>(cpu * 1000));
  EXPECT_LT((turns - round_trips) / elapsed, 300) << "it spins";
  if (!kSanitized) {
    EXPECT_LT(cpu, 0.25 * elapsed) << "it spins";
  }
  take_served();
  EXPECT_EQ(after["connections"]["open"], served.size());
  EXPECT_FALSE(Readable(scraper));

  // Each one who leaves makes room for one who waits.
  double longest = 0;
  while (!waiting.empty()) {
    ASSERT_FALSE(served.empty());
    const auto closed = SteadyClock::now();
    served.pop_back();
    const size_t waited = waiting.size();
    const bool scraped = Readable(scraper);
    Await("one who waited is served", [&] {
      take_served();
      return waiting.size() < waited || (!scraped && Readable(scraper));
    });
    longest = std::max(longest, SecondsSince(closed));
  }
  RecordProperty("recovery_ms", static_cast<int>(longest * 1000));
  if (!kSanitized) {
    EXPECT_LT(longest, 1);
  }
  served.clear();
  EXPECT_NE(scraper.Receive(~size_t{0}).find("ringside_accept_pauses_total"), std::string::npos);
  const Json summary = server.Stop();
  EXPECT_EQ(summary["connections"]["accepted"], 50);
  EXPECT_GE(summary["loop"]["accept_pauses"], 1);
}

// ---- stuck peers

TEST_P(LimitsOn, ServesTheGoodAmongTwoHundredStuck) {
  LEFT_TO_ALL();
  const std::string stream = peers::SocketPath("stuck"), packets = peers::SocketPath("stuckp");
  Server server({"--backend", GetParam(), "--listen", "echo=unix:" + stream, "--listen",
                 "echo=unix-seqpacket:" + packets});
  const std::vector<std::string> addresses = {Address(server), "unix:" + stream,
                                              "unix-seqpacket:" + packets};
  const size_t count = kSanitized ? 20 : 200;
  const int round_trips = kSanitized ? 200 : 2000;
  std::vector<Peer> stuck;
  for (const std::string& address : addresses) {
    for (size_t i = 0; i < count; ++i) stuck.push_back(Peer::Connected(address, "", 8 * 1024));
  }
  Await("all are stuck", [&] {
    for (Peer& peer : stuck) peer.Stuff(2048);
    return server.Status()["loop"]["receive_pauses"] >= stuck.size();
  });
  std::mt19937 random(1);
  for (const std::string& address : addresses) {
    Peer good = Peer::Connected(address);
    for (int i = 0; i < round_trips; ++i) {
      std::string text(1 + random() % 1500, '\0');
      for (char& c : text) c = static_cast<char>(random());
      ASSERT_TRUE(good.Echoes(text)) << address << ", round trip " << i;
    }
    for (size_t i = 0; i < stuck.size(); i += 50) stuck[i].Stuff(2048);
  }
  Await("only the stuck are left",
        [&] { return server.Status()["connections"]["open"] == stuck.size(); });
  stuck.clear();
  Await("all are gone", [&] { return server.Status()["connections"]["open"] == 0; });
  server.Stop();
}

// ---- counters

TEST_P(LimitsOn, SaysInTextWhatWasOverALimit) {
  const std::string path = peers::SocketPath("counted");
  bench::Process process = cli_tests::Start({RINGSIDE_BINARY,
                                             "serve",
                                             "0",
                                             "--backend",
                                             GetParam(),
                                             "--service",
                                             "counter",
                                             "--listen",
                                             "echo=udp://127.0.0.1:0",
                                             "--listen",
                                             "echo=unix:" + path,
                                             "--connections-per-source",
                                             "1",
                                             "--idle-timeout",
                                             "200ms",
                                             "--stall-timeout",
                                             "100ms",
                                             "--recv-buffer-bytes",
                                             "1000",
                                             "--allow-gid",
                                             std::to_string(getegid() + 1),
                                             "--metrics",
                                             "0"});
  const auto ready = [&] { return process.Output().find("udp://") != std::string::npos; };
  Await("it is ready",
        [&] { return ready() || process.Wait(1'000'000, -1) == bench::Process::Waited::kEnded; });
  ASSERT_TRUE(ready()) << process.Errors();
  const std::string text = process.Output();
  const auto word_from = [&](const std::string& begin) {
    const size_t at = text.find(begin);
    return text.substr(at, text.find_first_of(" \n,", at) - at);
  };
  const std::string tcp = word_from("127.0.0.1:"), udp = word_from("udp://");
  Peer denied = Peer::Connected("unix:" + path);
  EXPECT_EQ(denied.Receive(1), "");
  {
    Peer first = Peer::Connected(tcp, "127.0.0.2");
    ASSERT_TRUE(first.Send("line\n"));
    ASSERT_EQ(first.Receive(2), "1\n");
    Peer second = Peer::Connected(tcp, "127.0.0.2");
    EXPECT_EQ(second.Receive(1), "");
    EXPECT_EQ(first.Receive(1), "");  // idle
  }
  Peer violator = Peer::Connected(tcp, "127.0.0.3");
  violator.Send(std::string(100'000, 'x'));
  violator.Receive(1);
  Peer datagrams = Peer::Connected(udp);
  ASSERT_TRUE(datagrams.Send(std::string(1001, 'l')));
  ASSERT_TRUE(datagrams.Echoes("short"));
  Peer stuck = Peer::Connected(tcp, "127.0.0.4");
  const std::string lines(64 * 1024, '\n');
  Await("it is reset", [&] {
    return send(stuck.fd(), lines.data(), lines.size(), MSG_DONTWAIT | MSG_NOSIGNAL) < 0 &&
           errno != EAGAIN;
  });
  process.Signal(SIGTERM);
  const cli_tests::Ended ended = cli_tests::WaitFor(process);
  EXPECT_EQ(ended.exit_code, 0) << ended.err;
  for (const char* part : {"1 denied", "1 over the limit of their source", "1 closed because idle",
                           "1 reset because they read nothing", "1 broke the protocol",
                           "1 messages too long", "receives waited for a slow reader"}) {
    EXPECT_NE(ended.out.find(part), std::string::npos) << part << " is not in:\n" << ended.out;
  }
}

}  // namespace
}  // namespace serve_tests
