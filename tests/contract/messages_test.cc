#include <netinet/udp.h>

#include <cerrno>
#include <map>
#include <string>
#include <vector>

#include "tests/contract/harness.h"
#include "tests/contract/raw_socket.h"

namespace contract {
namespace {

const std::vector<std::string> kMessageTransports = {"unix-seqpacket", "udp", "unix-dgram"};
const std::vector<std::string> kDatagramTransports = {"udp", "unix-dgram"};

// What a server does that answers each message, over connections or datagrams, with itself.
template <class Backend>
void EchoMessages(Stage<Backend>& stage) {
  stage.ServeEcho();
  stage.script().datagram = [](auto& loop, const io::Datagram& in) {
    loop.SendDatagram(in.socket, in.path, in.bytes);
  };
}

// Sends messages of these sizes, each when the last came back, and checks that each comes whole.
template <class Backend>
void EchoSizes(const std::string& transport, const std::vector<size_t>& sizes, int connections) {
  SCOPED_TRACE(transport);
  Stage<Backend> stage;
  EchoMessages(stage);
  uint64_t done = 0;
  const auto send = [&](auto& peer) {
    if (peer.count == sizes.size()) {
      ++done;
      return peer.Close();
    }
    peer.Send(peer.out.Take(sizes[peer.count]));
  };
  stage.client.open = send;
  stage.client.receive = [&](auto& peer, io::Bytes in) {
    EXPECT_EQ(in.size(), sizes[peer.count]);
    stage.Verify(peer, in);
    ++peer.count;
    send(peer);
  };
  stage.Connect(stage.Listen(AddressOn(transport)), 0, connections);
  ASSERT_TRUE(stage.RunUntil([&] { return done == static_cast<uint64_t>(connections); }));
  EXPECT_EQ(stage.counters().truncated, 0u);
  EXPECT_EQ(stage.counters().errors.total() - stage.counters().errors[ENOBUFS], 0u);
}

TYPED_TEST(Contract, EchoesMessagesOfEverySize) {
  const std::vector<size_t> sizes = {1, 2, 63, 64, 65, 1472, 1473, 4095, 4096, 4097, 16384, 65507};
  for (const std::string& transport : kMessageTransports) EchoSizes<TypeParam>(transport, sizes, 1);
}

TYPED_TEST(Contract, EchoesMessagesOfManyPeersAtOnce) {
  const std::vector<size_t> sizes(50, 64);
  for (const std::string& transport : kMessageTransports) {
    EchoSizes<TypeParam>(transport, sizes, 200);
  }
}

// Many messages in one turn, some more than can be under way at once.
TYPED_TEST(Contract, KeepsMessagesApartWhenTheyQueue) {
  Stage<TypeParam> stage({.pending_bytes_max = 32 << 20});  // all of them, at either end
  EchoMessages(stage);
  constexpr uint64_t kMessages = 3000;
  stage.client.open = [](auto& peer) {
    for (uint64_t i = 0; i < kMessages; ++i) peer.Send(peer.out.Take(1 + i % 300));
  };
  stage.client.receive = [&](auto& peer, io::Bytes in) {
    EXPECT_EQ(in.size(), 1 + peer.count % 300);
    ++peer.count;
    stage.Verify(peer, in);
  };
  stage.Connect(stage.Listen(AddressOn("unix-seqpacket")));
  ASSERT_TRUE(stage.RunUntil(
      [&] { return !stage.clients().empty() && stage.clients()[0]->count == kMessages; }));
}

TYPED_TEST(Contract, AMessageLongerThanTheBufferIsDroppedAndCounted) {
  for (const std::string& transport : kMessageTransports) {
    SCOPED_TRACE(transport);
    Stage<TypeParam> stage({.recv_buffer_bytes = 1000});
    EchoMessages(stage);
    std::string heard;
    stage.client.open = [](auto& peer) {
      peer.Send(io::AsBytes(std::string(1001, 'l')));
      peer.Send(io::AsBytes(std::string(1000, 'k')));
    };
    stage.client.receive = [&](auto&, io::Bytes in) { heard += io::AsText(in); };
    stage.Connect(stage.Listen(AddressOn(transport)));
    ASSERT_TRUE(stage.RunUntil([&] { return heard.size() >= 1000; }));
    EXPECT_EQ(heard, std::string(1000, 'k'));
    EXPECT_EQ(stage.counters().truncated, 1u);
  }
}

TYPED_TEST(Contract, ASeqpacketConnectionEnds) {
  Stage<TypeParam> stage;
  stage.ServeEcho();
  stage.client.open = [](auto& peer) {
    peer.Send(io::AsBytes("the last"));
    peer.End();
  };
  std::string heard;
  stage.client.receive = [&](auto&, io::Bytes in) { heard += io::AsText(in); };
  stage.client.end = [](auto& peer) { peer.Close(); };
  stage.Connect(stage.Listen(AddressOn("unix-seqpacket")));
  ASSERT_TRUE(stage.RunUntil([&] { return stage.script().closes() == 2; }));
  EXPECT_EQ(heard, "the last");
  EXPECT_TRUE(stage.clients()[0]->ended);
}

// A peer that never reads holds up nobody, and its messages wait within the bound.
TYPED_TEST(Contract, AMessagePeerThatNeverReadsHoldsUpNobody) {
  Stage<TypeParam> stage({.recv_buffer_bytes = 8192, .pending_bytes_max = 32 * 1024});
  stage.ServeEcho();
  uint64_t good = 0;
  stage.client.open = [](auto& peer) {
    if (peer.tag == 0) peer.PauseReceive();
    peer.Send(peer.out.Take(100));
  };
  stage.client.drained = [](auto& peer) {
    if (peer.tag == 0) peer.Send(peer.out.Take(8000));
  };
  stage.client.receive = [&](auto& peer, io::Bytes in) {
    stage.Verify(peer, in);
    if (peer.tag == 1 && ++good < 2000) peer.Send(peer.out.Take(100));
  };
  stage.Connect(stage.Listen(AddressOn("unix-seqpacket")), 0, 2);
  ASSERT_TRUE(stage.RunUntil([&] { return good == 2000; }));
  for (auto* server : stage.servers()) {
    if (server->connection == nullptr) continue;
    EXPECT_LE(stage.loop().unsent(*server->connection), 48u * 1024);
  }
}

// --- sockets of datagrams -----------------------------------------------------------------------

TYPED_TEST(Contract, AnswersDatagramsOfForeignSockets) {
  NEEDS_SOCKETS("it has no sockets that others could send to");
  for (const std::string& transport : kDatagramTransports) {
    SCOPED_TRACE(transport);
    Stage<TypeParam> stage;
    EchoMessages(stage);
    const io::Endpoint at = stage.Listen(AddressOn(transport), {.tag = 77});
    int client = *io::OpenConnector(at, true);
    ASSERT_EQ(connect(client, at.address(), at.size()), 0);
    uint64_t tag = 0;
    stage.script().datagram = [&](auto& loop, const io::Datagram& in) {
      tag = in.tag;
      loop.SendDatagram(in.socket, in.path, in.bytes);
    };
    char in[100];
    ssize_t size = -1;
    for (const std::string text : {"first", "", "third"}) {
      ASSERT_EQ(send(client, text.data(), text.size(), 0), static_cast<ssize_t>(text.size()));
      ASSERT_TRUE(
          stage.RunUntil([&] { return (size = recv(client, in, sizeof(in), MSG_DONTWAIT)) >= 0; }));
      EXPECT_EQ(std::string(in, size), text);
    }
    EXPECT_EQ(tag, 77u);
    EXPECT_EQ(stage.counters().datagrams_received, 3u);
    EXPECT_EQ(stage.counters().datagrams_sent, 3u);
    close(client);
  }
}

// The path outlives the callback where the handler keeps a copy: an answer may come later.
TYPED_TEST(Contract, AnswersADatagramLater) {
  for (const std::string& transport : kDatagramTransports) {
    SCOPED_TRACE(transport);
    Stage<TypeParam> stage;
    sockaddr_storage peer = {};
    io::DatagramPath path;
    uint32_t socket = 0;
    bool came = false;
    stage.script().datagram = [&](auto&, const io::Datagram& in) {
      std::memcpy(&peer, in.path.peer, in.path.peer_size);
      path = in.path;
      path.peer = reinterpret_cast<sockaddr*>(&peer);
      socket = in.socket;
      came = true;
    };
    std::string heard;
    stage.client.open = [](auto& p) { p.Send(io::AsBytes("when?")); };
    stage.client.receive = [&](auto&, io::Bytes in) { heard += io::AsText(in); };
    stage.Connect(stage.Listen(AddressOn(transport)));
    ASSERT_TRUE(stage.RunUntil([&] { return came; }));
    const std::string answer(500, 'n');
    stage.loop().SendDatagram(socket, path, io::AsBytes(answer));
    ASSERT_TRUE(stage.RunUntil([&] { return !heard.empty(); }));
    EXPECT_EQ(heard, answer);
  }
}

// More than one recvmmsg(2) brings, or than there are buffers.
TYPED_TEST(Contract, TakesABurstOfDatagrams) {
  NEEDS_SOCKETS("nothing waits there");
  Stage<TypeParam> stage({.recv_buffers = 16});
  EchoMessages(stage);
  const io::Endpoint at = stage.Listen(AddressOn("udp"));
  const int client = *io::OpenConnector(at, true);
  const int large = 4 << 20;
  setsockopt(client, SOL_SOCKET, SO_RCVBUFFORCE, &large, sizeof(large));
  ASSERT_EQ(connect(client, at.address(), at.size()), 0);
  constexpr int kBurst = 300;
  for (int i = 0; i < kBurst; ++i) {
    const std::string text = "number " + std::to_string(i);
    ASSERT_EQ(send(client, text.data(), text.size(), 0), static_cast<ssize_t>(text.size()));
  }
  std::map<std::string, int> heard;
  ASSERT_TRUE(stage.RunUntil([&] {
    char in[100];
    for (ssize_t n; (n = recv(client, in, sizeof(in), MSG_DONTWAIT)) > 0;) ++heard[{in, size_t(n)}];
    return heard.size() == kBurst;
  }));
  for (const auto& [text, times] : heard) EXPECT_EQ(times, 1) << text;
  close(client);
}

// A Unix peer that doesn't read, or is gone: what is for it is dropped, and the others are served.
TYPED_TEST(Contract, ADatagramPeerThatNeverReadsHoldsUpNobody) {
  NEEDS_SOCKETS("a peer there always reads");
  Stage<TypeParam> stage;
  EchoMessages(stage);
  const io::Endpoint at = stage.Listen(AddressOn("unix-dgram"));
  const int silent = *io::OpenConnector(at, true), good = *io::OpenConnector(at, true),
            gone = *io::OpenConnector(at, true);
  for (int fd : {silent, good, gone}) ASSERT_EQ(connect(fd, at.address(), at.size()), 0);
  ASSERT_EQ(send(gone, "x", 1, 0), 1);
  close(gone);
  char in[10];
  for (int i = 0; i < 100; ++i) {
    send(silent, "x", 1, MSG_DONTWAIT);
    ASSERT_TRUE(stage.RunUntil([&] { return send(good, "y", 1, MSG_DONTWAIT) == 1; }));
    ASSERT_TRUE(stage.RunUntil([&] { return recv(good, in, sizeof(in), MSG_DONTWAIT) == 1; }));
  }
  EXPECT_GT(stage.counters().datagrams_dropped, 0u);
  EXPECT_EQ(stage.counters().errors[ECONNREFUSED], 1u);
  EXPECT_EQ(stage.counters().errors[EAGAIN] + 1, stage.counters().datagrams_dropped);
  close(silent);
  close(good);
}

// What a peer sends in one piece (UDP_SEGMENT) is taken in one piece, is several datagrams to the
// handler, and goes back in one piece.
TYPED_TEST(Contract, TakesAndAnswersSegmentedDatagrams) {
  NEEDS_SOCKETS("it has no segments");
  constexpr size_t kBytes = 100, kCount = 20;
  for (const bool gro : {true, false}) {
    SCOPED_TRACE(gro);
    Stage<TypeParam> stage;
    EchoMessages(stage);
    const io::Endpoint at = stage.Listen(AddressOn("udp"), {.udp_gro = gro});
    const int client = *io::OpenConnector(at, true), segment = kBytes;
    ASSERT_EQ(connect(client, at.address(), at.size()), 0);
    ASSERT_EQ(setsockopt(client, IPPROTO_UDP, UDP_SEGMENT, &segment, sizeof(segment)), 0);
    std::string all;
    for (size_t i = 0; i < kCount; ++i) all += std::string(kBytes, static_cast<char>('a' + i));
    all += "the last is shorter";
    ASSERT_EQ(send(client, all.data(), all.size(), 0), static_cast<ssize_t>(all.size()));
    std::string heard;
    size_t datagrams = 0;
    ASSERT_TRUE(stage.RunUntil([&] {
      char in[1000];
      for (ssize_t n; (n = recv(client, in, sizeof(in), MSG_DONTWAIT)) > 0; ++datagrams) {
        EXPECT_LE(n, segment);
        heard.append(in, n);
      }
      return heard.size() >= all.size();
    }));
    EXPECT_EQ(heard, all);
    EXPECT_EQ(datagrams, kCount + 1);
    EXPECT_EQ(stage.counters().datagrams_received, kCount + 1);
    EXPECT_EQ(stage.counters().datagrams_sent, kCount + 1);
    EXPECT_EQ(stage.counters().receives, gro ? 1 : kCount + 1);
    EXPECT_EQ(stage.counters().sends, gro ? 1 : kCount + 1);
    EXPECT_EQ(stage.counters().errors.total(), 0u);
    close(client);
  }
}

// At a wildcard address the answer comes from the address that was asked.
TYPED_TEST(Contract, AnswersFromTheAddressThatWasAsked) {
  NEEDS_SOCKETS("it has no addresses");
  for (const std::string wildcard : {"udp://0.0.0.0:0", "udp://*:0"}) {
    SCOPED_TRACE(wildcard);
    Stage<TypeParam> stage;
    EchoMessages(stage);
    const io::Endpoint at = stage.Listen(wildcard);
    for (const std::string host : {"127.0.0.1", "127.0.0.9"}) {
      const io::Endpoint asked = *io::Resolve(absl::StrCat("udp://", host, ":", at.port()));
      const int client = *io::OpenConnector(asked, true);
      ASSERT_EQ(connect(client, asked.address(), asked.size()), 0);  // hears nobody else
      ASSERT_EQ(send(client, "who?", 4, 0), 4);
      char in[10];
      ASSERT_TRUE(stage.RunUntil([&] { return recv(client, in, sizeof(in), MSG_DONTWAIT) == 4; }));
      close(client);
    }
  }
}

TYPED_TEST(Contract, RetireListenersStillSendsDatagrams) {
  for (const std::string& transport : kDatagramTransports) {
    SCOPED_TRACE(transport);
    Stage<TypeParam> stage;
    sockaddr_storage peer = {};
    io::DatagramPath path;
    uint32_t socket = 0;
    bool came = false;
    stage.script().datagram = [&](auto&, const io::Datagram& in) {
      std::memcpy(&peer, in.path.peer, in.path.peer_size);
      path = in.path;
      path.peer = reinterpret_cast<sockaddr*>(&peer);
      socket = in.socket;
      came = true;
    };
    std::string heard;
    stage.client.open = [](auto& p) { p.Send(io::AsBytes("when?")); };
    stage.client.receive = [&](auto&, io::Bytes in) { heard += io::AsText(in); };
    stage.Connect(stage.Listen(AddressOn(transport)));
    ASSERT_TRUE(stage.RunUntil([&] { return came; }));
    stage.loop().RetireListeners();
    ASSERT_TRUE(stage.RunUntil([&] { return stage.loop().listening() == 0; }));
    stage.loop().SendDatagram(socket, path, io::AsBytes("late"));
    ASSERT_TRUE(stage.RunUntil([&] { return heard == "late"; }));
    stage.loop().StopListening();
    stage.loop().SendDatagram(socket, path, io::AsBytes("too late"));
    ASSERT_TRUE(stage.RunUntil([&] { return stage.counters().datagrams_dropped == 1; }));
  }
}

TYPED_TEST(Contract, ADatagramToNobodyCloses) {
  Stage<TypeParam> stage;
  const io::Endpoint at = stage.Listen(AddressOn("udp"));
  stage.client.open = [](auto& peer) { peer.Send(io::AsBytes("anybody?")); };
  stage.loop().StopListening();
  ASSERT_TRUE(stage.RunUntil([&] { return true; }));
  for (int i = 0; i < 5; ++i) stage.RunOnce(io::Nanos::zero());
  stage.Connect(at);
  ASSERT_TRUE(stage.RunUntil([&] { return stage.script().closes() == 1; }));
  EXPECT_EQ(stage.clients()[0]->error, ECONNREFUSED);
}

TYPED_TEST(Contract, TheBoundsOfDatagramsLeaveNothingInTheKernel) {
  // Shut down in the middle of it: Stage counts what is left.
  for (const std::string& transport : kDatagramTransports) {
    Stage<TypeParam> stage;
    EchoMessages(stage);
    stage.client.open = stage.client.drained = [](auto& peer) { peer.Send(peer.out.Take(999)); };
    stage.Connect(stage.Listen(AddressOn(transport)), 0, 20);
    ASSERT_TRUE(stage.RunUntil([&] { return stage.counters().datagrams_received > 500; }));
  }
}

}  // namespace
}  // namespace contract
