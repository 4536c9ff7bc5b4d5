#include "stress/connects.h"

#include <fcntl.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <utility>

#include "absl/strings/str_cat.h"
#include "io/errors.h"
#include "io/sockets.h"
#include "stress/descriptors.h"

namespace stress {
namespace {

constexpr int kGlanceMs = 10;  // between two looks at the witness, at memory and for a signal
constexpr int kSpareDescriptors = 8;

int64_t MonotonicNs() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

Limit DescriptorLimit(int error, uint64_t begun) {
  const bool process = error == EMFILE;
  return {.name = process ? "RLIMIT_NOFILE" : "fs.file-max",
          .value = absl::StrCat(begun, " connections were open or under way"),
          .mend = process ? absl::StrCat(RaiseDescriptors(2 * begun), ", or fewer connections")
                          : "sysctl -w fs.file-max=10000000"};
}

Limit PortsLimit(uint64_t begun) {
  return {.name = "net.ipv4.ip_local_port_range",
          .value = absl::StrCat("all in use after ", begun, " connections"),
          .mend = "sysctl -w net.ipv4.ip_local_port_range='1024 65535', or fewer connections"};
}

// epoll_ctl(2)
Limit WatchLimit(uint64_t begun) {
  return {.name = "fs.epoll.max_user_watches",
          .value = absl::StrCat("used up after ", begun, " connections"),
          .mend = "sysctl -w fs.epoll.max_user_watches=10000000, or fewer connections"};
}

Limit MemoryLimit(int error) {
  return {
      .name = "kernel memory for sockets",
      .value = io::ErrnoName(error),
      .mend = "raise net.ipv4.tcp_mem (sysctl net.ipv4.tcp_mem shows it), or fewer connections"};
}

}  // namespace

absl::StatusOr<Connects> Connects::Make(const Options& options) {
  Connects connects(options);
  connects.epoll_ = epoll_create1(EPOLL_CLOEXEC);
  if (connects.epoll_ < 0) {
    return absl::ResourceExhaustedError(absl::StrCat("epoll_create1: ", io::ErrnoName(errno)));
  }
  for (int i = 0; i < kSpareDescriptors; ++i) {
    const int spare = fcntl(connects.epoll_, F_DUPFD_CLOEXEC, 0);
    if (spare >= 0) connects.spare_.push_back(spare);
  }
  connects.attempts_.reserve(options.count);
  return connects;
}

Connects::Connects(Connects&& other) noexcept
    : options_(std::move(other.options_)),
      epoll_(std::exchange(other.epoll_, -1)),
      spare_(std::move(other.spare_)),
      attempts_(std::move(other.attempts_)) {}

Connects::~Connects() {
  for (const Attempt& attempt : attempts_) {
    if (attempt.fd < 0) continue;
    if (!options_.at.is_unix()) io::ResetOnClose(attempt.fd);
    close(attempt.fd);
  }
  if (epoll_ >= 0) close(epoll_);
  LetGoOfSpare();
}

void Connects::Run(const Context& context) {
  MemoryGuard guard(options_.memory_floor_bytes);
  int64_t next_look_ns = 0;
  const auto ends = [&] {
    const int64_t now = MonotonicNs();
    if (limit_ || now < next_look_ns) return limit_.has_value();
    next_look_ns = now + kGlanceMs * 1'000'000;
    limit_ = guard.Check();
    return limit_.has_value() || context.Interrupted();
  };
  for (uint64_t i = 0; i < options_.count; ++i) {
    if (ends() || !Begin()) return;
    Poll(0);  // or the first would seem to take as long as all of them
  }
  witness_ = attempts_.size();
  while (witness_ > 0 && attempts_[witness_ - 1].decided) --witness_;
  while (undecided_ > 0 && !ends()) {
    Poll(kGlanceMs);
    WatchWitness();
    ExpireOverdue();
  }
  Poll(0);  // answers that have come meanwhile
}

// Returns whether the next may begin.
bool Connects::Begin() {
  const io::Endpoint& at = options_.at;
  const int fd = socket(at.family(), at.type() | SOCK_NONBLOCK | SOCK_CLOEXEC, at.protocol());
  if (fd < 0) {
    const int error = errno;
    if (MeetsLimit(error)) return false;
    attempts_.push_back({.outcome = ConnectOutcome::kFailed, .error = error, .decided = true});
    return false;  // of this family there is none: nor will the next be one
  }
  attempts_.push_back({.fd = fd, .began_ns = MonotonicNs()});
  Attempt* attempt = &attempts_.back();
  ++undecided_;
  const int error = connect(fd, at.address(), at.size()) == 0 ? 0 : errno;
  if (error == EADDRNOTAVAIL || error == ENOBUFS || error == ENOMEM) {
    MeetsLimit(error);
    close(fd);
    attempts_.pop_back();
    --undecided_;
    return false;
  }
  epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
                       .data = {.u64 = attempts_.size() - 1}};
  if (error == 0 || error == EINPROGRESS) {
    if (epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &event) != 0) {
      MeetsLimit(errno);  // ENOMEM, ENOSPC
      return false;
    }
  }
  if (error == 0) {
    Opened(attempt);
  } else if (error != EINPROGRESS) {
    Settle(attempt);
    Decide(attempt, ConnectOutcome::kFailed, error);
  }
  return true;
}

