#include "server/connection_log.h"

#include <arpa/inet.h>
#include <pthread.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "io/errors.h"
#include "io/threads.h"

namespace server {
namespace {

constexpr std::chrono::milliseconds kDrainEvery{100};

std::string Ipv4(const void* address, in_port_t port) {
  char text[INET_ADDRSTRLEN] = "?";
  inet_ntop(AF_INET, address, text, sizeof(text));
  return absl::StrCat(text, ":", ntohs(port));
}

std::string Ipv6(const sockaddr_in6& peer) {
  if (IN6_IS_ADDR_V4MAPPED(&peer.sin6_addr)) {
    return Ipv4(&peer.sin6_addr.s6_addr[12], peer.sin6_port);
  }
  char text[INET6_ADDRSTRLEN] = "?";
  inet_ntop(AF_INET6, &peer.sin6_addr, text, sizeof(text));
  const std::string scope = peer.sin6_scope_id == 0 ? "" : absl::StrCat("%", peer.sin6_scope_id);
  return absl::StrCat("[", text, scope, "]:", ntohs(peer.sin6_port));
}

// A value of a line: what would end it, or begin another, is escaped.
std::string Value(std::string_view text) {
  std::string value;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte <= ' ' || byte == 0x7f || c == '\\' || c == '=') {
      absl::StrAppendFormat(&value, "\\x%02x", byte);
    } else {
      value += c;
    }
  }
  return value;
}

int64_t MonotonicNanos() {
  return std::chrono::nanoseconds(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace

LogPeer::LogPeer(const sockaddr* address, socklen_t size) {
  if (size < sizeof(sa_family_t)) return;  // an unnamed peer
  sa_family_t family;
  std::memcpy(&family, address, sizeof(family));
  if (family == AF_INET && size >= sizeof(sockaddr_in)) {
    std::memcpy(&value_.v4, address, sizeof(sockaddr_in));
  } else if (family == AF_INET6 && size >= sizeof(sockaddr_in6)) {
    std::memcpy(&value_.v6, address, sizeof(sockaddr_in6));
  } else if (family == AF_UNIX) {
    value_.process = {};
  } else {
    return;
  }
  family_ = family;
}

std::string LogPeer::ToString() const {
  switch (family_) {
    case AF_INET:
      return Ipv4(&value_.v4.sin_addr, value_.v4.sin_port);
    case AF_INET6:
      return Ipv6(value_.v6);
    case AF_UNIX:
      if (value_.process.pid == 0) return "unix";
      return absl::StrCat("pid:", value_.process.pid, ",uid:", value_.process.uid,
                          ",gid:", value_.process.gid);
    default:
      return "?";
  }
}

std::string FormatConnection(const ConnectionRecord& record, std::string_view listener) {
  std::string line =
      absl::StrCat(absl::FormatTime("%E4Y-%m-%dT%H:%M:%E6SZ", absl::FromUnixNanos(record.time_ns),
                                    absl::UTCTimeZone()),
                   record.event == ConnectionRecord::Event::kOpen ? " open" : " close",
                   " peer=", record.peer.ToString(), " listener=", Value(listener));
  if (record.event == ConnectionRecord::Event::kOpen) return line;
  absl::StrAppend(&line, " in=", record.bytes_in, " out=", record.bytes_out);
  absl::StrAppendFormat(&line, " duration_s=%.6f", static_cast<double>(record.duration_ns) / 1e9);
  if (record.error != 0) absl::StrAppend(&line, " error=", io::ErrnoSymbol(record.error));
  return line;
}

bool TokenBucket::Take(int64_t now_ns) {
  const auto full = static_cast<double>(per_second_);
  if (tokens_ < 0) {
    tokens_ = full;
  } else if (now_ns > last_ns_) {
    tokens_ = std::min(full, tokens_ + static_cast<double>(now_ns - last_ns_) * 1e-9 * full);
  }
  last_ns_ = std::max(last_ns_, now_ns);
  if (tokens_ < 1) return false;
  tokens_ -= 1;
  return true;
}

ConnectionLog::ConnectionLog(ConnectionLogOptions options)
    : options_(std::move(options)), bucket_(options_.lines_per_second) {
  for (size_t i = 0; i < options_.workers; ++i) {
    rings_.push_back(std::make_unique<ConnectionRing>(options_.ring_records));
  }
}

uint64_t ConnectionLog::dropped() const {
  uint64_t sum = 0;
  for (const auto& ring : rings_) sum += ring->dropped();
  return sum;
}

uint64_t ConnectionLog::Unreported() const {
  return suppressed_ - suppressed_told_ + dropped() - dropped_told_;
}

void ConnectionLog::AppendLosses(std::string* text) {
  if (suppressed_ > suppressed_told_) {
    absl::StrAppend(text, suppressed_ - suppressed_told_, " more suppressed\n");
    suppressed_told_ = suppressed_;
  }
  const uint64_t dropped_now = dropped();
  if (dropped_now > dropped_told_) {
    absl::StrAppend(text, dropped_now - dropped_told_, " more dropped: the log fell behind\n");
    dropped_told_ = dropped_now;
  }
}

std::string ConnectionLog::Drain(int64_t now_ns) {
  records_.clear();
  for (const auto& ring : rings_) {
    ConnectionRecord record;
    // A worker that pushes as fast as this pops keeps it here no longer than for one ring's worth.
    for (size_t n = 0; n < ring->capacity() && ring->Pop(&record); ++n) records_.push_back(record);
  }
  std::stable_sort(records_.begin(), records_.end(),
                   [](const auto& a, const auto& b) { return a.time_ns < b.time_ns; });
  std::string text;
  for (const ConnectionRecord& record : records_) {
    if (!bucket_.Take(now_ns)) {
      ++suppressed_;
      continue;
    }
    if (Unreported() > 0) AppendLosses(&text);
    const std::string_view name = record.listener < options_.listeners.size()
                                      ? std::string_view(options_.listeners[record.listener])
                                      : "?";
    absl::StrAppend(&text, FormatConnection(record, name), "\n");
    ++logged_;
  }
  // Once the flood is over, its size is told without waiting for the next peer.
  if (records_.empty() && Unreported() > 0 && bucket_.Take(now_ns)) AppendLosses(&text);
  return text;
}

std::string ConnectionLog::Finish(int64_t now_ns) {
  std::string text = Drain(now_ns);
  AppendLosses(&text);
  return text;
}

ConnectionLogger::ConnectionLogger(ConnectionLog& log, std::function<void(std::string_view)> write)
    : log_(log),
      write_(std::move(write)),
      started_(io::StartThread(
          "the connection log", [this] { Run(); }, &thread_)) {}

ConnectionLogger::~ConnectionLogger() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  stop_.notify_one();
  if (thread_.joinable()) thread_.join();
}

void ConnectionLogger::Run() {
  pthread_setname_np(pthread_self(), "connection-log");
  const auto write = [this](const std::string& lines) {
    if (!lines.empty()) write_(lines);
  };
  std::unique_lock lock(mutex_);
  while (!stop_.wait_for(lock, kDrainEvery, [this] { return stopping_; })) {
    lock.unlock();  // writing may take its time
    write(log_.Drain(MonotonicNanos()));
    lock.lock();
  }
  write(log_.Finish(MonotonicNanos()));
}

}  // namespace server
