#pragma once

// One loop on a faulty kernel, and plain sockets as its peers, in one thread.

#include <arpa/inet.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "tests/faults/backends.h"

namespace faults {

// A descriptor that closes with its scope.
class Socket {
 public:
  explicit Socket(int fd) : fd_(fd) {}
  Socket(Socket&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  ~Socket() {
    if (fd_ >= 0) close(fd_);
  }
  int fd() const { return fd_; }

 private:
  int fd_;
};

// Echoes, and notes what it was told.
struct RecordingHandler {
  std::vector<io::Connection*> open;  // in the order of OnOpen
  std::vector<int> closes;            // the errno of each OnClose
  int opens = 0, ends = 0;

  void OnOpen(auto&, io::Connection& c) noexcept {
    ++opens;
    open.push_back(&c);
  }
  void OnReceive(auto& loop, io::Connection& c, io::Bytes in) noexcept { loop.Send(c, in); }
  void OnEnd(auto& loop, io::Connection& c) noexcept {
    ++ends;
    loop.Close(c);
  }
  void OnDrained(auto&, io::Connection&) noexcept {}
  void OnClose(auto&, io::Connection& c, int error) noexcept {
    closes.push_back(error);
    std::erase(open, &c);
  }
};

template <class Backend>
class Rig {
 public:
  using Loop = typename Backend::template Loop<RecordingHandler>;

  explicit Rig(uint64_t seed = 1, const Plan& plan = {}, const io::LoopOptions& options = {})
      : faults(std::make_shared<Injector>(seed, plan)),
        loop(handler, options, FaultyKernel(faults)) {
    const absl::Status opened = loop.Open();
    EXPECT_TRUE(opened.ok()) << std::string(opened.message());
  }

  // Whether this kernel has what these options ask for.
  static absl::Status TryOpen(const io::LoopOptions& options) {
    RecordingHandler handler;
    Loop loop(handler, options, FaultyKernel(std::make_shared<Injector>(1)));
    return loop.Open();
  }

  void Listen() {
    const auto at = loop.Listen(*io::Resolve("127.0.0.1:0"), {});
    ASSERT_TRUE(at.ok()) << std::string(at.status().message());
    address = *at;
  }

  // A plain client of the loop.
  Socket Connect() {
    Socket client(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    EXPECT_EQ(connect(client.fd(), address.address(), address.size()), 0);
    fcntl(client.fd(), F_SETFL, O_NONBLOCK);
    return client;
  }

  // Runs the loop until the condition holds. The bound only ends a hang.
  template <class Condition>
  bool Until(Condition condition) {
    const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(10);
    while (!condition()) {
      if (std::chrono::steady_clock::now() > give_up) return false;
      status = loop.RunOnce(std::chrono::milliseconds(2));
      if (!status.ok()) return false;
    }
    return true;
  }

  // Whether `text`, sent by the client, comes back to it.
  bool Echoes(const Socket& client, const std::string& text) {
    if (send(client.fd(), text.data(), text.size(), MSG_NOSIGNAL) != std::ssize(text)) return false;
    std::string got;
    const bool came = Until([&] {
      char part[4096];
      const ssize_t n = recv(client.fd(), part, sizeof(part), 0);
      if (n > 0) got.append(part, n);
      return got.size() >= text.size() || n == 0 || (n < 0 && errno != EAGAIN);
    });
    return came && got == text;
  }

  // Whether the loop has closed the client's connection, with a FIN or a reset.
  bool Ended(const Socket& client) {
    return Until([&] {
      char part[4096];
      const ssize_t n = recv(client.fd(), part, sizeof(part), 0);
      return n == 0 || (n < 0 && errno != EAGAIN);
    });
  }

  RecordingHandler handler;
  const std::shared_ptr<Injector> faults;
  Loop loop;
  io::Endpoint address;
  absl::Status status;  // of the last turn
};

}  // namespace faults
