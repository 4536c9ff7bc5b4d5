#include "server/unix_access.h"

#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <limits>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "io/errors.h"

namespace server {
namespace {

constexpr char kWantMode[] = "write an octal mode, such as 0660, 0600 or 0666";
constexpr char kWantOwner[] = "write USER, USER:GROUP or :GROUP, such as www-data:www-data or 1000";
constexpr mode_t kModeMax = 0777;
constexpr mode_t kOthers = 0077;  // group and all others
constexpr mode_t kWrite = 0222;

// (uid_t)-1 is no user: chown(2) takes it for "leave as it is".
constexpr uint32_t kIdMax = std::numeric_limits<uint32_t>::max() - 1;
static_assert(sizeof(uid_t) == sizeof(uint32_t) && sizeof(gid_t) == sizeof(uint32_t));

absl::Status Wrong(absl::string_view text, absl::string_view why, absl::string_view want) {
  return absl::InvalidArgumentError(absl::StrCat("'", text, "' ", why, "; ", want));
}

// Users and groups, as their databases differ.
struct Users {
  static constexpr char kNoun[] = "user";
  static constexpr char kWant[] = "write names or numbers, such as root or 1000,1001";
  static constexpr char kSee[] = "getent passwd";
  using Entry = passwd;
  static int Find(const char* name, Entry* entry, char* buffer, size_t size, Entry** found) {
    return getpwnam_r(name, entry, buffer, size, found);
  }
  static uint32_t IdOf(const Entry& entry) { return entry.pw_uid; }
};

struct Groups {
  static constexpr char kNoun[] = "group";
  static constexpr char kWant[] = "write names or numbers, such as www-data or 33,1000";
  static constexpr char kSee[] = "getent group";
  using Entry = group;
  static int Find(const char* name, Entry* entry, char* buffer, size_t size, Entry** found) {
    return getgrnam_r(name, entry, buffer, size, found);
  }
  static uint32_t IdOf(const Entry& entry) { return entry.gr_gid; }
};

template <class Database>
absl::StatusOr<uint32_t> LookUp(const std::string& name) {
  constexpr size_t kBufferMax = size_t{1} << 24;  // a group of a million members
  std::vector<char> buffer(1024);
  typename Database::Entry entry, *found = nullptr;
  int error;
  while (true) {
    error = Database::Find(name.c_str(), &entry, buffer.data(), buffer.size(), &found);
    if (error == ERANGE && buffer.size() < kBufferMax) {
      buffer.resize(buffer.size() * 4);
    } else if (error != EINTR) {
      break;
    }
  }
  if (found != nullptr) return Database::IdOf(*found);
  switch (error) {
    case 0:
    case ENOENT:  // getpwnam_r(3): libraries differ in how they say "no such name"
    case ESRCH:
    case EBADF:
    case EPERM:
      return absl::NotFoundError(absl::StrCat("there is no ", Database::kNoun, " '", name,
                                              "' here; see ", Database::kSee,
                                              ", or write its number"));
    case EMFILE:
    case ENFILE:
    case ENOMEM:
    case ERANGE:
      return absl::ResourceExhaustedError(absl::StrCat("can't look up the ", Database::kNoun, " '",
                                                       name, "': ", io::ErrnoName(error),
                                                       "; write its number"));
    default:  // EIO, or what a service behind nsswitch.conf(5) has to say
      return absl::UnavailableError(absl::StrCat("can't look up the ", Database::kNoun, " '", name,
                                                 "': ", io::ErrnoName(error),
                                                 "; write its number"));
  }
}

// A name or a number.
template <class Database>
absl::StatusOr<uint32_t> ParseId(absl::string_view text) {
  if (!std::all_of(text.begin(), text.end(), absl::ascii_isdigit)) {
    if (text.front() == '-') return Wrong(text, "is negative", Database::kWant);
    if (text.find('\0') != absl::string_view::npos) {
      return Wrong(text, "holds a NUL", Database::kWant);
    }
    return LookUp<Database>(std::string(text));
  }
  uint32_t id = 0;
  if (!absl::SimpleAtoi(text, &id) || id > kIdMax) {
    return Wrong(text,
                 absl::StrCat("is out of range: ", Database::kNoun, "s go from 0 to ", kIdMax),
                 Database::kWant);
  }
  return id;
}

template <class Database>
absl::StatusOr<std::vector<uint32_t>> ParseIds(const std::string& text) {
  std::vector<uint32_t> ids;
  for (absl::string_view item : absl::StrSplit(text, ',')) {
    item = absl::StripAsciiWhitespace(item);
    if (item.empty()) return Wrong(text, "has an empty item", Database::kWant);
    const auto id = ParseId<Database>(item);
    if (!id.ok()) return id.status();
    ids.push_back(*id);
  }
  return ids;
}

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() {
    if (fd_ >= 0) close(fd_);
  }
  int get() const { return fd_; }

