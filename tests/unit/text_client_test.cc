#include "loadgen/text_client.h"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <string_view>
#include <vector>

namespace loadgen {
namespace {

using services::Received;

// Feeds a stream in pieces that end at `cuts`, ascending; adds up what came of it. The first
// corruption is kept.
Received Feed(TextClient& client, TextClient::Session& session, std::string_view stream,
              const std::vector<size_t>& cuts) {
  Received all;
  size_t begin = 0;
  const auto feed = [&](size_t end) {
    // A copy of its own size, so that a read beyond a piece's end is found.
    const std::vector<char> piece(stream.begin() + begin, stream.begin() + end);
    const Received got = client.OnReceive(session, io::AsBytes({piece.data(), piece.size()}));
    if (all.corrupt_bytes == 0) {
      all.corrupt_offset = got.corrupt_offset;
      all.expected = got.expected;
      all.got = got.got;
    }
    all.corrupt_bytes += got.corrupt_bytes;
    all.replies += got.replies;
    begin = end;
  };
  for (const size_t cut : cuts) feed(cut);
  feed(stream.size());
  return all;
}

Received Feed(const TextOptions& options, std::string_view stream,
              const std::vector<size_t>& cuts = {}) {
  EXPECT_EQ(options.Check().message(), "");
  TextClient client(options);
  TextClient::Session session;
  client.OnOpen(session, 0);
  return Feed(client, session, stream, cuts);
}

// Every way to cut a stream in two, and many ways to cut it into more.
void ExpectHoweverCut(const TextOptions& options, const std::string& stream, uint32_t replies) {
  for (size_t cut = 0; cut <= stream.size(); ++cut) {
    const Received got = Feed(options, stream, {cut});
    ASSERT_EQ(got.replies, replies) << cut;
    ASSERT_EQ(got.corrupt_bytes, 0u) << cut;
  }
  std::mt19937 random(7);
  for (int run = 0; run < 300; ++run) {
    std::vector<size_t> cuts;
    for (size_t at = 0; at < stream.size(); ++at) {
      if (random() % (1 + run % 7) == 0) cuts.push_back(at);
    }
    const Received got = Feed(options, stream, cuts);
    ASSERT_EQ(got.replies, replies) << run;
    ASSERT_EQ(got.corrupt_bytes, 0u) << run;
  }
}

TextOptions Until(std::string until, uint64_t count = 1) {
  return {.request = "PING\r\n", .end = {.until = std::move(until), .count = count}};
}

TEST(TextClient, FindsRepliesHoweverTheyAreCut) {
  ExpectHoweverCut(Until("\r\n"), "+PONG\r\n\r\n$3\r\rab\r\r\n-ERR\n\r\nunfinished\r", 4);
  ExpectHoweverCut(Until("\n"), "a\n\nbcd\ne", 3);
  ExpectHoweverCut(Until(std::string("\0\0", 2)), std::string("a\0b\0\0\0\0c\0", 9), 2);
}

TEST(TextClient, FindsTerminatorsThatOverlapThemselves) {
  ExpectHoweverCut(Until("aab"), "aaabxaabaaaab", 3);
  ExpectHoweverCut(Until("abab"), "abaababababab", 2);  // the occurrences don't overlap
  ExpectHoweverCut(Until("aaa"), "aaaaaaaa", 2);
  ExpectHoweverCut(Until("abcabd"), "abcabcabdabcabcabcabd", 2);
  ExpectHoweverCut(Until("\r\n\r\n"), "HTTP/1.1 200 OK\r\nA: b\r\n\r\n\r\r\n\r\r\n\r\n", 2);
}

// The reference: the occurrences by searching the whole stream.
TEST(TextClient, AgreesWithASearchOfTheWholeStream) {
  std::mt19937 random(3);
  for (int run = 0; run < 3000; ++run) {
    std::string until, stream;
    for (size_t i = 1 + random() % 6; i > 0; --i) until += static_cast<char>('a' + random() % 2);
    for (size_t i = random() % 80; i > 0; --i) stream += static_cast<char>('a' + random() % 2);
    const uint64_t count = 1 + random() % 3;
    uint64_t found = 0;
    for (size_t at = 0; (at = stream.find(until, at)) != std::string::npos; at += until.size()) {
      ++found;
    }
    std::vector<size_t> cuts;
    for (size_t at = 0; at < stream.size(); ++at) {
      if (random() % 3 == 0) cuts.push_back(at);
    }
    EXPECT_EQ(Feed(Until(until, count), stream, cuts).replies, found / count)
        << until << " x " << count << " in " << stream;
  }
}

TEST(TextClient, CountsTerminatorsAndBytes) {
  ExpectHoweverCut(Until("\r\n", 2), "$5\r\nhello\r\n$0\r\n\r\n$2\r\nhi", 2);
  const TextOptions sized = {.request = "x", .end = {.bytes = 5}};
  ExpectHoweverCut(sized, "12345123451234", 2);
  ExpectHoweverCut({.request = "x", .end = {.bytes = 1}}, "123", 3);
  const uint64_t beyond = uint64_t{1} << 40;
  ExpectHoweverCut({.request = "x", .end = {.bytes = beyond}}, "123", 0);
}

TEST(TextClient, VerifiesWhatRepliesAre) {
  TextOptions options = Until("\r\n");
  options.is = "+PONG\r\n";
  ExpectHoweverCut(options, "+PONG\r\n+PONG\r\n+PO", 2);
  ExpectHoweverCut({.request = "x", .is = "hello"}, "hellohellohel", 2);
  options.is.clear();
  options.prefix = "+";
  ExpectHoweverCut(options, "+PONG\r\n+\r\n+anything\r\n", 3);
  options.prefix = "+OK\r\n";  // may be all of it
  ExpectHoweverCut(options, "+OK\r\n+OK\r\n", 2);
}

TEST(TextClient, FindsWrongReplies) {
  TextOptions options = Until("\r\n");
  options.is = "+PONG\r\n";
  const std::string stream = "+PONG\r\n+PINGS\r\n+PONG\r\n";
  for (size_t cut = 0; cut <= stream.size(); ++cut) {
    const Received got = Feed(options, stream, {cut});
    EXPECT_EQ(got.replies, 3u);
    // I for O, S CR for CR LF, and an LF that is too many.
    EXPECT_EQ(got.corrupt_bytes, 4u) << cut;
    EXPECT_EQ(got.corrupt_offset, 9u) << cut;
    EXPECT_EQ(got.expected, 'O');
    EXPECT_EQ(got.got, 'I');
  }
  const Received shorter = Feed(options, "+PO\r\n+PONG\r\n");
  EXPECT_EQ(shorter.replies, 2u);
  EXPECT_EQ(shorter.corrupt_bytes, 2u);
  EXPECT_EQ(shorter.corrupt_offset, 3u);
  EXPECT_EQ(shorter.expected, 'N');
  EXPECT_EQ(shorter.got, '\r');
  options.is.clear();
  options.prefix = "+OK";
  const Received error = Feed(options, "+OK 1\r\n-ERR\r\n", {8});
  EXPECT_EQ(error.replies, 2u);
  EXPECT_EQ(error.corrupt_bytes, 3u);
  EXPECT_EQ(error.corrupt_offset, 7u);
  EXPECT_EQ(error.expected, '+');
  EXPECT_EQ(error.got, '-');
}

TEST(TextClient, SendsTheRequestOverAndOver) {
  for (const std::string& request : {std::string("GET\r\n"), std::string(100'000, 'x') + "\n"}) {
    TextClient client({.request = request, .end = {.until = "\n"}});
    TextClient::Session session, other;
    client.OnOpen(session, 0);
    client.OnOpen(other, 1);
    EXPECT_EQ(client.message_bytes(), request.size());
    std::string sent, expected;
    std::mt19937 random(1);
    while (sent.size() < 3 * request.size() + 200'000) {
      const size_t most = 1 + random() % 90'000;
      const services::Bytes out = client.Next(session, most);
      ASSERT_GT(out.size(), 0u);
      ASSERT_LE(out.size(), most);
      sent += io::AsText(out);
    }
    while (expected.size() < sent.size()) expected += request;
    EXPECT_TRUE(sent == expected.substr(0, sent.size()));
    EXPECT_EQ(io::AsText(client.Next(other, 3)), request.substr(0, 3));
    EXPECT_EQ(io::AsText(client.Next(other, request.size() - 3)), request.substr(3));
    EXPECT_EQ(io::AsText(client.Next(other, request.size())), request);
  }
}

TEST(TextClient, TakesADatagramForOneWholeReply) {
  TextOptions options = Until("\n");
  options.prefix = "+";
  TextClient client(options);
  const auto datagram = [&](std::string_view text) { return client.OnDatagram(io::AsBytes(text)); };
  EXPECT_EQ(datagram("+1\n").replies, 1u);
  EXPECT_EQ(datagram("+1\n").corrupt_bytes, 0u);
  for (const char* wrong : {"", "+1", "+1\n+2\n", "+1\n+", "-\n"}) {
    EXPECT_GT(datagram(wrong).corrupt_bytes, 0u) << wrong;
  }
}

TEST(TextOptions, SaysWhatIsWrong) {
  const auto problem = [](const TextOptions& options) {
    return std::string(options.Check().message());
  };
  EXPECT_EQ(problem(Until("\n")), "");
  EXPECT_EQ(problem({.end = {.until = "\n"}}),
            "the request is empty; give one such as --request 'PING\\r\\n'");
  EXPECT_EQ(problem({.request = "x"}),
            "nothing says where a reply ends; give --reply-until with its last characters, or "
            "--reply-bytes");
  EXPECT_EQ(problem({.request = "x", .end = {.until = "\n", .bytes = 3}}),
            "a reply would end in two ways; give --reply-until or --reply-bytes, not both");
  EXPECT_EQ(problem(Until("\n", 0)),
            "a reply would have no end at all; give a --reply-count of 1 or more");
  EXPECT_EQ(problem({.request = "x", .end = {.count = 2, .bytes = 5}}),
            "--reply-count has nothing to count; give --reply-until with it");
  TextOptions both = Until("\n");
  both.is = both.prefix = "a\n";
  EXPECT_EQ(problem(both), "a reply can't be held to two texts; give --reply-is or --reply-prefix");
  for (const char* is : {"a", "a\nb", "a\nb\n"}) {
    TextOptions options = Until("\n");
    options.is = is;
    EXPECT_EQ(problem(options),
              "no reply could be what --reply-is says, as replies end elsewhere; let it end as a "
              "reply does, and nowhere before");
  }
  TextOptions twice = Until("\n", 2);
  twice.is = "a\nb\n";
  EXPECT_EQ(problem(twice), "");
  TextOptions prefixed = Until("\n");
  prefixed.prefix = "a\nb";
  EXPECT_EQ(problem(prefixed),
            "no reply could begin with what --reply-prefix says, as it would end before; give a "
            "shorter one");
  EXPECT_NE(problem({.request = "x", .end = {.bytes = 2}, .prefix = "abc"}), "");
  EXPECT_NE(problem({.request = "x", .end = {.bytes = 2}, .is = "abc"}), "");
  EXPECT_EQ(problem({.request = "x", .end = {.bytes = 3}, .is = "abc"}), "");
}

}  // namespace
}  // namespace loadgen
