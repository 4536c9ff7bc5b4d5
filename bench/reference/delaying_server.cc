// An echo server that answers after known times and logs what it did: the truth that a load
// generator's latencies are held against.
//
//   delaying_server PORT constant|exponential DELAY_NS [STALL_NS PERIOD_NS]
//
// One thread that never sleeps, on 127.0.0.1; one request of at most 256 bytes at a time on each
// connection. A reply is due DELAY_NS (exponential: on average) after the kernel received its
// request. With STALL_NS it sleeps that long once every PERIOD_NS, on its own schedule. On SIGTERM
// it writes Records to standard output, in the order of events. All times are CLOCK_REALTIME in ns,
// as that is what the kernel stamps packets with (socket(7), SO_TIMESTAMPNS).
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <time.h>

#include <cerrno>
#include <cmath>
#include <cstdint>
#include <numbers>
#include <queue>
#include <string>
#include <utility>
#include <vector>

#include "bench/reference/address.h"

namespace {

using reference::Die;
using reference::kOne;
constexpr int64_t kSecond = 1'000'000'000;

struct Record {
  // Received by the kernel, and right before the reply's send; the same, but received by us, as the
  // kernel gave no stamp; asleep.
  enum Kind : int64_t { kAnswered, kUnstamped, kStalled };
  int64_t kind, begin_ns, end_ns;
};

volatile sig_atomic_t ended = 0;

int64_t Nanos(const timespec& time) { return time.tv_sec * kSecond + time.tv_nsec; }

int64_t Now() {
  timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  return Nanos(now);
}

// What was asked for. Exponential delays take their quantiles in the order of multiples of the
// golden ratio: a few thousand in a row have the distribution far more exactly than random ones
// would.
struct Plan {
  bool exponential;
  int64_t delay_ns, stall_ns = 0, period_ns = 0;
  double quantile = 0.5;

  int64_t NextDelay() {
    if (!exponential) return delay_ns;
    quantile += std::numbers::phi - 1;
    if (quantile >= 1) quantile -= 1;
    return static_cast<int64_t>(-std::log1p(-quantile) * static_cast<double>(delay_ns));
  }
};

struct Reply {
  int64_t due_ns, received_ns;
  int fd;
  Record::Kind kind;
  bool operator>(const Reply& other) const { return due_ns > other.due_ns; }
};

class Server {
 public:
  Server(int port, const Plan& plan)
      : listener_(reference::ListenOn(reference::ParseAddress(std::to_string(port)))), plan_(plan) {
    if (epoll_ < 0) Die("epoll_create1");
    records_.resize(4 << 20);  // touched now, so that no page is missing later
    records_.clear();
    Watch(listener_);
  }

  void Run() {
    epoll_event events[256];
    int64_t stall_at = Now() + plan_.period_ns;
    while (!ended) {
      if (plan_.stall_ns > 0 && Now() >= stall_at) {
        Stall(std::exchange(stall_at, stall_at + plan_.period_ns));
      }
      const int ready = epoll_wait(epoll_, events, 256, 0);
      if (ready < 0 && errno != EINTR) Die("epoll_wait");
      for (int i = 0; i < ready; ++i) {
        events[i].data.fd == listener_ ? Accept() : Receive(events[i].data.fd);
        SendDue();
      }
      SendDue();
    }
  }

  void Write() const {
    const size_t written = std::fwrite(records_.data(), sizeof(Record), records_.size(), stdout);
    if (written != records_.size() || std::fflush(stdout) != 0) Die("write");
  }

 private:
  void Watch(int fd) {
    epoll_event event = {.events = EPOLLIN, .data = {.fd = fd}};
    if (epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &event) != 0) Die("epoll_ctl");
  }

  void Accept() {
    int fd;
    while ((fd = accept4(listener_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
      setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &kOne, sizeof kOne);
      if (setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPNS, &kOne, sizeof kOne) != 0) Die("setsockopt");
      if (messages_.size() <= static_cast<size_t>(fd)) messages_.resize(fd + 1);
      messages_[fd].clear();
      Watch(fd);
    }
    if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED) Die("accept4");
  }

  void Receive(int fd) {
    char bytes[256];
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(timespec))];
    iovec room = {bytes, sizeof bytes};
    msghdr header = {.msg_iov = &room,
                     .msg_iovlen = 1,
                     .msg_control = control,
                     .msg_controllen = sizeof control};
    const ssize_t received = recvmsg(fd, &header, 0);
    if (received < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (received <= 0) {
      messages_[fd].clear();
      close(fd);
      return;
    }
    if (!messages_[fd].empty()) Die("a second request before the reply to the first");
    messages_[fd].assign(bytes, static_cast<size_t>(received));
    Reply reply = {.due_ns = 0, .received_ns = Now(), .fd = fd, .kind = Record::kUnstamped};
    timespec at;
    const cmsghdr* stamp = CMSG_FIRSTHDR(&header);
    if (stamp != nullptr && stamp->cmsg_type == SCM_TIMESTAMPNS) {
      std::memcpy(&at, CMSG_DATA(stamp), sizeof at);
      reply.received_ns = Nanos(at);
      reply.kind = Record::kAnswered;
    }
    reply.due_ns = reply.received_ns + plan_.NextDelay();
    waiting_.push(reply);
  }

  void SendDue() {
    while (!waiting_.empty()) {
      const Reply reply = waiting_.top();
      const int64_t now = Now();
      if (reply.due_ns > now) return;
      waiting_.pop();
      std::string& message = messages_[reply.fd];
      if (message.empty()) continue;  // its connection is gone
      records_.push_back({reply.kind, reply.received_ns, now});
      const ssize_t sent = send(reply.fd, message.data(), message.size(), MSG_NOSIGNAL);
      if (sent != std::ssize(message) && errno != EPIPE && errno != ECONNRESET) Die("send");
      message.clear();
    }
  }

  void Stall(int64_t begin_ns) {
    const int64_t end_ns = begin_ns + plan_.stall_ns;
    const timespec end = {.tv_sec = end_ns / kSecond, .tv_nsec = end_ns % kSecond};
    const int64_t begun = Now();
    while (clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, &end, nullptr) == EINTR && !ended) {
    }
    records_.push_back({Record::kStalled, begun, Now()});
  }

  const int epoll_ = epoll_create1(EPOLL_CLOEXEC);
  const int listener_;
  Plan plan_;
  std::vector<std::string> messages_;  // by fd; empty: none waits
  std::priority_queue<Reply, std::vector<Reply>, std::greater<>> waiting_;
  std::vector<Record> records_;
};

}  // namespace

int main(int argc, char** argv) {
  const std::string kind = argc > 2 ? argv[2] : "";
  if ((argc != 4 && argc != 6) || (kind != "constant" && kind != "exponential")) {
    std::fprintf(stderr, "usage: %s PORT constant|exponential DELAY_NS [STALL_NS PERIOD_NS]\n",
                 argv[0]);
    return 2;
  }
  reference::Prepare();
  std::signal(SIGTERM, [](int) { ended = 1; });
  Plan plan = {.exponential = kind == "exponential", .delay_ns = std::atoll(argv[3])};
  if (argc == 6) plan.stall_ns = std::atoll(argv[4]), plan.period_ns = std::atoll(argv[5]);
  Server server(std::atoi(argv[1]), plan);
  server.Run();
  server.Write();
}
