#pragma once

#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <functional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "io/endpoint.h"
#include "io/errors.h"
#include "tests/cli/ringside.h"
#include "tests/usable_address.h"

// What a server's limits and its access control are for: peers of every kind, good and bad.
namespace peers {

// Waits until `holds`; a time limit only ends a hang.
inline void Await(const std::string& what, const std::function<bool()>& holds) {
  const auto hung = std::chrono::steady_clock::now() + std::chrono::nanoseconds(cli_tests::kHangNs);
  while (!holds()) {
    if (std::chrono::steady_clock::now() > hung) throw std::runtime_error("hangs: " + what);
    usleep(1000);
  }
}

// A client's socket of any transport. Blocking, but for no longer than a hang takes.
class Peer {
 public:
  // Not yet connected. `from`: the source address, with port 0 or one of its own.
  explicit Peer(const std::string& to, const std::string& from = "", int receive_buffer = 0)
      : to_(Resolve(to)),
        fd_(socket(to_.address()->sa_family, to_.type() | SOCK_CLOEXEC, to_.protocol())) {
    if (fd_ < 0) Throw("socket");
    if (receive_buffer > 0) {
      setsockopt(fd_, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof(receive_buffer));
    }
    const timeval hang = {.tv_sec = cli_tests::kHangNs / 1'000'000'000, .tv_usec = 0};
    setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &hang, sizeof(hang));
    setsockopt(fd_, SOL_SOCKET, SO_SNDTIMEO, &hang, sizeof(hang));
    if (to_.transport() == io::Transport::kUnixDatagram) {
      const sa_family_t unnamed = AF_UNIX;  // an abstract name of the kernel's choice
      if (bind(fd_, reinterpret_cast<const sockaddr*>(&unnamed), sizeof(unnamed)) != 0) {
        Throw("bind");
      }
    } else if (!from.empty()) {
      const io::Endpoint source = Resolve(from);
      if (bind(fd_, source.address(), source.size()) != 0) Throw("bind " + from);
    }
  }
  Peer(Peer&& other) noexcept : to_(other.to_), fd_(std::exchange(other.fd_, -1)) {}
  Peer& operator=(Peer&& other) noexcept {
    std::swap(to_, other.to_);
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~Peer() { Close(); }

  // From "127.0.0.2": any port of that.
  static Peer Connected(const std::string& to, const std::string& source = "",
                        int receive_buffer = 0) {
    Peer peer(to, source.empty() ? "" : AnyPort(to, source), receive_buffer);
    if (const int error = peer.Connect()) {
      throw std::runtime_error("connect " + to + ": " + io::ErrnoName(error));
    }
    return peer;
  }
  static std::string AnyPort(const std::string& to, const std::string& source) {
    const bool v6 = source.find(':') != std::string::npos;
    return absl::StrCat(to.rfind("udp", 0) == 0 ? "udp://" : "", v6 ? "[" : "", source,
                        v6 ? "]:0" : ":0");
  }

  int fd() const { return fd_; }
  // 0, or what connect(2) says.
  int Connect() { return connect(fd_, to_.address(), to_.size()) == 0 ? 0 : errno; }
  void Nonblocking() { fcntl(fd_, F_SETFL, O_NONBLOCK); }
  void Close() {
    if (fd_ >= 0) close(std::exchange(fd_, -1));
  }

  // All of it; whether that worked.
  bool Send(const std::string& text) {
    for (size_t sent = 0; sent < text.size() || text.empty();) {
      const ssize_t n =
          TEMP_FAILURE_RETRY(send(fd_, text.data() + sent, text.size() - sent, MSG_NOSIGNAL));
      if (n < 0) return false;
      sent += n;
      if (text.empty()) break;
    }
    return true;
  }

  // Until `bytes` came, or the end; of datagrams and messages one. What ended it is in end().
  std::string Receive(size_t bytes) {
    std::string text;
    char part[65536];
    end_ = 0;
    while (text.size() < bytes) {
      const bool keeps_messages = to_.type() != SOCK_STREAM;
      const size_t size =
          keeps_messages ? sizeof(part) : std::min(sizeof(part), bytes - text.size());
      const ssize_t n = TEMP_FAILURE_RETRY(recv(fd_, part, size, 0));
      if (n > 0) text.append(part, n);
      if (n <= 0) {
        end_ = n == 0 ? kFin : errno;
        break;
      }
      if (keeps_messages) break;
    }
    return text;
  }
  // What ended the last Receive(): kFin, or an errno; 0 if nothing did.
  int end() const { return end_; }
  static constexpr int kFin = -1;

  bool Echoes(const std::string& text) { return Send(text) && Receive(text.size()) == text; }

  // Sends until the server and all buffers between are full: returns when nothing goes any more.
  // The bytes that went.
  size_t Stuff(size_t piece = 4096) {
    const std::string bytes(piece, 's');
    size_t went = 0;
    while (true) {
      const ssize_t n =
          TEMP_FAILURE_RETRY(send(fd_, bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL));
      if (n <= 0) return went;
      went += n;
    }
  }

  int TcpState() const {
    tcp_info info = {};
    socklen_t size = sizeof(info);
    if (getsockopt(fd_, IPPROTO_TCP, TCP_INFO, &info, &size) != 0) Throw("TCP_INFO");
    return info.tcpi_state;
  }

 private:
  static io::Endpoint Resolve(const std::string& text) {
    const auto at = io::Resolve(text);
    if (!at.ok()) throw std::runtime_error(std::string(at.status().message()));
    return *at;
  }
  [[noreturn]] static void Throw(const std::string& what) {
    throw std::runtime_error(what + ": " + io::ErrnoName(errno));
  }

  io::Endpoint to_;
  int fd_;
  int end_ = 0;
};

// A page of a server's --metrics address, which it tells on stderr.
inline std::string Page(cli_tests::Server& server, const std::string& path) {
  const std::string words = "metrics on ", errors = server.process().Errors();
  const size_t at = errors.find(words);
  if (at == std::string::npos) throw std::runtime_error("no metrics: " + errors);
  const size_t begin = at + words.size();
  Peer peer = Peer::Connected(errors.substr(begin, errors.find('\n', begin) - begin));
  peer.Send("GET " + path + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  return peer.Receive(~size_t{0});
}

// The sum of a metric's samples that have these labels in this order: {reason="idle"}, or "".
inline double Metric(cli_tests::Server& server, const std::string& name,
                     const std::string& labels = "") {
  double sum = 0;
  bool found = false;
  for (const absl::string_view line : absl::StrSplit(Page(server, "/metrics"), '\n')) {
    const std::string begin = name + labels;
    if (line.substr(0, begin.size()) != begin) continue;
    const size_t blank = line.rfind(' ');
    double value = 0;
    if (!absl::SimpleAtod(line.substr(blank + 1), &value)) continue;
    sum += value;
    found = true;
  }
  if (!found) throw std::runtime_error("no metric " + name + labels);
  return sum;
}

// From construction to destruction this thread, and what it starts, is in a network of its own,
// with loopback up. Root only; why not otherwise is in missing().
class OwnNetwork {
 public:
  OwnNetwork() : before_(open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC)) {
    if (!cli_tests::Installed("ip")) {
      missing_ = "ip (iproute2) is not installed";
    } else if (unshare(CLONE_NEWNET) != 0) {
      missing_ = "a network of its own takes root: " + io::ErrnoName(errno);
    } else {
      entered_ = true;
      Run({"ip", "link", "set", "lo", "up"});
      network_tests::AwaitLoopback();
    }
  }
  ~OwnNetwork() {
    if (entered_ && setns(before_, CLONE_NEWNET) != 0) abort();
    close(before_);
  }
  OwnNetwork(const OwnNetwork&) = delete;
  OwnNetwork& operator=(const OwnNetwork&) = delete;

  const std::string& missing() const { return missing_; }
  // "10.9.0.1/24", "2001:db8::1/64", on lo.
  void AddAddress(const std::string& address) {
    std::vector<std::string> command = {"ip", "addr", "add", address, "dev", "lo"};
    if (address.find(':') != std::string::npos) command.emplace_back("nodad");
    Run(command);
    network_tests::AwaitUsable(address);
  }

 private:
  static void Run(std::vector<std::string> command) {
    const cli_tests::Ended ended = cli_tests::RunToEnd(command);
    if (ended.exit_code != 0) throw std::runtime_error(ended.err);
  }
  const int before_;
  bool entered_ = false;
  std::string missing_;
};

// Sees each packet of this network's loopback from its construction on.
class Watcher {
 public:
  Watcher() : fd_(socket(AF_PACKET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, htons(ETH_P_ALL))) {
    sockaddr_ll lo = {};
    lo.sll_family = AF_PACKET;
    lo.sll_protocol = htons(ETH_P_ALL);
    lo.sll_ifindex = static_cast<int>(if_nametoindex("lo"));
    if (fd_ < 0 || bind(fd_, reinterpret_cast<sockaddr*>(&lo), sizeof(lo)) != 0) {
      throw std::runtime_error("AF_PACKET: " + io::ErrnoName(errno));
    }
  }
  ~Watcher() { close(fd_); }
  Watcher(const Watcher&) = delete;
  Watcher& operator=(const Watcher&) = delete;

