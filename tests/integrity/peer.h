#pragma once

// What tests/integrity/ shares: the server as a program, and peers of it that are plain sockets,
// send a stream of their own each, and compare every byte that comes back.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <deque>
#include <fstream>
#include <functional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "io/endpoint.h"
#include "io/errors.h"
#include "io/sockets.h"
#include "services/pattern.h"
#include "tests/cli/ringside.h"

namespace integrity {

using cli_tests::Json;
using cli_tests::Server;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr bool kSanitized = true;
#else
inline constexpr bool kSanitized = false;
#endif

// Each backend of this machine, with as many descriptors as the hard limit gives, for the server
// too.
class EachBackend : public cli_tests::EachBackend {
 protected:
  void SetUp() override {
    rlimit limit = {};
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    cli_tests::EachBackend::SetUp();
  }
};

inline std::string BackendName(const testing::TestParamInfo<std::string>& test) {
  return test.param;
}

// VmRSS of /proc/PID/status, in bytes (proc_pid_status(5)).
inline int64_t ResidentBytes(pid_t pid) {
  std::ifstream status(absl::StrCat("/proc/", pid, "/status"));
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("VmRSS:")) return std::stoll(line.substr(6)) * 1024;
  }
  ADD_FAILURE() << "no VmRSS of process " << pid;
  return 0;
}

// Ends the server: all of its connections have had their end, and it knew whose each completion
// was.
inline Json StopAndCheck(Server& server, uint64_t connections) {
  const Json summary = server.Stop();
  EXPECT_EQ(summary["connections"]["accepted"], connections);
  EXPECT_EQ(summary["connections"]["closed"], connections);
  EXPECT_EQ(summary["connections"]["reset_at_deadline"], 0);
  EXPECT_EQ(summary["loop"]["stale_completions"], 0);
  return summary;
}

// One connection, and the stream of its number: what is sent, and has to come back.
class Peer {
 public:
  explicit Peer(uint64_t number) : phase_(services::Pattern::Phase(number)) {}
  Peer(const Peer&) = delete;
  Peer& operator=(const Peer&) = delete;
  ~Peer() { Close(); }

  // Takes a socket; with buffers of so many bytes, as small as the kernel goes (0: its own choice).
  void Open(int receive_bytes = 0, int send_bytes = 0) {
    fd_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ASSERT_GE(fd_, 0) << io::ErrnoName(errno);
    if (receive_bytes != 0) Set(SOL_SOCKET, SO_RCVBUF, receive_bytes);
    if (send_bytes != 0) Set(SOL_SOCKET, SO_SNDBUF, send_bytes);
    Set(IPPROTO_TCP, TCP_NODELAY, 1);
  }
  void Set(int level, int option, int value) {
    ASSERT_EQ(setsockopt(fd_, level, option, &value, sizeof(value)), 0) << io::ErrnoName(errno);
  }
  // From this address, so that the ports of one don't run out.
  void BindTo(const std::string& host) {
    const io::Endpoint from = *io::Resolve(host + ":0");
    Set(IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1);
    ASSERT_EQ(bind(fd_, from.address(), from.size()), 0) << io::ErrnoName(errno);
  }
  void Connect(const io::Endpoint& at) {
    ASSERT_EQ(connect(fd_, at.address(), at.size()), 0) << io::ErrnoName(errno);
    io::SetNonblocking(fd_, true);
  }

  // Sends what the socket takes, until so many bytes were sent in all.
  void SendUntil(uint64_t total) {
    while (sent_ < total && error_ == 0) {
      const io::Bytes out = At(sent_, std::min<uint64_t>(total - sent_, kPieceMax));
      const ssize_t n = send(fd_, out.data(), out.size(), MSG_NOSIGNAL);
      if (n < 0 && errno != EAGAIN) error_ = errno;
      if (n < 0) return;
      sent_ += static_cast<uint64_t>(n);
    }
  }

  // Takes what has come, at most so many bytes, and compares it.
  void Receive(size_t bytes_max = kPieceMax) {
    std::byte into[kPieceMax];
    const ssize_t n = recv(fd_, into, std::min(bytes_max, sizeof(into)), 0);
    if (n == 0) ended_ = true;
    if (n < 0 && errno != EAGAIN) error_ = errno;
    if (n <= 0) return;
    const io::Bytes wanted = At(received_, static_cast<size_t>(n));
    if (std::memcmp(into, wanted.data(), wanted.size()) != 0 || received_ + n > sent_)
      Locate(into, n);
    received_ += static_cast<uint64_t>(n);
  }

  void Finish() { shutdown(fd_, SHUT_WR); }
  void Close() {
    if (fd_ >= 0) close(fd_);
    fd_ = -1;
  }
  void Reset() {
    io::ResetOnClose(fd_);
    Close();
  }

  int fd() const { return fd_; }
  uint64_t sent() const { return sent_; }
  uint64_t received() const { return received_; }
  bool ended() const { return ended_; }  // by FIN
  int error() const { return error_; }
  const std::string& problem() const { return problem_; }  // "": all bytes were its own, in order

 private:
  static constexpr size_t kPieceMax = 65536;

  io::Bytes At(uint64_t position, size_t size) const {
    return services::Pattern::Get().Slice(services::Pattern::Advance(phase_, position), size);
  }

  void Locate(const std::byte* in, size_t size) {
    const io::Bytes wanted = At(received_, size);
    size_t at = std::mismatch(in, in + size, wanted.begin()).first - in;
    at = std::min<size_t>(at, sent_ > received_ ? sent_ - received_ : 0);
    if (problem_.empty()) problem_ = absl::StrCat("byte ", received_ + at, " is not its own");
  }

  const uint32_t phase_;
  int fd_ = -1;
  uint64_t sent_ = 0, received_ = 0;
  bool ended_ = false;
  int error_ = 0;
  std::string problem_;
};

inline constexpr int kHangMs = 60'000;  // without any event: ends a hung test, decides nothing else

// Waits for what each peer wants (poll(2)'s events; 0: nothing), and calls `ready` for those that
// have it, until nobody wants anything. False where nothing comes any more.
inline bool Serve(std::deque<Peer>& peers, const std::function<short(Peer&)>& wants,
                  const std::function<void(Peer&, short)>& ready) {
  std::vector<pollfd> polled;
  std::vector<Peer*> owners;
  while (true) {
    polled.clear();
    owners.clear();
    for (Peer& peer : peers) {
      const short events = wants(peer);
      if (events == 0) continue;
      polled.push_back({.fd = peer.fd(), .events = events, .revents = 0});
      owners.push_back(&peer);
    }
    if (polled.empty()) return true;
    if (poll(polled.data(), polled.size(), kHangMs) <= 0) return false;
    for (size_t i = 0; i < polled.size(); ++i) {
      if (polled[i].revents != 0) ready(*owners[i], polled[i].revents);
    }
  }
}

}  // namespace integrity
