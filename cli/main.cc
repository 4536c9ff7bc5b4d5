#include "cli/flags.h"
#include "cli/subcommands.h"
#include "cli/version.h"

int main(int argc, char** argv) {
  return cli::RunSubcommands({cli::ServeCommand(), cli::LoadCommand(), cli::CompareCommand()},
                             "benchmarks the kernel's networking on this machine: epoll against "
                             "io_uring",
                             cli::Version(), argc, argv);
}