 private:
  const int fd_;
};

absl::Status PathError(const std::string& path, absl::string_view doing, int error) {
  const std::string what =
      absl::StrCat("can't ", doing, " the socket ", path, ": ", io::ErrnoName(error));
  switch (error) {
    case ENOENT:
    case ENOTDIR:
      return absl::NotFoundError(what);
    case EACCES:
      return absl::PermissionDeniedError(
          absl::StrCat(what, "; this user may not search the directories above it"));
    case EPERM:
      return absl::PermissionDeniedError(absl::StrCat(
          what, "; another owner takes root or CAP_CHOWN, another group one's membership in it"));
    case EROFS:
      return absl::FailedPreconditionError(what);
    case EINVAL:  // an id that this user namespace doesn't map
      return absl::InvalidArgumentError(
          absl::StrCat(what, "; this user namespace has no such user or group"));
    case EMFILE:
    case ENFILE:
    case ENOMEM:
    case EDQUOT:
      return absl::ResourceExhaustedError(what);
    case ENAMETOOLONG:
    case ELOOP:
      return absl::InvalidArgumentError(what);
    default:
      return absl::InternalError(what);
  }
}

// That the file is what PrepareToBind() and bind(2) leave.
absl::Status CheckIsOurs(const std::string& path, const struct stat& file) {
  const char* why = nullptr;
  if (S_ISLNK(file.st_mode)) {
    why = "is a symbolic link: somebody exchanged it, or the socket is elsewhere";
  } else if (!S_ISSOCK(file.st_mode)) {
    why = "is not a socket";
  } else if (file.st_uid != geteuid()) {
    why = "belongs to another user";
  } else if ((file.st_mode & kOthers) != 0) {
    why = "was open to others before its owner was set";
  }
  if (why == nullptr) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat(path, " ", why, "; use a directory that only this user may write to"));
}

}  // namespace

absl::StatusOr<PeerCredentials> ReadPeerCredentials(int fd) {
  ucred credentials = {};
  socklen_t size = sizeof(credentials);
  if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &size) != 0) {
    const int error = errno;
    const std::string what = absl::StrCat("SO_PEERCRED: ", io::ErrnoName(error));
    if (error == EBADF || error == ENOTSOCK || error == ENOPROTOOPT) {
      return absl::InvalidArgumentError(what);
    }
    return absl::InternalError(what);
  }
  // What Linux answers for sockets that have no such peer, without an error.
  if (credentials.uid > kIdMax) {
    return absl::InvalidArgumentError("SO_PEERCRED: this is not a connected Unix socket");
  }
  return PeerCredentials{credentials.pid, credentials.uid, credentials.gid};
}

