#include "server/takeover.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <cstring>
#include <iterator>
#include <span>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "io/errors.h"
#include "io/socket_path.h"

namespace server {
namespace {

using Clock = std::chrono::steady_clock;
using wire::Channel;
using wire::FrameType;

constexpr int kBacklog = 16;
constexpr mode_t kFileMode = 0600;
constexpr int kGlanceMs = 5;  // between two tries of what only another process can bring about
constexpr int kNamesToTry = 16;

// A file is bound under a name of its own beside the path, of this many bytes more.
constexpr size_t kSuffixBytes = sizeof(".12345678") - 1;

bool IsAbstract(const std::string& path) { return path.front() == '@'; }

absl::StatusOr<sockaddr_un> AddressOf(const std::string& path, size_t suffix, socklen_t* size) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  if (path.empty() || path == "@") {
    return absl::InvalidArgumentError("a takeover needs a path or @NAME, and this one is empty");
  }
  if (path.find('\0') != std::string::npos) {
    return absl::InvalidArgumentError("the path of a takeover has a NUL byte in it");
  }
  // One byte is the NUL that ends a path; of an abstract name it is the first, in the place of '@'.
  const size_t longest = sizeof(address.sun_path) - 1 - suffix;
  if (path.size() > longest) {
    return absl::InvalidArgumentError(absl::StrCat("'", path, "' has ", path.size(),
                                                   " bytes; the path of a Unix socket has at most ",
                                                   longest, " here"));
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  *size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path.size() + 1);
  if (IsAbstract(path)) {
    address.sun_path[0] = '\0';
    --*size;  // no NUL ends it: it would be a part of the name
  }
  return address;
}

const sockaddr* Generic(const sockaddr_un& address) {
  return reinterpret_cast<const sockaddr*>(&address);
}

absl::StatusOr<UniqueFd> OpenSocket() {
  UniqueFd fd(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (fd) return fd;
  const int error = errno;
  switch (error) {
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
    case ENOMEM:
      return absl::ResourceExhaustedError(
          absl::StrCat("no descriptor or memory is left for a takeover: ", io::ErrnoName(error)));
    case EAFNOSUPPORT:
    case EACCES:
    case EPERM:
      return absl::PermissionDeniedError(
          absl::StrCat("Unix sockets are not allowed here: ", io::ErrnoName(error),
                       "; see RestrictAddressFamilies= of the unit"));
    default:
      return absl::InternalError(absl::StrCat("socket: ", io::ErrnoName(error)));
  }
}

absl::Status PathError(const char* verb, const std::string& path, int error) {
  const std::string what = absl::StrCat(verb, " '", path, "': ", io::ErrnoName(error));
  switch (error) {
    case EACCES:
    case EPERM:
    case EROFS:
      return absl::PermissionDeniedError(absl::StrCat(
          what, "; choose a path that this user may write and connect to (such as /run/user/",
          geteuid(), "/ringside.sock)"));
    case ENOENT:
    case ENOTDIR:
      return absl::NotFoundError(absl::StrCat(what, "; its folder has to be there before"));
    case EADDRINUSE:
    case EEXIST:
      return absl::AlreadyExistsError(
          absl::StrCat(what, "; another server is there: take over from it, or end it before"));
    case ENOSPC:
    case EDQUOT:
    case ENOMEM:
    case ENOBUFS:
      return absl::ResourceExhaustedError(what);
    case ENAMETOOLONG:
    case ELOOP:
      return absl::InvalidArgumentError(what);
    case EPROTOTYPE:
      return absl::FailedPreconditionError(
          absl::StrCat(what, "; the socket there is of another kind, not one for takeovers"));
    default:
      return absl::InternalError(what);
  }
}

// What is at the path now.
enum class Found { kNothing, kStale, kAlive };

// `*seen`: the file there, for kStale.
absl::StatusOr<Found> LookAt(const std::string& path, const sockaddr_un& address, socklen_t size,
                             TakeoverServer::Claim claim, struct stat* seen) {
  struct stat& file = *seen;
  if (lstat(path.c_str(), &file) != 0) {
    if (errno == ENOENT) return Found::kNothing;
    return PathError("look at", path, errno);
  }
  if (!S_ISSOCK(file.st_mode)) {
    return absl::AlreadyExistsError(absl::StrCat(
        "'", path, "' is there and is not a socket; remove it, or choose another path"));
  }
  // The predecessor's, or its dead self's. It may be root's, and we another user by now.
  if (claim == TakeoverServer::Claim::kPredecessors) return Found::kAlive;
  const auto probe = OpenSocket();
  if (!probe.ok()) return probe.status();
  if (connect(probe->get(), Generic(address), size) == 0) return Found::kAlive;
  switch (errno) {
    case ECONNREFUSED:
      return Found::kStale;
    case ENOENT:
      return Found::kNothing;
    case EAGAIN:      // a full backlog: somebody listens
    case EPROTOTYPE:  // a living socket of another kind
      return Found::kAlive;
    default:
      return PathError("connect to", path, errno);
  }
}

std::string RandomSuffix() {
  uint32_t number = 0;
  // Of 4 bytes it fails in no way but before the pool is filled; then the clock has to do.
  if (getrandom(&number, sizeof(number), GRND_NONBLOCK) != sizeof(number)) {
    number = static_cast<uint32_t>(Clock::now().time_since_epoch().count());
  }
  return absl::StrFormat(".%08x", number);
}

// The peer's process and user, as the kernel noted them when it connected or listened.
absl::StatusOr<ucred> Credentials(int fd) {
  ucred credentials = {};
  socklen_t size = sizeof(credentials);
  if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &size) == 0) return credentials;
  return absl::InternalError(absl::StrCat("SO_PEERCRED: ", io::ErrnoName(errno)));
}

