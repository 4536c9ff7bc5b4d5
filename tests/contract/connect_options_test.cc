#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <ctime>
#include <string>
#include <utility>
#include <vector>

#include "loadgen/source_ports.h"
#include "tests/contract/harness.h"
#include "tests/contract/raw_socket.h"

namespace contract {
namespace {

int64_t RealtimeNs() {
  timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  return int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

// The address that a socket of ours sends from.
io::Endpoint PeerOf(int fd) {
  sockaddr_storage storage = {};
  socklen_t size = sizeof(storage);
  EXPECT_EQ(getpeername(fd, reinterpret_cast<sockaddr*>(&storage), &size), 0);
  return {io::Transport::kTcp, reinterpret_cast<sockaddr*>(&storage), size};
}

// A listening socket that is no loop's, and whom it accepted.
class RawListener {
 public:
  explicit RawListener(const std::string& at = "127.0.0.1:0")
      : fd_(*io::OpenListener(*io::Resolve(at), {}, /*nonblocking=*/false)),
        at_(*io::LocalEndpoint(fd_)) {}
  RawListener(const RawListener&) = delete;
  RawListener& operator=(const RawListener&) = delete;
  ~RawListener() {
    for (const int fd : accepted_) close(fd);
    close(fd_);
  }
  const io::Endpoint& at() const { return at_; }
  // Waits for the next connection; who it is.
  io::Endpoint Accept() {
    accepted_.push_back(accept4(fd_, nullptr, nullptr, SOCK_CLOEXEC));
    return PeerOf(accepted_.back());
  }

 private:
  int fd_;
  io::Endpoint at_;
  std::vector<int> accepted_;
};

// A port of this address that is free, as far as can be told.
io::Endpoint FreeSource(const std::string& address) {
  const int fd = *io::OpenListener(*io::Resolve(address), {}, /*nonblocking=*/true);
  const io::Endpoint at = *io::LocalEndpoint(fd);
  close(fd);
  return at;
}

TYPED_TEST(Contract, ConnectsFromAnAddressAndAPort) {
  NEEDS_SOCKETS("it has no addresses");
  NEEDS_TCP("it names its addresses itself");
  for (const auto& [to, from] : std::vector<std::pair<std::string, std::string>>{
           {"127.0.0.1:0", "127.0.0.9:0"}, {"[::1]:0", "[::1]:0"}, {"127.0.0.1:0", "0.0.0.0:0"}}) {
    SCOPED_TRACE(from);
    Stage<TypeParam> stage;
    RawListener listener(to);
    const io::Endpoint any_port = *io::Resolve(from), source = FreeSource(from);
    stage.connect.from = &any_port;
    stage.Connect(listener.at());
    stage.connect.from = &source;
    stage.Connect(listener.at());
    ASSERT_TRUE(stage.RunUntil([&] { return stage.script().open() == 2; }));
    io::Endpoint first = listener.Accept(), second = listener.Accept();
    if (first.port() == source.port()) std::swap(first, second);
    EXPECT_NE(first.port(), 0);
    EXPECT_EQ(second.port(), source.port());
    if (source.is_wildcard()) continue;
    EXPECT_EQ(first.WithPort(0), any_port);
    EXPECT_EQ(second, source);
  }
}

TYPED_TEST(Contract, ConnectsFromOnePortToSeveralDestinations) {
  NEEDS_SOCKETS("it has no addresses");
  NEEDS_TCP("it names its addresses itself");
  Stage<TypeParam> stage;
  RawListener one, other;
  const io::Endpoint source = FreeSource("127.0.0.9:0");
  stage.connect.from = &source;
  stage.Connect(one.at());
  stage.Connect(other.at());
  ASSERT_TRUE(stage.RunUntil([&] { return stage.script().open() == 2; }));
  EXPECT_EQ(one.Accept(), source);
  EXPECT_EQ(other.Accept(), source);
  // The same two addresses once more: connect(2) finds that out, not bind(2).
  stage.Connect(one.at(), /*tag=*/3);
  ASSERT_TRUE(stage.RunUntil([&] { return stage.script().closes() == 1; }));
  EXPECT_EQ(stage.clients().back()->tag, 3u);
  EXPECT_FALSE(stage.clients().back()->opened);
  EXPECT_EQ(stage.clients().back()->error, EADDRNOTAVAIL);
}

TYPED_TEST(Contract, TakesAPortAgainThatIsInTimeWait) {
  NEEDS_SOCKETS("it has no addresses");
  NEEDS_TCP("it names its addresses itself");
  Stage<TypeParam> stage;
  stage.client.open = [](auto& peer) { peer.End(); };  // the first to end waits in TIME_WAIT
  stage.client.end = [](auto& peer) { peer.Close(); };
  stage.server.end = [](auto& peer) { peer.Close(); };
  const io::Endpoint source = FreeSource("127.0.0.9:0");
  stage.connect.from = &source;
  stage.Connect(stage.Listen());
  ASSERT_TRUE(stage.RunUntil([&] { return stage.script().closes() == 2; }));
  stage.Connect(stage.Listen());
  ASSERT_TRUE(stage.RunUntil([&] { return stage.script().closes() == 4; }));
  for (auto* client : stage.clients()) {
    EXPECT_TRUE(client->opened);
    EXPECT_EQ(client->error, 0);
  }
}

// Two threads' plans, and somebody who has one of their ports already.
TYPED_TEST(Contract, ConnectsFromWhatASourcePlanHandsOut) {
  NEEDS_SOCKETS("it has no addresses");
  NEEDS_TCP("it names its addresses itself");
  constexpr uint16_t kPorts = 400;
  Stage<TypeParam> stage;
  const io::Endpoint at = stage.Listen();
  const RawListener other("127.0.0.9:0");
  const auto last = static_cast<uint16_t>(std::max<int>(other.at().port(), kPorts));
  uint64_t connects = 0, pairs = 0;
  for (uint32_t thread = 0; thread < 2; ++thread) {
    auto plan = loadgen::SourcePlan::Make(
        {.sources = {*io::Resolve("127.0.0.9:0")},
         .to = at,
         .ports = {.first = static_cast<uint16_t>(last - kPorts + 1), .last = last, .reserved = {}},
         .thread = thread,
         .threads = 2,
         .seed = 7});
    ASSERT_TRUE(plan.ok());
    pairs += plan->pairs();
    for (auto from = plan->Next(); from.ok(); from = plan->Next()) {
      const auto connection = stage.loop().Connect(at, connects, {.from = &*from});
      if (connection.ok()) {
        ++connects;
      } else {
        EXPECT_TRUE(absl::IsAlreadyExists(connection.status())) << connection.status();
        plan->Taken(*from);
      }
    }
  }
  EXPECT_GE(pairs, kPorts - 1u);  // the listener's own port may be one of them
  EXPECT_LT(connects, pairs);     // the other has one, and who else is on this machine
  EXPECT_GT(connects, pairs / 2);
  ASSERT_TRUE(stage.RunUntil([&] { return stage.counters().accepted == connects; }));
  for (auto* client : stage.clients()) EXPECT_TRUE(client->opened);
}

TYPED_TEST(Contract, SaysWhyASourceCannotBeBound) {
  NEEDS_SOCKETS("it has no addresses");
  NEEDS_TCP("it names its addresses itself");
  Stage<TypeParam> stage;
  RawListener listener, busy;
  const auto code_from = [&](const io::Endpoint& from) {
    const auto connection = stage.loop().Connect(listener.at(), 0, {.from = &from});
    EXPECT_FALSE(connection.ok());
    return connection.status().code();
  };
  EXPECT_EQ(code_from(busy.at()), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(code_from(*io::Resolve("192.0.2.1:0")), absl::StatusCode::kNotFound);  // RFC 5737
  EXPECT_EQ(code_from(*io::Resolve("[::1]:0")), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code_from(*io::Resolve("udp://127.0.0.1:0")), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(stage.loop().connections(), 0u);
}

TYPED_TEST(Contract, ConnectsUdpFromAPortOfItsOwn) {
  NEEDS_SOCKETS("it has no addresses");
  Stage<TypeParam> stage;
  std::vector<uint16_t> seen;
  stage.script().datagram = [&](auto&, const io::Datagram& in) {
    seen.push_back(io::Endpoint(io::Transport::kUdp, in.path.peer, in.path.peer_size).port());
  };
  stage.client.open = [](auto& peer) { peer.Send(io::AsBytes("here")); };
  const io::Endpoint at = stage.Listen("udp://127.0.0.1:0");
  const io::Endpoint any_port = *io::Resolve("udp://127.0.0.9:0");
  const io::Endpoint source = FreeSource("udp://127.0.0.9:0");
  stage.connect.from = &any_port;
  stage.Connect(at);
  stage.connect.from = &source;
  stage.Connect(at);
  ASSERT_TRUE(stage.RunUntil([&] { return seen.size() == 2; }));
  EXPECT_NE(seen[0], seen[1]);
  EXPECT_TRUE(seen[0] == source.port() || seen[1] == source.port());
  // Nobody shares it, or each would get some of the other's answers.
  const auto shared = stage.loop().Connect(at, 0, {.from = &source});
  EXPECT_EQ(shared.status().code(), absl::StatusCode::kAlreadyExists);
}

TYPED_TEST(Contract, ConnectsUnixSocketsFromAName) {
  NEEDS_SOCKETS("it has no addresses");
  for (const std::string transport : {"unix", "unix-seqpacket", "unix-dgram"}) {
    SCOPED_TRACE(transport);
    Stage<TypeParam> stage;
    const std::string path = absl::StrCat(testing::TempDir(), "ringside-source-", getpid());
    const io::Endpoint abstract = *io::Resolve(AddressOn(transport));
    const io::Endpoint file = *io::Resolve(absl::StrCat(transport, ":", path));
    const io::Endpoint at = stage.Listen(AddressOn(transport));
    for (const io::Endpoint* from : {&abstract, &file}) {
      stage.connect.from = from;
      stage.Connect(at);
    }
    ASSERT_TRUE(stage.RunUntil([&] { return stage.clients().size() == 2; }));
    for (auto* client : stage.clients()) EXPECT_TRUE(client->opened);
    struct stat made = {};
    EXPECT_EQ(lstat(path.c_str(), &made), 0);
    EXPECT_TRUE(S_ISSOCK(made.st_mode));
    EXPECT_EQ(stage.loop().Connect(at, 0, {.from = &abstract}).status().code(),
              absl::StatusCode::kAlreadyExists);
    unlink(path.c_str());
  }
}

// A client that asks for timestamps is sent messages, one at a time, until `wanted` of them had
// one; each must lie between the moment before the send and the callback.
template <class Backend>
void CheckTimestamps(const std::string& address, uint64_t wanted) {
  SCOPED_TRACE(address);
  Stage<Backend> stage;
  int64_t asked_at = 0;
  uint64_t stamps = 0;
  stage.server.receive = [](auto& peer, io::Bytes in) { peer.Send(in); };
  stage.server.end = [](auto& peer) { peer.Close(); };
  stage.script().datagram = [](auto& loop, const io::Datagram& in) {
    loop.SendDatagram(in.socket, in.path, in.bytes);
  };
  const auto ask = [&](auto& peer) {
    asked_at = RealtimeNs();
    peer.Send(peer.out.Take(100));
  };
  stage.client.open = ask;
  stage.client.receive = [&](auto& peer, io::Bytes in) {
    stage.Verify(peer, in);
    if (const int64_t at = peer.connection->received_at_ns; at != 0) {
      ++stamps;
      EXPECT_GE(at, asked_at);
      EXPECT_LE(at, RealtimeNs());
    }
    if (peer.received == peer.out.bytes()) ask(peer);
  };
  stage.connect.receive_timestamps = true;
  const auto at = stage.loop().Listen(*io::Resolve(address), {});
  if (!at.ok()) GTEST_SKIP() << at.status();
  stage.Connect(*at);
  ASSERT_TRUE(stage.RunUntil([&] { return stamps == wanted; }));
}

TYPED_TEST(Contract, TellsWhenTheKernelReceived) {
  NEEDS_SOCKETS("it has no kernel to ask");
  for (const std::string address :
       {"127.0.0.1:0", "[::1]:0", "udp://127.0.0.1:0", "udp://[::1]:0"}) {
    CheckTimestamps<TypeParam>(address, 50);
  }
}

TYPED_TEST(Contract, TellsWhenTheKernelReceivedOverMptcp) {
  NEEDS_SOCKETS("it has no kernel to ask");
  const auto socket = io::OpenConnector(*io::Resolve("mptcp://127.0.0.1:0"), true);
  if (!socket.ok()) GTEST_SKIP() << socket.status();
  close(*socket);
  CheckTimestamps<TypeParam>("mptcp://127.0.0.1:0", 20);
}

TYPED_TEST(Contract, TellsNoTimeWhereTheKernelHasNone) {
  for (const bool asks : {false, true}) {
    // Over TCP there is one where it is asked for.
    for (const std::string transport : {"tcp", "unix", "unix-seqpacket", "unix-dgram"}) {
      if (asks && transport == "tcp") continue;
      SCOPED_TRACE(absl::StrCat(transport, asks ? ", asked" : ""));
      Stage<TypeParam> stage;
      stage.ServeEcho();
      stage.script().datagram = [](auto& loop, const io::Datagram& in) {
        loop.SendDatagram(in.socket, in.path, in.bytes);
      };
      int received = 0;
      stage.client.open = [](auto& peer) { peer.Send(peer.out.Take(100)); };
      stage.client.receive = [&](auto& peer, io::Bytes in) {
        EXPECT_EQ(peer.connection->received_at_ns, 0);
        ++received;
        stage.Verify(peer, in);
        peer.Send(peer.out.Take(100));
      };
      stage.connect.receive_timestamps = asks;
      stage.Connect(stage.Listen(AddressOn(transport)));
      ASSERT_TRUE(stage.RunUntil([&] { return received == 20; }));
    }
  }
}

// The socket's slot may serve another connection, which did not ask.
TYPED_TEST(Contract, ForgetsTheTimeWithTheConnection) {
  NEEDS_SOCKETS("it has no kernel to ask");
  Stage<TypeParam> stage({.connections_max = 2});
  stage.server.receive = [](auto& peer, io::Bytes in) { peer.Send(in); };
  stage.server.end = [](auto& peer) { peer.Close(); };
  stage.client.open = [](auto& peer) { peer.Send(peer.out.Take(1)); };
  bool stamped = false;
  stage.client.receive = [&](auto& peer, io::Bytes) {
    stamped = peer.connection->received_at_ns != 0;
    peer.tag == 0 && !stamped ? peer.Send(peer.out.Take(1)) : peer.End();
  };
  stage.client.end = [](auto& peer) { peer.Close(); };
  const io::Endpoint at = stage.Listen("127.0.0.1:0");
  stage.connect.receive_timestamps = true;
  stage.Connect(at, /*tag=*/0);
  ASSERT_TRUE(stage.RunUntil([&] { return stage.script().closes() == 2; }));
  EXPECT_TRUE(stamped);
  stage.connect.receive_timestamps = false;
  stage.Connect(at, /*tag=*/1);
  ASSERT_TRUE(stage.RunUntil([&] { return stage.script().closes() == 4; }));
  EXPECT_FALSE(stamped);
}

// A connect that gets no answer, since nobody accepts and the queue is full, ends when its handler
// has had enough.
TYPED_TEST(Contract, AConnectThatGoesNowhereCanBeGivenUp) {
  NEEDS_SOCKETS("whoever listens accepts at once");
  const auto listener = io::OpenListener(*io::Resolve(AnyAddress()), {.backlog = 0}, false);
  ASSERT_TRUE(listener.ok()) << listener.status();
  const io::Endpoint at = *io::LocalEndpoint(*listener);
  RawSocket filler(at);
  ASSERT_TRUE(filler.Connect(at));
  {
    Stage<TypeParam> stage;
    const auto connection = stage.loop().Connect(at, 3, stage.connect);
    ASSERT_TRUE(connection.ok()) << connection.status();
    for (int turn = 0; turn < 20; ++turn) stage.RunOnce();
    EXPECT_EQ(stage.loop().connections(), 1u);
    EXPECT_EQ((*connection)->tag, 3u);
    EXPECT_EQ(stage.loop().Find((*connection)->index, (*connection)->generation), nullptr);
    stage.loop().Abort(**connection);
    ASSERT_TRUE(stage.RunUntilAllClosed());
    ASSERT_EQ(stage.clients().size(), 1u);
    EXPECT_FALSE(stage.clients()[0]->opened);
    EXPECT_EQ(stage.clients()[0]->error, 0);
    EXPECT_EQ(stage.counters().connected, 0u);
  }
  close(*listener);
}

}  // namespace
}  // namespace contract
