// What a server bounds by itself: answers that are longer than their requests, replies that wait
// for their time, and the time after which a connection is given up.

#include "server/responder.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "io/null_loop.h"
#include "server/one_service.h"

namespace server {
namespace {

constexpr uint32_t kPendingBytes = 48 * 1024, kReceiveBytes = 64 * 1024;

// A server and its clients on one loop without sockets. Between the two ends lie 256 KiB, as in
// sockets' buffers.
class Ends {
 public:
  Ends(const std::string& service, ServerOptions options, const std::string& at = "127.0.0.1:1")
      : options_(std::move(options)), common_(options_) {
    common_.listeners.push_back({.service = ServiceHost::NumberOf(service)});
    responder = std::make_unique<Responder>(common_, 0);
    EXPECT_TRUE(loop.Open().ok());
    EXPECT_TRUE(loop.Listen(*io::Resolve(at), {}).ok());
    at_ = *io::Resolve(at);
  }

  struct Client {
    io::Connection* connection = nullptr;  // nullptr: closed
    std::string heard;
    bool ended = false;
    int error = -1;
  };

  Client& Connect() {
    Client& client = *clients_.emplace_back(std::make_unique<Client>());
    auto connected = loop.Connect(at_, clients_.size() - 1);
    EXPECT_TRUE(connected.ok());
    client.connection = *connected;
    Turn();
    return client;
  }
  void Say(Client& client, const std::string& text) {
    loop.Send(*client.connection, io::AsBytes(text));
  }
  // Until nothing happens any more.
  void Turn() {
    for (int i = 0; i < 200; ++i) EXPECT_TRUE(loop.RunOnce(io::Nanos::zero()).ok());
  }

  // --- the loop's callbacks: the server's end is the responder's

  void OnOpen(auto& at_work, io::Connection& c) noexcept {
    if (!c.accepted) return;
    served = &c;
    responder->OnOpen(at_work, c);
  }
  void OnReceive(auto& at_work, io::Connection& c, io::Bytes in) noexcept {
    if (c.accepted) {
      responder->OnReceive(at_work, c, in);
      unsent_most = std::max(unsent_most, at_work.unsent(c));
    } else {
      clients_[c.tag]->heard += io::AsText(in);
    }
  }
  void OnEnd(auto& at_work, io::Connection& c) noexcept {
    if (c.accepted) return responder->OnEnd(at_work, c);
    clients_[c.tag]->ended = true;
    at_work.Close(c);
  }
  void OnDrained(auto& at_work, io::Connection& c) noexcept {
    if (!c.accepted) return;
    responder->OnDrained(at_work, c);
    unsent_most = std::max(unsent_most, at_work.unsent(c));
  }
  void OnClose(auto& at_work, io::Connection& c, int error) noexcept {
    if (c.accepted) return responder->OnClose(at_work, c, error);
    clients_[c.tag]->connection = nullptr;
    clients_[c.tag]->error = error;
  }

 private:
  ServerOptions options_;
  Common common_;
  io::Endpoint at_;
  std::vector<std::unique_ptr<Client>> clients_;

