#pragma once

#include <chrono>
#include <functional>
#include <mutex>
#include <optional>
#include <utility>

namespace server {

// A value that is costly to make, and that several ask for: made when somebody asks, and then kept
// for 19 times as long as making it took. So no more than a twentieth of the time goes into it, and
// what is cheap is always fresh. Any thread; who asks while it is made waits for it.
template <class T>
class Seldom {
 public:
  using TimePoint = std::chrono::steady_clock::time_point;

  // `now`: the clock, for tests.
  explicit Seldom(std::function<TimePoint()> now = &std::chrono::steady_clock::now)
      : now_(std::move(now)) {}

  template <class Make>
  T Get(Make make) {
    const std::lock_guard lock(mutex_);
    const TimePoint asked = now_();
    if (value_ && asked < again_) return *value_;
    value_.emplace(make());
    const TimePoint made = now_();
    again_ = made + (made - asked) * kTimesKept;
    return *value_;
  }

 private:
  static constexpr int kTimesKept = 19;

  const std::function<TimePoint()> now_;
  std::mutex mutex_;
  std::optional<T> value_;
  TimePoint again_;
};

}  // namespace server