absl::Status CheckUser(const ucred& peer, const TakeoverOptions& options, const char* who) {
  if (peer.uid == geteuid() || peer.uid == 0 || peer.uid == options.trusted_uid) {
    return absl::OkStatus();
  }
  return absl::PermissionDeniedError(absl::StrCat(
      who, " (process ", peer.pid, ") belongs to user ", peer.uid,
      ", and sockets pass only between processes of one user (here ", geteuid(), ") or root"));
}

// A listening socket has mode 0600 from its birth: Linux takes the mode of the file that bind(2)
// makes from the socket's own, less the umask. A chmod(2) after it would come too late.
absl::Status BindAndListen(int fd, const sockaddr_un& address, socklen_t size,
                           const std::string& path) {
  if (fchmod(fd, kFileMode) != 0 || bind(fd, Generic(address), size) != 0) {
    return PathError("listen at", path, errno);
  }
  if (listen(fd, kBacklog) != 0) return PathError("listen at", path, errno);
  return absl::OkStatus();
}

}  // namespace

TakeoverServer::~TakeoverServer() {
  if (inode_ == 0) return;
  // While our socket is open, no other file can have its inode.
  io::RemoveSocketPath(path_, device_, inode_);
}

absl::Status TakeoverServer::Listen(const std::string& path, Claim claim) {
  if (path.empty()) {
    return absl::InvalidArgumentError("a takeover needs a path or @NAME, and this one is empty");
  }
  const absl::Status listening =
      IsAbstract(path) ? ListenAtName(path, claim) : ListenAtFile(path, claim);
  if (!listening.ok()) {
    listener_.Reset();
    return listening;
  }
  path_ = path;
  spare_.Reset(fcntl(listener_.get(), F_DUPFD_CLOEXEC, 0));  // without it: see Accept()
  return absl::OkStatus();
}

