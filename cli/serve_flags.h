#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "cli/flags.h"
#include "cli/loop_flags.h"
#include "server/server.h"

namespace cli {

// What `ringside serve` takes, as it is typed.
struct ServeFlags {
  const Flags* flags = nullptr;  // to ask what was given
  std::string address = "127.0.0.1:9999";
  std::vector<std::string> listen;
  std::string backend = "auto";
  std::string service = "echo";
  std::string reply_text = services::ServiceOptions().text;
  std::string delay = "1ms";
  uint64_t threads = 1;
  std::string cpus;
  uint64_t message_bytes = 0;
  bool udp_gro = false, direct = false;
  bool json = false;

  uint64_t backlog = 4096;
  uint64_t connections_max = 1'000'000;
  uint64_t connections_per_source = 65536;
  int64_t idle_ns = 600'000'000'000;
  int64_t stall_ns = 60'000'000'000;
  uint64_t pending_bytes = server::ServerOptions().loop.pending_bytes_max;
  uint64_t delayed_bytes = server::ServerOptions().delayed_bytes_max;
  uint64_t recv_buffer_bytes = 64 * 1024;
  int64_t drain_ns = 5'000'000'000;

  std::vector<std::string> allow, deny;
  std::string unix_mode, unix_owner, allow_uid, allow_gid;
  std::string user;

  std::string takeover;
  std::string metrics;
  bool log_connections = false;

  LoopFlags loop;
};

// The error, with the flag that it is about before it.
absl::Status Named(const char* flag, const absl::Status& status);

void DeclareServe(Flags& flags, ServeFlags& f);

// Everything but the backend, what only it can have (SetLoop() tells), and the log.
// `address_given`: ADDRESS was typed, or no --listen was. Errors are the user's: one sentence that
// names the flag.
absl::StatusOr<server::ServerOptions> ToServerOptions(const ServeFlags& f, bool address_given);

}  // namespace cli
