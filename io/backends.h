#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace io {

// The backends that talk to a kernel, best first: "io_uring", "epoll".
std::vector<std::string> BackendNames();

// Whether the backend of that name runs on this machine; if not, why.
absl::Status ProbeBackend(const std::string& name);

// What of the kernel that backend runs with on this machine, in words ("DEFER_TASKRUN, registered
// ring"; "" for one that has no options); where it doesn't run, why.
absl::StatusOr<std::string> BackendFeatures(const std::string& name);

// "auto" becomes the first backend that runs; other names stay. `why` tells, where that is not the
// best one, what stood against it.
std::string ChooseBackend(const std::string& name, std::string* why);

}  // namespace io
