#include <map>
#include <mutex>

#include "io/sockets.h"
#include "tests/load/drive.h"
#include "tests/load/tiny_server.h"

// Connections that come and go: connects that go nowhere, openings that end early, and connections
// that one of both ends closes when they have had some requests.
namespace load_tests::connections {
namespace {

using Peer = TinyServer::Peer;

constexpr size_t kRequest = 64;  // bytes

class ConnectionsOn : public cli_tests::EachBackend {
 protected:
  Json Load(const std::string& address, const Args& flags, int exit_code = 0) {
    return LoadJson(Args{address, "--backend", GetParam(), "--timestamps", "off"} + flags,
                    exit_code);
  }
};
INSTANTIATE_TEST_SUITE_P(Backends, ConnectionsOn, testing::Values("epoll", "io_uring"),
                         [](const auto& test) { return test.param; });

// Listens, accepts nobody, and its queue is full: who connects gets no answer.
class FullListener {
 public:
  explicit FullListener(const std::string& at) {
    auto listener = io::OpenListener(*io::Resolve(at), {.backlog = 0}, /*nonblocking=*/false);
    EXPECT_TRUE(listener.ok()) << listener.status();
    listener_ = *listener;
    const auto here = io::LocalEndpoint(listener_);
    address_ = here->ToString();
    filler_ = socket(here->family(), here->type() | SOCK_CLOEXEC, 0);
    EXPECT_EQ(connect(filler_, here->address(), here->size()), 0);
  }
  ~FullListener() {
    close(filler_);
    close(listener_);
  }
  FullListener(const FullListener&) = delete;
  FullListener& operator=(const FullListener&) = delete;
  const std::string& address() const { return address_; }

 private:
  int listener_ = -1, filler_ = -1;
  std::string address_;
};

TEST_P(ConnectionsOn, AConnectHasATimeLimit) {
  const Args crr = {"-w", "crr", "-n", "8", "--connect-timeout", "20ms"};
  const std::vector<Args> all = {
      crr,
      {"-w", "crr", "-d", "50ms", "--warmup", "0s", "--timeout", "20ms"},
      {"-w", "crr", "-d", "50ms", "--warmup", "0s", "--timeout", "20ms", "--rate", "100"},
      {"-n", "8", "--connect-timeout", "20ms"},
      {"-d", "50ms", "--warmup", "0s", "--connect-timeout", "20ms", "--reconnect", "1ms"},
  };
  for (const std::string at : {"127.0.0.1:0", "unix:@ringside-full-listener"}) {
    const bool unix = at.starts_with("unix");
    FullListener listener(unix ? at + std::to_string(getpid()) : at);
    for (const Args& flags : unix ? std::vector<Args>{crr} : all) {
      SCOPED_TRACE(at + " " + testing::PrintToString(flags));
      const Json json = Load(listener.address(), Args{"-c", "4"} + flags, 1);
      const Json& errors = json["errors"];
      EXPECT_GE(Number(errors["connect_timed_out"]), 4u);
      EXPECT_EQ(errors["total"], errors["connect_timed_out"]) << errors;
      EXPECT_EQ(errors["failures"][0]["kind"], "connect_timed_out");
      EXPECT_EQ(json["connections"]["opened"], 0);
    }
  }
}

// A class that leaves the opening early doesn't keep the others waiting, and they end with it.
TEST_P(ConnectionsOn, TooManyErrorsOfOneClassEndAll) {
  Serving server({"127.0.0.1:0"});
  const Json json = Load(
      server.address(),
      {"-d", "1h", "--max-errors", "1", "--mix", "a: -c 4", "--mix", "b: -c 8 --service counter"},
      1);
  EXPECT_EQ(json["verdict"]["kind"], "incomplete");
  for (const Json& one : json["classes"]) {
    EXPECT_EQ(one["verdict"]["reason"], "it was ended at --max-errors");
  }
}

// An echo that notes how many requests it got on each connection, and sends a FIN with the answer
// to number `ends_after`.
class Counting {
 public:
  explicit Counting(uint64_t ends_after = 0)
      : server_([this, ends_after](Peer& peer, const std::string& bytes) {
          const uint64_t all = ends_after > 0 ? ends_after * kRequest : ~uint64_t{0};
          const uint64_t before = std::min(peer.received - bytes.size(), all);
          const uint64_t now = std::min(peer.received, all);
          if (now == before) return;  // after the FIN
          const std::lock_guard lock(mutex_);
          requests_[peer.number] = now / kRequest;
          peer.Send(bytes.substr(0, now - before));
          if (now == all) peer.HalfClose();
        }) {}
  const std::string& address() const { return server_.address(); }
  // By connection.
  std::map<uint64_t, uint64_t> requests() const {
    const std::lock_guard lock(mutex_);
    return requests_;
  }

