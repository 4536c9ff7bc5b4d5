#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "io/null_loop.h"
#include "server/responder.h"
#include "services/all.h"

namespace services {
namespace {

// A service on a loop without sockets: the test is the peer.
template <class Service>
class Served {
 public:
  explicit Served(const ServiceOptions& options = {}) : service_(options), responder_(service_) {
    EXPECT_TRUE(loop_.Open().ok());
  }

  // A new connection; what the service says on it is appended to `heard`.
  io::Connection& Open(std::string& heard) { return loop_.OpenFed(&heard); }
  void Say(io::Connection& c, std::string_view text) { loop_.Feed(c, io::AsBytes(text)); }
  uint32_t Connections() {
    EXPECT_TRUE(loop_.RunOnce(io::Nanos::zero()).ok());
    return loop_.connections();
  }
  uint64_t requests() const { return responder_.requests(); }

 private:
  Service service_;
  server::Responder<Service> responder_;
  io::NullLoop<server::Responder<Service>> loop_{responder_};
};

TEST(EchoService, AnswersWithWhatItGot) {
  Served<Echo> served;
  std::string heard;
  io::Connection& c = served.Open(heard);
  EXPECT_EQ(heard, "");
  served.Say(c, "a");
  served.Say(c, std::string_view("\0\xff\n", 3));
  EXPECT_EQ(heard, std::string("a\0\xff\n", 4));
  EXPECT_EQ(served.requests(), 2u);
}

TEST(EchoService, CountsMessagesWhereTheirSizeIsKnown) {
  Served<Echo> served({.message_bytes = 4});
  std::string heard, other;
  io::Connection& c = served.Open(heard);
  io::Connection& d = served.Open(other);
  served.Say(c, "12");
  served.Say(d, "abcd");
  EXPECT_EQ(served.requests(), 1u);
  served.Say(c, "34123");
  EXPECT_EQ(served.requests(), 2u);
  served.Say(c, "412341234");
  EXPECT_EQ(served.requests(), 5u);
  EXPECT_EQ(heard, "1234123412341234");
}

TEST(CounterService, NumbersLinesOverAllConnections) {
  Served<Counter> served;
  std::string first, second;
  io::Connection& c = served.Open(first);
  io::Connection& d = served.Open(second);
  served.Say(c, "a line\n");
  served.Say(d, "\n");
  served.Say(c, "two\nlines at once\n and a ");
  served.Say(d, "split ");
  served.Say(d, "li");
  served.Say(d, "ne");
  EXPECT_EQ(first, "1\n3\n4\n");
  served.Say(d, "\n");
  served.Say(c, "third\n");
  EXPECT_EQ(first, "1\n3\n4\n6\n");
  EXPECT_EQ(second, "2\n5\n");
  EXPECT_EQ(served.requests(), 6u);
  EXPECT_EQ(served.Connections(), 2u);
}

TEST(CounterService, ClosesOnAnEndlessLine) {
  Served<Counter> served;
  std::string heard, patient;
  io::Connection& c = served.Open(heard);
  io::Connection& d = served.Open(patient);
  const std::string piece(Counter::kLineBytesMax / 16, 'x');
  for (int i = 0; i < 16; ++i) served.Say(c, piece);
  for (int i = 0; i < 16; ++i) served.Say(d, piece);
  served.Say(d, "\n");
  EXPECT_EQ(patient, "1\n");
  EXPECT_EQ(served.Connections(), 2u);
  served.Say(c, "x");
  EXPECT_EQ(heard, "");
  EXPECT_EQ(served.Connections(), 1u);
}

TEST(GreetService, GreetsAndCloses) {
  Served<Greet> served;
  for (int i = 1; i <= 12; ++i) {
    std::string heard;
    served.Open(heard);
    EXPECT_EQ(heard, "server> You've reached me " + std::to_string(i) + " time(s)\n");
    EXPECT_EQ(served.Connections(), 0u);
  }
  EXPECT_EQ(served.requests(), 12u);
}

NumberTally Tally(const std::vector<uint64_t>& numbers) {
  NumberTally tally;
  for (const uint64_t number : numbers) tally.Add(number);
  return tally;
}

TEST(NumberTallyTest, FindsWhatIsWrong) {
  EXPECT_EQ(NumberTally().Problem(), "");
  EXPECT_EQ(Tally({7}).Problem(), "");
  EXPECT_EQ(Tally({9, 7, 8, 10}).Problem(), "");
  EXPECT_EQ(Tally({~0ull, ~0ull - 1}).Problem(), "");
  EXPECT_NE(Tally({7, 9}).Problem().find("1 numbers of 7..9 did not arrive"), std::string::npos);
  EXPECT_NE(Tally({7, 8, 8, 9}).Problem().find("1 numbers of 7..9 arrived more than once"),
            std::string::npos);
  EXPECT_NE(Tally({7, 7, 9}).Problem().find("were lost and others arrived twice"),
            std::string::npos);
  NumberTally malformed = Tally({1, 2});
  malformed.malformed = 3;
  EXPECT_NE(malformed.Problem().find("3 replies"), std::string::npos);
}

TEST(NumberTallyTest, MergesThreads) {
  NumberTally all = Tally({1, 4, 6});
  all.Merge(NumberTally());
  all.Merge(Tally({2, 3, 5}));
  EXPECT_EQ(all.Problem(), "");
  EXPECT_EQ(all.count, 6u);
  all.Merge(Tally({3}));
  EXPECT_NE(all.Problem(), "");
  NumberTally malformed;
  malformed.malformed = 1;
  malformed.Merge(malformed);
  EXPECT_EQ(malformed.malformed, 2u);
}

std::vector<std::byte> Requests(Echo::Client& client, Echo::Client::Session& session,
                                size_t bytes) {
  std::vector<std::byte> all;
  while (all.size() < bytes) {
    const Bytes out = client.Next(session, bytes - all.size());
    all.insert(all.end(), out.begin(), out.end());
  }
  return all;
}

TEST(EchoClient, FindsTheCorruptByte) {
  Echo::Client client({.message_bytes = 1000});
  Echo::Client::Session session;
  client.OnOpen(session, 3);
  std::vector<std::byte> bytes = Requests(client, session, 3000);
  bytes[2345] ^= std::byte(0x10);
  Received received = client.OnReceive(session, Bytes(bytes).first(1500));
  EXPECT_EQ(received.replies, 1u);
  EXPECT_EQ(received.corrupt_bytes, 0u);
  received = client.OnReceive(session, Bytes(bytes).subspan(1500));
  EXPECT_EQ(received.replies, 2u);
  EXPECT_EQ(received.corrupt_bytes, 1u);
  EXPECT_EQ(received.corrupt_offset, 2345u);
  EXPECT_EQ(received.got, std::to_integer<uint8_t>(bytes[2345]));
  EXPECT_EQ(received.expected, received.got ^ 0x10);
}

TEST(EchoClient, CountsRepliesHoweverTheyArrive) {
  for (const size_t piece : {1, 63, 64, 65, 1000}) {
    Echo::Client client({.message_bytes = 64});
    Echo::Client::Session session;
    client.OnOpen(session, 0);
    const std::vector<std::byte> bytes = Requests(client, session, 6400);
    uint32_t replies = 0;
    for (size_t at = 0; at < bytes.size(); at += piece) {
      const Received received =
          client.OnReceive(session, Bytes(bytes).subspan(at, std::min(piece, bytes.size() - at)));
      replies += received.replies;
      EXPECT_EQ(received.corrupt_bytes, 0u);
    }
    EXPECT_EQ(replies, 100u);
  }
}

TEST(EchoClient, FindsAShiftedStream) {
  Echo::Client client({.message_bytes = 100});
  Echo::Client::Session session;
  client.OnOpen(session, 5);
  std::vector<std::byte> bytes = Requests(client, session, 2000);
  bytes.erase(bytes.begin() + 700);  // one byte is lost
  const Received received = client.OnReceive(session, bytes);
  EXPECT_GT(received.corrupt_bytes, 1000u);
  EXPECT_GE(received.corrupt_offset, 700u);
  EXPECT_LT(received.corrupt_offset, 710u);
}

TEST(EchoClient, FindsASwappedConnection) {
  Echo::Client client({.message_bytes = 100});
  Echo::Client::Session ours, theirs;
  for (uint64_t connection = 1; connection < 200; ++connection) {
    client.OnOpen(ours = {}, 0);
    client.OnOpen(theirs = {}, connection);
    const Received received = client.OnReceive(ours, Requests(client, theirs, 100));
    EXPECT_GT(received.corrupt_bytes, 80u) << connection;
    EXPECT_LT(received.corrupt_offset, 10u) << connection;
  }
}

TEST(EchoClient, SendsMoreThanThePatternHolds) {
  Echo::Client client({.message_bytes = 3 << 20});
  Echo::Client::Session session;
  client.OnOpen(session, 9);
  const Received received = client.OnReceive(session, Requests(client, session, 3 << 20));
  EXPECT_EQ(received.replies, 1u);
  EXPECT_EQ(received.corrupt_bytes, 0u);
}

TEST(CounterClient, SendsLinesOfTheSizeThatIsAskedFor) {
  for (const size_t size : {1, 2, 64, 1000}) {
    Counter::Client client({.message_bytes = size});
    Counter::Client::Session session;
    client.OnOpen(session, 0);
    std::string sent;
    while (sent.size() < 10 * size) {
      sent += io::AsText(client.Next(session, std::min<size_t>(7, 10 * size - sent.size())));
    }
    EXPECT_EQ(std::count(sent.begin(), sent.end(), '\n'), 10);
    for (size_t i = size - 1; i < sent.size(); i += size) EXPECT_EQ(sent[i], '\n');
  }
}

TEST(CounterClient, TalliesNumbers) {
  Counter::Client client({.message_bytes = 2});
  Counter::Client::Session session, other;
  EXPECT_EQ(client.OnReceive(session, io::AsBytes("1\n3")).replies, 1u);
  EXPECT_EQ(client.OnReceive(other, io::AsBytes("2\n4\n")).replies, 2u);
  EXPECT_EQ(client.OnReceive(session, io::AsBytes("0\n")).replies, 1u);  // 30, in two pieces
  EXPECT_EQ(client.tally.count, 4u);
  EXPECT_EQ(client.tally.highest, 30u);
  EXPECT_EQ(client.tally.malformed, 0u);
  EXPECT_NE(client.tally.Problem(), "");  // 5 to 29 are missing
}

TEST(CounterClient, FindsRepliesThatAreNoHigherNumber) {
  Counter::Client client({.message_bytes = 2});
  Counter::Client::Session session;
  client.OnReceive(session, io::AsBytes("5\n5\n"));
  EXPECT_EQ(client.tally.malformed, 1u);
  client.OnReceive(session, io::AsBytes("4\n"));
  EXPECT_EQ(client.tally.malformed, 2u);
  client.OnReceive(session, io::AsBytes("\n"));
  EXPECT_EQ(client.tally.malformed, 3u);
  const Received received = client.OnReceive(session, io::AsBytes("6x\n"));
  EXPECT_EQ(received.corrupt_bytes, 1u);
  EXPECT_EQ(received.corrupt_offset, 8u);
  EXPECT_EQ(received.got, 'x');
}

TEST(GreetClient, ReadsTheGreeting) {
  Greet::Client client({});
  Greet::Client::Session session;
  client.OnOpen(session, 0);
  EXPECT_EQ(client.OnReceive(session, io::AsBytes("server> You've reac")).replies, 0u);
  EXPECT_EQ(client.OnReceive(session, io::AsBytes("hed me 12 time(s)\n")).replies, 1u);
  EXPECT_EQ(client.tally.lowest, 12u);
  EXPECT_EQ(client.tally.Problem(), "");
  for (const char* wrong :
       {"server> You've reached me  time(s)\n", "server> You've reached me 1\n",
        "You've reached me 1 time(s)\n", "\n", "server> You've reached me -1 time(s)\n"}) {
    client.tally = {};
    EXPECT_EQ(client.OnReceive(session, io::AsBytes(wrong)).replies, 1u);
    EXPECT_EQ(client.tally.malformed, 1u) << wrong;
  }
}

}  // namespace
}  // namespace services
