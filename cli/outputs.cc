#include "cli/outputs.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <iostream>

#include "absl/strings/str_cat.h"
#include "cli/common.h"
#include "cli/subcommands.h"

namespace cli {
namespace {

int first_failure = 0;  // an errno; standard output is the process's, and so is this

}  // namespace

int Print(const std::string& command, std::string_view text) {
  const int error = report::WriteAll(STDOUT_FILENO, text);
  if (error == 0 || error == EPIPE || first_failure != 0) return error;
  first_failure = error;
  std::cerr << "ringside" << (command.empty() ? "" : " ") << command
            << ": can't write to standard output: " << strerrorname_np(error) << " ("
            << strerror(error) << ")\n";
  return error;
}

int AfterPrinting(int exit_code) {
  return exit_code == kExitOk && first_failure != 0 ? kExitFailed : exit_code;
}

void OccupyStandardDescriptors() {
  for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; ++fd) {
    if (fcntl(fd, F_GETFD) >= 0 || errno != EBADF) continue;
    // The lowest number that is free is given: this one.
    open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY);
  }
}

absl::Status OpenOutputs(const std::string& command, const std::vector<OutputPath>& outputs) {
  for (size_t i = 0; i < outputs.size(); ++i) {
    const OutputPath& output = outputs[i];
    if (output.path.empty()) continue;
    const absl::Status opened = output.file->Open(output.path, [&] {
      std::cerr << "ringside " << command << ": " << output.flag << ": waiting for a reader of '"
                << output.path << "'\n";
    });
    if (!opened.ok()) {
      return absl::Status(opened.code(),
                          absl::StrCat(output.flag, ": ", std::string(opened.message())));
    }
    for (size_t other = 0; other < i; ++other) {
      if (!output.file->IsSameAs(*outputs[other].file)) continue;
      return absl::InvalidArgumentError(absl::StrCat(outputs[other].flag, " ", outputs[other].path,
                                                     " and ", output.flag, " ", output.path,
                                                     " are the same file; name two"));
    }
  }
  return absl::OkStatus();
}

int OutputsFailed(const std::string& command, const absl::Status& status) {
  return Fail(command, status, absl::IsInvalidArgument(status) ? kExitUsage : kExitFailed);
}

}  // namespace cli
