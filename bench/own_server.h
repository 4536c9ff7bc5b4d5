#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "absl/status/statusor.h"
#include "bench/process.h"

namespace bench {

// The path of this program, for starting its own subcommands.
std::string OwnExecutable();

// The JSON object of the output's last whole line that is one with that event; null: there is none.
nlohmann::ordered_json EventOf(const std::string& output, const char* event);

// A `ringside serve --json` that runs as a process of its own.
struct OwnServer {
  Process process;
  std::string who;               // in errors: "the server of arm 'epoll' (ringside serve ...)"
  nlohmann::ordered_json ready;  // its ready line: "ringside.serve/1"
};

// Starts the command, which is to say --json, on the CPUs given (none: on all), and waits until it
// is ready. `nofile` as for Process::Start(). Cancelled when interrupt_fd (-1: none) became
// readable; else an error is Process::Start()'s, or begins with `who` and carries what the server
// wrote to stderr.
absl::StatusOr<OwnServer> StartOwnServer(const std::vector<std::string>& command,
                                         const std::string& who, const std::vector<int>& cpus,
                                         int interrupt_fd, uint64_t nofile = 0);

// Ends it by SIGTERM; its summary. Errors likewise; also where it failed or gave no summary.
absl::StatusOr<nlohmann::ordered_json> StopOwnServer(OwnServer server, int interrupt_fd);

inline constexpr int64_t kServerReadyNs = 10'000'000'000;  // then it isn't waited for any more

// Sends SIGTERM and waits for the end, for up to 15 s. Errors as above.
absl::Status EndServer(const std::string& who, Process* process, int interrupt_fd);

// "<who> <what> with exit code 2; it said: ...".
absl::Status ServerFailed(const std::string& who, const char* what, const Process& process);

}  // namespace bench