absl::Status TakeoverServer::ListenAtName(const std::string& path, Claim claim) {
  socklen_t size = 0;
  const auto address = AddressOf(path, 0, &size);
  if (!address.ok()) return address.status();
  const auto give_up = Clock::now() + options_.patience;
  while (true) {
    // A socket whose bind(2) failed can be bound again, but a fresh one is never in doubt.
    auto opened = OpenSocket();
    if (!opened.ok()) return opened.status();
    listener_ = std::move(*opened);
    const absl::Status bound = BindAndListen(listener_.get(), *address, size, path);
    if (!absl::IsAlreadyExists(bound) || claim == Claim::kFree || Clock::now() >= give_up) {
      return bound;
    }
    pollfd interrupt = {.fd = options_.interrupt_fd, .events = POLLIN, .revents = 0};
    if (poll(&interrupt, 1, kGlanceMs) > 0) return absl::CancelledError("a signal came");
  }
}

absl::Status TakeoverServer::ListenAtFile(const std::string& path, Claim claim) {
  socklen_t size = 0;
  const auto address = AddressOf(path, kSuffixBytes, &size);
  if (!address.ok()) return address.status();

  // Listening under another name first: at the path itself a socket would be seen that is bound and
  // doesn't listen yet, which another process would take for a dead one's.
  std::string own;
  absl::Status bound;
  for (int i = 0; i < kNamesToTry; ++i) {
    own = path + RandomSuffix();
    socklen_t own_size = 0;
    const auto own_address = AddressOf(own, 0, &own_size);
    if (!own_address.ok()) return own_address.status();
    auto opened = OpenSocket();
    if (!opened.ok()) return opened.status();
    listener_ = std::move(*opened);
    bound = BindAndListen(listener_.get(), *own_address, own_size, path);
    if (!absl::IsAlreadyExists(bound)) break;
  }
  if (!bound.ok()) return bound;
  struct stat file = {};
  if (lstat(own.c_str(), &file) != 0) return PathError("look at", own, errno);

  absl::Status placed;
  for (int i = 0; i < kNamesToTry; ++i) {
    struct stat stale = {};
    const auto found = LookAt(path, *address, size, claim, &stale);
    placed = found.status();
    if (!placed.ok()) break;
    if (claim == Claim::kPredecessors) {
      // In one step, so that whoever connects finds the predecessor or us.
      if (rename(own.c_str(), path.c_str()) != 0) placed = PathError("listen at", path, errno);
      break;
    }
    if (*found == Found::kAlive) {
      placed = PathError("listen at", path, EADDRINUSE);
      break;
    }
    // EEXIST: another that starts just now was faster, so the path is looked at again.
    if (*found == Found::kStale && !io::RemoveSocketPath(path, stale.st_dev, stale.st_ino) &&
        errno != ENOENT && errno != EEXIST) {
      placed = PathError("remove the dead socket", path, errno);
      break;
    }
    // Unlike rename(2), link(2) replaces nothing: of two that start at once, one is told.
    if (link(own.c_str(), path.c_str()) == 0) {
      unlink(own.c_str());
      break;
    }
    placed = PathError("listen at", path, errno);
    if (errno != EEXIST) break;
  }
  if (!placed.ok()) {
    unlink(own.c_str());
    return placed;
  }
  device_ = file.st_dev;
  inode_ = file.st_ino;
  return absl::OkStatus();
}