void Connects::LetGoOfSpare() {
  for (const int fd : spare_) close(fd);
  spare_.clear();
}

// The limit that an errno means. Returns whether there is one.
bool Connects::MeetsLimit(int error) {
  const uint64_t begun = attempts_.size();
  switch (error) {
    case EMFILE:
    case ENFILE:
      LetGoOfSpare();
      limit_ = DescriptorLimit(error, begun);
      return true;
    case EADDRNOTAVAIL:
      limit_ = PortsLimit(begun);
      return true;
    case ENOBUFS:
    case ENOMEM:
      limit_ = MemoryLimit(error);
      return true;
    case ENOSPC:
      limit_ = WatchLimit(begun);
      return true;
    default:
      return false;
  }
}

// Nothing more is awaited of it.
void Connects::Settle(Attempt* attempt) {
  if (attempt->decided) return;
  attempt->decided = true;
  --undecided_;
}

void Connects::Decide(Attempt* attempt, ConnectOutcome outcome, int error) {
  switch (error) {
    case ECONNREFUSED:
      outcome = ConnectOutcome::kRefused;
      break;
    case ETIMEDOUT:
      outcome = ConnectOutcome::kTimedOut;
      break;
    case EAGAIN:
      outcome = ConnectOutcome::kNoRoom;
      break;
    case ECONNRESET:
    case EPIPE:
      outcome = ConnectOutcome::kReset;
      break;
    default:  // EHOSTUNREACH, ENETUNREACH, EACCES, EPERM, ...: counted by their names
      break;
  }
  attempt->outcome = outcome;
  attempt->error = error;
}

uint32_t Connects::SynRetransmits(const Attempt& attempt) const {
  if (options_.at.is_unix()) return 0;
  tcp_info info = {};
  socklen_t size = sizeof(info);
  if (getsockopt(attempt.fd, IPPROTO_TCP, TCP_INFO, &info, &size) != 0) return 0;
  return info.tcpi_total_retrans;
}

void Connects::Opened(Attempt* attempt) {
  attempt->connect_ns = std::max<int64_t>(MonotonicNs() - attempt->began_ns, 1);
  attempt->syn_retransmits = SynRetransmits(*attempt);
  attempt->outcome = ConnectOutcome::kOpened;
  if (options_.message.empty()) return Settle(attempt);
  const ssize_t sent =
      send(attempt->fd, options_.message.data(), options_.message.size(), MSG_NOSIGNAL);
  if (sent == static_cast<ssize_t>(options_.message.size())) return;
  Settle(attempt);  // a new connection has room for it, unless it was reset at once
  Decide(attempt, ConnectOutcome::kFailed, sent < 0 ? errno : EMSGSIZE);
}