absl::StatusOr<mode_t> ParseUnixMode(const std::string& text) {
  if (text.empty()) return Wrong(text, "is empty", kWantMode);
  mode_t mode = 0;
  for (const char c : text) {
    if (c < '0' || c > '7') return Wrong(text, "is not octal", kWantMode);
    mode = std::min<mode_t>(mode * 8 + static_cast<mode_t>(c - '0'), kModeMax + 1);
  }
  if (mode > kModeMax) {
    return Wrong(text, "has bits beyond 0777, which mean nothing for a socket", kWantMode);
  }
  if (text.size() < 3 || text.size() > 4) {
    return Wrong(text, "doesn't have three digits, or four with a leading 0", kWantMode);
  }
  if ((mode & kWrite) == 0) {
    return Wrong(text, "lets nobody connect, which takes write permission", kWantMode);
  }
  return mode;
}

absl::StatusOr<UnixOwner> ParseUnixOwner(const std::string& text) {
  const size_t colon = text.find(':');
  const absl::string_view user = absl::string_view(text).substr(0, colon);
  UnixOwner owner;
  if (text.empty()) return Wrong(text, "is empty", kWantOwner);
  if (!user.empty()) {
    const auto uid = ParseId<Users>(user);
    if (!uid.ok()) return uid.status();
    owner.uid = *uid;
  }
  if (colon == std::string::npos) return owner;
  const absl::string_view group = absl::string_view(text).substr(colon + 1);
  if (group.empty()) return Wrong(text, "has no group after the ':'", kWantOwner);
  const auto gid = ParseId<Groups>(group);
  if (!gid.ok()) return gid.status();
  owner.gid = *gid;
  return owner;
}

absl::StatusOr<std::vector<uid_t>> ParseUsers(const std::string& text) {
  return ParseIds<Users>(text);
}

absl::StatusOr<std::vector<gid_t>> ParseGroups(const std::string& text) {
  return ParseIds<Groups>(text);
}

bool UnixAccess::Allows(const PeerCredentials& peer) const noexcept {
  if (uids.empty() && gids.empty()) return true;
  return std::find(uids.begin(), uids.end(), peer.uid) != uids.end() ||
         std::find(gids.begin(), gids.end(), peer.gid) != gids.end();
}

absl::Status UnixAccess::PrepareToBind(int fd) {
  if (fchmod(fd, 0600) == 0) return absl::OkStatus();
  const int error = errno;
  const std::string what = absl::StrCat("can't close a Unix socket to others before it is bound: ",
                                        io::ErrnoName(error));
  if (error == EBADF) return absl::InvalidArgumentError(what);
  if (error == EPERM) return absl::PermissionDeniedError(what);
  return absl::InternalError(what);
}

absl::Status UnixAccess::ApplyTo(const std::string& path) const {
  const Descriptor file(open(path.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
  struct stat found = {};
  if (file.get() < 0 || fstat(file.get(), &found) != 0) return PathError(path, "open", errno);
  if (auto status = CheckIsOurs(path, found); !status.ok()) return status;
  if (owner.uid || owner.gid) {
    // -1 leaves one as it is.
    const uid_t uid = owner.uid.value_or(static_cast<uid_t>(-1));
    const gid_t gid = owner.gid.value_or(static_cast<gid_t>(-1));
    if (fchownat(file.get(), "", uid, gid, AT_EMPTY_PATH) != 0) {
      return PathError(path, "change the owner of", errno);
    }
  }
  if (!mode) return absl::OkStatus();
  // fchmod(2) refuses a descriptor of O_PATH, and fchmodat2(2) is there from Linux 6.6 only; the
  // link in /proc leads to the very file, whatever the path names by now.
  const std::string link = absl::StrCat("/proc/self/fd/", file.get());
  if (chmod(link.c_str(), *mode) == 0) return absl::OkStatus();
  const int error = errno;
  if (error == ENOENT || error == ENOTDIR) {
    return absl::FailedPreconditionError(
        absl::StrCat("can't change the mode of ", path, " without /proc; mount it"));
  }
  return PathError(path, "change the mode of", error);
}

}  // namespace server
