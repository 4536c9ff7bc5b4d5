#pragma once

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <functional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

#include "io/endpoint.h"
#include "io/sockets.h"

// A server of the test's own that answers as it is told, one connection after the other.
class PageServer {
 public:
  // Is called with the connection after a whole request came, and its number, from 0.
  using Answer = std::function<void(int fd, int number)>;

  explicit PageServer(Answer answer) : answer_(std::move(answer)) {
    const auto fd = io::OpenListener(*io::Resolve("127.0.0.1:0"), {.backlog = 16}, false);
    EXPECT_TRUE(fd.ok()) << fd.status();
    listener_ = *fd;
    at_ = *io::LocalEndpoint(listener_);
    thread_ = std::thread([this] { Serve(); });
  }
  ~PageServer() {
    shutdown(listener_, SHUT_RDWR);
    thread_.join();
    close(listener_);
  }

  const io::Endpoint& at() const { return at_; }

  static void Send(int fd, std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t sent = send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (sent <= 0) return;  // the client has seen enough
      bytes.remove_prefix(static_cast<size_t>(sent));
    }
  }
  // Until the client closes.
  static void AwaitEnd(int fd) {
    char byte;
    while (recv(fd, &byte, 1, 0) > 0) {
    }
  }

 private:
  void Serve() {
    for (int number = 0;; ++number) {
      const int fd = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
      if (fd < 0) return;
      std::string request;
      char byte;
      while (!request.ends_with("\r\n\r\n") && recv(fd, &byte, 1, 0) > 0) request.push_back(byte);
      answer_(fd, number);
      close(fd);
    }
  }

  const Answer answer_;
  int listener_;
  io::Endpoint at_;
  std::thread thread_;
};
