#include <set>
#include <string>
#include <vector>

#include "server/one_service.h"
#include "services/all.h"
#include "tests/contract/harness.h"

namespace contract {
namespace {

// Both ends of a service in one loop: server::Responder for what is accepted, and for what we
// connect a client that makes `requests` requests, a few of them under way at a time.
template <class Service>
class Ends {
 public:
  static constexpr uint64_t kUnderWay = 8;

  Ends(const services::ServiceOptions& options, uint64_t requests, uint64_t connections)
      : server_(Service::kName, options),
        client_(options),
        message_bytes_(options.message_bytes),
        requests_(requests),
        clients_(connections) {}

  struct Client {
    typename Service::Client::Session session;
    uint64_t requested = 0, replies = 0, corrupt_bytes = 0;
    bool ended = false, closed = false;
    std::string heard;
  };
  std::vector<Client>& clients() { return clients_; }
  typename Service::Tally& tally() { return client_.tally; }
  uint64_t requests() const { return server_.requests(); }

  void OnOpen(auto& loop, io::Connection& c) noexcept {
    if (c.accepted) return server_.responder->OnOpen(loop, c);
    client_.OnOpen(clients_[c.tag].session, c.tag);
    Request(loop, c);
  }
  void OnReceive(auto& loop, io::Connection& c, io::Bytes in) noexcept {
    if (c.accepted) return server_.responder->OnReceive(loop, c, in);
    Client& client = clients_[c.tag];
    client.heard += io::AsText(in);
    const services::Received received = client_.OnReceive(client.session, in);
    client.replies += received.replies;
    client.corrupt_bytes += received.corrupt_bytes;
    if (Service::kExchange == Exchange::kSource && client.replies >= requests_) {
      client.ended = true;  // it would send for ever
      return loop.Abort(c);
    }
    Request(loop, c);
  }
  void OnEnd(auto& loop, io::Connection& c) noexcept {
    if (c.accepted) return server_.responder->OnEnd(loop, c);
    clients_[c.tag].ended = true;
    loop.Close(c);
  }
  void OnDrained(auto& loop, io::Connection& c) noexcept {
    if (c.accepted) return server_.responder->OnDrained(loop, c);
    if (Service::kExchange != Exchange::kSink) return;
    clients_[c.tag].replies = clients_[c.tag].requested;
    Request(loop, c);
  }
  void OnClose(auto& loop, io::Connection& c, int error) noexcept {
    if (c.accepted) return server_.responder->OnClose(loop, c, error);
    EXPECT_EQ(error, 0) << c.tag;
    clients_[c.tag].closed = true;
  }

 private:
  using Exchange = services::Exchange;

  void Request(auto& loop, io::Connection& c) {
    if (Service::kExchange == Exchange::kGreeting) return;
    if (Service::kExchange == Exchange::kSource) return;
    Client& client = clients_[c.tag];
    for (; client.requested < requests_ && client.requested < client.replies + kUnderWay;
         ++client.requested) {
      for (uint64_t left = message_bytes_; left > 0;) {
        const io::Bytes out = client_.Next(client.session, left);
        loop.Send(c, out);
        left -= out.size();
      }
    }
    if (client.replies == requests_) loop.End(c);
  }

