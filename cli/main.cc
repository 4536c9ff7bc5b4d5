#include <cstdio>
#include <exception>
#include <new>

#include "cli/completion.h"
#include "cli/outputs.h"
#include "cli/run.h"
#include "cli/subcommands.h"
#include "cli/version.h"

namespace {

int RunProgram(int argc, char** argv) {
  std::vector<cli::Subcommand> all = {
      cli::ServeCommand(),      cli::LoadCommand(),          cli::CompareCommand(),
      cli::StressGroup(),       cli::StressBacklogCommand(), cli::StressFdsCommand(),
      cli::StressHoldCommand(), cli::StressChurnCommand(),   cli::StressSlowCommand(),
      cli::ProbeCommand(),      cli::DoctorCommand(),        cli::ReportCommand()};
  all.push_back(cli::CompletionCommand(all));
  return cli::RunSubcommands(
      all, "benchmarks the kernel's networking on this machine: epoll against io_uring",
      {cli::Version(), &cli::VersionDetails, &cli::VersionJson}, argc, argv);
}

// What nobody caught: errors are values here, so this is a bug, or memory ran out. Takes none.
int Unexpected(const char* command, const char* what, const char* advice) {
  std::fprintf(stderr, "ringside %s: %s%s\n", command, what, advice);
  return cli::kExitFailed;
}

}  // namespace

int main(int argc, char** argv) {
  cli::OccupyStandardDescriptors();
  const char* command = argc > 1 ? argv[1] : "";
  try {
    return RunProgram(argc, argv);
  } catch (const std::bad_alloc&) {
    return Unexpected(command, "out of memory", "; ask for less, or raise the limit (ulimit -v)");
  } catch (const std::exception& error) {
    return Unexpected(command, error.what(), "; this is a bug of ringside, please report it");
  } catch (...) {
    return Unexpected(command, "an unknown error", "; this is a bug of ringside, please report it");
  }
}
