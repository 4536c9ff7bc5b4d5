#include "io/loop_features.h"

#include <sys/utsname.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "io/kernel_features.h"

namespace io {
namespace {

constexpr bool kOn = true, kOff = false;
constexpr const char* kUring = "io_uring";
constexpr const char* kEpoll = "epoll";

std::string RunningKernel() {
  utsname name = {};
  uname(&name);
  return name.release;
}

// The first can't be had with, or without, the second.
struct Conflict {
  Feature wanted, other;
  bool other_on;
  const char* why;
};
constexpr Conflict kConflicts[] = {
    {Feature::kDeferTaskrun, Feature::kCoopTaskrun, kOff, "which it includes"},
    {Feature::kSqpoll, Feature::kDeferTaskrun, kOn, "which the kernel refuses"},
    {Feature::kSqpoll, Feature::kCoopTaskrun, kOn, "which the kernel refuses"},
};

const FeatureInfo& InfoOf(Feature feature) {
  return *std::find_if(AllFeatures().begin(), AllFeatures().end(),
                       [&](const FeatureInfo& info) { return info.feature == feature; });
}

}  // namespace

const std::vector<FeatureInfo>& AllFeatures() {
  static const std::vector<FeatureInfo> all = {
      {Feature::kMultishotReceive, "multishot-receive", kUring, kOn, "multishot receive",
       "one receive delivers again and again; without, one is armed for each"},
      {Feature::kMultishotAccept, "multishot-accept", kUring, kOn, "multishot accept",
       "likewise accepting"},
      {Feature::kDeferTaskrun, "defer-taskrun", kUring, kOn, "DEFER_TASKRUN",
       "completions are worked on when the loop asks for them; without, coop-taskrun"},
      {Feature::kCoopTaskrun, "coop-taskrun", kUring, kOn, "COOP_TASKRUN",
       "completions don't interrupt the loop; without it, and defer-taskrun, they do"},
      {Feature::kRegisteredRing, "registered-ring", kUring, kOn, "registered ring",
       "entering the kernel spares the look-up of the ring's descriptor"},
      {Feature::kReceiveCap, "receive-cap", kUring, kOn, "receive byte cap",
       "a multishot receive ends at the bound by itself; without, it is cancelled"},
      {Feature::kBorrow, "borrow", kUring, kOn, nullptr,
       "replies are sent from the receive buffer that they came in; without, they are copied"},
      {Feature::kSqpoll, "sqpoll", kUring, kOff, "SQPOLL",
       "a thread of the kernel's takes what is submitted, at a CPU; instead of defer-taskrun"},
      {Feature::kBundles, "bundles", kUring, kOff, "receive bundles",
       "streams: one receive fills several buffers"},
      {Feature::kIncrementalBuffers, "incremental-buffers", kUring, kOff, "incremental buffers",
       "streams: several receives fill one buffer"},
      {Feature::kSendZeroCopy, "send-zc", kUring, kOff, "SEND_ZC",
       "TCP: what isn't copied into a queue is sent from where it lies, without the kernel's copy"},
      {Feature::kEdgeTriggered, "edge-triggered", kEpoll, kOn, nullptr,
       "TCP connections are registered once, for changes; without, for states (level-triggered)"},
      {Feature::kDrain, "drain", kEpoll, kOff, nullptr,
       "receives until nothing is left (EAGAIN), instead of until one comes back short"},
  };
  return all;
}

const FeatureInfo* FindFeature(const std::string& name) {
  const auto& all = AllFeatures();
  const auto found = std::find_if(all.begin(), all.end(),
                                  [&](const FeatureInfo& info) { return info.name == name; });
  return found == all.end() ? nullptr : &*found;
}

// Without coop-taskrun there is no defer-taskrun either: it is the same, and more.
bool FeatureSwitches::Uses(Feature feature) const {
  if (feature == Feature::kDeferTaskrun && Without(Feature::kCoopTaskrun)) return false;
  return With(feature) || (InfoOf(feature).on_by_default && !Without(feature));
}

absl::Status FeatureAvailable(const FeatureInfo& feature) {
  if (feature.kernel_feature == nullptr) return absl::OkStatus();
  return KernelHas(feature.name, feature.kernel_feature);
}

absl::Status KernelHas(const std::string& name, const std::string& kernel_feature) {
  std::string since;
  for (const KernelFeature& of_kernel : ListUringFeatures()) {
    if (of_kernel.name != kernel_feature) continue;
    if (of_kernel.available) return absl::OkStatus();
    since = of_kernel.since;
  }
  return absl::UnimplementedError(
      since.empty() ? absl::StrCat(name, ": io_uring is not available here")
                    : absl::StrCat(name, " needs Linux ", since, "; this kernel (", RunningKernel(),
                                   ") doesn't have it"));
}

absl::Status FindConflict(const FeatureSwitches& switches) {
  for (const Conflict& conflict : kConflicts) {
    const bool clashes =
        conflict.other_on ? switches.With(conflict.other) : switches.Without(conflict.other);
    if (!switches.With(conflict.wanted) || !clashes) continue;
    return absl::InvalidArgumentError(absl::StrCat(
        InfoOf(conflict.wanted).name, " can't be had ", conflict.other_on ? "with " : "without ",
        InfoOf(conflict.other).name, ", ", conflict.why, "; leave one out"));
  }
  return absl::OkStatus();
}

absl::Status CheckFeatures(const FeatureSwitches& switches, const std::string& backend) {
  const absl::Status conflict = FindConflict(switches);
  if (!conflict.ok()) return conflict;
  for (const FeatureInfo& info : AllFeatures()) {
    if (!switches.With(info.feature) || info.backend != backend) continue;
    const absl::Status available = FeatureAvailable(info);
    if (!available.ok()) return available;
  }
  return absl::OkStatus();
}

std::string DescribeSwitches(const FeatureSwitches& switches, const std::string& backend) {
  std::vector<std::string> said;
  for (const FeatureInfo& info : AllFeatures()) {
    if (info.backend != backend) continue;
    if (switches.Without(info.feature)) said.push_back(absl::StrCat("without ", info.name));
    if (switches.With(info.feature)) said.push_back(absl::StrCat("with ", info.name));
  }
  return absl::StrJoin(said, ", ");
}

}  // namespace io