// The peer that is there; none where it went away again.
absl::StatusOr<UniqueFd> TakeoverServer::Accept() {
  while (true) {
    UniqueFd fd(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (fd) return fd;
    const int error = errno;
    switch (error) {
      case EINTR:
        continue;
      case EAGAIN:
      case ECONNABORTED:
        return UniqueFd();
      case EMFILE:
      case ENFILE:
        // A server that has run out of descriptors is the one that most needs a successor.
        if (spare_) {
          spare_.Reset();
          continue;
        }
        [[fallthrough]];
      case ENOBUFS:
      case ENOMEM:
        return absl::ResourceExhaustedError(
            absl::StrCat("a successor is there and can't be accepted: ", io::ErrnoName(error)));
      default:
        return absl::InternalError(absl::StrCat("accept: ", io::ErrnoName(error)));
    }
  }
}

absl::Status TakeoverServer::HandOver(const std::vector<PassedSocket>& sockets,
                                      Channel& peer) const {
  const auto hello = peer.Receive(FrameType::kHello);
  if (!hello.ok()) return hello.status();
  const auto total = static_cast<uint32_t>(sockets.size());
  std::vector<int> fds;
  std::vector<std::string> labels;
  for (const PassedSocket& socket : sockets) {
    fds.push_back(socket.fd);
    labels.push_back(socket.label);
  }
  std::span<const int> fds_left = fds;
  std::span<const std::string> labels_left = labels;
  do {  // one frame, without sockets, where there are none
    size_t taken = 0;
    const std::string frame = wire::EncodeSockets(total, labels_left, &taken);
    const absl::Status sent = peer.Send(frame, fds_left.first(taken));
    if (!sent.ok()) return sent;
    fds_left = fds_left.subspan(taken);
    labels_left = labels_left.subspan(taken);
  } while (!fds_left.empty());
  return peer.Receive(FrameType::kReady).status();
}

TakeoverServer::Result TakeoverServer::Handle(const std::vector<PassedSocket>& sockets) {
  if (!listener_) return {};
  auto accepted = Accept();
  if (!accepted.ok()) return {.outcome = Outcome::kFailed, .status = accepted.status()};
  if (!*accepted) return {};
  const auto credentials = Credentials(accepted->get());
  Channel peer(std::move(*accepted), "the new process", options_.patience, options_.interrupt_fd);
  absl::Status status = credentials.status();
  if (status.ok()) status = CheckUser(*credentials, options_, "the new process");
  if (status.ok() && sockets.size() > wire::kSocketsMax) {
    status = absl::ResourceExhaustedError(absl::StrCat(
        sockets.size(), " sockets are too many for a takeover of at most ", wire::kSocketsMax));
  }
  const bool labels_fit = std::all_of(sockets.begin(), sockets.end(), [](const PassedSocket& s) {
    return s.label.size() <= wire::kLabelBytesMax;
  });
  if (status.ok() && !labels_fit) {
    status = absl::InvalidArgumentError(absl::StrCat(
        "the label of a socket to hand over is longer than ", wire::kLabelBytesMax, " bytes"));
  }
  if (status.ok()) status = HandOver(sockets, peer);
  Result result = {.outcome = Outcome::kHandedOver,
                   .status = status,
                   .peer = credentials.ok() ? credentials->pid : 0};
  if (status.ok()) {
    successor_ = std::move(peer);
    inode_ = 0;  // the path is the successor's now
  } else {
    result.outcome = Outcome::kFailed;
    peer.Refuse(status);
    peer.Close();
    if (!spare_) spare_.Reset(fcntl(listener_.get(), F_DUPFD_CLOEXEC, 0));
  }
  return result;
}

absl::Status TakeoverServer::Release() {
  if (!successor_.has_value()) {
    return absl::FailedPreconditionError("nothing was handed over");
  }
  successor_->SetPatience(options_.patience);
  // An abstract name can't be replaced: it has to be let go of before the successor can have it. A
  // file's socket stays open until there is another, so that nobody takes it for a dead one's.
  if (IsAbstract(path_)) {
    listener_.Reset();
    spare_.Reset();
  }
  absl::Status status = successor_->Send(wire::Encode(FrameType::kReleased));
  if (status.ok()) status = successor_->ReceiveEnd();
  successor_.reset();
  listener_.Reset();
  spare_.Reset();
  return status;
}

namespace {

// A connection to the server at the path, or none where nobody is there.
absl::StatusOr<UniqueFd> ConnectTo(const std::string& path, Clock::time_point give_up,
                                   int interrupt_fd) {
  socklen_t size = 0;
  const auto address = AddressOf(path, 0, &size);
  if (!address.ok()) return address.status();
  while (true) {
    auto fd = OpenSocket();
    if (!fd.ok()) return fd.status();
    if (connect(fd->get(), Generic(*address), size) == 0) return fd;
    switch (const int error = errno) {
      case EINTR:
        continue;
      case ENOENT:
      case ECONNREFUSED:
        return UniqueFd();
      case EAGAIN: {  // its backlog is full
        if (Clock::now() >= give_up) {
          return absl::DeadlineExceededError(
              absl::StrCat("the server at '", path, "' accepts nobody: ", io::ErrnoName(error)));
        }
        pollfd interrupt = {.fd = interrupt_fd, .events = POLLIN, .revents = 0};
        if (poll(&interrupt, 1, kGlanceMs) > 0) return absl::CancelledError("a signal came");
        continue;
      }
      default:
        return PathError("connect to", path, error);
    }
  }
}

}  // namespace

absl::StatusOr<std::optional<TakeoverClient>> TakeoverClient::Connect(const std::string& path,
                                                                      TakeoverOptions options) {
  const auto give_up = Clock::now() + options.patience;
  while (true) {
    auto fd = ConnectTo(path, give_up, options.interrupt_fd);
    if (!fd.ok()) return fd.status();
    if (!*fd) return std::nullopt;
    const auto credentials = Credentials(fd->get());
    if (!credentials.ok()) return credentials.status();
    const absl::Status trusted = CheckUser(*credentials, options, "the running server");
    if (!trusted.ok()) return trusted;
    TakeoverClient client(
        Channel(std::move(*fd), "the running server", give_up - Clock::now(), options.interrupt_fd),
        credentials->pid);
    client.patience_ = options.patience;
    const absl::Status received = client.ReceiveSockets();
    if (received.ok()) return std::make_optional(std::move(client));
    // It dropped us without a word: it has just handed over to another, or died. In both cases the
    // path tells who is there now.
    const bool dropped = absl::IsUnavailable(received) && client.fds_.empty();
    if (!dropped || Clock::now() >= give_up) return received;
    pollfd interrupt = {.fd = options.interrupt_fd, .events = POLLIN, .revents = 0};
    if (poll(&interrupt, 1, kGlanceMs) > 0) return absl::CancelledError("a signal came");
  }
}

absl::Status TakeoverClient::ReceiveSockets() {
  const absl::Status greeted = channel_.Send(wire::Encode(FrameType::kHello));
  // A server that has closed already may have refused us before our hello: that is still to be
  // read.
  if (!greeted.ok() && !absl::IsUnavailable(greeted)) return greeted;
  std::optional<uint32_t> total;
  do {
    auto frame = channel_.Receive(FrameType::kSockets);
    if (!frame.ok()) return frame.status();
    if (!total.has_value()) total = frame->total;
    if (frame->total != *total) {
      return absl::DataLossError(absl::StrCat("the running server announced ", *total,
                                              " sockets, and then ", frame->total));
    }
    if (frame->fds.empty() && *total > 0) {
      return absl::DataLossError("the running server sent no socket in a message for sockets");
    }
    if (frame->fds.size() > *total - fds_.size()) {
      return absl::DataLossError(
          absl::StrCat("the running server sent more sockets than the ", *total, " it announced"));
    }
    std::move(frame->fds.begin(), frame->fds.end(), std::back_inserter(fds_));
    std::move(frame->labels.begin(), frame->labels.end(), std::back_inserter(labels_));
  } while (fds_.size() < *total);
  return absl::OkStatus();
}

std::vector<PassedSocket> TakeoverClient::TakeSockets() {
  std::vector<PassedSocket> sockets;
  for (size_t i = 0; i < fds_.size(); ++i) {
    sockets.push_back({.fd = fds_[i].Release(), .label = std::move(labels_[i])});
  }
  fds_.clear();
  labels_.clear();
  return sockets;
}

absl::Status TakeoverClient::Ready() {
  channel_.SetPatience(patience_);
  const absl::Status sent = channel_.Send(wire::Encode(FrameType::kReady));
  // It may be that it refused before it went: then its sentence is still to be read.
  const auto released = channel_.Receive(FrameType::kReleased);
  if (released.ok() || absl::IsAborted(released.status()) || sent.ok()) return released.status();
  return sent;
}

}  // namespace server
