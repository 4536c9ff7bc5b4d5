#include "io/backends.h"

#include <algorithm>
#include <bit>

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "io/loop_features.h"
#include "io/loops.h"
#include "io/uring_memory.h"

namespace io {
namespace {

constexpr char kRefused[] = "ringside/backend-refused";  // a status' payload, empty

}  // namespace

std::vector<std::string> BackendNames() { return Loops::Names(); }

absl::Status ProbeBackend(const std::string& name, uint32_t loops) {
  absl::Status status = absl::NotFoundError("there is no such backend");
  Loops::Pick(name, [&]<class Backend>() { status = Backend::template Loop<NoHandler>::Probe(); });
  if (status.ok() && loops != 0 && name == UringLoop<NoHandler>::kName) {
    LoopOptions usual;
    ShareMemory(loops, &usual);
    status = TryRings(usual);
  }
  return status;
}

RingMemory AskRingMemory() {
  return {.charged = RingsAreCharged(), .loop_bytes = LockedBytes(LoopOptions())};
}

std::string NextBackend(const std::string& name) {
  const auto names = Loops::Names();
  const auto at = std::find(names.begin(), names.end(), name);
  return at == names.end() || at + 1 == names.end() ? "" : *(at + 1);
}

absl::Status BackendRefused(absl::Status status) {
  status.SetPayload(kRefused, absl::Cord());
  return status;
}

bool IsBackendRefused(const absl::Status& status) {
  return absl::IsUnimplemented(status) || status.GetPayload(kRefused).has_value();
}

absl::StatusOr<std::string> BackendFeatures(const std::string& name) {
  const absl::Status status = ProbeBackend(name);
  if (!status.ok()) return status;
  std::string features;
  Loops::Pick(name, [&]<class Backend>() {
    using Loop = typename Backend::template Loop<NoHandler>;
    if constexpr (requires { Loop::ProbeFeatures(); }) features = Loop::ProbeFeatures();
  });
  return features;
}

std::vector<LoopFeature> FeaturesOf(const std::string& backend) {
  std::vector<LoopFeature> features;
  for (const FeatureInfo& info : AllFeatures()) {
    if (info.backend != backend) continue;
    features.push_back({.name = info.name,
                        .on_by_default = info.on_by_default,
                        .description = info.description,
                        .flags = {info.on_by_default ? "--without" : "--with", info.name}});
  }
  const auto add = [&](const char* name, const char* description,
                       const std::vector<std::string>& flags) {
    features.push_back(
        {.name = name, .on_by_default = false, .description = description, .flags = flags});
  };
  if (backend == UringLoop<NoHandler>::kName) {
    add("min-wait", "gathers completions for 20 us", {"--min-wait", "20us"});
    add("direct", "accepted connections take direct descriptors", {"--direct"});
    add("small-buffers", "receive buffers of 4 KiB instead of 64", {"--recv-buffer-bytes", "4KiB"});
    add("few-buffers", "64 receive buffers instead of 1024", {"--recv-buffers", "64"});
  } else {
    add("small-batch", "16 events a wait at most instead of 512", {"--batch", "16"});
    add("small-buffers", "a receive buffer of 4 KiB instead of 64",
        {"--recv-buffer-bytes", "4KiB"});
  }
  add("busy-poll", "never sleeps: asks the kernel again and again", {"--busy-poll"});
  return features;
}

absl::Status FeatureAvailable(const std::string& backend, const std::string& name) {
  const auto all = FeaturesOf(backend);
  const auto named = [&](const LoopFeature& feature) { return feature.name == name; };
  if (std::none_of(all.begin(), all.end(), named)) {
    return absl::NotFoundError(absl::StrCat(backend, " has no feature '", name, "'"));
  }
  if (name == "min-wait") return KernelHas(name, "minimum wait");
  if (name == "direct") return KernelHas(name, "direct descriptors");
  const FeatureInfo* info = FindFeature(name);
  return info == nullptr ? absl::OkStatus() : FeatureAvailable(*info);
}

std::vector<std::string> SwitchNames(const std::string& backend) {
  std::vector<std::string> names;
  for (const FeatureInfo& info : AllFeatures()) {
    if (backend == "auto" || backend == info.backend) names.emplace_back(info.name);
  }
  return names;
}

std::string BackendOfSwitch(const std::string& name) {
  const FeatureInfo* info = FindFeature(name);
  return info == nullptr ? "" : info->backend;
}

absl::Status SwitchFeature(const std::string& name, bool on, LoopOptions* loop) {
  const Feature feature = FindFeature(name)->feature;
  FeatureSwitches& switches = loop->features;
  if (on ? switches.Without(feature) : switches.With(feature)) {
    return absl::InvalidArgumentError(
        absl::StrCat(name, " is asked for both with and without; leave one out"));
  }
  switches.Switch(feature, on);
  return FindConflict(switches);
}

std::string ChooseBackend(const std::string& name, std::string* why, uint32_t loops) {
  if (name != "auto") return name;
  for (const std::string& candidate : Loops::Names()) {
    const absl::Status status = ProbeBackend(candidate, loops);
    if (status.ok()) return candidate;
    *why = std::string(status.message());
  }
  return BackendNames().back();
}

void ShareMemory(uint32_t threads, LoopOptions* loop) {
  static constexpr uint32_t kFull = 8, kLeast = 64;
  const auto share = [threads](uint32_t each, uint32_t full) {
    return threads <= full ? each : std::max(kLeast, std::bit_floor(each * full / threads));
  };
  loop->loops = threads;
  const bool direct = loop->direct_accepts != 0 || loop->direct_descriptors != 0;
  loop->recv_buffers = share(loop->recv_buffers, direct ? 1 : kFull);
  loop->submission_entries = share(loop->submission_entries, kFull);
}

uint64_t DirectAcceptsElsewhere(uint64_t listeners) {
  return DirectAccept::kInFlightMax * (listeners - 1);
}

}  // namespace io
