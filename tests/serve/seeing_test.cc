#include <ifaddrs.h>

#include <fstream>
#include <functional>
#include <map>
#include <regex>
#include <set>
#include <sstream>
#include <thread>

#include "tests/serve/plain_client.h"

// What a running server shows of itself.
namespace serve_tests::seeing {
namespace {

class Seeing : public cli_tests::EachBackend {};
INSTANTIATE_TEST_SUITE_P(Backends, Seeing, testing::Values("epoll", "io_uring"),
                         [](const auto& test) { return test.param; });

// The samples of a page, by name and labels; checks that each belongs to a family that is told
// before it, and comes once.
std::map<std::string, double> Samples(const std::string& page) {
  std::map<std::string, double> samples;
  std::set<std::string> families;
  EXPECT_TRUE(page.ends_with("\n")) << page;
  std::istringstream lines(page);
  for (std::string line; std::getline(lines, line);) {
    if (line.rfind("# TYPE ", 0) == 0) {
      EXPECT_TRUE(families.insert(line.substr(7, line.find(' ', 7) - 7)).second) << line;
    } else if (line.rfind("# HELP ", 0) != 0) {
      const size_t value = line.rfind(' ');
      const std::string name = line.substr(0, value);
      EXPECT_TRUE(families.contains(name.substr(0, name.find('{')))) << line;
      size_t parsed = 0;
      const std::string number = line.substr(value + 1);
      EXPECT_TRUE(samples.emplace(name, std::stod(number, &parsed)).second) << line;
      EXPECT_EQ(parsed, number.size()) << line;
    }
  }
  return samples;
}

// The sum over the threads.
uint64_t Sum(const std::map<std::string, double>& samples, const std::string& name) {
  double sum = 0;
  bool found = false;
  for (const auto& [key, value] : samples) {
    if (key.substr(0, key.find('{')) != name) continue;
    sum += value;
    found = true;
  }
  EXPECT_TRUE(found) << name;
  return static_cast<uint64_t>(sum);
}

bool PromtoolIsHere() { return Installed("promtool"); }
void ExpectPromtoolFindsNothing(const std::string& page) {
  const std::string path = Scratch("page");
  std::ofstream(path, std::ios::binary) << page;
  const Ended ended = RunToEnd({"sh", "-c", "exec promtool check metrics <" + path});
  EXPECT_EQ(ended.exit_code, 0) << ended.out << ended.err << page;
  EXPECT_EQ(ended.err, "") << page;
  std::filesystem::remove(path);
}

// A message of more than the bound on what waits for a peer (48 KiB): were each receive as short as
// the room that is left, it would come in twenty.
TEST_P(Seeing, LargeMessagesComeInFewReceives) {
  constexpr int kMessages = 400;
  Serving server({"127.0.0.1:0", "--backend", GetParam()});
  const Ended load = RunToEnd({RINGSIDE_BINARY, "load", server.address(), "--backend", "epoll",
                               "-c", "4", "-s", "64KiB", "-n", std::to_string(kMessages)});
  EXPECT_EQ(load.exit_code, 0) << load.err;
  const Json summary = server.Stop();
  EXPECT_EQ(summary["bytes"]["received"], kMessages * 64 * 1024);
  const double each = summary["loop"]["receives"].get<double>() / kMessages;
  std::cout << each << " receives a message\n";
  EXPECT_LE(each, 8);
}

TEST_P(Seeing, CountersAgreeWithTheSummary) {
  Serving server({"127.0.0.1:0", "--backend", GetParam(), "--threads", "2", "--listen",
                  "echo=unix:" + Scratch("u"), "--listen", "counter=udp://127.0.0.1:0", "--metrics",
                  "127.0.0.1:0"});
  const std::string metrics = MetricsAddress(server);
  std::atomic<bool> stop{false};
  std::vector<std::thread> clients;
  for (int i = 0; i < 3; ++i) {
    clients.emplace_back([&, i] {
      for (int n = 0; !stop || n == 0; ++n) {
        PlainClient client(server.address(i));
        client.Send("hello");
        EXPECT_NE(client.Message(), "");
        client.End();
        if (i < 2) {
          EXPECT_EQ(client.Receive(), "");
        }
      }
    });
  }
  std::map<std::string, double> last;
  for (int i = 0; i < 10; ++i) {
    const auto samples = Samples(Get(metrics, "/metrics"));
    for (const auto& [key, value] : last) {
      if (!key.substr(0, key.find('{')).ends_with("_total")) continue;
      ASSERT_TRUE(samples.contains(key)) << key;
      EXPECT_GE(samples.at(key), value) << key;
    }
    last = samples;
  }
  stop = true;
  for (std::thread& client : clients) client.join();
  std::string page;
  ASSERT_TRUE(Until([&] {
    page = Get(metrics, "/metrics");
    return Sum(Samples(page), "ringside_connections") == 0;
  })) << page;
  const auto samples = Samples(page);
  const Json summary = server.Stop();
  const std::vector<std::pair<std::string, Json>> pairs = {
      {"ringside_connections_accepted_total", summary["connections"]["accepted"]},
      {"ringside_connections_closed_total", summary["connections"]["closed"]},
      {"ringside_received_bytes_total", summary["bytes"]["received"]},
      {"ringside_sent_bytes_total", summary["bytes"]["sent"]},
      {"ringside_requests_total", summary["requests"]},
      {"ringside_receives_total", summary["loop"]["receives"]},
      {"ringside_sends_total", summary["loop"]["sends"]},
      {"ringside_datagrams_received_total", summary["datagrams"]["received"]},
      {"ringside_datagrams_sent_total", summary["datagrams"]["sent"]}};
  for (const auto& [name, value] : pairs) {
    EXPECT_EQ(Sum(samples, name), value.get<uint64_t>()) << name;
    EXPECT_GT(value.get<uint64_t>(), 0u) << name;
  }
  for (const Json& listener : summary["listeners"]) {
    const std::string key = "ringside_requests_total{listener=\"" +
                            listener["address"].get<std::string>() + "\",service=\"" +
                            listener["service"].get<std::string>() + "\"}";
    ASSERT_TRUE(samples.contains(key)) << key << page;
    EXPECT_EQ(samples.at(key), listener["requests"].get<double>()) << key;
  }
  if (PromtoolIsHere()) ExpectPromtoolFindsNothing(page);
}

// An IPv4 address of this machine that isn't loopback; "" where there is none.
std::string OwnAddress() {
  ifaddrs* all = nullptr;
  if (getifaddrs(&all) != 0) return "";
  std::string found;
  for (ifaddrs* each = all; each != nullptr; each = each->ifa_next) {
    if (each->ifa_addr == nullptr || each->ifa_addr->sa_family != AF_INET) continue;
    const std::string text = io::AddressText(each->ifa_addr, sizeof(sockaddr_in));
    if (text.rfind("127.", 0) != 0) found = text.substr(0, text.rfind(':'));
  }
  freeifaddrs(all);
  return found;
}

TEST_P(Seeing, CountsEachKindOfRefusal) {
  const std::string outside = OwnAddress();
  std::vector<std::string> arguments = {"127.0.0.1:0",
                                        "--backend",
                                        GetParam(),
                                        "--metrics",
                                        "127.0.0.1:0",
                                        "--listen",
                                        "echo=unix:" + Scratch("u"),
                                        "--allow-uid",
                                        std::to_string(geteuid() + 1),
                                        "--listen",
                                        "counter=127.0.0.1:0",
                                        "--listen",
                                        "chargen=127.0.0.1:0",
                                        "--listen",
                                        "echo=udp://127.0.0.1:0",
                                        "--connections-per-source",
                                        "2",
                                        "--idle-timeout",
                                        "300ms",
                                        "--stall-timeout",
                                        "300ms",
                                        "--recv-buffer-bytes",
                                        "4096"};
  if (!outside.empty())
    arguments.insert(arguments.end(), {"--listen", "reply=udp://" + outside + ":0"});
  Serving server(arguments);
  const std::string metrics = MetricsAddress(server);
  const bool promtool = PromtoolIsHere();
  std::string page;
  const auto expect_one = [&](const std::string& reason, const std::function<void()>& again = {}) {
    EXPECT_TRUE(Until([&] {
      if (again) again();
      page = Get(metrics, "/metrics");
      const auto samples = Samples(page);
      const std::string key = "ringside_refusals_total{reason=\"" + reason + "\"}";
      return reason == "truncated" ? Sum(samples, "ringside_truncated_messages_total") >= 1
                                   : samples.at(key) >= 1;
    })) << reason
        << page;
    if (promtool) ExpectPromtoolFindsNothing(page);
  };
  {
    PlainClient denied(server.address(1));
    EXPECT_EQ(denied.Receive(), "");
    expect_one("denied");
  }
  {
    PlainClient broken(server.address(2));
    broken.Send(std::string(70'000, 'x'));
    broken.Receive();
    expect_one("protocol_violation");
  }
  {
    PlainClient idle(server.address(0));
    EXPECT_EQ(idle.Receive(), "");  // until it is closed
    EXPECT_EQ(idle.error(), 0);
    expect_one("idle");
  }
  {
    PlainClient stalled(server.address(3));  // reads nothing
    expect_one("stalled");
  }
  {
    const uint32_t from = (127u << 24) | 0x030201;
    expect_one("over_source_limit", [&] {  // again, should the first have been too idle meanwhile
      PlainClient one(server.address(3), from), two(server.address(3), from),
          three(server.address(3), from);
      for (PlainClient* each : {&one, &two, &three}) each->Receive(1);
    });
  }
  {
    PlainClient client(server.address(4));
    client.Send(std::string(5000, 'x'));
    expect_one("truncated");
  }
  if (geteuid() == 0) {
    std::optional<PlainClient> chargen;
    for (uint16_t port = 19; !chargen || chargen->error() == EADDRINUSE; ++port) {
      chargen.emplace(server.address(4), INADDR_LOOPBACK, port);
    }
    chargen->Send("x");
    expect_one("datagram_loop");
  }
  if (!outside.empty()) {
    PlainClient asks(server.address(5));
    asks.Send("?");
    expect_one("datagram_amplification");
  }
  const Json limits = server.Stop()["limits"];
  EXPECT_EQ(limits["denied"], 1);
  EXPECT_EQ(limits["protocol_violations"], 1);
  for (const char* limit : {"over_source_limit", "idle_closed", "stalled_closed"}) {
    EXPECT_GE(limits[limit], 1) << limit;
  }
  EXPECT_EQ(limits["truncated_messages"], 1);
}

TEST_P(Seeing, PagesPassPromtool) {
  if (!PromtoolIsHere()) GTEST_SKIP() << "promtool is not installed";
  Serving server({"unix:" + Scratch("u \"quoted\" \\ name"), "--backend", GetParam(), "--listen",
                  "delay=*:0", "--listen", "chargen=unix-dgram:" + Scratch("d"), "--metrics",
                  "127.0.0.1:0"});
  ExpectPromtoolFindsNothing(Get(MetricsAddress(server), "/metrics"));
}

TEST_P(Seeing, ShowsTheQueueOfAFullServer) {
  Serving server({"127.0.0.1:0", "--backend", GetParam(), "--connections-max", "1", "--listen",
                  "echo=unix:" + Scratch("u"), "--metrics", "127.0.0.1:0", "--backlog", "77"});
  const std::string metrics = MetricsAddress(server);
  std::vector<PlainClient> clients;
  clients.emplace_back(server.address(0));
  EXPECT_EQ(clients[0].Ask("hello"), "hello");
  std::vector<PlainClient> local;
  const auto queue = [&](int listener) {
    const auto samples = Samples(Get(metrics, "/metrics"));
    EXPECT_EQ(
        samples.at("ringside_accept_queue_limit{listener=\"" + server.address(listener) + "\"}"),
        77);
    return samples.at("ringside_accept_queue_length{listener=\"" + server.address(listener) +
                      "\"}");
  };
  // Some may have been accepted already, and wait inside.
  ASSERT_TRUE(Until([&] {
    clients.emplace_back(server.address(0));
    return queue(0) >= 3;
  }));
  ASSERT_TRUE(Until([&] {
    local.emplace_back(server.address(1));
    return queue(1) >= 2;
  }));
  server.process().Signal(SIGUSR1);
  const Json status = server.AwaitLine(1);
  EXPECT_EQ(status["event"], "status");
  EXPECT_GE(status["listeners"][0]["queue"], 3);
  EXPECT_EQ(status["listeners"][0]["queue_limit"], 77);
  EXPECT_GE(status["listeners"][1]["queue"], 2);
  const std::string text = Get(metrics, "/status");
  EXPECT_TRUE(std::regex_search(text, std::regex("queue +127\\.0\\.0\\.1:[0-9]+ +[0-9]+ of 77")))
      << text;
  // One after the other gets in.
  for (auto* waiting : {&clients, &local}) {
    for (PlainClient& client : *waiting) {
      client.Send("bye");
      client.End();
    }
  }
  for (auto* waiting : {&clients, &local}) {
    for (PlainClient& client : *waiting) EXPECT_EQ(client.Receive(), "bye");
  }
  EXPECT_EQ(queue(0) + queue(1), 0);
  EXPECT_EQ(server.Stop()["connections"]["accepted"], clients.size() + local.size());
}

std::string LocalAddress(const PlainClient& client) {
  sockaddr_storage at = {};
  socklen_t size = sizeof(at);
  getsockname(client.fd(), reinterpret_cast<sockaddr*>(&at), &size);
  return io::AddressText(reinterpret_cast<sockaddr*>(&at), size);
}

TEST_P(Seeing, StatusShowsListenersQueuesAndConnections) {
  Serving server({"127.0.0.1:0", "--backend", GetParam(), "--listen", "greet=unix:" + Scratch("u"),
                  "--metrics", "unix:" + Scratch("m")});
  const std::string metrics = MetricsAddress(server);
  PlainClient client(server.address());
  EXPECT_EQ(client.Ask("hello"), "hello");
  server.process().Signal(SIGUSR1);
  const Json status = server.AwaitLine(1);
  EXPECT_EQ(status["event"], "status");
  EXPECT_EQ(status["requests"], 1);
  EXPECT_EQ(status["connections"]["open"], 1);
  EXPECT_EQ(status["listeners"][1]["address"], server.address(1));
  for (const Json& listener : status["listeners"]) {
    for (const char* key : {"queue", "queue_limit", "drops"}) EXPECT_TRUE(listener.contains(key));
  }
  ASSERT_EQ(status["kernel"]["connections"].size(), 1u) << status;
  const Json& connection = status["kernel"]["connections"][0];
  EXPECT_EQ(connection["remote"], LocalAddress(client));
  EXPECT_EQ(connection["state"], "ESTAB");
  EXPECT_GT(connection["rtt_us"], 0);
  EXPECT_EQ(connection["retransmits"], 0);

  const std::string page = Get(metrics, "/status");
  for (const std::string& word :
       {server.address(0), server.address(1), LocalAddress(client), std::string("queue"),
        std::string("rtt"), std::string("1 open now")}) {
    EXPECT_NE(page.find(word), std::string::npos) << word << " isn't in " << page;
  }
  // Without --json the same comes as text.
  bench::Process text = cli_tests::Start({RINGSIDE_BINARY, "serve", "0", "--backend", GetParam()});
  ASSERT_TRUE(Until([&] { return text.Output().find('\n') != std::string::npos; }));
  text.Signal(SIGUSR1);
  EXPECT_TRUE(Until([&] { return text.Output().find("queue ") != std::string::npos; }));
  text.Signal(SIGTERM);
  EXPECT_EQ(cli_tests::WaitFor(text).exit_code, 0);
}

TEST_P(Seeing, LogsWhoComesAndGoes) {
  const std::string path = Scratch("u");
  Serving server({"127.0.0.1:0", "--backend", GetParam(), "--listen", "echo=unix:" + path,
                  "--log-connections"});
  std::string peer, reset_peer;
  {
    PlainClient client(server.address(0)), resets(server.address(0)), local(server.address(1));
    peer = LocalAddress(client);
    reset_peer = LocalAddress(resets);
    for (PlainClient* each : {&client, &resets, &local}) EXPECT_EQ(each->Ask("hello"), "hello");
    client.End();
    EXPECT_EQ(client.Receive(), "");
    local.End();
    EXPECT_EQ(local.Receive(), "");
    const linger reset = {.l_onoff = 1, .l_linger = 0};
    setsockopt(resets.fd(), SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
  }
  const std::string tcp = server.address(0);
  const std::string process = "pid:" + std::to_string(getpid()) +
                              ",uid:" + std::to_string(geteuid()) +
                              ",gid:" + std::to_string(getegid());
  ASSERT_TRUE(Until([&] {
    const std::string log = server.process().Errors();
    return std::ranges::count(log, '\n') >= 6;
  })) << server.process().Errors();
  server.Stop();
  const std::string log = server.process().Errors();
  const auto expect_line = [&](const std::string& text) {
    EXPECT_NE(log.find(text), std::string::npos) << text << " isn't in\n" << log;
  };
  expect_line("Z open peer=" + peer + " listener=" + tcp + "\n");
  expect_line("Z close peer=" + peer + " listener=" + tcp + " in=5 out=5 duration_s=");
  expect_line("Z open peer=" + process + " listener=unix:" + path + "\n");
  expect_line("Z close peer=" + process + " listener=unix:" + path + " in=5 out=5 duration_s=");
  expect_line("Z close peer=" + reset_peer + " listener=" + tcp + " in=5 out=5 duration_s=");
  expect_line(" error=ECONNRESET\n");
}

TEST_P(Seeing, LogsAtABoundedRateAndTellsWhatItLeftOut) {
  constexpr uint64_t kConnections = kSanitized ? 800 : 3000;
  const auto began = std::chrono::steady_clock::now();
  Serving server({"unix:" + Scratch("u"), "--backend", GetParam(), "--log-connections"});
  for (uint64_t i = 0; i < kConnections; ++i) {
    PlainClient client(server.address());
    client.End();
    ASSERT_EQ(client.Receive(), "");
  }
  server.Stop();
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
  uint64_t lines = 0, left_out = 0;
  std::istringstream log(server.process().Errors());
  for (std::string line; std::getline(log, line);) {
    std::smatch count;
    if (line.find("Z open ") != std::string::npos || line.find("Z close ") != std::string::npos) {
      ++lines;
    } else if (std::regex_search(line, count, std::regex("([0-9]+) more (suppressed|dropped)"))) {
      left_out += std::stoull(count[1]);
    } else {
      ADD_FAILURE() << line;
    }
  }
  EXPECT_EQ(lines + left_out, 2 * kConnections);
  EXPECT_LE(lines, 1000 + 1000 * seconds);
}

}  // namespace
}  // namespace serve_tests::seeing