 private:
  mutable std::mutex mutex_;
  std::map<uint64_t, uint64_t> requests_;
  TinyServer server_;
};

void ExpectInOrder(const Json& json) {
  ExpectVerified(json);
  EXPECT_EQ(json["errors"]["lost_requests"], 0);
  EXPECT_EQ(json["latency_ns"]["censored"], 0);
  EXPECT_GT(Number(json["connections"]["opened"]), Number(json["connections"]["requested"]));
  EXPECT_FALSE(Accuses(json, "unequal_shares")) << json["accusations"];
}

TEST_P(ConnectionsOn, HaveSoManyRequestsEach) {
  Counting server;
  const Json json = Load(server.address(), {"-c", "4", "-n", "2000", "--depth", "2",
                                            "--requests-per-connection", "3..9"});
  ExpectInOrder(json);
  EXPECT_EQ(json["requests_total"], 2000);
  EXPECT_EQ(json["requests_per_connection"], Json({{"min", 3}, {"max", 9}}));
  EXPECT_GE(Number(json["connections"]["requests_min"]), 9u) << "of a place, not of a connection";
  uint64_t all = 0;
  std::map<uint64_t, uint64_t> like;
  for (const auto& [connection, requests] : server.requests()) {
    all += requests;
    ++like[requests];
  }
  EXPECT_EQ(all, 2000u);
  EXPECT_LE(like.rbegin()->first, 9u);
  for (uint64_t requests = 3; requests <= 9; ++requests) EXPECT_GT(like[requests], 10u) << requests;
  EXPECT_GE(Number(json["connections"]["opened"]), server.requests().size());
  EXPECT_GE(Number(json["connections"]["closed_by_client"]) + 4, server.requests().size());
}

TEST_P(ConnectionsOn, HaveOneRequestEachOnSchedule) {
  Counting server;
  const Json json = Load(server.address(), {"-c", "4", "--rate", "500", "-d", "100ms", "--warmup",
                                            "20ms", "--requests-per-connection", "1"});
  ExpectInOrder(json);
  EXPECT_EQ(json["latency_ns"]["count"], json["pace"]["offered"]);
  for (const auto& [connection, requests] : server.requests()) EXPECT_EQ(requests, 1u);
}

TEST_P(ConnectionsOn, ThatTakeOnlyHaveSoManyRequestsToo) {
  Serving server({"127.0.0.1:0", "--service", "discard"});
  const Json json = Load(server.address(), {"-w", "upload", "-c", "2", "-s", "1k", "-n", "30",
                                            "--requests-per-connection", "3"});
  ExpectInOrder(json);
  EXPECT_EQ(json["requests_total"], 30);
  EXPECT_GE(Number(json["connections"]["closed_by_client"]), 8u);
}

TEST_P(ConnectionsOn, MayBeClosedByTheServerInOrder) {
  for (const bool deep : {false, true}) {
    Counting server(5);
    const Json json = Load(server.address(), {"-c", "4", "-n", "200", "--depth", deep ? "3" : "1",
                                              "--reconnect", "1ms"});
    ExpectInOrder(json);
    EXPECT_EQ(json["requests_total"], 200);
    EXPECT_GE(Number(json["connections"]["closed_by_server"]), 200u / 5 - 4);
    EXPECT_GT(Number(json["connections"]["retried_requests"]), 0u);
    for (const auto& [connection, requests] : server.requests()) EXPECT_LE(requests, 5u);
  }
  Counting server(5);
  const Json json = Load(server.address(), {"-c", "2", "--rate", "1k", "-d", "100ms", "--warmup",
                                            "20ms", "--reconnect", "1ms"});
  ExpectInOrder(json);
  EXPECT_EQ(json["latency_ns"]["count"], json["pace"]["offered"]);
  EXPECT_GT(Number(json["connections"]["closed_by_server"]), 0u);
}

// In the midst of a reply it isn't in order, and without --reconnect it never is.
TEST_P(ConnectionsOn, AreBrokenByAnEndAmidAReply) {
  TinyServer server([](Peer& peer, const std::string& bytes) {
    const bool half = peer.number == 0 && peer.received > 10 * kRequest;
    peer.Send(half ? bytes.substr(0, kRequest / 2) : bytes);
    if (half) peer.HalfClose();
  });
  const Json json = Load(server.address(), {"-c", "2", "-n", "100", "--reconnect", "1ms"}, 1);
  EXPECT_EQ(json["errors"]["closed_by_server"], 1);
  EXPECT_EQ(json["errors"]["lost_requests"], 1);
  EXPECT_EQ(json["connections"]["closed_by_server"], 0);
}

TEST(Connections, ThatCanNotBeClosedAfterSomeRequestsAreRefused) {
  for (const Args& flags : std::vector<Args>{{"udp://127.0.0.1:9"},
                                             {"9", "-w", "crr"},
                                             {"9", "--service", "greet"},
                                             {"9", "-w", "download"}}) {
    const Ended ended = Ringside(Args{"load"} + flags + Args{"--requests-per-connection", "5"});
    EXPECT_EQ(ended.exit_code, 2);
    EXPECT_NE(ended.err.find("--requests-per-connection: "), std::string::npos) << ended.err;
  }
}

}  // namespace
}  // namespace load_tests::connections
