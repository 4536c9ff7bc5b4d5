#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "absl/status/statusor.h"
#include "cli/flags.h"
#include "stress/result.h"
#include "stress/target.h"

// What the subcommands `ringside stress NAME` share.
namespace cli {

// The flags that each of them takes.
struct StressFlags {
  Flags* flags = nullptr;
  std::string address;  // "": our own server
  bool self = false;
  std::string backend = "auto";         // of our own server
  std::string serve_flags;              // more of its flags, as typed
  std::string client_backend = "auto";  // of the load generator
  uint64_t server_pid = 0;
  uint64_t memory_floor_bytes = 2ull << 30;
  bool owned = false;
  std::string json;
  bool quiet = false;
};

// Declares them: whom it is made with, first; then the experiment's own; the rest, last.
void DeclareTarget(Flags& flags, StressFlags& f);
void DeclareLimits(Flags& flags, StressFlags& f);

// `target`, or with `backends` (a switch --backends of the experiment) our own server once on each
// backend that runs here. InvalidArgument where that is refused.
absl::StatusOr<std::vector<stress::TargetOptions>> EachBackend(const StressFlags& f,
                                                               const stress::TargetOptions& target,
                                                               bool backends);

// One experiment.
struct Experiment {
  std::string name;  // "churn"
  // Runs it. `target` has the backend that was asked for, or the best that runs here, but no
  // service. An error that isn't InvalidArgument (the user's) or Cancelled (interrupted) is one of
  // running; what was measured by then is to be a Result with a `problem` instead.
  std::function<absl::StatusOr<stress::Result>(const stress::TargetOptions& target,
                                               const std::string& client_backend,
                                               const stress::Context& context)>
      run;
  // Its rows of the text (report/stress_text.h).
  std::function<std::string(const nlohmann::ordered_json&)> rows;
};

// Does all that they share: checks the flags, runs it, reports as text and JSON. The exit code: 2 a
// usage error, 77 a backend that doesn't run here, 130 and 143 by a signal, 1 failed, 3 a limit
// ended it early, 0 else.
int RunExperiment(const StressFlags& f, const Experiment& experiment);

}  // namespace cli
