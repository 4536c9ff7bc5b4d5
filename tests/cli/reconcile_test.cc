#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <cstddef>
#include <functional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "tests/cli/ringside.h"
#include "tests/tier.h"

// `ringside load --server-metrics`: what both ends counted, held against each other.
namespace cli_tests {
namespace {

std::string AbstractName() {
  static std::atomic<int> names{0};
  return "@ringside-reconcile-" + std::to_string(getpid()) + "-" + std::to_string(++names);
}

std::string AnyAddress(const std::string& transport) {
  if (transport == "tcp") return "0";
  if (transport == "udp") return "udp://127.0.0.1:0";
  return transport + ":" + AbstractName();
}

// A server with a metrics page, both at addresses of their own.
struct Measured {
  Measured(const std::string& transport, std::vector<std::string> flags)
      : metrics("unix:" + AbstractName()), server(With(std::move(flags)), AnyAddress(transport)) {}

  std::string address() const { return server.ready()["address"].get<std::string>(); }

  const std::string metrics;
  Server server;

 private:
  std::vector<std::string> With(std::vector<std::string> flags) const {
    flags.insert(flags.end(), {"--metrics", metrics});
    return flags;
  }
};

using Strings = std::vector<std::string>;

class Reconciled : public EachBackend {
 protected:
  Json Load(const Measured& measured, Strings flags, int exit_code = 0) {
    flags.insert(flags.begin(), {measured.address(), "--server-metrics", measured.metrics,
                                 "--backend", GetParam()});
    return LoadJson(std::move(flags), exit_code);
  }

  // REQUIRES: nobody else uses the server.
  void ExpectTheSame(const Json& json, const Strings& checked, const std::string& what) {
    EXPECT_EQ(json["valid"], true) << what;
    EXPECT_EQ(json["errors"]["reconciliation"], 0) << what;
    EXPECT_EQ(json["reconciliation"]["checked"].get<Strings>(), checked)
        << what << json["reconciliation"];
    EXPECT_EQ(json["reconciliation"]["differences"], Json::array()) << what;
  }
};
INSTANTIATE_TEST_SUITE_P(All, Reconciled, testing::Values("epoll", "io_uring"),
                         [](const auto& backend) { return backend.param; });

const Strings kAll = {"connections", "requests", "bytes"};
const Strings kNoRequests = {"connections", "bytes"};
const Strings kNoConnections = {"requests", "bytes"};

// Each service on each kind of socket, several times on one server: its counters go on.
TEST_P(Reconciled, EachServiceOnEachSocketCountsAsItsClient) {
  LEFT_TO_ALL();
  struct Case {
    const char *transport, *service;
    Strings load;
    Strings checked;
  };
  const Strings count = {"-c", "8", "-n", "400"};
  const Strings timed = {"-c", "4", "-d", "80ms", "--warmup", "10ms", "-t", "2"};
  std::vector<Case> cases;
  for (const char* transport : {"tcp", "unix"}) {
    cases.push_back({transport, "echo", count, kNoRequests});
    cases.push_back({transport, "echo", timed, kNoRequests});
    cases.push_back({transport, "counter", count, kAll});
    cases.push_back({transport, "reply", count, kNoRequests});
    cases.push_back({transport, "delay", count, kNoRequests});
    cases.push_back({transport, "discard", count, kNoRequests});
    cases.push_back({transport, "discard", timed, kNoRequests});
    cases.push_back({transport, "chargen", timed, kNoRequests});
    cases.push_back({transport, "greet", {"-c", "4", "-n", "50"}, kAll});
  }
  Strings small = count;  // to discard, it is 128 KiB
  small.insert(small.end(), {"-s", "64"});
  for (const char* service : {"echo", "counter", "reply", "delay", "discard"}) {
    cases.push_back({"unix-seqpacket", service, small, kAll});
    Strings patient = small;  // nothing is given up because the machine is busy
    if (std::string(service) != "discard") patient.insert(patient.end(), {"--timeout", "5m"});
    cases.push_back({"unix-dgram", service, patient, kNoConnections});
    cases.push_back({"udp", service, patient, kNoConnections});
  }
  for (const Case& one : cases) {
    const Measured measured(one.transport,
                            {"--service", one.service, "--backend", GetParam(), "-t", "2"});
    for (int run = 0; run < 2; ++run) {
      Strings flags = one.load;
      flags.insert(flags.end(), {"--service", one.service});
      ExpectTheSame(Load(measured, flags), one.checked,
                    std::string(one.service) + " on " + one.transport + ": ");
    }
  }
}

// A server that was told the size of a request counts as its client does, also in a stream.
TEST_P(Reconciled, RequestsOfAKnownSizeAreCompared) {
  const Measured measured("tcp", {"--backend", GetParam(), "--size", "100"});
  ExpectTheSame(Load(measured, {"-c", "8", "-n", "1000", "-s", "100", "--depth", "4"}), kAll, "");
  const Json other = Load(measured, {"-c", "8", "-n", "1000", "-s", "64"});
  ExpectTheSame(other, kNoRequests, "");
  EXPECT_EQ(other["reconciliation"]["unchecked"][0],
            "requests: the server counts another unit (100 bytes); serve --size 64 counts these");
}

// What is dropped without an answer, the client alone can't know.
TEST_P(Reconciled, MessagesTooLongForTheServerAreFound) {
  const Measured measured("unix-seqpacket", {"--service", "discard", "--backend", GetParam()});
  const Json json =
      Load(measured, {"--service", "discard", "-c", "2", "-n", "30", "-s", "128KiB"}, 1);
  const Strings expected = {
      "this client counts 30 requests, and the server 0",
      "this client sent 3932160 bytes, and the server received 0",
      "the server dropped 30 messages, longer than its receive buffers: choose a smaller --size"};
  EXPECT_EQ(json["reconciliation"]["differences"].get<Strings>(), expected);
}

TEST_P(Reconciled, ShortConnectionsAndSeveralClasses) {
  const Measured measured("tcp", {"--backend", GetParam()});
  ExpectTheSame(Load(measured, {"-w", "crr", "-c", "4", "-n", "300"}), kNoRequests, "crr: ");
  const Json mix = Load(measured, {"-d", "100ms", "--warmup", "10ms", "--mix", "small: -c 4 -s 64",
                                   "--mix", "large: -c 2 -s 16KiB"});
  EXPECT_EQ(mix["valid"], true);
  EXPECT_EQ(mix["reconciliation"]["checked"].get<Strings>(), kNoRequests);
  EXPECT_EQ(mix["reconciliation"]["differences"], Json::array());
}

// A connection, or a socket of datagrams, to where our server serves.
int ConnectTo(const Measured& measured, int type) {
  const int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);
  sockaddr_in at = {};
  at.sin_family = AF_INET;
  at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  at.sin_port = htons(static_cast<uint16_t>(measured.server.ready()["port"].get<int>()));
  EXPECT_EQ(connect(fd, reinterpret_cast<sockaddr*>(&at), sizeof(at)), 0);
  return fd;
}

// A client that isn't the load's: sends 100 bytes, and waits for their echo.
void UseAnotherClient(const Measured& measured, int type) {
  const int fd = ConnectTo(measured, type);
  const std::string request(100, 'x');
  EXPECT_EQ(send(fd, request.data(), request.size(), MSG_NOSIGNAL), 100);
  char reply[100];
  EXPECT_EQ(recv(fd, reply, sizeof(reply), MSG_WAITALL), 100);
  close(fd);
}

// Stands before a metrics page: `before(n)` is called before the n-th question, from 0, is passed
// on.
class MetricsProxy {
 public:
  MetricsProxy(std::string to, std::function<void(int)> before)
      : address_(AbstractName()), to_(std::move(to)), before_(std::move(before)) {
    listener_ = Socket();
    const auto [at, size] = Address(address_);
    EXPECT_EQ(bind(listener_, reinterpret_cast<const sockaddr*>(&at), size), 0);
    EXPECT_EQ(listen(listener_, 16), 0);
    thread_ = std::thread([this] { Serve(); });
  }
  ~MetricsProxy() {
    shutdown(listener_, SHUT_RDWR);
    thread_.join();
    close(listener_);
  }
  std::string address() const { return "unix:" + address_; }

