#include "server/http_request.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <string>
#include <variant>

namespace server::http_request_tests {
namespace {

using namespace std::string_literals;

std::string Parsed(const std::string& head) {
  const auto parsed = ParseHttpRequest(head);
  if (const auto* refusal = std::get_if<HttpRefusal>(&parsed)) {
    EXPECT_FALSE(refusal->why.empty());
    return std::to_string(refusal->status);
  }
  const auto& request = std::get<HttpRequest>(parsed);
  return (request.head ? "HEAD " : "GET ") + request.path;
}

TEST(HttpRequest, ReadsGetAndHead) {
  EXPECT_EQ(Parsed("GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n"), "GET /metrics");
  EXPECT_EQ(Parsed("HEAD / HTTP/1.1\r\nhOST:a\r\nX: \xff y\r\n\r\n"), "HEAD /");
  EXPECT_EQ(Parsed("GET /metrics HTTP/1.0\r\n\r\n"), "GET /metrics");
  EXPECT_EQ(Parsed("GET /metrics HTTP/1.0\n\n"), "GET /metrics");
  EXPECT_EQ(Parsed("\r\n\r\nGET /a HTTP/1.0\r\n\r\n"), "GET /a");
  EXPECT_EQ(Parsed("GET /a?b=c?d HTTP/1.0\r\n\r\n"), "GET /a");
  EXPECT_EQ(Parsed("GET http://host:1/a?b HTTP/1.0\r\n\r\n"), "GET /a");
  EXPECT_EQ(Parsed("GET http://host HTTP/1.0\r\n\r\n"), "GET /");
  EXPECT_EQ(Parsed("GET /%6d HTTP/1.0\r\n\r\n"), "GET /%6d");
  EXPECT_EQ(Parsed("GET / HTTP/1.9\r\nHost: a\r\n\r\n"), "GET /");
}

TEST(HttpRequest, RefusesWhatIsNoHttp) {
  const std::string bad_heads[] = {
      "\r\n\r\n",
      "GET\r\n\r\n",
      "GET /\r\n\r\n",
      "GET  / HTTP/1.0\r\n\r\n",
      "GET / HTTP/1.0 \r\n\r\n",
      "GET / HTTP/1.10\r\n\r\n",
      "GET / http/1.0\r\n\r\n",
      "GET / HTTP/x.0\r\n\r\n",
      "G@T / HTTP/1.0\r\n\r\n",
      " GET / HTTP/1.0\r\n\r\n",
      "GET metrics HTTP/1.0\r\n\r\n",
      "GET https://host/ HTTP/1.0\r\n\r\n",
      "GET / HTTP/1.1\r\n\r\n",
      "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
      "GET / HTTP/1.0\r\nno colon\r\n\r\n",
      "GET / HTTP/1.0\r\nHost : a\r\n\r\n",
      "GET / HTTP/1.0\r\n: a\r\n\r\n",
      "GET / HTTP/1.0\r\nA: b\r\n folded\r\n\r\n",
      "GET / HTTP/1.0\r\nA: b\rC: d\r\n\r\n",
      "GET / HTTP/1.0\r\nA: \0\r\n\r\n"s,
  };
  for (const std::string& head : bad_heads) EXPECT_EQ(Parsed(head), "400") << head;
  EXPECT_EQ(Parsed("GET / HTTP/2.0\r\nHost: a\r\n\r\n"), "505");
  EXPECT_EQ(Parsed("PRI * HTTP/2.0\r\n\r\n"), "505");
  for (const char* method : {"POST", "PUT", "DELETE", "OPTIONS", "TRACE", "CONNECT", "get", "X"}) {
    EXPECT_EQ(Parsed(std::string(method) + " /metrics HTTP/1.1\r\nHost: a\r\n\r\n"), "405");
  }
}

TEST(HttpRequest, HeadEndsAtTheFirstEmptyLine) {
  EXPECT_EQ(HttpHeadSize(""), 0u);
  EXPECT_EQ(HttpHeadSize("\r\n\r\n\r\n"), 0u);
  EXPECT_EQ(HttpHeadSize("GET / HTTP/1.0\r\n"), 0u);
  EXPECT_EQ(HttpHeadSize("GET / HTTP/1.0\r\n\r"), 0u);
  EXPECT_EQ(HttpHeadSize("a\r\n\r\nbody"), 5u);
  EXPECT_EQ(HttpHeadSize("a\n\nbody"), 3u);
  EXPECT_EQ(HttpHeadSize("a\n\r\nbody"), 4u);
  EXPECT_EQ(HttpHeadSize("\r\na\r\nb\r\n\r\n"), 10u);
}

TEST(HttpRequest, AnyBytesAreReadOrRefused) {
  const bool holds = rc::check("no head is beyond the parser, cut anywhere", [] {
    const auto piece = rc::gen::element<std::string>("GET", "HEAD", " ", "/", "/metrics",
                                                     "HTTP/1.1", "HTTP/", "\r\n", "\n", "\r", ":",
                                                     "Host: a", "http://", "?", "\0"s, "\xff", "A");
    std::string head;
    for (const auto& part : *rc::gen::container<std::vector<std::string>>(piece)) head += part;
    const size_t size = HttpHeadSize(head);
    RC_ASSERT(size <= head.size());
    const auto parsed = ParseHttpRequest(std::string_view(head).substr(0, size));
    if (const auto* request = std::get_if<HttpRequest>(&parsed)) {
      RC_ASSERT(size > 0u);
      RC_ASSERT(request->path.starts_with("/"));
    }
  });
  EXPECT_TRUE(holds);
}

TEST(HttpReply, SaysHowLongItIsAndThatTheConnectionCloses) {
  const HttpReply reply = {.status = 200, .content_type = "text/x", .body = "four"};
  const std::string head =
      "HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Type: text/x\r\n"
      "Content-Length: 4\r\nCache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n"
      "Connection: close\r\n\r\n";
  EXPECT_EQ(HttpReplyText(reply, /*head=*/false, 784111777), head + "four");
  EXPECT_EQ(HttpReplyText(reply, /*head=*/true, 784111777), head);
  const std::string refused = HttpReplyText({.status = 405}, false, 0);
  EXPECT_NE(refused.find("405 Method Not Allowed\r\n"), std::string::npos);
  EXPECT_NE(refused.find("\r\nAllow: GET, HEAD\r\n"), std::string::npos);
}

}  // namespace
}  // namespace server::http_request_tests