  struct Seen {
    size_t from = 0, to = 0, syn_acks = 0, resets = 0;  // the last two are to it
    size_t udp_from = 0, udp_to = 0;                    // bytes of payload
  };
  // What went from and to an address so far.
  Seen With(const std::string& address_text) {
    Read();
    const bool v4 = address_text.find(':') == std::string::npos;
    uint8_t address[16];
    inet_pton(v4 ? AF_INET : AF_INET6, address_text.c_str(), address);
    const size_t size = v4 ? 4 : 16, source = v4 ? 12 : 8, header = v4 ? 20 : 40;
    Seen seen;
    for (const auto& packet : packets_) {
      if (packet.size() < header + 8 || packet[0] >> 4 != (v4 ? 4 : 6)) continue;
      const uint8_t protocol = packet[v4 ? 9 : 6];
      const size_t udp =
          protocol == IPPROTO_UDP ? size_t{packet[header + 4]} * 256 + packet[header + 5] - 8 : 0;
      if (std::memcmp(&packet[source], address, size) == 0) {
        ++seen.from;
        seen.udp_from += udp;
      }
      if (std::memcmp(&packet[source + size], address, size) != 0) continue;
      ++seen.to;
      seen.udp_to += udp;
      if (protocol != IPPROTO_TCP || packet.size() < header + 20) continue;
      const uint8_t flags = packet[header + 13];
      if ((flags & (TH_SYN | TH_ACK)) == (TH_SYN | TH_ACK)) ++seen.syn_acks;
      if ((flags & TH_RST) != 0) ++seen.resets;
    }
    return seen;
  }

