#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace server {

// Who is at the other end of a Unix connection, as the kernel noted when it connected: the peer
// can't forge it, and it stays what it was if the peer's process changes its user or passes the
// socket on. Of another user namespace, ids that this one doesn't map are 65534.
struct PeerCredentials {
  pid_t pid = 0;
  uid_t uid = 0;
  gid_t gid = 0;  // effective; supplementary groups are not part of it
};

// SO_PEERCRED (unix(7)) of an accepted AF_UNIX socket. Errors: InvalidArgument (not a connected
// Unix socket; EBADF, ENOTSOCK).
absl::StatusOr<PeerCredentials> ReadPeerCredentials(int fd);

// The readers of flags below take what is said about each; every error is one sentence that says
// what to write (InvalidArgument), or which name is unknown (NotFound). Names are looked up by
// getpwnam_r(3) and getgrnam_r(3), which may ask the network: call at start-up. Digits alone are
// always a number.

// --unix-mode: octal, three digits or four with a leading 0: "0660", "666". Connecting takes write
// permission, so a mode must give it to somebody.
absl::StatusOr<mode_t> ParseUnixMode(const std::string& text);

struct UnixOwner {
  std::optional<uid_t> uid;  // none: as created
  std::optional<gid_t> gid;
};

// --unix-owner: "USER", "USER:GROUP" or ":GROUP", names or numbers.
absl::StatusOr<UnixOwner> ParseUnixOwner(const std::string& text);

// --allow-uid, --allow-gid: a comma-separated list of names or numbers.
absl::StatusOr<std::vector<uid_t>> ParseUsers(const std::string& text);
absl::StatusOr<std::vector<gid_t>> ParseGroups(const std::string& text);

// Who may use a Unix socket. The path's mode and owner are the first line: who may connect. The
// lists of users and groups are the second: who, of those, is served.
//
// A socket must at no time be open to more than it is meant for, and bind(2) makes it connectable
// with whatever mode the umask leaves. The order is therefore:
//
//   PrepareToBind(fd)   the path will be created 0600: of this user alone
//   bind(fd, path)
//   ApplyTo(path)       first the owner, then the mode: with the mode first, the group of before
//                       would have what is meant for the group of after
//   listen(fd)
//
// PrepareToBind() does not touch the umask, which belongs to all threads of the process.
class UnixAccess {
 public:
  std::optional<mode_t> mode;  // none: 0600 stays
  UnixOwner owner;
  std::vector<uid_t> uids;
  std::vector<gid_t> gids;

  // Without lists everybody who could connect passes. With either, a peer passes if its uid is
  // among `uids` or its gid among `gids`. Allocates nothing.
  bool Allows(const PeerCredentials& peer) const noexcept;

  // Has the next bind(2) of this AF_UNIX socket create its path with mode 0600, less the umask.
  // Linux takes a path's mode from the socket's own (unix_bind_bsd, net/unix/af_unix.c), which
  // fchmod(2) sets. An abstract address has no mode: only the lists protect it.
  static absl::Status PrepareToBind(int fd);

  // Gives the bound socket at `path` its owner, then its mode. What is changed is the file that was
  // found there, even if the path is exchanged meanwhile; it must be a socket, not a symbolic link,
  // belong to this process's user, and be closed to others, as PrepareToBind() makes it. Where
  // others may write to the directory, and it isn't sticky, nothing can protect a path. Errors:
  // PermissionDenied (EPERM: another owner takes root or CAP_CHOWN, another group one's membership;
  // EACCES), NotFound (ENOENT, ENOTDIR), FailedPrecondition (not such a socket; EROFS).
  absl::Status ApplyTo(const std::string& path) const;
};

}  // namespace server
