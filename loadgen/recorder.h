#pragma once

#include <algorithm>
#include <cstdint>

#include "loadgen/collector.h"
#include "loadgen/load.h"
#include "loadgen/request_times.h"
#include "stats/cpu_clock.h"

namespace loadgen {

// What one thread measures in the window. A latency is recorded once, into the histogram of the
// interval that runs; who collects the intervals adds them up.
class Recorder {
 public:
  Recorder(const LoadOptions& options, LoadResult& out, Outbox& outbox)
      : interval_ns_(options.interval_ns),
        open_loop_(options.open_loop()),
        out_(out),
        outbox_(outbox) {}

  bool measuring() const { return measuring_; }
  // Whether it is, or was.
  bool begun() const { return begin_ns_ != 0; }
  int64_t begin_ns() const { return begin_ns_; }
  // When the interval that runs ends, or the next tick for the event loop's lag is due.
  int64_t NextTick() const { return measuring_ ? std::min(next_tick_, interval_end_) : INT64_MAX; }

  void Begin(int64_t begin_ns, int64_t end_ns, int64_t now_ns) {
    measuring_ = true;
    begin_ns_ = begin_ns;
    end_ns_ = end_ns;
    published_bytes_ = sent_bytes_;
    interval_end_ = begin_ns + interval_ns_;
    next_tick_ = now_ns + kTickNs;
    ran_ns_ = stats::ThreadCpuNanos();
  }

  // At each turn of the loop: so many connections are open, and so many bytes were sent in all.
  void Tick(int64_t now_ns, uint64_t connections, uint64_t sent_bytes) {
    connections_ = connections;
    sent_bytes_ = sent_bytes;
    if (!measuring_) return;
    if (Over(now_ns)) Flip(now_ns);
    if (now_ns < next_tick_) return;
    NoteLag(now_ns - next_tick_);
    next_tick_ = now_ns + kTickNs;
  }

  void End(int64_t now_ns) {
    if (Over(now_ns)) Flip(now_ns);
    measuring_ = false;
    ended_ns_ = now_ns;
    interval_.bytes_sent = sent_bytes_ - published_bytes_;
    interval_.connections = connections_;
  }

  // Nothing more comes.
  void Finish() {
    if (ended_ns_ == 0) return;
    Publish(std::clamp<int64_t>(ended_ns_ - IntervalBegin(), 1, interval_ns_));
    ended_ns_ = 0;
  }

  // A request was answered now. In open loop it belongs to the window in which it was due, in
  // closed loop to the one in which it is answered.
  void Answered(const RequestTimes& times, int64_t now_ns) noexcept {
    if (measuring_) {
      if (Over(now_ns)) [[unlikely]]
        Flip(now_ns);
      ++out_.requests;
      ++interval_.requests;
      if (!open_loop_) return interval_.latency.Record(now_ns - times.sent_ns);
    }
    if (open_loop_ && InWindow(times)) {
      interval_.latency.Record(now_ns - times.scheduled_ns);
      out_.service.Record(now_ns - times.sent_ns);
    }
  }

  // A request will never be answered: it stays in the latency with the time that it waited.
  void Censored(const RequestTimes& times, int64_t now_ns, uint64_t count = 1) noexcept {
    if (!InWindow(times)) return;
    interval_.latency.Record(now_ns - (open_loop_ ? times.scheduled_ns : times.sent_ns), count);
    out_.censored += count;
  }

  // Requests that have no latency are done.
  void Count(uint64_t count) noexcept {
    if (!measuring_) return;
    out_.requests += count;
    interval_.requests += count;
  }

  void Bytes(uint64_t received) noexcept {
    if (measuring_) interval_.bytes_received += received;
  }
  void Error(uint64_t count) noexcept {
    if (measuring_) interval_.errors += count;
  }

 private:
  static constexpr int64_t kTickNs = 10'000'000;
  static constexpr int64_t kStoppedNs = 100'000'000;  // a thread that merely waits for a CPU hasn't
                                                      // waited for so long

  // The tick was so late. A loop that had much to do has used its CPU meanwhile.
  void NoteLag(int64_t lag_ns) {
    out_.loop_lag.Record(lag_ns);
    const int64_t ran_ns = stats::ThreadCpuNanos();
    if (lag_ns >= kStoppedNs && ran_ns - ran_ns_ < lag_ns / 2) out_.stopped_ns += lag_ns;
    ran_ns_ = ran_ns;
  }

  // In open loop, whether the request was due in the window; in closed loop, sent until its end.
  bool InWindow(const RequestTimes& times) const {
    if (begin_ns_ == 0 || (open_loop_ && times.scheduled_ns < begin_ns_)) return false;
    return measuring_ || times.scheduled_ns < ended_ns_;
  }

  // The last interval takes up what comes after the window's end.
  bool Over(int64_t now_ns) const { return now_ns >= interval_end_ && interval_end_ < end_ns_; }
  int64_t IntervalBegin() const { return interval_end_ - interval_ns_; }

  void Flip(int64_t now_ns) {
    interval_.bytes_sent = sent_bytes_ - published_bytes_;
    interval_.connections = connections_;
    published_bytes_ = sent_bytes_;
    Publish(interval_ns_);
    const int64_t passed = (now_ns - interval_end_) / interval_ns_ + 1;
    interval_end_ += passed * interval_ns_;
  }

  void Publish(int64_t length_ns) {
    interval_.begin_ns = IntervalBegin() - begin_ns_;
    interval_.number = static_cast<uint64_t>(interval_.begin_ns / interval_ns_);
    interval_.length_ns = length_ns;
    outbox_.Publish(interval_);
  }

  const int64_t interval_ns_;
  const bool open_loop_;
  LoadResult& out_;
  Outbox& outbox_;
  Interval interval_;
  bool measuring_ = false;
  int64_t begin_ns_ = 0, end_ns_ = 0, ended_ns_ = 0;
  int64_t interval_end_ = INT64_MAX, next_tick_ = INT64_MAX;
  int64_t ran_ns_ = 0;  // the thread's CPU time, at the last tick
  uint64_t connections_ = 0, sent_bytes_ = 0, published_bytes_ = 0;
};

}  // namespace loadgen
