#pragma once

// Whole suites run again with other features of the loops: which ones, their environment says.

#include <gtest/gtest.h>

#include <cstdlib>
#include <string>

#include "absl/strings/str_split.h"
#include "io/event_loop.h"
#include "io/loop_features.h"

namespace loop_switches {

inline void SwitchEach(const char* variable, bool on, io::LoopOptions* options) {
  const char* names = std::getenv(variable);
  if (names == nullptr) return;
  for (const absl::string_view name : absl::StrSplit(names, ',')) {
    const io::FeatureInfo* info = io::FindFeature(std::string(name));
    ASSERT_NE(info, nullptr) << variable << " names no feature: " << name;
    options->features.Switch(info->feature, on);
  }
}

// These options with, and without, the features that RINGSIDE_LOOP_WITH and RINGSIDE_LOOP_WITHOUT
// name, with commas, and RINGSIDE_LOOP_MIN_WAIT_US.
inline io::LoopOptions Switched(io::LoopOptions options) {
  SwitchEach("RINGSIDE_LOOP_WITH", true, &options);
  SwitchEach("RINGSIDE_LOOP_WITHOUT", false, &options);
  if (options.direct_descriptors != 0 || options.direct_accepts != 0) {
    options.features.Switch(io::Feature::kSendZeroCopy, false);  // Open() refuses both together
  }
  const char* min_wait = std::getenv("RINGSIDE_LOOP_MIN_WAIT_US");
  if (min_wait != nullptr) options.min_wait_us = static_cast<uint32_t>(std::atoi(min_wait));
  return options;
}

}  // namespace loop_switches
