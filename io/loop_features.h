#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"

namespace io {

// What an event loop can do in more than one way. Each belongs to one backend.
enum class Feature : uint8_t {
  kMultishotReceive,
  kMultishotAccept,
  kDeferTaskrun,
  kCoopTaskrun,
  kRegisteredRing,
  kReceiveCap,
  kBorrow,
  kSqpoll,
  kBundles,
  kIncrementalBuffers,
  kSendZeroCopy,
  kEdgeTriggered,
  kDrain,
};

// Which features were switched, against what a loop does by itself. What stands in neither set is
// used where it is on by default and the kernel has it; what was asked for has to be there.
class FeatureSwitches {
 public:
  bool Uses(Feature feature) const;
  bool With(Feature feature) const { return with_ & Bit(feature); }
  bool Without(Feature feature) const { return without_ & Bit(feature); }
  void Switch(Feature feature, bool on) {
    (on ? with_ : without_) |= Bit(feature);
    (on ? without_ : with_) &= ~Bit(feature);
  }

 private:
  static uint32_t Bit(Feature feature) { return 1u << static_cast<uint8_t>(feature); }
  uint32_t with_ = 0, without_ = 0;
};

struct FeatureInfo {
  Feature feature;
  const char* name;     // as it is typed: "multishot-receive"
  const char* backend;  // whose it is
  bool on_by_default;
  const char* kernel_feature;  // its name in io/kernel_features.h; nullptr: every kernel has it
  const char* description;     // one line
};

// All features, those of io_uring first.
const std::vector<FeatureInfo>& AllFeatures();
// The feature of that name, or nullptr.
const FeatureInfo* FindFeature(const std::string& name);

// Whether this kernel has it: Unimplemented, with the name and the Linux that has it, where not.
// Tries it, which takes some milliseconds.
absl::Status FeatureAvailable(const FeatureInfo& feature);

// The same of something that is no switch: `name` is how it is asked for, `kernel_feature` what it
// needs.
absl::Status KernelHas(const std::string& name, const std::string& kernel_feature);

// What of it can't be had together: InvalidArgument.
absl::Status FindConflict(const FeatureSwitches& switches);
// What can't be had together, or not on this kernel, of what was asked for. A loop calls it in
// Open().
absl::Status CheckFeatures(const FeatureSwitches& switches, const std::string& backend);

// "without borrow, with sqpoll": what was switched of that backend's; "" for nothing.
std::string DescribeSwitches(const FeatureSwitches& switches, const std::string& backend);

}  // namespace io
