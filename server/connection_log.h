#pragma once

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <atomic>
#include <bit>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <type_traits>
#include <vector>

#include "absl/status/status.h"

// `--log-connections`: a line for each peer that comes or goes. A worker only copies a record into
// a ring of its own; another thread makes lines of the records, at a bounded rate.
namespace server {

// Who is at the other end: an Internet address, or a process (SO_PEERCRED, unix(7)).
class LogPeer {
 public:
  LogPeer() = default;  // not known
  // What accept(2) or getpeername(2) told: IPv4 or IPv6; of other families only the family is kept.
  LogPeer(const sockaddr* address, socklen_t size);
  explicit LogPeer(const ucred& process) : family_(AF_UNIX) { value_.process = process; }

  // "127.0.0.1:5", "[::1]:5", "[fe80::1%2]:5" (with the interface's number), and an IPv4 peer that
  // came over IPv6 (v4-mapped) as the former; "pid:7,uid:0,gid:0"; "unix" and "?" where no more is
  // known.
  std::string ToString() const;

 private:
  sa_family_t family_ = AF_UNSPEC;
  union {
    in_port_t none;
    sockaddr_in v4;
    sockaddr_in6 v6;
    ucred process;
  } value_ = {};
};

struct ConnectionRecord {
  enum class Event : uint8_t { kOpen, kClose };
  int64_t time_ns = 0;  // CLOCK_REALTIME
  Event event = Event::kOpen;
  uint16_t listener = 0;  // index into the listeners' names
  int32_t error = 0;      // kClose: the errno that ended it; 0: none
  // kClose: since it opened.
  uint64_t bytes_in = 0, bytes_out = 0;
  int64_t duration_ns = 0;
  LogPeer peer;
};
static_assert(std::is_trivially_copyable_v<ConnectionRecord>);

// The record as a line, without its end, in UTC with microseconds:
//   2026-01-02T03:04:05.678901Z open peer=127.0.0.1:5 listener=127.0.0.1:9
//   2026-01-02T03:04:06.678901Z close peer=127.0.0.1:5 listener=127.0.0.1:9 in=1 out=2
//   duration_s=1.000000 error=ECONNRESET
// (one line; the error only where there was one). Blanks, control characters, backslashes and '='
// in a listener's name are written as \xNN, so that a line is split at blanks.
std::string FormatConnection(const ConnectionRecord& record, std::string_view listener);

// Records on their way from one worker (Push) to the thread that formats them (Pop): one thread
// each. Bounded, and neither waits: a record that finds the ring full is dropped and counted.
class ConnectionRing {
 public:
  // `capacity` is rounded up to a power of two. A record takes 72 bytes.
  explicit ConnectionRing(size_t capacity)
      : mask_(std::bit_ceil(capacity < 1 ? size_t{1} : capacity) - 1), records_(mask_ + 1) {}
  ConnectionRing(const ConnectionRing&) = delete;
  ConnectionRing& operator=(const ConnectionRing&) = delete;

  // The worker. False: dropped. No system call, no allocation, no lock.
  bool Push(const ConnectionRecord& record) noexcept {
    const size_t tail = tail_.load(std::memory_order_relaxed);
    if (tail - head_seen_ > mask_) {
      head_seen_ = head_.load(std::memory_order_acquire);
      if (tail - head_seen_ > mask_) {
        dropped_.store(dropped_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
        return false;
      }
    }
    records_[tail & mask_] = record;
    tail_.store(tail + 1, std::memory_order_release);
    return true;
  }

  // The consumer. False: empty.
  bool Pop(ConnectionRecord* record) noexcept {
    const size_t head = head_.load(std::memory_order_relaxed);
    if (head == tail_seen_) {
      tail_seen_ = tail_.load(std::memory_order_acquire);
      if (head == tail_seen_) return false;
    }
    *record = records_[head & mask_];
    head_.store(head + 1, std::memory_order_release);
    return true;
  }

  // Any thread.
  uint64_t dropped() const { return dropped_.load(std::memory_order_relaxed); }
  size_t capacity() const { return mask_ + 1; }

 private:
  static constexpr size_t kCacheLine = 64;
  const size_t mask_;
  std::vector<ConnectionRecord> records_;
  alignas(kCacheLine) std::atomic<size_t> tail_{0};  // the worker's line
  size_t head_seen_ = 0;
  std::atomic<uint64_t> dropped_{0};
  alignas(kCacheLine) std::atomic<size_t> head_{0};  // the consumer's line
  size_t tail_seen_ = 0;
};

// So many events a second, and after a rest as many at once. One thread.
class TokenBucket {
 public:
  // `per_second` at least 1; it begins full.
  explicit TokenBucket(uint64_t per_second) : per_second_(per_second < 1 ? 1 : per_second) {}
  // Takes a token if there is one. `now_ns`: any clock that never goes back.
  bool Take(int64_t now_ns);

 private:
  const uint64_t per_second_;
  double tokens_ = -1;  // below 0: not asked yet
  int64_t last_ns_ = 0;
};

struct ConnectionLogOptions {
  std::vector<std::string> listeners;  // their names, by ConnectionRecord::listener
  size_t workers = 1;
  size_t ring_records = 4096;  // of each worker
  uint64_t lines_per_second = 1000;
};

// The rings of all workers, and what makes lines of their records.
class ConnectionLog {
 public:
  explicit ConnectionLog(ConnectionLogOptions options);

  // Worker i's; REQUIRES: i < options.workers.
  ConnectionRing& ring(size_t i) { return *rings_[i]; }

  // The consumer, one thread: the lines, each with its end, of all records that are there, by time;
  // what is beyond the rate is left out and counted. A line "N more suppressed" (and "N dropped",
  // of those that found a ring full) precedes the next line that the rate allows, and comes at the
  // latest with Finish(). `now_ns`: CLOCK_MONOTONIC.
  std::string Drain(int64_t now_ns);
  // The same, regardless of the rate for the count of what was left out: for the end.
  std::string Finish(int64_t now_ns);

  // The consumer.
  uint64_t logged() const { return logged_; }
  uint64_t suppressed() const { return suppressed_; }
  // Any thread.
  uint64_t dropped() const;

 private:
  void AppendLosses(std::string* text);
  uint64_t Unreported() const;

  const ConnectionLogOptions options_;
  std::vector<std::unique_ptr<ConnectionRing>> rings_;
  TokenBucket bucket_;
  std::vector<ConnectionRecord> records_;  // of the current Drain()
  uint64_t logged_ = 0, suppressed_ = 0;
  uint64_t suppressed_told_ = 0, dropped_told_ = 0;
};

// A thread that drains a log ten times a second, and a last time when it ends; so a worker wakes
// nobody. `write` gets whole lines, never none, on that thread; the thread inherits the caller's
// signal mask.
class ConnectionLogger {
 public:
  ConnectionLogger(ConnectionLog& log, std::function<void(std::string_view)> write);
  // After the workers ended, all their records are written when this returns.
  ~ConnectionLogger();
  // Whether the thread runs; if not, why: io::StartThread()'s error. Then nothing is written.
  const absl::Status& started() const { return started_; }
  ConnectionLogger(const ConnectionLogger&) = delete;
  ConnectionLogger& operator=(const ConnectionLogger&) = delete;

 private:
  void Run();

  ConnectionLog& log_;
  const std::function<void(std::string_view)> write_;
  std::mutex mutex_;
  std::condition_variable stop_;
  bool stopping_ = false;
  std::thread thread_;
  absl::Status started_;
};

}  // namespace server
