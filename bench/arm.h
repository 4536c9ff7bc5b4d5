#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "bench/process.h"

namespace bench {

// What the arms are played over: the names that --transport takes.
inline constexpr const char* kTransports[] = {"tcp", "unix", "seqpacket", "udp", "unix-dgram"};
bool IsUnix(const std::string& transport);
bool IsDatagram(const std::string& transport);

// One side of a comparison: a server to be started anew for each round.
struct Arm {
  std::string name;
  std::vector<std::string> command;  // words; {port} and {address} are filled in
  bool ringside = false;             // speaks our ready line and summary, and picks its own port
};

// Reads what --arm is given:
//   epoll                           a backend: our own server on it
//   NAME=serve --backend epoll ...  our own server with these flags
//   NAME=./old/ringside serve ...   another build of it
//   NAME=COMMAND with {port}        any server that listens on 127.0.0.1:{port}, TCP or UDP
//   NAME=COMMAND with {address}     likewise; it is given what `ringside load` would be
//                                   ("127.0.0.1:40001", "udp://127.0.0.1:40001", "unix:@name")
// REQUIRES: a transport of kTransports.
absl::StatusOr<Arm> ParseArm(const std::string& text, const std::vector<std::string>& backends,
                             const std::string& transport);

// An arm's server that runs, and accepts connections or takes datagrams.
struct RunningServer {
  Process process;
  std::string address;  // as `ringside load` takes it
};

// Starts the arm's server over the transport, on a free port or a fresh abstract name, and waits
// until it is ready. `message_bytes` tells ours what a request is. Cancelled when interrupt_fd
// became readable; else an error carries what the server wrote to stderr.
absl::StatusOr<RunningServer> StartServer(const Arm& arm, const std::string& transport,
                                          uint64_t message_bytes, const std::vector<int>& cpus,
                                          int interrupt_fd);

// The system calls a request of the server's own summary; below 0 where it gives none. Ends it.
absl::StatusOr<double> StopServer(const Arm& arm, RunningServer server, int interrupt_fd);

// The path of this program, for starting its own subcommands.
std::string OwnExecutable();

}  // namespace bench
