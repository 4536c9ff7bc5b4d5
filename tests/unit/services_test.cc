#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <set>
#include <string>
#include <vector>

#include "io/null_loop.h"
#include "server/one_service.h"
#include "services/all.h"

namespace services {
namespace {

// A service on a loop without sockets: the test is the peer.
template <class Service>
class Served {
 public:
  explicit Served(const ServiceOptions& options = {}) : server_(Service::kName, options) {
    EXPECT_TRUE(loop_.Open().ok());
  }

  // A new connection; what the service says on it is appended to `heard`.
  io::Connection& Open(std::string& heard) { return loop_.OpenFed(&heard); }
  void Say(io::Connection& c, std::string_view text) { loop_.Feed(c, io::AsBytes(text)); }
  uint32_t Connections() {
    EXPECT_TRUE(loop_.RunOnce(io::Nanos::zero()).ok());
    return loop_.connections();
  }
  uint64_t requests() const { return server_.requests(); }
  uint64_t violations() const { return server_.violations(); }

 private:
  server::OneService server_;
  io::NullLoop<server::Responder> loop_{*server_.responder};
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
  EXPECT_EQ(served.violations(), 0u);
  served.Say(c, "x");
  EXPECT_EQ(heard, "");
  EXPECT_EQ(served.Connections(), 1u);
  EXPECT_EQ(served.violations(), 1u);
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

TEST(ReplyService, AnswersEachReceiveWithTheTextAlone) {
  Served<FixedReply> served;
  std::string heard, other;
  io::Connection& c = served.Open(heard);
  io::Connection& d = served.Open(other);
  EXPECT_EQ(heard, "");
  served.Say(c, "hello\n");
  EXPECT_EQ(heard, "I got your message");
  served.Say(c, "a");
  served.Say(d, "several\nlines\n");
  EXPECT_EQ(heard, "I got your messageI got your message");
  EXPECT_EQ(other, "I got your message");
  EXPECT_EQ(served.requests(), 3u);
}

TEST(ReplyService, AnswersMessagesWhereTheirSizeIsKnown) {
  Served<FixedReply> served({.message_bytes = 4, .text = "ok\n"});
  std::string heard;
  io::Connection& c = served.Open(heard);
  served.Say(c, "123");
  EXPECT_EQ(heard, "");
  served.Say(c, "41234123");
  EXPECT_EQ(heard, "ok\nok\n");
  served.Say(c, "4");
  EXPECT_EQ(heard, "ok\nok\nok\n");
  EXPECT_EQ(served.requests(), 3u);
}

TEST(DiscardService, SaysNothing) {
  Served<Discard> served, sized({.message_bytes = 4});
  std::string heard;
  io::Connection& c = served.Open(heard);
  served.Say(c, "a");
  served.Say(c, "bcdef\n");
  EXPECT_EQ(served.requests(), 2u);
  io::Connection& d = sized.Open(heard);
  sized.Say(d, "123");
  EXPECT_EQ(sized.requests(), 0u);
  sized.Say(d, "412341");
  EXPECT_EQ(sized.requests(), 2u);
  EXPECT_EQ(heard, "");
  EXPECT_EQ(served.Connections(), 1u);
}

// Characters `from` to `to` of what chargen sends, by RFC 864's words.
std::string Characters(size_t from, size_t to) {
  std::string text;
  for (size_t i = from; i < to; ++i) {
    const size_t line = i / 74, column = i % 74;
    text.push_back(column == 72   ? '\r'
                   : column == 73 ? '\n'
                                  : static_cast<char>(' ' + (line + column) % 95));
  }
  return text;
}

TEST(ChargenService, SendsThePatternForEver) {
  Served<Chargen> served;
  std::string heard;
  io::Connection& c = served.Open(heard);
  EXPECT_EQ(heard.substr(0, 148),
            " !\"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`abcdefg\r\n"
            "!\"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`abcdefgh\r\n");
  // This loop drains at once, and says so after each call of the handler.
  for (size_t before = 0; heard.size() < 1'000'000; before = heard.size()) {
    served.Say(c, "ignored");
    ASSERT_GT(heard.size(), before) << "it stopped";
  }
  EXPECT_TRUE(heard == Characters(0, heard.size()));
}

// What a service says, on a connection and in answer to a datagram.
struct Said {
  std::vector<std::string> writes;
  std::vector<Bytes> stable;
  std::vector<std::pair<std::chrono::nanoseconds, std::string>> later;
  bool closed = false, violated = false;

