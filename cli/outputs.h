#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "report/files.h"

// What a command leaves: text on standard output, and files.
namespace cli {

// Writes text for people, or for who reads a pipe, to standard output, whole and at once. Where
// that fails (ENOSPC, EIO, EBADF, ...) the first failure is told on stderr, in one sentence, but
// for a pipe whose reader has gone: that is how `| head` ends. Returns 0 or the errno.
int Print(const std::string& command, std::string_view text);

// `exit_code`, but for kExitOk where Print() had something to tell: then kExitFailed.
int AfterPrinting(int exit_code);

// Of descriptors 0 to 2, what isn't open is opened so that its use fails: else the next socket
// would take its number, and be written what was meant for standard output. To be called first.
void OccupyStandardDescriptors();

// A file that a flag names; "": none is wanted.
struct OutputPath {
  const char* flag;
  std::string path;
  report::OutputFile* file;
};

// Tries all of them, before a command begins. Says on stderr where a FIFO's reader is waited for.
// InvalidArgument: a path that can't be written to, or two that are the same file; Internal: a
// machine in trouble.
absl::Status OpenOutputs(const std::string& command, const std::vector<OutputPath>& outputs);

// The exit code where that failed.
int OutputsFailed(const std::string& command, const absl::Status& status);

}  // namespace cli
