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

// What an arm is there for.
enum class Role { kBaseline, kArm, kSelfCheck };  // kSelfCheck: the first arm once more

// One side of a comparison: a server to be started anew for each round.
struct Arm {
  std::string name;
  std::vector<std::string> command;  // words; {port} and {address} are filled in
  bool ringside = false;             // speaks our ready line and summary, and picks its own port
  std::vector<std::string> load;     // flags of the load generator that are this arm's own
  Role role = Role::kArm;
  std::string feature, change;  // of an ablation: what differs from the first arm, "off" or "on"
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
// until it is ready. Ours gets `flags`, too: what a request is, which service. Cancelled when
// interrupt_fd became readable; else an error carries what the server wrote to stderr.
absl::StatusOr<RunningServer> StartServer(const Arm& arm, const std::string& transport,
                                          const std::vector<std::string>& flags,
                                          const std::vector<int>& cpus, int interrupt_fd);

// Ends the server. The system calls of its whole life, by its own summary; NaN where it gives none.
absl::StatusOr<double> StopServer(const Arm& arm, RunningServer server, int interrupt_fd);

}  // namespace bench
