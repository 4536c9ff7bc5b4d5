#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "loadgen/evidence.h"
#include "loadgen/load.h"

namespace loadgen {

// Something that makes a run's figures worth less than they look: what was measured, and the flag
// or command that mends it.
struct Accusation {
  std::string_view code;  // of kAccusations
  std::string text;       // one sentence with the figures
  std::string mend;       // one sentence; never empty
};

// What a run was, in one word. Where several hold, the first.
enum class RunKind {
  kIncomplete,   // interrupted, or not all that was asked was answered rightly
  kNoisy,        // the CPUs were not ours: stolen, or used by others, or the client was stopped
  kClientBound,  // the client was the limit: the figures are its own
  kServerBound,  // the server was the limit
  kValid,        // neither was: the figures are of the load that was asked for
};

struct RunVerdict {
  RunKind kind = RunKind::kValid;
  std::string reason;  // one sentence
  std::vector<Accusation> accusations;
};

std::string_view Name(RunKind kind);

// Whether it is known what the server's threads used, and so what they had left. Its CPU time
// alone doesn't tell: one of its threads may have been full.
bool ServerKnown(const LoadResult& result);

// What the run has to say against itself.
RunVerdict Judge(const LoadOptions& options, const LoadResult& result, const Evidence& evidence);

}  // namespace loadgen
