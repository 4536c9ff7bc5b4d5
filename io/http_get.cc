#include "io/http_get.h"

#include <poll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "io/errors.h"
#include "io/http_response.h"
#include "io/sockets.h"

namespace io {
namespace {

int64_t Now() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1'000'000'000 + now.tv_nsec;
}

// One connection, for one request.
class Getter {
 public:
  Getter(const Endpoint& at, const HttpLimits& limits)
      : at_(at), limits_(limits), deadline_(Now() + limits.timeout_ns) {}
  ~Getter() {
    if (fd_ >= 0) close(fd_);
  }
  Getter(const Getter&) = delete;
  Getter& operator=(const Getter&) = delete;

  absl::StatusOr<std::string> Get(std::string_view path) {
    absl::Status status = Connect();
    if (status.ok()) status = SendAll(RequestText(path));
    if (!status.ok()) return status;
    HttpResponse response(limits_.head_max, limits_.body_max);
    status = Receive(response);
    if (!status.ok()) return status;
    if (response.status() == 200) return response.body();
    return absl::NotFoundError(absl::StrCat(at_.ToString(), ": the answer to GET ",
                                            std::string(path), " has the status ",
                                            response.status(), ", not 200"));
  }

 private:
  std::string RequestText(std::string_view path) const {
    const std::string host = at_.is_unix() ? "localhost" : AddressText(at_.address(), at_.size());
    return absl::StrCat("GET ", std::string(path), " HTTP/1.1\r\nHost: ", host,
                        "\r\nAccept: text/plain\r\nConnection: close\r\n\r\n");
  }

  absl::Status Failed(const char* what, int error) const {
    const std::string text = absl::StrCat(at_.ToString(), ": ", what, ": ", ErrnoName(error));
    const bool ours = error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM;
    return ours ? absl::ResourceExhaustedError(text) : absl::UnavailableError(text);
  }

  // Waits for one of `events`, an error or a hang-up.
  absl::Status Await(short events) {
    while (true) {
      const int64_t left_ns = deadline_ - Now();
      if (left_ns <= 0) {
        return absl::DeadlineExceededError(absl::StrCat(at_.ToString(), ": no answer within ",
                                                        limits_.timeout_ns / 1'000'000, " ms"));
      }
      pollfd ready = {.fd = fd_, .events = events, .revents = 0};
      const int64_t left_ms = std::min<int64_t>((left_ns + 999'999) / 1'000'000, 3'600'000);
      const int count = poll(&ready, 1, static_cast<int>(left_ms));
      if (count > 0) return absl::OkStatus();
      if (count < 0 && errno != EINTR) return Failed("poll", errno);
    }
  }

  absl::Status Connect() {
    auto fd = OpenConnector(at_, /*nonblocking=*/true);
    if (!fd.ok()) return fd.status();
    fd_ = *fd;
    // A Unix listener whose queue is full answers EAGAIN at once, and no event tells when it isn't
    // any more (unix(7)).
    while (connect(fd_, at_.address(), at_.size()) != 0) {
      if (errno == EINPROGRESS || errno == EINTR) break;
      if (errno != EAGAIN || Now() >= deadline_) return Failed("connect", errno);
      poll(nullptr, 0, 1);
    }
    const absl::Status open = Await(POLLOUT);
    if (!open.ok()) return open;
    const int error = SocketError(fd_);
    return error == 0 ? absl::OkStatus() : Failed("connect", error);
  }

  absl::Status SendAll(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t sent = send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (sent >= 0) {
        bytes.remove_prefix(static_cast<size_t>(sent));
      } else if (errno == EPIPE) {
        return absl::OkStatus();  // it may have answered before, and closed
      } else if (errno != EAGAIN && errno != EINTR) {
        return Failed("send", errno);
      }
      if (bytes.empty()) break;
      const absl::Status ready = Await(POLLOUT);
      if (!ready.ok()) return ready;
    }
    return absl::OkStatus();
  }

  absl::Status Receive(HttpResponse& response) {
    std::array<char, 16384> buffer;
    while (!response.complete()) {
      absl::Status status = Await(POLLIN);
      if (!status.ok()) return status;
      const ssize_t bytes = recv(fd_, buffer.data(), buffer.size(), 0);
      if (bytes < 0 && (errno == EAGAIN || errno == EINTR)) continue;
      if (bytes < 0) return Failed("receive", errno);
      const size_t size = static_cast<size_t>(bytes);
      status = size == 0 ? response.End() : response.Add({buffer.data(), size});
      if (!status.ok()) {
        return absl::Status(status.code(),
                            absl::StrCat(at_.ToString(), ": ", std::string(status.message())));
      }
    }
    return absl::OkStatus();
  }

  const Endpoint& at_;
  const HttpLimits& limits_;
  const int64_t deadline_;
  int fd_ = -1;
};

}  // namespace

absl::StatusOr<std::string> HttpGet(const Endpoint& at, std::string_view path,
                                    const HttpLimits& limits) {
  if (at.keeps_messages()) {
    return absl::InvalidArgumentError(
        absl::StrCat(at.ToString(),
                     " is no stream, which HTTP needs; write HOST:PORT or "
                     "unix:PATH"));
  }
  // What would end the line, or begin another (RFC 9112, 3.2).
  const auto forbidden = [](char c) { return static_cast<unsigned char>(c) <= ' ' || c == 127; };
  if (!path.starts_with('/') || std::any_of(path.begin(), path.end(), forbidden)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "'", std::string(path), "' is no path of HTTP; write one as /metrics, without spaces"));
  }
  return Getter(at, limits).Get(path);
}

}  // namespace io
