#include "io/endpoint.h"

#include <gtest/gtest.h>

#include <string>

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
      {"unix:/tmp/socket", "unix: addresses are not supported"},
      {"udp:127.0.0.1:9", "udp: addresses are not supported"},
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

}  // namespace
}  // namespace io
