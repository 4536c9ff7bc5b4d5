#include "io/backends.h"

#include "io/loops.h"

namespace io {

std::vector<std::string> BackendNames() { return Loops::Names(); }

absl::Status ProbeBackend(const std::string& name) {
  absl::Status status = absl::NotFoundError("there is no such backend");
  Loops::Pick(name, [&]<class Backend>() { status = Backend::template Loop<NoHandler>::Probe(); });
  return status;
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

std::string ChooseBackend(const std::string& name, std::string* why) {
  if (name != "auto") return name;
  for (const std::string& candidate : Loops::Names()) {
    const absl::Status status = ProbeBackend(candidate);
    if (status.ok()) return candidate;
    *why = std::string(status.message());
  }
  return BackendNames().back();
}

}  // namespace io