 private:
  static int Socket() { return socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0); }
  static std::pair<sockaddr_un, socklen_t> Address(const std::string& name) {
    sockaddr_un at = {};
    at.sun_family = AF_UNIX;
    name.copy(at.sun_path + 1, sizeof(at.sun_path) - 1, 1);  // without the "@"
    return {at, static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size())};
  }

  void Serve() {
    for (int number = 0;; ++number) {
      const int client = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
      if (client < 0) return;
      before_(number);
      const int server = Socket();
      const auto [at, size] = Address(to_.substr(std::string("unix:").size()));
      EXPECT_EQ(connect(server, reinterpret_cast<const sockaddr*>(&at), size), 0);
      Pass(client, server, "\r\n\r\n");
      Pass(server, client, "");
      close(server);
      close(client);
    }
  }

  // Until what was passed ends in `end`; without one, all.
  static void Pass(int from, int to, const std::string& end) {
    std::string passed;
    char buffer[4096];
    for (ssize_t bytes; (bytes = recv(from, buffer, sizeof(buffer), 0)) > 0;) {
      passed.append(buffer, static_cast<size_t>(bytes));
      EXPECT_EQ(send(to, buffer, static_cast<size_t>(bytes), MSG_NOSIGNAL), bytes);
      if (!end.empty() && passed.ends_with(end)) return;
    }
  }

  const std::string address_, to_;
  const std::function<void(int)> before_;
  int listener_;
  std::thread thread_;
};