  bool full() const { return false; }
  void Keep(Bytes) {}
  void Write(Bytes out) { writes.emplace_back(io::AsText(out)); }
  void WriteStable(Bytes out) { stable.push_back(out); }
  void WriteAfter(std::chrono::nanoseconds delay, Bytes out) {
    later.emplace_back(delay, io::AsText(out));
  }
  void Close() { closed = true; }
  void Violation() { violated = true; }
};

TEST(ChargenService, CopiesNothingAndWaitsUntilAllHasLeft) {
  Chargen service({}), sized({.message_bytes = 100'000});
  Chargen::Session session, other;
  Said said;
  EXPECT_EQ(service.OnOpen(session, said), 0u);
  ASSERT_EQ(said.stable.size(), 1u);
  EXPECT_EQ(service.OnReceive(session, io::AsBytes("more!"), said), 0u);
  EXPECT_EQ(said.stable.size(), 1u);
  EXPECT_EQ(service.OnDrained(session, said), 1u);
  ASSERT_EQ(said.stable.size(), 2u);
  EXPECT_EQ(said.stable[0].data(), said.stable[1].data());
  EXPECT_EQ(said.stable[0].size() % Chargen::kPeriod, 0u);
  EXPECT_EQ(Chargen::kRequest, std::to_string(said.stable[0].size()) + " bytes");
  EXPECT_TRUE(said.writes.empty());
  uint64_t requests = sized.OnOpen(other, said);
  for (int i = 0; i < 100; ++i) requests += sized.OnDrained(other, said);
  EXPECT_EQ(requests, 100 * said.stable[0].size() / 100'000);
}

TEST(DelayService, EchoesLater) {
  DelayedEcho service({.message_bytes = 2, .delay = {.a = std::chrono::milliseconds(7)}});
  DelayedEcho::Session session;
  Said said;
  EXPECT_EQ(service.OnOpen(session, said), 0u);
  EXPECT_EQ(service.OnReceive(session, io::AsBytes("abc"), said), 1u);
  EXPECT_EQ(service.OnReceive(session, io::AsBytes("d"), said), 1u);
  const std::vector<std::pair<std::chrono::nanoseconds, std::string>> expected = {
      {std::chrono::milliseconds(7), "abc"}, {std::chrono::milliseconds(7), "d"}};
  EXPECT_EQ(said.later, expected);
  EXPECT_TRUE(said.writes.empty());
}

TEST(DelayService, DrawsEachDelay) {
  const Delay delay = {Delay::kUniform, std::chrono::milliseconds(1), std::chrono::milliseconds(2)};
  DelayedEcho service({.delay = delay});
  DelayedEcho::Session session;
  Said said;
  std::set<std::chrono::nanoseconds> seen;
  for (int i = 0; i < 1000; ++i) service.OnReceive(session, io::AsBytes("x"), said);
  for (const auto& [after, text] : said.later) {
    EXPECT_GE(after, delay.a);
    EXPECT_LE(after, delay.b);
    seen.insert(after);
  }
  EXPECT_GT(seen.size(), 990u);
}

// Answers a datagram; the answer may have `limit` bytes.
struct Answer : Said {
  size_t limit = 1400;
  uint32_t requests = 0;
  size_t room() const { return limit; }
};

Answer Ask(auto& service, std::string_view datagram, size_t limit = 1400) {
  Answer answer;
  answer.limit = limit;
  answer.requests = service.OnDatagram(io::AsBytes(datagram), answer);
  EXPECT_LE(answer.writes.size() + answer.later.size(), 1u);
  EXPECT_TRUE(answer.stable.empty());
  return answer;
}

TEST(Datagrams, AreEchoedCountedGreetedRepliedToAndDiscarded) {
  using Texts = std::vector<std::string>;
  Echo echo({.message_bytes = 64});
  EXPECT_EQ(Ask(echo, "a datagram").writes, Texts{"a datagram"});
  EXPECT_EQ(Ask(echo, "").writes, Texts{""});
  EXPECT_EQ(Ask(echo, "x").requests, 1u);
  Counter counter({});
  EXPECT_EQ(Ask(counter, "no line feed").writes, Texts{"1\n"});
  EXPECT_EQ(Ask(counter, "three\nlines\n\n").writes, Texts{"2\n"});
  EXPECT_EQ(Ask(counter, std::string(2 * Counter::kLineBytesMax, 'x')).writes, Texts{"3\n"});
  EXPECT_EQ(Ask(counter, "").requests, 1u);
  Greet greet({});
  EXPECT_EQ(Ask(greet, "").writes, Texts{"server> You've reached me 1 time(s)\n"});
  EXPECT_EQ(Ask(greet, "?").writes, Texts{"server> You've reached me 2 time(s)\n"});
  EXPECT_EQ(Ask(greet, "?").requests, 1u);
  FixedReply reply({.message_bytes = 64, .text = "so it is"});
  EXPECT_EQ(Ask(reply, "?").writes, Texts{"so it is"});
  EXPECT_EQ(Ask(reply, std::string(1000, '?')).requests, 1u);
  Discard discard({.message_bytes = 64});
  EXPECT_TRUE(Ask(discard, "?").writes.empty());
  EXPECT_EQ(Ask(discard, "?").requests, 1u);
}

TEST(Datagrams, AreEchoedLater) {
  DelayedEcho service({.delay = {.a = std::chrono::seconds(1)}});
  const Answer answer = Ask(service, "wait");
  ASSERT_EQ(answer.later.size(), 1u);
  EXPECT_EQ(answer.later[0].first, std::chrono::seconds(1));
  EXPECT_EQ(answer.later[0].second, "wait");
  EXPECT_TRUE(answer.writes.empty());
  EXPECT_EQ(answer.requests, 1u);
}

TEST(Datagrams, GetUpTo512CharactersAsFarAsThereIsRoom) {
  Chargen service({});
  size_t shortest = 512, longest = 0;
  for (int i = 0; i < 10'000; ++i) {
    const Answer answer = Ask(service, "x");
    ASSERT_EQ(answer.writes.size(), 1u);
    const std::string& text = answer.writes[0];
    EXPECT_EQ(text, Characters(0, text.size()));
    shortest = std::min(shortest, text.size());
    longest = std::max(longest, text.size());
  }
  EXPECT_EQ(shortest, 0u);
  EXPECT_EQ(longest, 512u);
  longest = 0;
  for (int i = 0; i < 1000; ++i) {
    const Answer answer = Ask(service, "x", 100);
    EXPECT_EQ(answer.requests, 1u);
    longest = std::max(longest, answer.writes[0].size());
  }
  EXPECT_EQ(longest, 100u);
  EXPECT_EQ(Ask(service, "", 0).writes[0], "");
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

template <class Client>
std::vector<std::byte> Requests(Client& client, typename Client::Session& session, size_t bytes) {
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

TEST(ReplyClient, CountsTextsHoweverTheyArrive) {
  std::string all;
  for (int i = 0; i < 100; ++i) all += "I got your message";
  for (const size_t piece : {1, 17, 18, 19, 1000}) {
    FixedReply::Client client({.message_bytes = 64});
    FixedReply::Client::Session session;
    client.OnOpen(session, 0);
    uint32_t replies = 0;
    for (size_t at = 0; at < all.size(); at += piece) {
      const Received received = client.OnReceive(session, io::AsBytes(all.substr(at, piece)));
      replies += received.replies;
      EXPECT_EQ(received.corrupt_bytes, 0u);
    }
    EXPECT_EQ(replies, 100u);
  }
}

TEST(ReplyClient, SendsWhatAnEchosWould) {
  FixedReply::Client client({.message_bytes = 64});
  FixedReply::Client::Session session;
  Echo::Client echo({.message_bytes = 64});
  Echo::Client::Session same;
  client.OnOpen(session, 11);
  echo.OnOpen(same, 11);
  EXPECT_EQ(Requests(client, session, 10'000), Requests(echo, same, 10'000));
}

TEST(ReplyClient, FindsAnythingButTheText) {
  FixedReply::Client client({.message_bytes = 64, .text = "abc"});
  FixedReply::Client::Session session;
  Received received = client.OnReceive(session, io::AsBytes("abca"));
  EXPECT_EQ(received.replies, 1u);
  EXPECT_EQ(received.corrupt_bytes, 0u);
  received = client.OnReceive(session, io::AsBytes("Bcabcabc"));
  EXPECT_EQ(received.replies, 3u);
  EXPECT_EQ(received.corrupt_bytes, 1u);
  EXPECT_EQ(received.corrupt_offset, 4u);
  EXPECT_EQ(received.expected, 'b');
  EXPECT_EQ(received.got, 'B');
  received = client.OnReceive(session, io::AsBytes("ab"
                                                   "abc"));  // one byte is lost
  EXPECT_EQ(received.replies, 1u);
  EXPECT_EQ(received.corrupt_bytes, 3u);
  EXPECT_EQ(received.corrupt_offset, 14u);
  client.OnOpen(session = {}, 0);
  received = client.OnReceive(session, io::AsBytes("abc\n"));  // a line feed was added
  EXPECT_EQ(received.replies, 1u);
  EXPECT_EQ(received.corrupt_offset, 3u);
}

TEST(DiscardClient, TakesAnythingThatComesAsASurplus) {
  Discard::Client client({.message_bytes = 64});
  Discard::Client::Session session;
  client.OnOpen(session, 2);
  EXPECT_EQ(Requests(client, session, 640).size(), 640u);
  EXPECT_GT(client.OnReceive(session, io::AsBytes("x")).replies, 0u);
}

TEST(ChargenClient, VerifiesTheStreamHoweverItArrives) {
  const std::string all = Characters(0, 400'000);
  for (const size_t piece : {1000, 63'270, 65'536, 400'000}) {
    Chargen::Client client({.message_bytes = 1000});
    Chargen::Client::Session session;
    client.OnOpen(session, 0);
    EXPECT_TRUE(client.Next(session, 100).empty());
    uint32_t replies = 0;
    for (size_t at = 0; at < all.size(); at += piece) {
      const Received received = client.OnReceive(session, io::AsBytes(all.substr(at, piece)));
      replies += received.replies;
      EXPECT_EQ(received.corrupt_bytes, 0u) << piece;
    }
    EXPECT_EQ(replies, 400u);
  }
}

TEST(ChargenClient, FindsCorruptLostAndDoubledBytes) {
  const std::string all = Characters(0, 200'000);
  Chargen::Client client({.message_bytes = 64});
  Chargen::Client::Session session;
  for (const size_t at : {0, 71, 72, 63'269, 63'270, 130'000}) {
    client.OnOpen(session = {}, 0);
    std::string changed = all;
    changed[at] ^= 0x20;
    Received received = client.OnReceive(session, io::AsBytes(changed));
    EXPECT_EQ(received.corrupt_bytes, 1u);
    EXPECT_EQ(received.corrupt_offset, at);
    EXPECT_EQ(received.expected, all[at]);
    EXPECT_EQ(received.got, changed[at]);

    client.OnOpen(session = {}, 0);
    received = client.OnReceive(session, io::AsBytes(std::string(all).erase(at, 1)));
    EXPECT_GT(received.corrupt_bytes, (all.size() - at) / 2) << "a lost byte at " << at;
    EXPECT_EQ(received.corrupt_offset, at);

    client.OnOpen(session = {}, 0);
    received = client.OnReceive(session, io::AsBytes(std::string(all).insert(at, 1, all[at])));
    EXPECT_GT(received.corrupt_bytes, (all.size() - at) / 2) << "a doubled byte at " << at;
    EXPECT_EQ(received.corrupt_offset, at + 1);
  }
}

TEST(DelayClient, FindsRepliesThatCameTooEarly) {
  using std::chrono::milliseconds;
  DelayedEcho::Client client({.message_bytes = 64, .delay = {.a = milliseconds(5)}});
  client.OnLatency(5'000'000);
  EXPECT_EQ(client.tally.Problem(), "");
  client.OnLatency(4'999'999);
  client.OnLatency(3);
  client.OnLatency(4);
  EXPECT_EQ(client.tally.Problem(),
            "3 replies came before the delay of 5000000 ns had passed, the earliest after 3 ns");
  DelayedEcho::Tally all;
  all.Merge(client.tally);
  all.Merge(DelayedEcho::Tally());
  EXPECT_EQ(all.Problem(), client.tally.Problem());
  DelayedEcho::Client random(
      {.message_bytes = 64, .delay = {Delay::kExponential, milliseconds(5)}});
  random.OnLatency(0);
  EXPECT_EQ(random.tally.Problem(), "");  // it may well have drawn 0
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
