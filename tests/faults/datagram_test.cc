// Sockets of datagrams, of which one may be lost, but only with a word in the counters.

#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "io/errors.h"
#include "io/sockets.h"
#include "tests/faults/echo_workload.h"
#include "tests/faults/rig.h"

namespace faults {
namespace {

// Answers each datagram with itself: lent, or copied.
struct DatagramEcho : RecordingHandler {
  void OnDatagram(auto& loop, const io::Datagram& in) noexcept {
    if (in.bytes.size() % 3 != 0) return loop.SendDatagram(in.socket, in.path, in.bytes);
    const std::vector<std::byte> copy(in.bytes.begin(), in.bytes.end());
    loop.SendDatagram(in.socket, in.path, copy);
  }
};

struct Header {
  uint32_t client, number;
};

template <class Backend>
class DatagramFaults : public BackendTest<Backend> {
 protected:
  using Loop = typename Backend::template Loop<DatagramEcho>;

  static constexpr uint32_t kClients = 16;
  static constexpr int kRounds = 60;
  static constexpr size_t kBytesMax = 4'000;

  // Some datagrams of each client at a time, until each of them is answered or counted as lost. A
  // loss that isn't counted hangs.
  void Run(const std::string& transport, uint64_t seed, const Plan& plan) {
    SCOPED_TRACE(transport + ", RINGSIDE_FAULT_SEED=" + std::to_string(seed));
    const auto faults = std::make_shared<Injector>(seed, plan);
    DatagramEcho handler;
    Loop loop(handler, {.recv_buffer_bytes = 16 * 1024, .recv_buffers = 32}, FaultyKernel(faults));
    ASSERT_TRUE(loop.Open().ok());
    const auto at = loop.Listen(*io::Resolve(AddressOn(transport)), {});
    ASSERT_TRUE(at.ok()) << std::string(at.status().message());
    Connect(*at);
    std::mt19937_64 random(seed);
    for (int round = 0; round < kRounds; ++round) {
      for (uint32_t i = 0; i < kClients; ++i) Send(i, random);
      const auto give_up = std::chrono::steady_clock::now() + kHang;
      const auto all = [&] { return answered_ + loop.counters().datagrams_dropped >= sent_; };
      while (!all()) {
        ASSERT_TRUE(loop.RunOnce(std::chrono::milliseconds(2)).ok());
        for (uint32_t i = 0; i < kClients; ++i) Receive(i);
        ASSERT_LT(std::chrono::steady_clock::now(), give_up)
            << "of " << sent_ << " datagrams " << answered_ << " are answered and "
            << loop.counters().datagrams_dropped << " dropped; " << faults->Describe();
      }
    }
    loop.Shutdown();
    ExpectNothingLeft(loop);
    const io::Counters& c = loop.counters();
    EXPECT_EQ(c.datagrams_received, sent_);
    EXPECT_EQ(c.datagrams_sent, answered_);
    EXPECT_EQ(c.datagrams_sent + c.datagrams_dropped, sent_);
    EXPECT_GE(c.errors.total(), c.datagrams_dropped) << "a loss without its errno";
    EXPECT_EQ(c.truncated, 0u);
    EXPECT_GT(answered_, 0u);
    faults_ += faults->log().size();
    dropped_ += c.datagrams_dropped;
    if (testing::Test::HasFailure()) ADD_FAILURE() << faults->Describe();
  }

  void RunSeeds(uint64_t seeds, const Plan& plan) {
    for (const char* transport : {"udp", "unix-dgram"}) {
      for (const uint64_t seed : Seeds(seeds)) {
        Run(transport, seed, plan);
        if (testing::Test::HasFailure()) return;
      }
    }
    EXPECT_GT(faults_, 0u) << "nothing was tested";
  }

  uint64_t dropped() const { return dropped_; }  // over all runs

 private:
  struct Client {
    Socket socket;
    std::vector<bool> waits;    // by number: sent, and not answered
    std::vector<size_t> sizes;  // by number
  };

  void Connect(const io::Endpoint& at) {
    clients_.clear();
    sent_ = answered_ = 0;
    for (uint32_t i = 0; i < kClients; ++i) {
      Client& client = clients_.emplace_back(Client{Socket(*io::OpenConnector(at, true)), {}, {}});
      ASSERT_EQ(connect(client.socket.fd(), at.address(), at.size()), 0) << io::ErrnoName(errno);
    }
  }

  std::string Message(uint32_t client, uint32_t number) const {
    const Header header = {client, number};
    std::string message(reinterpret_cast<const char*>(&header), sizeof(header));
    message += io::AsText(text_.At(client, number * 4096ull, clients_[client].sizes[number]));
    return message;
  }

  // One to three: fewer than the kernel queues for a Unix socket at either end.
  void Send(uint32_t i, std::mt19937_64& random) {
    Client& client = clients_[i];
    for (uint64_t count = 1 + random() % 3; count > 0; --count) {
      const auto number = static_cast<uint32_t>(client.sizes.size());
      client.sizes.push_back(random() % kBytesMax);
      const std::string message = Message(i, number);
      const ssize_t n = send(client.socket.fd(), message.data(), message.size(), MSG_NOSIGNAL);
      client.waits.push_back(n >= 0);
      if (n < 0) {
        EXPECT_EQ(errno, EAGAIN) << io::ErrnoName(errno);  // the server's queue is full
        return;
      }
      ++sent_;
    }
  }

