#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <functional>
#include <list>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "io/errors.h"

namespace load_tests {

// A server of the test's process that does as it is told, on a port of loopback. One thread serves
// all connections with plain blocking calls: who holds that up holds up everybody.
class TinyServer {
 public:
  // A connection, by the order in which they came. Its calls belong to the server's thread.
  struct Peer {
    int fd;
    uint64_t number;
    uint64_t received = 0;  // bytes, with those that OnBytes is told of
    std::string held;       // for OnBytes to keep what it likes
    bool ended = false;

    void Send(const std::string& bytes) {
      for (size_t sent = 0; sent < bytes.size();) {
        const ssize_t n = send(fd, bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL);
        if (n < 0) {  // EPIPE, ECONNRESET: the client is gone
          ended = true;
          return;
        }
        sent += static_cast<size_t>(n);
      }
    }
    // A FIN; what comes is still read.
    void HalfClose() { shutdown(fd, SHUT_WR); }
    // A RST.
    void Reset() {
      const linger now = {.l_onoff = 1, .l_linger = 0};
      setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
      ended = true;
    }
  };
  using OnBytes = std::function<void(Peer&, const std::string& bytes)>;

  explicit TinyServer(OnBytes on_bytes)
      : on_bytes_(std::move(on_bytes)), listener_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in at = {};
    at.sin_family = AF_INET;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(at);
    auto* address = reinterpret_cast<sockaddr*>(&at);
    if (bind(listener_, address, size) != 0 || listen(listener_, 1024) != 0 ||
        getsockname(listener_, address, &size) != 0) {
      throw std::runtime_error("listen: " + io::ErrnoName(errno));
    }
    address_ = "127.0.0.1:" + std::to_string(ntohs(at.sin_port));
    thread_ = std::thread([this] { Serve(); });
  }
  ~TinyServer() {
    eventfd_write(stop_, 1);
    thread_.join();
    for (const Peer& peer : peers_) close(peer.fd);
    close(listener_);
    close(stop_);
  }
  TinyServer(const TinyServer&) = delete;
  TinyServer& operator=(const TinyServer&) = delete;

  const std::string& address() const { return address_; }
  uint64_t accepted() const { return accepted_; }
  // The addresses that connections came from.
  std::set<std::string> sources() const {
    const std::lock_guard lock(mutex_);
    return sources_;
  }

 private:
  void Serve() {
    std::vector<pollfd> ready;
    while (true) {
      ready = {{stop_, POLLIN, 0}, {listener_, POLLIN, 0}};
      for (const Peer& peer : peers_) ready.push_back({peer.fd, POLLIN, 0});
      if (poll(ready.data(), ready.size(), -1) < 0 || ready[0].revents != 0) return;
      size_t place = 2;
      for (Peer& peer : peers_) {
        if (ready[place++].revents != 0) Receive(peer);
      }
      std::erase_if(peers_, [](const Peer& peer) { return peer.ended && close(peer.fd) == 0; });
      if (ready[1].revents != 0) Accept();
    }
  }

  void Accept() {
    sockaddr_in from = {};
    socklen_t size = sizeof(from);
    const int fd = accept4(listener_, reinterpret_cast<sockaddr*>(&from), &size, SOCK_CLOEXEC);
    if (fd < 0) return;  // ECONNABORTED: gone already
    char text[INET_ADDRSTRLEN];
    const std::lock_guard lock(mutex_);
    sources_.insert(inet_ntop(AF_INET, &from.sin_addr, text, sizeof(text)));
    peers_.push_back({.fd = fd, .number = accepted_++, .held = {}});
  }

  void Receive(Peer& peer) {
    char part[65536];
    const ssize_t n = recv(peer.fd, part, sizeof(part), MSG_DONTWAIT);
    if (n <= 0) {
      peer.ended = true;
      return;
    }
    peer.received += static_cast<uint64_t>(n);
    on_bytes_(peer, std::string(part, static_cast<size_t>(n)));
  }

  const OnBytes on_bytes_;
  const int listener_;
  const int stop_ = eventfd(0, EFD_CLOEXEC);
  std::string address_;
  std::list<Peer> peers_;
  std::atomic<uint64_t> accepted_{0};
  mutable std::mutex mutex_;
  std::set<std::string> sources_;
  std::thread thread_;
};

}  // namespace load_tests