 public:
  std::unique_ptr<Responder> responder;
  io::NullLoop<Ends> loop{*this,
                          {.recv_buffer_bytes = kReceiveBytes, .pending_bytes_max = kPendingBytes}};
  io::Connection* served = nullptr;  // the server's end of the last connection
  size_t unsent_most = 0;
};

// --- answers that are longer than their requests
// --------------------------------------------------

struct Amplified {
  std::string service, request, answer;  // the answer's length is what counts
  services::ServiceOptions options;
  std::string at = "127.0.0.1:1";
};

std::vector<Amplified> AllAmplified() {
  const std::string text(4'000, 't');
  return {{"reply", "x", text, {.message_bytes = 1, .text = text}},
          {"reply", "xyz", text, {.message_bytes = 3, .text = text}},
          {"counter", "\n", "1234\n", {}},
          // Each message is a request, and stays one while it waits.
          {"reply", "a message", text, {.text = text}, "unix-seqpacket:@responder-test"},
          {"reply",
           "abcdefg",
           text,
           {.message_bytes = 1, .text = text},
           "unix-seqpacket:@responder-test"}};
}

class AnswersOf : public testing::TestWithParam<size_t> {
 protected:
  const Amplified its_ = AllAmplified()[GetParam()];
  uint64_t AnswersTo(uint64_t requests) const {
    const uint64_t size = its_.options.message_bytes;
    return size == 0 ? requests : requests * its_.request.size() / size;
  }
};

INSTANTIATE_TEST_SUITE_P(Services, AnswersOf, testing::Range<size_t>(0, AllAmplified().size()));

// A peer that doesn't read costs the bound, and of what it sent a receive at most; once it reads it
// gets every answer, in order.
TEST_P(AnswersOf, AreBoundedAndNoneIsLost) {
  Ends ends(its_.service, {.service = its_.options}, its_.at);
  Ends::Client& client = ends.Connect();
  const bool messages = client.connection->messages;
  ends.loop.PauseReceive(*client.connection);
  uint64_t requests = 0;
  const auto say = [&](uint64_t count) {
    std::string all;
    for (uint64_t i = 0; i < count; ++i)
      messages ? ends.Say(client, its_.request) : void(all += its_.request);
    if (!messages) ends.Say(client, all);
    requests += count;
    ends.Turn();
  };
  const bool longer = its_.service == "reply";
  for (int i = 0; i < 3; ++i) say(messages ? 40 : longer ? 400 : 40'000);
  // A message takes a block of its own: its memory counts.
  EXPECT_LE(ends.unsent_most, kPendingBytes + its_.answer.size() + 1024);
  EXPECT_LT(ends.responder->requests()[0], AnswersTo(requests)) << "nothing had to wait";
  ends.loop.ResumeReceive(*client.connection);
  for (int i = 0; i < 300 && ends.responder->requests()[0] < AnswersTo(requests); ++i) ends.Turn();
  ends.Turn();
  EXPECT_EQ(ends.responder->requests()[0], AnswersTo(requests));
  EXPECT_LE(ends.unsent_most, kPendingBytes + its_.answer.size() + 1024);
  if (longer) {
    EXPECT_EQ(client.heard.size(), AnswersTo(requests) * its_.answer.size());
  } else {
    std::string expected;
    for (uint64_t i = 1; i <= requests; ++i) expected += std::to_string(i) + "\n";
    EXPECT_TRUE(client.heard == expected);
  }
  say(1);  // and it is received from again
  EXPECT_EQ(ends.responder->requests()[0], AnswersTo(requests));
}

// Its FIN doesn't cut off what it asked before.
TEST_P(AnswersOf, ComeBeforeTheEnd) {
  Ends ends(its_.service, {.service = its_.options}, its_.at);
  Ends::Client& client = ends.Connect();
  ends.loop.PauseReceive(*client.connection);
  constexpr uint64_t kRequests = 120;  // what lies between the ends
  for (uint64_t i = 0; i < kRequests; ++i) ends.Say(client, its_.request);
  ends.Turn();
  ends.loop.End(*client.connection);
  ends.Turn();
  ends.loop.ResumeReceive(*client.connection);
  for (int i = 0; i < 50 && client.connection != nullptr; ++i) ends.Turn();
  EXPECT_TRUE(client.ended);
  EXPECT_EQ(client.error, 0);
  EXPECT_EQ(ends.responder->requests()[0], AnswersTo(kRequests));
  EXPECT_EQ(ends.loop.connections(), 0u);
}

// A server that drains answers them, too.
TEST_P(AnswersOf, ComeBeforeTheServersEnd) {
  Ends ends(its_.service, {.service = its_.options}, its_.at);
  Ends::Client& client = ends.Connect();
  ends.loop.PauseReceive(*client.connection);
  constexpr uint64_t kRequests = 120;  // what lies between the ends
  for (uint64_t i = 0; i < kRequests; ++i) ends.Say(client, its_.request);
  ends.Turn();
  ends.responder->End(ends.loop, *ends.served);
  ends.loop.ResumeReceive(*client.connection);
  for (int i = 0; i < 50 && client.connection != nullptr; ++i) ends.Turn();
  EXPECT_TRUE(client.ended);
  EXPECT_EQ(ends.responder->requests()[0], AnswersTo(kRequests));
}

// --- replies that wait
// ----------------------------------------------------------------------------

ServerOptions Delayed(uint64_t bytes_max = 256 << 20) {
  ServerOptions options{.service = {.delay = {.a = std::chrono::hours(1)}},
                        .delayed_bytes_max = bytes_max};
  options.loop.pending_bytes_max = kPendingBytes;
  return options;
}

TEST(DelayedReplies, GoWithTheirConnection) {
  Ends ends("delay", Delayed());
  for (int i = 0; i < 100; ++i) {
    Ends::Client& client = ends.Connect();
    ends.Say(client, std::string(kPendingBytes, 'x'));
    ends.Turn();
    EXPECT_GT(ends.responder->delayed(), 0u);
    ends.loop.Abort(*client.connection);
    ends.Turn();
    EXPECT_EQ(ends.responder->delayed(), 0u);
    EXPECT_EQ(ends.responder->delayed_bytes(), 0u);
  }
}

// Small ones cost more than their bytes, and that is what is bounded.
TEST(DelayedReplies, OfAConnectionTakeTheMemoryOfItsBound) {
  Ends ends("delay", Delayed());
  Ends::Client& client = ends.Connect();
  for (int i = 0; i < 10'000; ++i) {
    ends.Say(client, "x");
    ASSERT_TRUE(ends.loop.RunOnce(io::Nanos::zero()).ok());
    ASSERT_TRUE(ends.loop.RunOnce(io::Nanos::zero()).ok());
  }
  EXPECT_GT(ends.responder->delayed(), 100u);
  EXPECT_LE(ends.responder->delayed_bytes(), kPendingBytes + 2 * kReceiveBytes);
}

TEST(DelayedReplies, OfAllHaveABound) {
  constexpr uint64_t kBound = 1 << 20;
  Ends ends("delay", Delayed(kBound));
  std::vector<Ends::Client*> clients;
  for (int i = 0; i < 100; ++i) {
    clients.push_back(&ends.Connect());
    ends.Say(*clients.back(), std::string(40'000, 'x'));
    ends.Turn();
    EXPECT_LE(ends.responder->delayed_bytes(), kBound);
  }
  const uint64_t reset = ends.responder->refusals().over_delayed_limit;
  EXPECT_GT(reset, 0u);
  EXPECT_EQ(std::count_if(clients.begin(), clients.end(),
                          [](const Ends::Client* client) { return client->error == ECONNRESET; }),
            static_cast<ptrdiff_t>(reset));
  EXPECT_GE(ends.responder->delayed(), 100 - reset) << "the others' replies are lost";
}

// --- the time that is judged
// ----------------------------------------------------------------------

class Judged : public testing::Test {
 protected:
  static constexpr int64_t kSecond = 1'000'000'000;

  Judged() : ends_("echo", Limits()), client_(ends_.Connect()) {}

  static ServerOptions Limits() {
    return {.idle_timeout = std::chrono::seconds(10), .stall_timeout = std::chrono::seconds(10)};
  }

  // The loop turns, as it does while nothing happens, until `now` is so much later.
  void Pass(int64_t time) {
    for (const int64_t end = now_ + time; now_ < end && client_.connection != nullptr;) {
      now_ = std::min(end, std::max(now_, ends_.responder->NextTick()));
      ends_.responder->Tick(ends_.loop, now_);
      ASSERT_TRUE(ends_.loop.RunOnce(io::Nanos::zero()).ok());
      ASSERT_TRUE(ends_.loop.RunOnce(io::Nanos::zero()).ok());
      ASSERT_TRUE(ends_.loop.RunOnce(io::Nanos::zero()).ok());
    }
  }
  // No turn at all meanwhile: the process was stopped.
  void Stop(int64_t time) { now_ += time; }

  int64_t now_ = Responder::Now();
  Ends ends_;
  Ends::Client& client_;
};

TEST_F(Judged, WhoIdlesIsClosedInTime) {
  Pass(9 * kSecond);
  EXPECT_NE(client_.connection, nullptr);
  Pass(7 * kSecond);
  EXPECT_EQ(client_.connection, nullptr);
  EXPECT_EQ(ends_.responder->refusals().idle, 1u);
}

// However often it is stopped, and however long.
TEST_F(Judged, NobodyForTimeInWhichTheServerWasStopped) {
  for (int i = 0; i < 20; ++i) {
    Pass(kSecond / 10);
    Stop((11 + i) * kSecond);
  }
  Pass(kSecond);
  EXPECT_NE(client_.connection, nullptr);
  EXPECT_EQ(ends_.responder->refusals().idle, 0u);
  Pass(12 * kSecond);  // 15 s of turns in all
  EXPECT_EQ(ends_.responder->refusals().idle, 1u) << "it is never judged again";
}

// What came during a pause that isn't long is seen before anybody is judged.
TEST_F(Judged, AfterATurnWhereTheSweepIsLate) {
  Pass(8 * kSecond);
  ends_.Say(client_, "alive");
  Stop(2 * kSecond);
  Pass(4 * kSecond);
  EXPECT_NE(client_.connection, nullptr);
  EXPECT_EQ(client_.heard, "alive");
}

TEST_F(Judged, NobodyWhoReadsNothingWhileTheServerWasStopped) {
  ends_.loop.PauseReceive(*client_.connection);
  ends_.Say(client_, std::string(400'000, 'x'));
  Pass(4 * kSecond);
  Stop(100 * kSecond);
  Pass(4 * kSecond);
  EXPECT_EQ(ends_.responder->refusals().stalled, 0u);
  Pass(9 * kSecond);
  EXPECT_EQ(ends_.responder->refusals().stalled, 1u);
}

}  // namespace
}  // namespace server
