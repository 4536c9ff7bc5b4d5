#pragma once

#include <cstdint>
#include <vector>

#include "stress/result.h"

namespace stress {

// How a ramp of connections went on, by looks at it; every second one is dropped when they become
// many, so the series stays bounded however long the ramp takes; never the last. One thread.
class RampSeries {
 public:
  // at_s after the begin, so many connections were open, and so many of these answered.
  void Add(double at_s, uint64_t open, uint64_t answered) {
    last_ = {at_s, open, answered};
    if (calls_++ % every_ != 0) return;
    looks_.push_back({at_s, open, answered});
    if (looks_.size() < kLooksMax) return;
    for (size_t i = 0; 2 * i < looks_.size(); ++i) looks_[i] = looks_[2 * i];
    looks_.resize((looks_.size() + 1) / 2);
    every_ *= 2;
  }

  // "at_s", "open", "answered" of each.
  Json ToJson() const {
    Json json = Json::array();
    const auto add = [&](const Look& look) {
      json.push_back({{"at_s", look.at_s}, {"open", look.open}, {"answered", look.answered}});
    };
    for (const Look& look : looks_) add(look);
    if (!looks_.empty() && looks_.back().at_s != last_.at_s) add(last_);
    return json;
  }

 private:
  struct Look {
    double at_s = 0;
    uint64_t open = 0, answered = 0;
  };
  static constexpr size_t kLooksMax = 600;

  std::vector<Look> looks_;
  Look last_;
  uint64_t every_ = 1, calls_ = 0;
};

}  // namespace stress
