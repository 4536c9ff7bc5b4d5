#include "probe/schedule.h"

#include <algorithm>
#include <cerrno>

namespace probe {
namespace {

constexpr int64_t kLongestWaitNs = 50'000'000;  // how late a stop may be seen
constexpr size_t kPorts = 65536;

}  // namespace

PortState StateOf(int error) {
  switch (error) {
    case ECONNREFUSED:
      return PortState::kClosed;
    case ECONNRESET:  // A SYN that is refused is ECONNREFUSED: this one was accepted, then reset.
    case EPIPE:
      return PortState::kOpen;
    case ETIMEDOUT:
    case EHOSTUNREACH:  // ICMP, an unreachable route, or nobody has the address
    case EHOSTDOWN:
    case ENETUNREACH:
    case ENETDOWN:
    case ENONET:
    case EACCES:       // a prohibited route; ICMP: administratively prohibited
    case EPERM:        // a packet filter of this machine
    case EINVAL:       // a blackhole route
    case ENOPROTOOPT:  // ICMP: no such protocol there
    case EOPNOTSUPP:
    case EPROTO:
    case EMSGSIZE:
      return PortState::kFiltered;
    default:
      return PortState::kUnknown;
  }
}

Schedule::Schedule(const ScanOptions& options)
    : in_flight_(std::max(1u, options.in_flight)),
      attempts_max_(options.retries + 1),
      timeout_ns_(options.timeout_ns),
      interval_ns_(options.rate > 0 ? static_cast<int64_t>(1e9 / options.rate) : 0),
      probes_(options.ports.size()),
      results_(options.ports.size()),
      index_of_(kPorts, -1) {
  for (size_t i = 0; i < options.ports.size(); ++i) {
    results_[i].port = options.ports[i];
    index_of_[options.ports[i]] = static_cast<int32_t>(i);
  }
}

std::optional<uint32_t> Schedule::Next(int64_t now_ns) {
  if (waiting_ >= in_flight_ || now_ns < due_at_ || !Left()) return std::nullopt;
  uint32_t index = fresh_;
  if (again_.empty()) {
    ++fresh_;
  } else {
    index = again_.front();
    again_.pop_front();
  }
  if (due_at_ == 0) due_at_ = now_ns;  // the first
  // Of what was missed, one is made up for at once: no burst.
  due_at_ = std::max(due_at_, now_ns - interval_ns_) + interval_ns_;
  Probe& probe = probes_[index];
  probe.asked_at = now_ns;
  probe.waits = true;
  ++probe.attempt;
  ++waiting_;
  deadlines_.push_back({now_ns + timeout_ns_, index, probe.attempt});
  return index;
}

void Schedule::Leave(uint32_t index) {
  if (!probes_[index].waits) return;
  probes_[index].waits = false;
  --waiting_;
}

void Schedule::PutBack(uint32_t index) {
  Leave(index);
  --probes_[index].attempt;
  deadlines_.pop_back();
  again_.push_front(index);
}

void Schedule::Again(uint32_t index) {
  Leave(index);
  again_.push_back(index);
}

void Schedule::Answered(uint32_t index, PortState state, int error, int64_t now_ns) {
  Leave(index);
  PortResult& result = results_[index];
  result.state = state;
  const bool answer = state == PortState::kOpen || state == PortState::kClosed;
  result.error = answer ? 0 : error;
  result.answer_ns = answer ? now_ns - probes_[index].asked_at : 0;
}

bool Schedule::Live(const Deadline& deadline) const {
  const Probe& probe = probes_[deadline.index];
  return probe.waits && probe.attempt == deadline.attempt;
}

std::optional<uint32_t> Schedule::Expire(int64_t now_ns) {
  while (!deadlines_.empty()) {
    const Deadline first = deadlines_.front();
    if (Live(first) && first.at > now_ns) return std::nullopt;
    deadlines_.pop_front();
    if (!Live(first)) continue;
    if (first.attempt < attempts_max_) {
      Again(first.index);
      continue;
    }
    Answered(first.index, PortState::kFiltered, 0, now_ns);
    return first.index;
  }
  return std::nullopt;
}

int64_t Schedule::WaitNs(int64_t now_ns) const {
  int64_t until = now_ns + kLongestWaitNs;
  if (Left() && waiting_ < in_flight_) until = std::min(until, due_at_);
  if (!deadlines_.empty()) until = std::min(until, deadlines_.front().at);
  return std::max<int64_t>(0, until - now_ns);
}

std::optional<uint32_t> Schedule::IndexOf(uint32_t port) const {
  if (port >= kPorts || index_of_[port] < 0) return std::nullopt;
  return static_cast<uint32_t>(index_of_[port]);
}

}  // namespace probe
