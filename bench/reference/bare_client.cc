// A client on epoll with nothing around it: what `ringside load` is measured against. It counts the
// bytes of the replies and looks at none of them.
//
//   bare_client PORT rr CONNECTIONS BYTES SECONDS    closed loop, one request a connection
//   bare_client PORT open CONNECTIONS BYTES          until all are open and answered once
//   bare_client PORT crr CONNECTIONS BYTES COUNT     connect, one request, close; so often
//
// One thread, level-triggered, to an echo server on 127.0.0.1; of crr from 127.0.0.1 to 127.0.0.4
// by turns, as what is closed keeps its port for a minute. The result is a line of JSON.
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <time.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <string>
#include <vector>

#include "bench/reference/address.h"

namespace {

using reference::Die;
using reference::kOne;

constexpr uint64_t kConnectsInFlight = 256;  // as many as `ringside load` has
constexpr int kSources = 4;

int64_t Now() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1'000'000'000 + now.tv_nsec;
}

enum class Mode { kRequestReply, kOpen, kConnect };

struct Plan {
  reference::Address to;
  Mode mode;
  uint64_t connections, bytes;
  uint64_t amount;  // seconds, or connections in all
};

struct Connection {
  bool open = false, answered = false;
  uint64_t received = 0;
  int64_t sent_ns = 0;
};

class Client {
 public:
  explicit Client(const Plan& plan) : plan_(plan), request_(plan.bytes, 'x') {
    if (epoll_ < 0) Die("epoll_create1");
    to_open_ = plan.mode == Mode::kConnect ? plan.amount : plan.connections;
  }

  void Run() {
    const int64_t begun = Now();
    epoll_event events[256];
    for (int64_t now = begun; !Done(now); now = Now()) {
      while (to_open_ > 0 && opening_ < std::min(kConnectsInFlight, plan_.connections)) Connect();
      const int ready = epoll_wait(epoll_, events, 256, 1000);
      if (ready < 0 && errno != EINTR) Die("epoll_wait");
      for (int i = 0; i < ready; ++i) Serve(events[i].data.fd);
    }
    Print((Now() - begun) / 1e9);
  }

 private:
  bool Done(int64_t now) {
    if (to_open_ > 0 || opening_ > 0) return false;
    if (end_ns_ == 0) end_ns_ = now + static_cast<int64_t>(plan_.amount) * 1'000'000'000;
    return plan_.mode != Mode::kRequestReply || now >= end_ns_;
  }

  void Connect() {
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) Die("socket");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &kOne, sizeof kOne);
    if (plan_.mode == Mode::kConnect) Bind(fd);
    const auto* to = reinterpret_cast<const sockaddr*>(&plan_.to.storage);
    if (connect(fd, to, plan_.to.size) != 0 && errno != EINPROGRESS) Die("connect");
    if (connections_.size() <= static_cast<size_t>(fd)) connections_.resize(fd + 1);
    connections_[fd] = {};
    Watch(EPOLL_CTL_ADD, fd, EPOLLOUT);
    --to_open_;
    ++opening_;
  }

  void Bind(int fd) {
    sockaddr_in from = {};
    from.sin_family = AF_INET;
    from.sin_addr.s_addr = htonl(INADDR_LOOPBACK + source_++ % kSources);
    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &kOne, sizeof kOne);
    if (bind(fd, reinterpret_cast<sockaddr*>(&from), sizeof from) != 0) Die("bind");
  }

  void Watch(int operation, int fd, uint32_t what) {
    epoll_event event = {};
    event.events = what;
    event.data.fd = fd;
    if (epoll_ctl(epoll_, operation, fd, &event) != 0) Die("epoll_ctl");
  }

  void Serve(int fd) {
    Connection& c = connections_[fd];
    if (!c.open) {
      c.open = true;
      Watch(EPOLL_CTL_MOD, fd, EPOLLIN);
      return Send(fd, c);
    }
    const ssize_t received = recv(fd, buffer_, sizeof buffer_, 0);
    if (received < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (received <= 0) Die("recv");
    c.received += static_cast<uint64_t>(received);
    if (c.received > plan_.bytes) Die("more than was sent");
    if (c.received == plan_.bytes) Answered(fd, c);
  }

  void Answered(int fd, Connection& c) {
    const int64_t latency = Now() - c.sent_ns;
    latency_sum_ += latency;
    latency_max_ = std::max(latency_max_, latency);
    ++requests_;
    if (!c.answered) --opening_;
    c.answered = true;
    if (plan_.mode == Mode::kConnect) close(fd);
    if (plan_.mode == Mode::kRequestReply) Send(fd, c);
  }

  void Send(int fd, Connection& c) {
    c.received = 0;
    c.sent_ns = Now();
    const ssize_t sent = send(fd, request_.data(), request_.size(), MSG_NOSIGNAL);
    if (sent != static_cast<ssize_t>(request_.size())) Die("send");
  }

  void Print(double seconds) const {
    std::printf("{\"requests\": %llu, \"seconds\": %.6f, \"mean_ns\": %.0f, \"max_ns\": %lld}\n",
                static_cast<unsigned long long>(requests_), seconds,
                static_cast<double>(latency_sum_) / static_cast<double>(requests_),
                static_cast<long long>(latency_max_));
  }

  const Plan plan_;
  const std::string request_;
  const int epoll_ = epoll_create1(EPOLL_CLOEXEC);
  uint64_t to_open_ = 0, opening_ = 0;  // opening: not answered yet
  uint64_t requests_ = 0;
  uint32_t source_ = 0;
  int64_t latency_sum_ = 0, latency_max_ = 0, end_ns_ = 0;
  std::vector<Connection> connections_;  // by fd
  char buffer_[64 << 10];
};

}  // namespace

int main(int argc, char** argv) {
  const std::string mode = argc > 2 ? argv[2] : "";
  const bool known = mode == "rr" || mode == "crr" || mode == "open";
  if (!known || argc != (mode == "open" ? 5 : 6)) {
    std::fprintf(stderr, "usage: %s PORT rr|open|crr CONNECTIONS BYTES [SECONDS|COUNT]\n", argv[0]);
    return 2;
  }
  reference::Prepare();
  Plan plan = {};
  plan.to = reference::ParseAddress(argv[1]);
  plan.mode = mode == "rr" ? Mode::kRequestReply : mode == "crr" ? Mode::kConnect : Mode::kOpen;
  plan.connections = std::strtoull(argv[3], nullptr, 10);
  plan.bytes = std::strtoull(argv[4], nullptr, 10);
  plan.amount = argc == 6 ? std::strtoull(argv[5], nullptr, 10) : 0;
  static Client client(plan);
  client.Run();
  std::fflush(stdout);
  _exit(0);  // the kernel closes what is open
}
