#include "cli/flags.h"
#include "cli/subcommands.h"

int main(int argc, char** argv) {
  return cli::RunSubcommands({cli::ServeCommand(), cli::LoadCommand()},
                             "benchmarks the kernel's networking on this machine: epoll against "
                             "io_uring",
                             RINGSIDE_VERSION, argc, argv);
}
