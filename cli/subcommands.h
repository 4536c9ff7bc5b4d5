#pragma once

#include "cli/flags.h"

namespace cli {

// Exit codes, the same for every subcommand (docs/DESIGN.md).
inline constexpr int kExitOk = 0;
inline constexpr int kExitFailed = 1;      // failed while running
inline constexpr int kExitThreshold = 3;   // --fail-if or --strict; stress: a limit ended it early
inline constexpr int kExitDoesNotFit = 3;  // doctor
inline constexpr int kExitRegression = 4;
inline constexpr int kExitCannotTell = 5;
inline constexpr int kExitSkipped = 77;  // the backend is not available here

Subcommand ServeCommand();
Subcommand LoadCommand();
Subcommand CompareCommand();
Subcommand DoctorCommand();
Subcommand ProbeCommand();
Subcommand ReportCommand();

// The group "stress", and what is in it.
Subcommand StressGroup();
Subcommand StressBacklogCommand();
Subcommand StressChurnCommand();
Subcommand StressHoldCommand();
Subcommand StressSlowCommand();
Subcommand StressFdsCommand();

}  // namespace cli