  server::OneService server_;
  typename Service::Client client_;
  const uint64_t message_bytes_, requests_;
  std::vector<Client> clients_;
};

// Runs all connections to their end.
template <class Backend, class Service>
void RunToTheEnd(Ends<Service>& ends, const io::LoopOptions& options = {}) {
  using Loop = typename Backend::template Loop<Ends<Service>>;
  Loop loop(ends, options);
  ASSERT_TRUE(loop.Open().ok());
  const auto at = loop.Listen(*io::Resolve(AnyAddress()), {});
  ASSERT_TRUE(at.ok()) << at.status();
  for (uint64_t i = 0; i < ends.clients().size(); ++i) ASSERT_TRUE(loop.Connect(*at, i).ok());
  ASSERT_TRUE(Repeat([&] { return loop.connections() == 0 && loop.counters().connected > 0; },
                     [&] { EXPECT_TRUE(loop.RunOnce(kTurn).ok()); }));
  for (const auto& client : ends.clients()) {
    EXPECT_TRUE(client.ended);
    EXPECT_TRUE(client.closed);
    EXPECT_EQ(client.corrupt_bytes, 0u);
  }
  EXPECT_EQ(ends.tally().Problem(), "");
}

TYPED_TEST(Contract, ServesEcho) {
  for (const uint64_t message_bytes : {1, 64, 5000, 100'000}) {
    SCOPED_TRACE(message_bytes);
    Ends<services::Echo> ends({.message_bytes = message_bytes}, 50, 8);
    RunToTheEnd<TypeParam>(ends, {.pending_bytes_max = 2'000'000});
    for (const auto& client : ends.clients()) EXPECT_EQ(client.replies, 50u);
    EXPECT_EQ(ends.requests(), 8 * 50u);
  }
}

TYPED_TEST(Contract, ServesCounterUniqueAndGapFree) {
  constexpr uint64_t kConnections = 8, kLines = 400;
  for (const uint64_t message_bytes : {1, 10, 3000}) {
    SCOPED_TRACE(message_bytes);
    Ends<services::Counter> ends({.message_bytes = message_bytes}, kLines, kConnections);
    RunToTheEnd<TypeParam>(ends, {.recv_buffer_bytes = 1000, .recv_buffers = 4});
    EXPECT_EQ(ends.tally().count, kConnections * kLines);
    EXPECT_EQ(ends.tally().lowest, 1u);
    EXPECT_EQ(ends.tally().highest, kConnections * kLines);
    EXPECT_EQ(ends.requests(), kConnections * kLines);
  }
}

TYPED_TEST(Contract, ServesGreet) {
  constexpr uint64_t kConnections = 100;
  Ends<services::Greet> ends({}, 1, kConnections);
  RunToTheEnd<TypeParam>(ends);
  std::set<std::string> heard, expected;
  for (uint64_t i = 1; i <= kConnections; ++i) {
    expected.insert("server> You've reached me " + std::to_string(i) + " time(s)\n");
    heard.insert(ends.clients()[i - 1].heard);
  }
  EXPECT_EQ(heard, expected);
  EXPECT_EQ(ends.requests(), kConnections);
}

TYPED_TEST(Contract, ServesReply) {
  for (const uint64_t message_bytes : {1, 64, 5000}) {
    SCOPED_TRACE(message_bytes);
    Ends<services::FixedReply> ends({.message_bytes = message_bytes, .text = "yes?"}, 50, 8);
    RunToTheEnd<TypeParam>(ends, {.pending_bytes_max = 2'000'000});
    for (const auto& client : ends.clients()) EXPECT_EQ(client.replies, 50u);
    EXPECT_EQ(ends.requests(), 8 * 50u);
  }
}

TYPED_TEST(Contract, ServesDiscard) {
  for (const uint64_t message_bytes : {1, 5000, 300'000}) {
    SCOPED_TRACE(message_bytes);
    Ends<services::Discard> ends({.message_bytes = message_bytes}, 50, 8);
    RunToTheEnd<TypeParam>(ends);
    for (const auto& client : ends.clients()) EXPECT_EQ(client.heard, "");
    EXPECT_EQ(ends.requests(), 8 * 50u);
  }
}

TYPED_TEST(Contract, ServesChargenUntilTheClientLeaves) {
  for (const uint64_t message_bytes : {1000, 1'000'000}) {
    SCOPED_TRACE(message_bytes);
    Ends<services::Chargen> ends({.message_bytes = message_bytes}, 5, 8);
    RunToTheEnd<TypeParam>(ends);
    for (const auto& client : ends.clients()) EXPECT_GE(client.replies, 5u);
  }
}

}  // namespace
}  // namespace contract
