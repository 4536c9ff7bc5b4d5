#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <vector>

#include "probe/scan.h"

namespace probe {

// Which port of a scan is to be asked when, and which one's time is over: the arithmetic of both
// kinds of scan. Times are in ns of one clock, the caller's. Ports are named by their index in the
// options. One thread.
class Schedule {
 public:
  explicit Schedule(const ScanOptions& options);

  // A port to be asked now, which is waited for from then on; nothing where as many are waited for
  // as may be, the rate forbids, or none is left.
  std::optional<uint32_t> Next(int64_t now_ns);
  // The port that Next() gave last could not be asked yet: it is the next one again.
  void PutBack(uint32_t index);
  // Asks a port anew that is waited for, ahead of those that wait for their first time.
  void Again(uint32_t index);
  // It is waited for no longer.
  void Answered(uint32_t index, PortState state, int error, int64_t now_ns);
  // A port whose time is over, and that has no attempt left: it is filtered now. One that has is
  // put among those that are asked again. Nothing: nobody's time is over.
  std::optional<uint32_t> Expire(int64_t now_ns);

  bool waits(uint32_t index) const { return probes_[index].waits; }
  // How often it was asked: 1 from the first Next() on.
  uint32_t attempt(uint32_t index) const { return probes_[index].attempt; }
  uint32_t waiting() const { return waiting_; }
  bool finished() const { return waiting_ == 0 && fresh_ == results_.size() && again_.empty(); }
  // Until Next() or Expire() may have something, at least 0 and at most 50 ms.
  int64_t WaitNs(int64_t now_ns) const;
  // The index of a port among those to be asked; nothing: it is not among them.
  std::optional<uint32_t> IndexOf(uint32_t port) const;

  const std::vector<PortResult>& results() const { return results_; }

 private:
  struct Probe {
    int64_t asked_at = 0;
    uint32_t attempt = 0;
    bool waits = false;
  };
  struct Deadline {
    int64_t at;
    uint32_t index, attempt;
  };

  bool Left() const { return !again_.empty() || fresh_ < results_.size(); }
  // Whether it is that of an attempt that is waited for.
  bool Live(const Deadline& deadline) const;
  void Leave(uint32_t index);

  const uint32_t in_flight_;
  const uint32_t attempts_max_;
  const int64_t timeout_ns_;
  const int64_t interval_ns_;  // between two that are asked; 0: none
  int64_t due_at_ = 0;
  uint32_t fresh_ = 0;  // the first that was never asked
  uint32_t waiting_ = 0;
  std::deque<uint32_t> again_;
  std::deque<Deadline> deadlines_;  // all have the same time, so they end in the order of asking
  std::vector<Probe> probes_;
  std::vector<PortResult> results_;
  std::vector<int32_t> index_of_;  // by port; -1: not asked
};

}  // namespace probe
