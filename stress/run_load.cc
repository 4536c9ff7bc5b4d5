#include "stress/run_load.h"

#include <chrono>
#include <utility>
#include <vector>

namespace stress {

absl::StatusOr<LoadRun> RunLoad(const loadgen::LoadOptions& options, MemoryGuard& guard,
                                const Context& context, const LookAtLoad& look) {
  constexpr int kLookMs = 100;
  const auto began = std::chrono::steady_clock::now();
  const auto since = [began] {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
  };
  loadgen::Load load({options});
  const absl::Status started = load.Start();
  if (!started.ok()) return started;
  LoadRun run;
  Context until_end = context;
  while (!until_end.Await(load.ended_fd(), kLookMs)) {
    load.Collect();
    look(since(), load);
    if (until_end.Interrupted()) {
      run.interrupted = true;
      until_end.interrupt_fd = -1;  // it stays readable
      load.Interrupt();
    }
    if (!run.limit && (run.limit = guard.Check())) load.Interrupt();
  }
  std::vector<loadgen::LoadResult> results;
  const absl::Status ran = load.Wait(&results);
  if (!ran.ok()) return ran;
  look(since(), load);
  run.result = std::move(results.front());
  return run;
}

}  // namespace stress
