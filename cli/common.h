#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"

namespace cli {

// Prints "ringside COMMAND: what" to stderr and returns the exit code.
int Fail(const std::string& command, const std::string& what, int exit_code);
int Fail(const std::string& command, const absl::Status& status, int exit_code);

// The exit code where nothing could be started: kExitSkipped where the kernel lacks what was asked
// for (Unimplemented), else kExitFailed.
int StartFailed(const absl::Status& status);

// "auto" and the backends' names.
std::vector<std::string> BackendChoices();

// Turns "auto" into a backend's name, and says on stderr where that isn't io_uring, and why. An
// error says why the backend that was asked for can't run here.
absl::Status UseBackend(const std::string& command, std::string* backend);

}  // namespace cli