 private:
  void Read() {
    uint8_t packet[65536];
    while (true) {
      sockaddr_ll from = {};
      socklen_t size = sizeof(from);
      const ssize_t n =
          recvfrom(fd_, packet, sizeof(packet), 0, reinterpret_cast<sockaddr*>(&from), &size);
      if (n < 0) return;
      // Loopback shows each packet twice: as it is sent, and as it comes.
      if (from.sll_pkttype == PACKET_OUTGOING) packets_.emplace_back(packet, packet + n);
    }
  }

  const int fd_;
  std::vector<std::vector<uint8_t>> packets_;
};

// From construction to destruction this process acts as another user. Root only.
class ActAs {
 public:
  explicit ActAs(uid_t id) {
    if (setegid(id) != 0 || seteuid(id) != 0) throw std::runtime_error("seteuid");
  }
  ~ActAs() {
    if (seteuid(0) != 0 || setegid(0) != 0) abort();
  }
  ActAs(const ActAs&) = delete;
  ActAs& operator=(const ActAs&) = delete;
};

// A path for a socket that nobody uses.
inline std::string SocketPath(const std::string& name) {
  return absl::StrCat(testing::TempDir(), name, "-", getpid(), ".sock");
}

}  // namespace peers

// Of its first listener.
inline std::string Address(cli_tests::Server& server) { return server.ready()["address"]; }
