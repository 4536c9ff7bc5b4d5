#include "cli/completion.h"
#include "cli/run.h"
#include "cli/subcommands.h"
#include "cli/version.h"

int main(int argc, char** argv) {
  std::vector<cli::Subcommand> all = {
      cli::ServeCommand(),      cli::LoadCommand(),          cli::CompareCommand(),
      cli::StressGroup(),       cli::StressBacklogCommand(), cli::StressFdsCommand(),
      cli::StressHoldCommand(), cli::StressChurnCommand(),   cli::StressSlowCommand(),
      cli::ProbeCommand(),      cli::DoctorCommand(),        cli::ReportCommand()};
  all.push_back(cli::CompletionCommand(all));
  return cli::RunSubcommands(all,
                             "benchmarks the kernel's networking on this machine: epoll against "
                             "io_uring",
                             cli::Version(), argc, argv, &cli::VersionDetails);
}
