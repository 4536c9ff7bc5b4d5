#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "stats/needs.h"

// What commands do about the machine's limits before they start: raise what they may, and say the
// rest as `doctor` says it.
namespace cli {

// Raises RLIMIT_NOFILE's soft limit to `descriptors`, of one process. ResourceExhausted where the
// hard limit is lower: says what to do, for what is wanted.
absl::Status AllowDescriptors(stats::Wanted wanted, uint64_t descriptors);

// What a server that was asked for so many connections (0: nobody said) and that backlog can't have
// of it: a sentence each. Raises RLIMIT_NOFILE's soft limit as far as it goes.
std::vector<std::string> ServeShortfalls(uint64_t connections, uint64_t threads, uint64_t backlog);

}  // namespace cli
