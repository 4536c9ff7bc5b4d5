#pragma once

#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "io/endpoint.h"
#include "tests/cli/ringside.h"

// Servers with any arguments, and clients that share no code with them but the reading of
// addresses.
namespace serve_tests {

using cli_tests::Ended;
using cli_tests::Installed;
using cli_tests::Json;
using cli_tests::RunToEnd;
using cli_tests::Until;

// Under sanitizers everything takes several times as long: less of it is done.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr bool kSanitized = true;
#else
inline constexpr bool kSanitized = false;
#endif

// A name in the tests' folder that no other test has.
inline std::string Scratch(const std::string& name) {
  static std::atomic<int> number{0};
  return testing::TempDir() + "/rs_" + std::to_string(getpid()) + "_" + std::to_string(number++) +
         "_" + name;
}

// A `ringside serve --json` with just these arguments, waited for.
class Serving {
 public:
  // `before`: words before the program's own, such as env(1) and its settings.
  explicit Serving(std::vector<std::string> arguments, std::vector<std::string> before = {})
      : process_(Launch(std::move(arguments), std::move(before))) {
    AwaitLine(0);
    ready_ = cli_tests::Line(process_.Output(), 0);
  }

  Serving(Serving&&) = default;
  // In order, so that it removes its files.
  ~Serving() {
    if (process_.pid() <= 0 || process_.ended()) return;  // moved from, or stopped
    process_.Signal(SIGTERM);
    process_.Wait(10'000'000'000, -1);
  }

  static bench::Process Launch(std::vector<std::string> arguments,
                               std::vector<std::string> before = {}) {
    before.insert(before.end(), {RINGSIDE_BINARY, "serve", "--json"});
    before.insert(before.end(), arguments.begin(), arguments.end());
    return cli_tests::Start(std::move(before));
  }

  // Waits for the `index`-th line, and returns it.
  Json AwaitLine(int index) {
    while (std::ranges::count(process_.Output(), '\n') <= index) {
      if (process_.Wait(1'000'000, -1) == bench::Process::Waited::kEnded) {
        throw std::runtime_error("serve ended: " + process_.Errors());
      }
    }
    return cli_tests::Line(process_.Output(), index);
  }

  const Json& ready() const { return ready_; }
  std::string address(size_t listener = 0) const {
    return ready_["listeners"][listener]["address"];
  }
  pid_t pid() const { return ready_["pid"]; }
  bench::Process& process() { return process_; }

  // Waits for the end by itself; the summary.
  Json Ending() {
    const Ended ended = cli_tests::WaitFor(process_);
    EXPECT_EQ(ended.exit_code, 0) << ended.err;
    const size_t last = ended.out.rfind('\n', ended.out.size() - 2);
    return Json::parse(ended.out.substr(last + 1));
  }
  Json Stop() {
    process_.Signal(SIGTERM);
    return Ending();
  }

 private:
  bench::Process process_;
  Json ready_;
};

// Whether a server can listen there at all: IPv6 and MPTCP are not everywhere.
inline bool CanListen(const std::string& address, const std::string& backend = "epoll") {
  bench::Process process = Serving::Launch({address, "--backend", backend});
  while (process.Output().empty()) {
    if (process.Wait(1'000'000, -1) == bench::Process::Waited::kEnded) return false;
  }
  process.Signal(SIGTERM);
  cli_tests::WaitFor(process);
  return true;
}

// A blocking socket, connected. No call waits for ever: a hang is an error (EAGAIN).
class PlainClient {
 public:
  // `from`: an IPv4 address to come from, so that many connections need not share its ports.
  explicit PlainClient(const std::string& address, uint32_t from = 0, uint16_t from_port = 0) {
    const auto at = io::Resolve(address);
    if (!at.ok()) throw std::runtime_error(std::string(at.status().message()));
    fd_ = socket(at->family(), at->type() | SOCK_CLOEXEC, at->protocol());
    const timeval patience = {.tv_sec = 30, .tv_usec = 0};
    setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    setsockopt(fd_, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
    if (at->family() == AF_UNIX && at->is_datagram()) {
      const sa_family_t autobind = AF_UNIX;
      if (bind(fd_, reinterpret_cast<const sockaddr*>(&autobind), sizeof(autobind)) != 0) {
        throw std::system_error(errno, std::generic_category(), "bind");
      }
    } else if (at->family() == AF_INET && (from != 0 || from_port != 0)) {
      const int yes = 1;
      setsockopt(fd_, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &yes, sizeof(yes));
      sockaddr_in local = {};
      local.sin_family = AF_INET;
      local.sin_port = htons(from_port);
      local.sin_addr.s_addr = htonl(from);
      if (bind(fd_, reinterpret_cast<sockaddr*>(&local), sizeof(local)) != 0) error_ = errno;
    }
    if (error_ == 0 && connect(fd_, at->address(), at->size()) != 0) error_ = errno;
  }
  PlainClient(PlainClient&& other) noexcept
      : fd_(std::exchange(other.fd_, -1)), error_(other.error_) {}
  ~PlainClient() {
    if (fd_ >= 0) close(fd_);
  }

  int fd() const { return fd_; }
  int error() const { return error_; }  // the first errno; 0: none

  bool Send(const std::string& text) {
    for (size_t at = 0; at < text.size() || text.empty();) {
      const ssize_t n =
          TEMP_FAILURE_RETRY(send(fd_, text.data() + at, text.size() - at, MSG_NOSIGNAL));
      if (n < 0) return error_ = errno, false;
      at += static_cast<size_t>(n);
      if (text.empty()) break;
    }
    return true;
  }
  // Until `bytes` came, or the end, or an error.
  std::string Receive(size_t bytes = ~size_t{0}) {
    std::string text;
    char part[16384];
    while (text.size() < bytes) {
      const ssize_t n =
          TEMP_FAILURE_RETRY(recv(fd_, part, std::min(sizeof(part), bytes - text.size()), 0));
      if (n < 0) error_ = errno;
      if (n <= 0) break;
      text.append(part, static_cast<size_t>(n));
    }
    return text;
  }
  // One datagram or message.
  std::string Message() {
    char part[65536];
    const ssize_t n = TEMP_FAILURE_RETRY(recv(fd_, part, sizeof(part), 0));
    if (n < 0) error_ = errno;
    return std::string(part, static_cast<size_t>(std::max<ssize_t>(n, 0)));
  }
  std::string Ask(const std::string& text) { return Send(text) ? Receive(text.size()) : ""; }
  void End() { shutdown(fd_, SHUT_WR); }

 private:
  int fd_ = -1;
  int error_ = 0;
};

// GET, and the body of the answer.
inline std::string Get(const std::string& address, const std::string& path) {
  PlainClient client(address);
  client.Send("GET " + path + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  const std::string answer = client.Receive();
  EXPECT_EQ(answer.rfind("HTTP/1.1 200", 0), 0u) << answer;
  const size_t head = answer.find("\r\n\r\n");
  return head == std::string::npos ? "" : answer.substr(head + 4);
}

// Where --metrics 127.0.0.1:0 came to be: the server says it on stderr.
inline std::string MetricsAddress(Serving& server) {
  const std::string label = "metrics on ";
  const std::string text = server.process().Errors();
  const size_t at = text.find(label);
  if (at == std::string::npos) throw std::runtime_error("no metrics: " + text);
  return text.substr(at + label.size(), text.find('\n', at) - at - label.size());
}

}  // namespace serve_tests
