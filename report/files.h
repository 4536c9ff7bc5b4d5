#pragma once

#include <string>

#include "absl/status/status.h"

namespace report {

// Writes a whole file or nothing: into a temporary file beside it, synced, then renamed. "-" is
// standard output. Errors name the path and the errno (ENOSPC, EACCES, ENOENT, ...).
absl::Status WriteFile(const std::string& path, const std::string& text);

// The same for a file that must not be there yet: AlreadyExists where it is, whoever made it, and
// though several try at once.
absl::Status WriteNewFile(const std::string& path, const std::string& text);

}  // namespace report