// Somebody else's connections, requests and bytes are differences, and each is named.
TEST_P(Reconciled, AnotherClientIsSeenAndNamed) {
  const Measured measured("tcp", {"--backend", GetParam(), "--size", "100"});
  MetricsProxy proxy(measured.metrics, [&](int number) {
    if (number == 1) UseAnotherClient(measured, SOCK_STREAM);
  });
  const Ended ended =
      Ringside({"load", measured.address(), "--backend", GetParam(), "-c", "2", "-n", "40", "-s",
                "100", "--server-metrics", proxy.address(), "--json", "-"});
  EXPECT_EQ(ended.exit_code, 1);
  const Json json = Json::parse(ended.out);
  EXPECT_EQ(json["valid"], false);
  EXPECT_EQ(json["verdict"]["reason"], "the server counted otherwise");
  EXPECT_EQ(json["errors"]["reconciliation"], 4);
  EXPECT_EQ(json["errors"]["total"], 4);
  const Strings expected = {
      "this client opened 2 connections, and the server accepted 3: another client used it "
      "meanwhile (or somebody in between)",
      "this client counts 40 requests, and the server 41",
      "this client sent 4000 bytes, and the server received 4100",
      "the server sent 4100 bytes, and this client received 4000"};
  EXPECT_EQ(json["reconciliation"]["differences"].get<Strings>(), expected);
  for (const std::string& difference : expected) {
    EXPECT_NE(ended.err.find(difference), std::string::npos) << ended.err;
  }
}

TEST_P(Reconciled, AnotherClientIsSeenOverDatagrams) {
  LEFT_TO_ALL();
  const Measured measured("udp", {"--backend", GetParam()});
  MetricsProxy proxy(measured.metrics, [&](int number) {
    if (number == 1) UseAnotherClient(measured, SOCK_DGRAM);
  });
  const Json json = LoadJson({measured.address(), "--backend", GetParam(), "-c", "2", "-n", "40",
                              "--timeout", "5m", "--server-metrics", proxy.address()},
                             1);
  EXPECT_EQ(json["errors"]["reconciliation"], 3);
  EXPECT_EQ(json["reconciliation"]["differences"][0],
            "this client counts 40 requests, and the server 41: another client used it meanwhile "
            "(or somebody in between)");
}

TEST_P(Reconciled, SeveralClassesFailTogether) {
  LEFT_TO_ALL();
  const Measured measured("tcp", {"--backend", GetParam()});
  MetricsProxy proxy(measured.metrics, [&](int number) {
    if (number == 1) UseAnotherClient(measured, SOCK_STREAM);
  });
  const Ended ended =
      Ringside({"load", measured.address(), "--backend", GetParam(), "-n", "40", "--mix", "a: -c 1",
                "--mix", "b: -c 2", "--server-metrics", proxy.address()});
  EXPECT_EQ(ended.exit_code, 1);
  EXPECT_NE(ended.out.find("the server accepted 4"), std::string::npos) << ended.out;
  EXPECT_NE(ended.err.find("not valid: this client opened 3"), std::string::npos) << ended.err;
}

// Connections that stay open all the time make no difference as long as nothing comes over them.
TEST_P(Reconciled, AnIdleConnectionOfAnotherClientIsNoDifference) {
  const Measured measured("tcp", {"--backend", GetParam()});
  const int other = ConnectTo(measured, SOCK_STREAM);
  char byte = 'x';
  ASSERT_EQ(send(other, &byte, 1, MSG_NOSIGNAL), 1);
  ASSERT_EQ(recv(other, &byte, 1, 0), 1);  // so it is accepted
  ExpectTheSame(Load(measured, {"-c", "2", "-n", "40"}), kNoRequests, "");
  close(other);
}

TEST_P(Reconciled, TheServersCpuIsItsOwnWord) {
  const Measured measured("tcp", {"--backend", GetParam()});
  // Its pid is known on this machine, and the kernel's word goes first.
  const Json by_pid = Load(measured, {"-c", "2", "-d", "300ms", "--warmup", "10ms"});
  EXPECT_EQ(by_pid["server"]["source"], "pid");
  EXPECT_EQ(by_pid["server"]["pid"], measured.server.ready()["pid"]);
  EXPECT_GT(by_pid["server"]["cpu_us_per_request"], 0.0);
}

TEST(ServerMetrics, SaysWhatIsWrongWithTheAddress) {
  const auto said = [](const std::string& address, int exit_code) {
    const Ended ended = Ringside({"load", "9", "-n", "1", "--server-metrics", address});
    EXPECT_EQ(ended.exit_code, exit_code) << ended.err;
    EXPECT_NE(ended.err.find("--server-metrics: "), std::string::npos) << ended.err;
    return ended.err;
  };
  EXPECT_NE(said("udp://127.0.0.1:9", 2).find("is no stream"), std::string::npos);
  EXPECT_NE(said("https://127.0.0.1:9/metrics", 2).find("http://"), std::string::npos);
  const std::string nobody = "127.0.0.1:" + FreePort();
  EXPECT_NE(said(nobody, 1).find("ECONNREFUSED"), std::string::npos);
  const Measured measured("tcp", {});
  EXPECT_NE(said(measured.address() + "/metrics", 1).find("speaks no HTTP"), std::string::npos);
}

}  // namespace
}  // namespace cli_tests