  void Receive(uint32_t i) {
    Client& client = clients_[i];
    char in[2 * kBytesMax];
    for (ssize_t n; (n = recv(client.socket.fd(), in, sizeof(in), MSG_DONTWAIT)) >= 0;) {
      Header header = {};
      ASSERT_GE(static_cast<size_t>(n), sizeof(header)) << "an answer to nothing";
      std::memcpy(&header, in, sizeof(header));
      ASSERT_EQ(header.client, i) << "another client's answer";
      ASSERT_LT(header.number, client.waits.size());
      EXPECT_TRUE(client.waits[header.number]) << "answered twice, or never sent";
      EXPECT_TRUE(std::string(in, n) == Message(i, header.number)) << "corrupt";
      client.waits[header.number] = false;
      ++answered_;
    }
  }

  Text text_;
  std::vector<Client> clients_;
  uint64_t sent_ = 0, answered_ = 0, faults_ = 0, dropped_ = 0;
};

TYPED_TEST_SUITE(DatagramFaults, Backends, BackendNames);

TYPED_TEST(DatagramFaults, FailedReceivesLoseNothing) {
  // As often as the loop may be told so, it asks again: what waits in the socket stays there.
  this->RunSeeds(5, {.no_buffers = 0.3, .ends_early = 0.3, .delayed = 0.2, .waits = 0.3});
  EXPECT_EQ(this->dropped(), 0u);
}

TYPED_TEST(DatagramFaults, EveryLossIsCounted) {
  this->RunSeeds(10, Benign(0.1));
  EXPECT_GT(this->dropped(), 0u);
}

TYPED_TEST(DatagramFaults, MostSendsFail) { this->RunSeeds(5, Benign(0.45)); }

TYPED_TEST(DatagramFaults, ErrorsOfTheSocketEndNothing) {
  Plan plan = Benign(0.05);
  plan.fatal = 0.1;
  this->RunSeeds(10, plan);
  EXPECT_GT(this->dropped(), 0u);
}

// A socket that fails for long isn't asked all the time, and one that has failed goes on.
TYPED_TEST(DatagramFaults, ErrorsThatLastDoNotSpin) {
  for (const int error : {ENOMEM, ENOBUFS, EIO}) {
    SCOPED_TRACE(io::ErrnoSymbol(error));
    const auto faults = std::make_shared<Injector>(1);
    const uint64_t failures = error == ENOBUFS ? 20 : 10;
    faults->Fail(Call::kReceive, 1, error, failures);
    DatagramEcho handler;
    typename TestFixture::Loop loop(handler, {}, FaultyKernel(faults));
    ASSERT_TRUE(loop.Open().ok());
    const auto at = loop.Listen(*io::Resolve("udp://127.0.0.1:0"), {});
    ASSERT_TRUE(at.ok());
    const Socket client(*io::OpenConnector(*at, true));
    ASSERT_EQ(connect(client.fd(), at->address(), at->size()), 0);
    ASSERT_EQ(send(client.fd(), "hello", 5, 0), 5);
    const uint64_t before = loop.counters().turns;
    char in[16];
    while (recv(client.fd(), in, sizeof(in), MSG_DONTWAIT) != 5) {
      ASSERT_TRUE(loop.RunOnce(std::chrono::seconds(1)).ok());
    }
    const io::Counters& c = loop.counters();
    EXPECT_EQ(c.errors[error], error == ENOBUFS && loop.kName == "io_uring" ? 0 : failures);
    EXPECT_EQ(c.datagram_pauses, error == ENOBUFS ? failures - 15 : failures - 1);
    EXPECT_LE(c.turns - before, 5 * failures + 10);
    // The pause is over for good.
    const uint64_t pauses = c.datagram_pauses;
    for (int i = 0; i < 10; ++i) {
      ASSERT_EQ(send(client.fd(), "hello", 5, 0), 5);
      while (recv(client.fd(), in, sizeof(in), MSG_DONTWAIT) != 5) {
        ASSERT_TRUE(loop.RunOnce(std::chrono::seconds(1)).ok());
      }
    }
    EXPECT_EQ(c.datagram_pauses, pauses);
  }
}

// While one socket pauses, others are served, and it can be closed.
TYPED_TEST(DatagramFaults, APauseIsOfOneSocket) {
  const size_t descriptors = OpenDescriptors();
  {
    const auto faults = std::make_shared<Injector>(1);
    DatagramEcho handler;
    typename TestFixture::Loop loop(handler, {}, FaultyKernel(faults));
    ASSERT_TRUE(loop.Open().ok());
    faults->Fail(Call::kReceive, 1, ENOMEM, 2);
    const auto sick = loop.Listen(*io::Resolve("udp://127.0.0.1:0"), {});
    ASSERT_TRUE(sick.ok());
    const Socket client(*io::OpenConnector(*sick, true));
    ASSERT_EQ(connect(client.fd(), sick->address(), sick->size()), 0);
    ASSERT_EQ(send(client.fd(), "hello", 5, 0), 5);
    while (loop.counters().datagram_pauses == 0) {
      ASSERT_TRUE(loop.RunOnce(std::chrono::seconds(1)).ok());
    }
    const auto well = loop.Listen(*io::Resolve("udp://127.0.0.1:0"), {});
    ASSERT_TRUE(well.ok());
    const Socket other(*io::OpenConnector(*well, true));
    ASSERT_EQ(connect(other.fd(), well->address(), well->size()), 0);
    ASSERT_EQ(send(other.fd(), "hello", 5, 0), 5);
    char in[16];
    while (recv(other.fd(), in, sizeof(in), MSG_DONTWAIT) != 5) {
      ASSERT_TRUE(loop.RunOnce(std::chrono::seconds(1)).ok());
    }
    loop.StopListening();
    while (loop.listening() > 0) ASSERT_TRUE(loop.RunOnce(std::chrono::milliseconds(1)).ok());
  }
  EXPECT_EQ(OpenDescriptors(), descriptors);
}

}  // namespace
}  // namespace faults
