#include "io/http_get.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <sys/socket.h>

#include <algorithm>
#include <string>
#include <vector>

#include "io/http_response.h"
#include "io/sockets.h"
#include "tests/unit/page_server.h"

namespace io {
namespace {

constexpr HttpLimits kPatient = {.timeout_ns = 60'000'000'000};  // ends a hang

struct Read {
  absl::StatusCode code;
  int status = 0;
  std::string body;
  friend bool operator==(const Read&, const Read&) = default;
};

void PrintTo(const Read& read, std::ostream* out) {
  *out << static_cast<int>(read.code) << " " << read.status << " '" << read.body << "'";
}

// What is read of a response that comes in pieces of so many bytes, and then ends.
Read ReadInPieces(std::string_view bytes, size_t piece, size_t head_max = 200,
                  size_t body_max = 50) {
  HttpResponse response(head_max, body_max);
  absl::Status status;
  while (status.ok() && !bytes.empty() && !response.complete()) {
    status = response.Add(bytes.substr(0, piece));
    bytes.remove_prefix(std::min(piece, bytes.size()));
  }
  if (status.ok()) status = response.End();
  if (!status.ok()) return {status.code(), 0, ""};
  return {status.code(), response.status(), response.body()};
}

void ExpectRead(const std::string& bytes, const Read& expected) {
  for (const size_t piece : {size_t{1}, size_t{2}, size_t{7}, bytes.size() + 1}) {
    EXPECT_EQ(ReadInPieces(bytes, piece), expected) << bytes << "\nin pieces of " << piece;
  }
}

const absl::StatusCode kOk = absl::StatusCode::kOk, kLoss = absl::StatusCode::kDataLoss,
                       kTooLarge = absl::StatusCode::kResourceExhausted;

TEST(HttpResponse, EndsWhereItsHeadSays) {
  ExpectRead("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcde", {kOk, 200, "abc"});
  ExpectRead("HTTP/1.0 200 OK\nX: y\n\nall of it", {kOk, 200, "all of it"});
  ExpectRead("HTTP/1.1 200\r\ncontent-length:0\r\n\r\n", {kOk, 200, ""});
  ExpectRead("HTTP/1.1 204 No Content\r\n\r\n", {kOk, 204, ""});
  ExpectRead("HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno", {kOk, 404, "no"});
  ExpectRead("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx",
             {kOk, 200, "x"});
}

TEST(HttpResponse, ReadsChunks) {
  const std::string head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n";
  ExpectRead(head + "3\r\nabc\r\nA;x=y\r\n0123456789\r\n0\r\nTrailer: t\r\n\r\n",
             {kOk, 200, "abc0123456789"});
  ExpectRead(head + "0\r\n\r\n", {kOk, 200, ""});
  ExpectRead(head + "3\r\nab", {kLoss});
  ExpectRead(head + "3\r\nabcd\r\n", {kLoss});
  ExpectRead(head + "x\r\n", {kLoss});
  ExpectRead(head + "-1\r\n", {kLoss});
  ExpectRead(head + "\r\n", {kLoss});
  ExpectRead(head + "3\r\nabc\r\n", {kLoss});
  ExpectRead(head + "fffffffffffffffff\r\n", {kLoss});
  ExpectRead(head + "ffffffffffffffff\r\n" + std::string(60, 'x'), {kTooLarge});
  std::string many = head;
  for (int i = 0; i < 60; ++i) many += "1\r\nx\r\n";
  ExpectRead(many, {kTooLarge});
}

TEST(HttpResponse, RefusesWhatIsNone) {
  ExpectRead("", {kLoss});
  ExpectRead("HTTP/1.1 200 OK\r\n", {kLoss});
  ExpectRead("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab", {kLoss});
  for (const char* line : {"SSH-2.0-x", "HTTP/2 200 OK", "HTTP/1.1 20 OK", "HTTP/1.1 2000",
                           "HTTP/1.1 099 x", "HTTP/1.1  200", "HTTP/1.1 +20", ""}) {
    ExpectRead(std::string(line) + "\r\n\r\n", {kLoss});
  }
  for (const char* field : {"no colon", "Content-Length: x", "Content-Length: -1",
                            "Content-Length:", "Content-Length: 1\r\nContent-Length: 2",
                            "Content-Length: 99999999999999999999", "Transfer-Encoding: gzip"}) {
    ExpectRead("HTTP/1.1 200 OK\r\n" + std::string(field) + "\r\n\r\nab", {kLoss});
  }
}

TEST(HttpResponse, IsNoLongerThanItMayBe) {
  ExpectRead("HTTP/1.1 200 OK\r\n\r\n" + std::string(50, 'x'), {kOk, 200, std::string(50, 'x')});
  ExpectRead("HTTP/1.1 200 OK\r\n\r\n" + std::string(51, 'x'), {kTooLarge});
  ExpectRead("HTTP/1.1 200 OK\r\nContent-Length: 51\r\n\r\n", {kTooLarge});
  ExpectRead("HTTP/1.1 200 OK\r\nX: " + std::string(200, 'x') + "\r\n\r\n", {kTooLarge});
  ExpectRead(std::string(201, 'x'), {kTooLarge});
}

// However it is cut, the same is read; and nothing crashes.
TEST(HttpResponse, DoesNotDependOnThePieces) {
  const std::vector<std::string> parts = {"HTTP/1.1 200 OK\r\n",
                                          "Content-Length: 5\r\n",
                                          "Transfer-Encoding: chunked\r\n",
                                          "\r\n",
                                          "\n",
                                          "5\r\n",
                                          "hello",
                                          "0\r\n",
                                          "X: y\r\n",
                                          "HTTP/1.1 100 C\r\n"};
  rc::check([&] {
    std::string bytes;
    const auto picks = *rc::gen::container<std::vector<size_t>>(rc::gen::inRange<size_t>(0, 12));
    for (const size_t pick : picks) {
      bytes += pick < parts.size() ? parts[pick] : *rc::gen::arbitrary<std::string>();
    }
    const auto piece = *rc::gen::inRange<size_t>(1, 40);
    RC_ASSERT(ReadInPieces(bytes, piece) == ReadInPieces(bytes, 1));
  });
}

TEST(HttpGet, GetsAPage) {
  PageServer server([](int fd, int number) {
    PageServer::Send(fd, number == 0 ? "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nm 1\n"
                                     : "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
                                       "4\r\nm 2\n\r\n0\r\n\r\n");
  });
  const auto first = HttpGet(server.at(), "/metrics", kPatient);
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_EQ(*first, "m 1\n");
  const auto second = HttpGet(server.at(), "/metrics", kPatient);
  ASSERT_TRUE(second.ok()) << second.status();
  EXPECT_EQ(*second, "m 2\n");
}

// It doesn't wait for an end of the connection that the answer doesn't need.
TEST(HttpGet, ReadsASlowPageToItsEnd) {
  PageServer server([](int fd, int) {
    for (const char c : std::string_view("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc")) {
      PageServer::Send(fd, {&c, 1});
    }
    PageServer::AwaitEnd(fd);
  });
  const auto page = HttpGet(server.at(), "/", kPatient);
  ASSERT_TRUE(page.ok()) << page.status();
  EXPECT_EQ(*page, "abc");
}

absl::Status Error(const PageServer::Answer& answer, const HttpLimits& limits = kPatient) {
  PageServer server(answer);
  const auto page = HttpGet(server.at(), "/metrics", limits);
  EXPECT_NE(page.status().message().find(server.at().ToString()), std::string::npos)
      << page.status();
  return page.status();
}

TEST(HttpGet, SaysWhatWentWrong) {
  EXPECT_EQ(Error([](int fd, int) { PageServer::Send(fd, "what?\r\n"); }).code(), kLoss);
  EXPECT_EQ(Error([](int, int) {}).code(), kLoss);
  EXPECT_EQ(Error([](int fd, int) { ResetOnClose(fd); }).code(), absl::StatusCode::kUnavailable);
  const absl::Status missing = Error(
      [](int fd, int) { PageServer::Send(fd, "HTTP/1.1 404 x\r\nContent-Length: 0\r\n\r\n"); });
  EXPECT_EQ(missing.code(), absl::StatusCode::kNotFound);
  EXPECT_NE(missing.message().find("404"), std::string::npos) << missing;
  const absl::Status large = Error(
      [](int fd, int) {
        PageServer::Send(fd, "HTTP/1.1 200 OK\r\n\r\n" + std::string(4 << 20, 'x'));
      },
      {.timeout_ns = kPatient.timeout_ns, .body_max = 1 << 20});
  EXPECT_EQ(large.code(), kTooLarge);
}

TEST(HttpGet, WaitsNoLongerThanItMay) {
  const absl::Status silent =
      Error([](int fd, int) { PageServer::AwaitEnd(fd); }, {.timeout_ns = 20'000'000});
  EXPECT_EQ(silent.code(), absl::StatusCode::kDeadlineExceeded);
  const absl::Status cut = Error(
      [](int fd, int) {
        PageServer::Send(fd, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc");
        PageServer::AwaitEnd(fd);
      },
      {.timeout_ns = 20'000'000});
  EXPECT_EQ(cut.code(), absl::StatusCode::kDeadlineExceeded);
}

TEST(HttpGet, SaysWhereNobodyListens) {
  Endpoint gone;
  {
    PageServer server([](int, int) {});
    gone = server.at();
  }
  const auto page = HttpGet(gone, "/", kPatient);
  EXPECT_EQ(page.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_NE(page.status().message().find("ECONNREFUSED"), std::string::npos) << page.status();
}

TEST(HttpGet, RefusesWhatCantBeAsked) {
  const auto code = [](const char* at, const char* path) {
    return HttpGet(*Resolve(at), path).status().code();
  };
  EXPECT_EQ(code("udp://127.0.0.1:9", "/"), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code("unix-seqpacket:@x", "/"), absl::StatusCode::kInvalidArgument);
  for (const char* path : {"", "metrics", "/a b", "/a\r\nHost: b", "/\x7f"}) {
    EXPECT_EQ(code("127.0.0.1:9", path), absl::StatusCode::kInvalidArgument) << path;
  }
}

}  // namespace
}  // namespace io
