#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <optional>

#include "loadgen/arrivals.h"
#include "loadgen/free_list.h"
#include "loadgen/load.h"
#include "loadgen/recorder.h"

namespace loadgen {

// Open loop in one thread: when requests are due, which connections could take one, and how late
// they went out. In the warm-up the plan's first rate holds; the plan itself begins with the
// window.
//
// The schedule is asked for its next request only when that can be sent, so a run that is
// overloaded needs no memory for what it is behind.
class Pacer {
 public:
  Pacer(const LoadOptions& options, uint32_t thread, ScheduleCounts& counts)
      : options_(options),
        counts_(counts),
        part_({.arrivals = options.arrivals,
               .burst = options.connections,
               .seed = options.seed,
               .thread = thread,
               .threads = options.threads}) {}

  // end_ns: kNever where the window's begin is not known yet.
  void StartWarmup(int64_t begin_ns, int64_t end_ns) {
    const double rate = options_.rate.segments.front().begin_rate;
    if (rate <= 0) return;
    schedule_.emplace(RatePlan{{{rate, rate}}}, part_);
    origin_ = begin_ns;
    end_ = end_ns;
  }
  // What is due from the window's begin on, the plan says.
  void EndWarmupAt(int64_t window_begin_ns) {
    if (!in_window_) end_ = std::min(end_, window_begin_ns);
  }

  void StartWindow(int64_t begin_ns, int64_t end_ns) {
    schedule_.emplace(options_.rate, part_);
    origin_ = begin_ns;
    end_ = end_ns;
    in_window_ = true;
  }

  // Nothing is due from then on; outside of the window, nothing at all.
  void EndAt(int64_t at_ns) { end_ = in_window_ ? std::min(end_, at_ns) : 0; }

  bool in_window() const { return in_window_; }

  // When the next request is due; kNever: none will be.
  int64_t NextDue() const {
    if (!schedule_) return kNever;
    const int64_t due = schedule_->Peek();
    if (due == kNever) return kNever;
    return origin_ + due < end_ ? origin_ + due : kNever;
  }

  // The request that is due next is sent, or given up.
  void Take() {
    schedule_->Next();
    if (in_window_) ++counts_.offered;
  }
  void Shed() {
    Take();
    if (in_window_) ++counts_.shed;
  }

  // --- connections that are free ----------------------------------------------------------------

  bool HasFree() const { return !free_.empty(); }
  uint32_t NextFree() const { return free_.front(); }

  void AddFree(uint32_t slot, int64_t now_ns) {
    if (free_.empty()) free_since_ = now_ns;
    free_.Push(slot);
  }
  void PopFree(int64_t now_ns) {
    free_.Pop();
    if (free_.empty()) empty_since_ = now_ns;
  }

  // Those that are free now take their turns in an order that chance chose.
  void Shuffle(uint64_t seed) { free_.Shuffle(seed); }

  // The same for connections that are opened for a request each, of which only the number counts.
  uint32_t vacant() const { return vacant_; }
  void AddVacant(uint32_t count, int64_t now_ns) {
    if (vacant_ == 0) free_since_ = now_ns;
    vacant_ += count;
  }
  void TakeVacant(int64_t now_ns) {
    if (--vacant_ == 0) empty_since_ = now_ns;
  }

  // --- lateness ---------------------------------------------------------------------------------

  // Whether all that was due could be sent: what is due from then on, and isn't, waits for a
  // connection.
  void Behind(bool behind) {
    if (!behind) behind_since_ = 0;
    if (behind && behind_since_ == 0) behind_since_ = empty_since_;
  }

  // How late a request is sent now though it could have been earlier. What was due when all
  // connections were busy had to wait for one.
  int64_t Lag(int64_t due_ns, int64_t now_ns) const {
    const bool waited = behind_since_ != 0 && due_ns >= behind_since_;
    return now_ns - (waited ? std::max(due_ns, free_since_) : due_ns);
  }

  // What was due in the window and not sent until its end: it stays in the response time with the
  // time that it waited.
  void CountUnsent(int64_t now_ns, Recorder& recorder) {
    constexpr double kOneByOne = 1 << 20;
    constexpr int kSlices = 1024;
    const int64_t first = NextDue();
    if (!in_window_ || first == kNever) return;
    const auto until = [&](int64_t at) { return schedule_->CountUntil(at - origin_); };
    if (until(end_) - until(first) < kOneByOne) {
      for (int64_t due = first; due != kNever; due = NextDue()) {
        Take();
        ++counts_.unsent;
        recorder.Censored({due, due}, now_ns);
      }
      return;
    }
    const int64_t slice = (end_ - first) / kSlices;
    for (int i = 0; i < kSlices; ++i) {  // too many to be told apart
      const int64_t from = first + slice * i;
      const int64_t to = i + 1 < kSlices ? from + slice : end_;
      const auto count = static_cast<uint64_t>(std::llround(until(to) - until(from)));
      counts_.offered += count;
      counts_.unsent += count;
      recorder.Censored({from, from}, now_ns, count);
    }
  }

 private:
  const LoadOptions& options_;
  ScheduleCounts& counts_;
  const Schedule::Options part_;
  std::optional<Schedule> schedule_;
  int64_t origin_ = 0, end_ = 0;
  bool in_window_ = false;
  FreeList free_;
  uint32_t vacant_ = 0;
  int64_t free_since_ = 0;    // a connection has been free since
  int64_t empty_since_ = 0;   // and before that, none since
  int64_t behind_since_ = 0;  // what was due from then on waits for connections; 0: nothing does
};

}  // namespace loadgen
