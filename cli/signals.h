#pragma once

#include <initializer_list>

namespace cli {

// SIGINT, SIGTERM, and those of `also`, taken as events instead of interrupting anything. Made
// before the first thread of a program, which all inherit the blocked signals.
class Signals {
 public:
  Signals(std::initializer_list<int> also = {});
  ~Signals();
  Signals(const Signals&) = delete;
  Signals& operator=(const Signals&) = delete;

  static constexpr int kTimeout = -1, kReadable = 0;

  // Waits for a signal and returns its number, or kReadable when `fd` is readable, or kTimeout when
  // timeout_ms (-1: for ever) have passed.
  int Wait(int fd, int timeout_ms);

  // The signal that came, or 0. Doesn't wait.
  int Take();

  // The signalfd(2) itself, for whoever polls several descriptors.
  int fd() const { return fd_; }

 private:
  int fd_;
};

// The exit code of a program that a signal ended: 130 or 143.
inline int ExitBySignal(int signal) { return 128 + signal; }

}  // namespace cli