void Connects::OnEvents(Attempt* attempt, uint32_t events) {
  if (attempt->outcome == ConnectOutcome::kPending) {
    const int error = io::SocketError(attempt->fd);
    if (error != 0) {
      attempt->syn_retransmits = SynRetransmits(*attempt);
      Settle(attempt);
      return Decide(attempt, ConnectOutcome::kFailed, error);
    }
    Opened(attempt);
  }
  if (attempt->outcome != ConnectOutcome::kOpened) return;
  if ((events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) Receive(attempt);
}

void Connects::Receive(Attempt* attempt) {
  char bytes[4096];
  while (true) {
    const ssize_t n = recv(attempt->fd, bytes, sizeof(bytes), 0);
    if (n > 0) {
      Check(attempt, bytes, static_cast<size_t>(n));
      continue;
    }
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
    Settle(attempt);
    if (n < 0) Decide(attempt, ConnectOutcome::kFailed, errno);
    return;
  }
}

// What came on it: any byte is an answer where no echo is awaited.
void Connects::Check(Attempt* attempt, const char* bytes, size_t size) {
  const std::string& message = options_.message;
  const size_t from = attempt->received;
  attempt->received += static_cast<uint32_t>(size);
  if (message.empty()) {
    attempt->answered = true;
    return;
  }
  if (from + size > message.size() || std::memcmp(bytes, message.data() + from, size) != 0) {
    attempt->corrupt = true;
  } else if (attempt->received < message.size()) {
    return;
  }
  attempt->answered = !attempt->corrupt;
  Settle(attempt);
}

void Connects::Poll(int timeout_ms) {
  std::array<epoll_event, 256> events;
  const int count = epoll_wait(epoll_, events.data(), events.size(), timeout_ms);
  for (int i = 0; i < count; ++i) OnEvents(&attempts_[events[i].data.u64], events[i].events);
}

// All have the same patience, so those that began first are overdue first.
void Connects::ExpireOverdue() {
  const int64_t now = MonotonicNs();
  for (; oldest_ < attempts_.size(); ++oldest_) {
    Attempt& attempt = attempts_[oldest_];
    if (attempt.decided) continue;
    if (now - attempt.began_ns < options_.timeout_ns) return;
    if (attempt.outcome == ConnectOutcome::kPending) {
      attempt.syn_retransmits = SynRetransmits(attempt);
      attempt.outcome = ConnectOutcome::kTimedOut;
    }
    Settle(&attempt);
  }
}

// The kernel doesn't tell when it sent a SYN again. Looking at one of many does, at less cost.
void Connects::WatchWitness() {
  if (witness_ == 0) return;
  const Attempt& attempt = attempts_[witness_ - 1];
  const bool pending = attempt.outcome == ConnectOutcome::kPending;
  const int64_t age_ns = pending ? MonotonicNs() - attempt.began_ns : attempt.connect_ns;
  const uint32_t count = pending ? SynRetransmits(attempt) : attempt.syn_retransmits;
  while (syn_retries_s_.size() < count) syn_retries_s_.push_back(age_ns / 1e9);
  if (!pending) witness_ = 0;
}

Connects::Summary Connects::Summarize() const {
  Summary summary;
  summary.begun = attempts_.size();
  for (const Attempt& attempt : attempts_) {
    const bool opened = attempt.connect_ns > 0;
    const bool pending = attempt.outcome == ConnectOutcome::kPending;
    const uint32_t retransmits = pending ? SynRetransmits(attempt) : attempt.syn_retransmits;
    summary.retried += retransmits > 0;
    if (opened) {
      ++summary.opened;
      summary.at_once += retransmits == 0;
      Step& step = summary.steps[retransmits];
      ++step.opened;
      step.connect_ns.push_back(attempt.connect_ns);
      summary.connect.Record(attempt.connect_ns);
    }
    summary.answered += attempt.answered;
    summary.corrupt += attempt.corrupt;
    summary.unanswered += opened && !options_.message.empty() && !attempt.answered;
    if (attempt.error != 0) ++summary.by_errno[io::ErrnoSymbol(attempt.error)];
    switch (attempt.outcome) {
      case ConnectOutcome::kPending:
        ++summary.pending;
        break;
      case ConnectOutcome::kOpened:
        break;
      case ConnectOutcome::kTimedOut:
        ++summary.timed_out;
        ++summary.steps[retransmits].timed_out;
        break;
      case ConnectOutcome::kRefused:
        ++summary.refused;
        break;
      case ConnectOutcome::kReset:
        ++summary.reset;
        break;
      case ConnectOutcome::kNoRoom:
        ++summary.no_room;
        break;
      case ConnectOutcome::kFailed:
        ++summary.failed;
        break;
    }
  }
  for (auto& [number, step] : summary.steps) std::ranges::sort(step.connect_ns);
  if (!attempts_.empty()) {
    summary.begin_ns = attempts_.back().began_ns - attempts_.front().began_ns;
  }
  summary.syn_retries_s = syn_retries_s_;
  return summary;
}

std::set<uint16_t> Connects::OpenPorts() const {
  std::set<uint16_t> ports;
  for (const Attempt& attempt : attempts_) {
    if (attempt.outcome != ConnectOutcome::kOpened) continue;
    const auto local = io::LocalEndpoint(attempt.fd);
    if (local.ok()) ports.insert(local->port());
  }
  return ports;
}

}  // namespace stress
