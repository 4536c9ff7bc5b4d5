#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"

namespace cli {

// Prints "ringside COMMAND: what" to stderr and returns the exit code.
int Fail(const std::string& command, const std::string& what, int exit_code);
int Fail(const std::string& command, const absl::Status& status, int exit_code);

// The exit code where nothing could be started: kExitSkipped where the backend, or what was asked
// of it, can't be had here (io::IsBackendRefused()), else kExitFailed.
int StartFailed(const absl::Status& status);

// "auto" and the backends' names.
std::vector<std::string> BackendChoices();

// Turns "auto" into a backend's name, and says on stderr, and in `why`, where that isn't io_uring,
// and why. An error says why the backend that was asked for can't run here. With `loops` != 0 so
// many have to run at once.
absl::Status UseBackend(const std::string& command, std::string* backend,
                        std::string* why = nullptr, uint32_t loops = 0);

// For UseBackend(), of what starts both ends: the least that runs at once.
inline constexpr uint32_t kLoopsAtOnce = 2;

// For the choice of UseBackend() from "auto", where `started` says that it can't run after all (a
// thread has no memory for its ring): takes the next backend, and says so likewise. False where
// there is none, or `started` is about something else.
bool FallBack(const std::string& command, const absl::Status& started, std::string* backend,
              std::string* why);

}  // namespace cli
