#include "io/endpoint.h"

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <vector>

#include "io/resolve.h"

namespace io {
namespace {

std::string Resolved(const std::string& text) {
  const auto endpoint = Resolve(text);
  return endpoint.ok() ? endpoint->ToString() : endpoint.status().ToString();
}

TEST(Resolve, ReadsWhatPeopleType) {
  EXPECT_EQ(Resolved("9999"), "127.0.0.1:9999");
  EXPECT_EQ(Resolved(":9999"), "127.0.0.1:9999");
  EXPECT_EQ(Resolved("127.0.0.1:9999"), "127.0.0.1:9999");
  EXPECT_EQ(Resolved("0.0.0.0:1"), "0.0.0.0:1");
  EXPECT_EQ(Resolved("[::1]:9999"), "[::1]:9999");
  EXPECT_EQ(Resolved("[::]:65535"), "[::]:65535");
  EXPECT_EQ(Resolved("localhost:80"), "127.0.0.1:80");
  EXPECT_EQ(Resolved("tcp://127.0.0.1:9999"), "127.0.0.1:9999");
  EXPECT_EQ(Resolved("0"), "127.0.0.1:0");
}

TEST(Resolve, ReadsTransports) {
  EXPECT_EQ(Resolved("udp://9999"), "udp://127.0.0.1:9999");
  EXPECT_EQ(Resolved("udp:[::1]:7"), "udp://[::1]:7");
  EXPECT_EQ(Resolved("mptcp://9999"), "mptcp://127.0.0.1:9999");
  EXPECT_EQ(Resolved("*:9999"), "*:9999");
  EXPECT_EQ(Resolved("udp://*:9999"), "udp://*:9999");
  EXPECT_EQ(Resolved("unix:/run/x.sock"), "unix:/run/x.sock");
  EXPECT_EQ(Resolved("unix:///run/x.sock"), "unix:/run/x.sock");
  EXPECT_EQ(Resolved("unix:relative"), "unix:relative");
  EXPECT_EQ(Resolved("unix:@name"), "unix:@name");
  EXPECT_EQ(Resolved("unix-dgram:@name"), "unix-dgram:@name");
  EXPECT_EQ(Resolved("unix-seqpacket:/x"), "unix-seqpacket:/x");
}

TEST(Resolve, KnowsHowLongAUnixPathMayBe) {
  const std::string longest(107, 'p');
  EXPECT_EQ(Resolve("unix:" + longest)->path(), longest);
  EXPECT_EQ(Resolved("unix:@" + longest.substr(1)), "unix:@" + longest.substr(1));
  const auto too_long = Resolve("unix:" + longest + "p");
  ASSERT_FALSE(too_long.ok());
  EXPECT_NE(too_long.status().ToString().find("has 108 bytes, and a Unix socket's has 107"),
            std::string::npos)
      << too_long.status();
}

TEST(EndpointTest, KnowsItsTransport) {
  EXPECT_FALSE(Resolve("9999")->keeps_messages());
  EXPECT_TRUE(Resolve("udp://9999")->is_datagram());
  EXPECT_TRUE(Resolve("unix-dgram:@x")->is_datagram());
  EXPECT_TRUE(Resolve("unix-dgram:@x")->is_unix());
  EXPECT_FALSE(Resolve("unix-seqpacket:@x")->is_datagram());
  EXPECT_TRUE(Resolve("unix-seqpacket:@x")->keeps_messages());
  EXPECT_TRUE(Resolve("*:1")->dual_stack());
  EXPECT_TRUE(Resolve("*:1")->is_wildcard());
  EXPECT_FALSE(Resolve("[::]:1")->dual_stack());
  EXPECT_EQ(Resolve("unix:@x")->port(), 0);
  EXPECT_EQ(Resolve("unix:@x")->path(), "");
  EXPECT_EQ(Resolve("unix:/x")->path(), "/x");
}

TEST(Resolve, KnowsServicesByName) {
  const std::string resolved = Resolved("localhost:http-alt");
  if (resolved.find("/etc/services") != std::string::npos) GTEST_SKIP() << resolved;
  EXPECT_EQ(resolved, "127.0.0.1:8080");
}

struct Mistake {
  const char *text, *says;
};

TEST(Resolve, SaysWhatIsWrong) {
  constexpr Mistake kMistakes[] = {
      {"", "it is empty"},
      {"tcp://", "it is empty"},
      {"localhost", "the port is missing"},
      {"127.0.0.1:", "the port is missing"},
      {":", "the port is missing"},
      {"[::1]", "the port is missing"},
      {"[::1]:", "the port is missing"},
      {"[::1", "the ']' is missing"},
      {"::1:9999", "an IPv6 address needs brackets"},
      {"fe80::1:9999", "an IPv6 address needs brackets"},
      {"70000", "ports go from 0 to 65535"},
      {"127.0.0.1:65536", "ports go from 0 to 65535"},
      {"127.0.0.1:99999999999999999999", "ports go from 0 to 65535"},
      {"127.0.0.1:no-such-service", "no TCP service is called 'no-such-service'"},
      {"udp://127.0.0.1:no-such-service", "no UDP service is called 'no-such-service'"},
      {"unix:", "the path is missing"},
      {"unix:@", "the path is missing"},
      {"vsock:1", "vsock: addresses are not supported"},
      {"http://127.0.0.1:9", "http: addresses are not supported"},
  };
  for (const Mistake& mistake : kMistakes) {
    const auto endpoint = Resolve(mistake.text);
    ASSERT_FALSE(endpoint.ok()) << mistake.text << " is " << endpoint->ToString();
    EXPECT_EQ(endpoint.status().code(), absl::StatusCode::kInvalidArgument) << mistake.text;
    EXPECT_NE(endpoint.status().ToString().find(mistake.says), std::string::npos)
        << mistake.text << ": " << endpoint.status();
  }
}

TEST(Resolve, TellsThatAHostIsUnknown) {
  const auto endpoint = Resolve("no host has spaces:80");
  EXPECT_EQ(endpoint.status().code(), absl::StatusCode::kNotFound) << endpoint.status();
}

TEST(ParseNumeric, LooksNothingUp) {
  for (const std::string text : {"127.0.0.1:80", "[::1]:80", "*:80", "udp://[fe80::1%lo]:9",
                                 "mptcp://10.0.0.1:1", "unix:/run/x", "unix-dgram:@name"}) {
    const auto endpoint = ParseNumeric(text);
    ASSERT_TRUE(endpoint.ok()) << endpoint.status();
    EXPECT_EQ(endpoint->ToString(), text);
  }
  for (const std::string text :
       {"localhost:80", "127.0.0.1:http", "example.invalid:80", "", "\x1b[2J:80", "unix:"}) {
    EXPECT_EQ(ParseNumeric(text).status().code(), absl::StatusCode::kInvalidArgument) << text;
  }
}

TEST(EndpointTest, KnowsItsParts) {
  const Endpoint v4 = *Resolve("127.0.0.2:80"), v6 = *Resolve("[::1]:80");
  EXPECT_EQ(v4.family(), AF_INET);
  EXPECT_EQ(v6.family(), AF_INET6);
  EXPECT_EQ(v4.port(), 80);
  EXPECT_EQ(v6.port(), 80);
  EXPECT_TRUE(v4.is_loopback());
  EXPECT_TRUE(v6.is_loopback());
  EXPECT_FALSE(Resolve("10.0.0.1:80")->is_loopback());
  EXPECT_FALSE(Resolve("[::2]:80")->is_loopback());
  EXPECT_EQ(v4.WithPort(81).ToString(), "127.0.0.2:81");
  EXPECT_EQ(v6.WithPort(81).ToString(), "[::1]:81");
}

TEST(EndpointTest, ComparesAddressAndPort) {
  EXPECT_EQ(*Resolve("9999"), *Resolve("127.0.0.1:9999"));
  EXPECT_FALSE(*Resolve("9999") == *Resolve("9998"));
  EXPECT_FALSE(*Resolve("127.0.0.1:9999") == *Resolve("127.0.0.2:9999"));
  EXPECT_FALSE(*Resolve("127.0.0.1:9999") == *Resolve("[::1]:9999"));
}

// A link-local address is nothing without its interface, and reads back as it is printed.
TEST(Endpoint, ALinkLocalAddressHasItsInterface) {
  const auto bare = Resolve("[fe80::1]:9999");
  ASSERT_TRUE(absl::IsInvalidArgument(bare.status())) << bare.status();
  EXPECT_NE(std::string(bare.status().message()).find("[fe80::1%eth0]:9999"), std::string::npos)
      << bare.status();
  const auto scoped = Resolve("[fe80::1%lo]:9999");
  ASSERT_TRUE(scoped.ok()) << scoped.status();
  EXPECT_EQ(scoped->ToString(), "[fe80::1%lo]:9999");
  EXPECT_EQ(*Resolve(scoped->ToString()), *scoped);
}

TEST(ResolveAll, OfWhatIsNoNameIsOne) {
  for (const char* text : {"9999", "[::1]:9999", "*:9999", "unix:/run/x.sock", "udp://[::1]:9"}) {
    const auto all = ResolveAll(text);
    ASSERT_TRUE(all.ok()) << text;
    ASSERT_EQ(all->size(), 1u) << text;
    EXPECT_EQ(all->front(), *Resolve(text));
  }
  EXPECT_FALSE(ResolveAll("localhost").ok());
  const auto localhost = ResolveAll("localhost:9");
  ASSERT_TRUE(localhost.ok());
  EXPECT_EQ(localhost->front(), *Resolve("localhost:9"));
}

// Of several addresses the first that answers is taken; each one before it says why not.
TEST(FirstThatAnswers, GoesOnUntilOneDoes) {
  const int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  ASSERT_EQ(listen(listener, 4), 0);  // on a free port of every address
  const int taken = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in any = {};
  any.sin_family = AF_INET;
  ASSERT_EQ(bind(taken, reinterpret_cast<const sockaddr*>(&any), sizeof(any)), 0);  // no listener
  const Endpoint good = Resolve("127.0.0.1:1")->WithPort(LocalEndpoint(listener)->port());
  const Endpoint bad = Resolve("127.0.0.1:1")->WithPort(LocalEndpoint(taken)->port());
  const Answer answer = FirstThatAnswers({bad, bad, good, bad});
  EXPECT_EQ(answer.index, 2u);
  EXPECT_EQ(answer.errors, (std::vector<int>{ECONNREFUSED, ECONNREFUSED, 0}));
  const Answer none = FirstThatAnswers({bad, bad});
  EXPECT_EQ(none.index, 0u);
  EXPECT_FALSE(none.any());
  EXPECT_TRUE(FirstThatAnswers({bad}).any());  // there is no choice: it is for the run to say
  close(listener);
  close(taken);
}

}  // namespace
}  // namespace io
