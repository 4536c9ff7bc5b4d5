#pragma once

#include <sys/types.h>

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "io/event_loop.h"
#include "server/takeover_wire.h"
#include "server/unique_fd.h"

// Handing the sockets that a server listens on to the process that replaces it, so that no
// connection is refused between the two: unix(7), SCM_RIGHTS. Both processes hold the same sockets
// for a moment, and at no moment do both accept: O_NONBLOCK belongs to the socket that they share,
// and their backends may need it differently. The running one stops before the new one starts;
// whoever connects between the two waits in the backlog. server/takeover_wire.h has the protocol.
//
// A path is that of a socket file, or "@name" in Linux's abstract namespace, which has no file and
// no permissions. Either way only processes of our own user, of root, and of `trusted_uid` are
// talked to, on both sides (SO_PEERCRED).
//
// The order of a takeover:
//   running: fd() is readable          new: Connect(), TakeSockets(), all but accept on them
//   running: Handle() -> kHandedOver   new: Ready(), which waits for Release()
//   running: stop accepting, Release() new: accept; TakeoverServer::Listen(path, kPredecessors),
//   running: drain, end                     then destroy the TakeoverClient
//
// The running process must close(2) its copies and never shutdown(2) them: that would end listening
// for both.
//
// Nothing here is thread-safe, and nothing blocks for longer than the patience.
namespace server {

// A socket under way. Whoever holds the struct owns the descriptor, and closes it.
struct PassedSocket {
  int fd = -1;
  // The caller's own, up to 4 KiB: which listener and thread it belongs to. It is passed unread.
  std::string label;
};

struct TakeoverOptions {
  // How long a call may wait for the peer, all its waits together.
  io::Nanos patience = std::chrono::seconds(5);
  // Ends a wait when it becomes readable, such as a signalfd(2); it is not read. -1: none.
  int interrupt_fd = -1;
  // A user to trust besides our own and root: the one that a process of root drops to.
  std::optional<uid_t> trusted_uid;
};

// The side of the running process.
class TakeoverServer {
 public:
  enum class Claim {
    kFree,          // the path must be nobody's, or a file that its dead owner left
    kPredecessors,  // the path is that of the process whose sockets we took over
  };
  enum class Outcome { kNothing, kHandedOver, kFailed };

  struct Result {
    // kNothing: nobody was there. kHandedOver: the peer has all that it needs to serve, and waits
    // for us to stop: stop accepting, then Release(), within its patience.
    // kFailed: nothing has changed, go on serving, and log `status`.
    Outcome outcome = Outcome::kNothing;
    absl::Status status;
    pid_t peer = 0;  // the other process, once somebody was there
  };

  explicit TakeoverServer(TakeoverOptions options = {}) : options_(options) {}
  ~TakeoverServer();  // removes the socket file, where it is still ours
  TakeoverServer(const TakeoverServer&) = delete;
  TakeoverServer& operator=(const TakeoverServer&) = delete;

  // Waits for successors at the path. The file gets the mode 0600, and it appears only when it can
  // be connected to, by rename(2) or link(2). kFree replaces what is a socket and refuses
  // connections, and nothing else. kPredecessors replaces any socket file; an abstract name is
  // tried again until the predecessor let go of it. Errors: InvalidArgument (a path that is empty
  // or too long), AlreadyExists (another server is there; or a file that is no socket),
  // PermissionDenied, NotFound (no such folder), ResourceExhausted.
  // REQUIRES: called once.
  absl::Status Listen(const std::string& path, Claim claim = Claim::kFree);

  // Becomes readable (poll(2)) when a successor is there; -1 before Listen() and after Release().
  int fd() const { return listener_.get(); }

  // Hands these sockets to the one that is there, if any. Returns kHandedOver when it said that it
  // can serve. They stay open here; the labels have at most 4 KiB, the sockets number at most
  // 16,384.
  Result Handle(const std::vector<PassedSocket>& sockets);

  // After kHandedOver: tells the successor that we no longer accept, and waits until it has taken
  // over the path. Then nobody is led to us any more. An error is for the log: the successor may
  // have died by now, and nothing is left to be done here but to end.
  absl::Status Release();

 private:
  absl::Status ListenAtFile(const std::string& path, Claim claim);
  absl::Status ListenAtName(const std::string& path, Claim claim);
  absl::StatusOr<UniqueFd> Accept();
  absl::Status HandOver(const std::vector<PassedSocket>& sockets, wire::Channel& peer) const;

  TakeoverOptions options_;
  std::string path_;
  UniqueFd listener_;
  UniqueFd spare_;  // given up to accept a successor where no descriptor is left
  dev_t device_ = 0;
  ino_t inode_ = 0;  // of the file at path_; 0: it isn't ours to remove
  std::optional<wire::Channel> successor_;
};

// The side of the new process. Destroying it before Ready() succeeded leaves the running process
// serving as before; the sockets that were not taken are closed.
class TakeoverClient {
 public:
  // Asks the server at the path for its sockets. Nothing where nobody is there (ENOENT,
  // ECONNREFUSED): start afresh. A server that is just ending (it handed over to a third) is let
  // go, and the path is tried again. Errors, with every descriptor closed: PermissionDenied (the
  // path, or the server's user), Aborted (it refused), FailedPrecondition (another version; not a
  // takeover socket), DataLoss (it doesn't keep to the protocol), DeadlineExceeded, Unavailable (it
  // died), ResourceExhausted (descriptors), Cancelled (interrupt_fd).
  static absl::StatusOr<std::optional<TakeoverClient>> Connect(const std::string& path,
                                                               TakeoverOptions options = {});
  TakeoverClient(TakeoverClient&&) = default;
  TakeoverClient& operator=(TakeoverClient&&) = default;

  // The sockets, close-on-exec; the caller owns them from now on. Empty the second time.
  std::vector<PassedSocket> TakeSockets();

  // Tells the running process that this one can accept, and waits until that one no longer does.
  // REQUIRES: this one doesn't accept yet; it does so after this returned, unless with Aborted: the
  // running process took the takeover back and serves on, so this process must end. Any other
  // error: it died or hangs after it was told, and this process is the one that serves.
  absl::Status Ready();

  // The process that handed over.
  pid_t predecessor() const { return predecessor_; }

 private:
  TakeoverClient(wire::Channel channel, pid_t predecessor)
      : channel_(std::move(channel)), predecessor_(predecessor) {}
  absl::Status ReceiveSockets();

  wire::Channel channel_;
  pid_t predecessor_;
  std::vector<UniqueFd> fds_;
  std::vector<std::string> labels_;
  io::Nanos patience_{};
};

}  // namespace server
