#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "io/event_loop.h"
#include "server/socket_kind.h"
#include "server/unique_fd.h"

// Socket activation, readiness and the watchdog of a service manager: the protocols of
// sd_listen_fds(3), sd_notify(3) and sd_watchdog_enabled(3). They are a few environment variables
// and a datagram, and systemd documents them as stable and as meant to be implemented by others, so
// libsystemd is not needed. Without a service manager nothing here does anything, and nothing
// fails.
namespace server {

// A socket that the service manager opened for us; the caller owns it.
struct ActivatedSocket {
  int fd = -1;
  std::string name;  // FileDescriptorName= of the .socket unit; "unknown" where there is none
  SocketKind kind;
};

// The sockets that we were started with, in the order of the .socket units; empty where there are
// none, or where they are another process's (LISTEN_PID). They are made close-on-exec; whether they
// block is as the manager left it (NonBlocking=). The variables are unset, so no child mistakes
// them for its own: a second call finds nothing. Errors: InvalidArgument (a variable is malformed,
// or a descriptor is not a socket), FailedPrecondition (a socket can't be served on); the
// descriptors stay open then, and this process had better end.
// Thread: before others exist, since the environment changes.
absl::StatusOr<std::vector<ActivatedSocket>> ActivatedSockets();

// Tells the service manager about us; does nothing where there is none.
class Notifier {
 public:
  // From NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID, which are unset. InvalidArgument for an
  // address that is neither a path nor "@name", a malformed number, or a watchdog of less than 10
  // ms; the others as of socket(2).
  // Thread: before others exist, since the environment changes.
  static absl::StatusOr<Notifier> FromEnvironment();
  // One that tells nobody.
  Notifier() = default;

  // Whether somebody listens.
  bool active() const { return bool(socket_); }

  // READY=1: the service serves. Needs Type=notify in the unit.
  absl::Status Ready() const;
  // STOPPING=1: the service has begun to drain.
  absl::Status Stopping() const;
  // STATUS=: a line for `systemctl status`; line ends become spaces.
  absl::Status Status(std::string text) const;
  // MAINPID=: the process that is the service from now on.
  absl::Status MainPid(pid_t pid) const;
  // WATCHDOG=1: still alive. Never waits.
  absl::Status Watchdog() const;

  // How often Watchdog() is due: half of what the manager waits before it restarts us, as
  // sd_watchdog_enabled(3) advises. Nothing where it doesn't watch us.
  std::optional<io::Nanos> watchdog_interval() const { return watchdog_interval_; }

 private:
  // Unavailable: the manager is gone, or had no room for another message for 5 s. What doesn't wait
  // is left out where there is no room.
  absl::Status Send(const std::string& assignment, bool waits = true) const;

  UniqueFd socket_;  // connected
  std::optional<io::Nanos> watchdog_interval_;
};

}  // namespace server
