#pragma once

#include <sys/types.h>

#include "absl/status/statusor.h"

namespace stress {

// A process that is stopped (SIGSTOP, signal(7)) while this lives, and continued (SIGCONT) when it
// goes. A helper process waits beside us and continues it should we die first, by whatever signal.
// One that was stopped before is left as it was. One thread.
class StoppedProcess {
 public:
  // Stops it, and returns once none of its threads runs. Errors: InvalidArgument (that is us, or
  // init), NotFound (there is none), PermissionDenied (another user's), ResourceExhausted, Internal
  // (it didn't stop in 5 s).
  static absl::StatusOr<StoppedProcess> Stop(pid_t pid);
  StoppedProcess(StoppedProcess&& other) noexcept;
  StoppedProcess& operator=(StoppedProcess&& other) noexcept;
  ~StoppedProcess();

  // Continues it now.
  void Resume();

 private:
  StoppedProcess() = default;

  int pidfd_ = -1;  // of the process; -1: nothing is to be continued
  int alive_ = -1;  // the pipe whose end tells the helper that we are gone
  pid_t helper_ = -1;
};

}  // namespace stress
