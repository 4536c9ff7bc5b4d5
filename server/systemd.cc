#include "server/systemd.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdlib>
#include <cstring>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "io/errors.h"

namespace server {
namespace {

constexpr int kFirstFd = 3;       // SD_LISTEN_FDS_START
constexpr int kFdsMax = 1 << 20;  // more than any limit of descriptors that is in use

// Takes a variable out of the environment.
std::optional<std::string> Take(const char* name) {
  const char* value = getenv(name);
  if (value == nullptr) return std::nullopt;
  std::string text = value;
  unsetenv(name);
  return text;
}

absl::Status Malformed(const char* name, const std::string& value, const char* what) {
  return absl::InvalidArgumentError(
      absl::StrCat(name, "='", value, "' of the service manager is not ", what));
}

// A number that is positive, and no more than its type holds.
template <class Number>
bool Parse(const std::string& text, Number* number) {
  return absl::SimpleAtoi(text, number) && *number > 0;
}

// A busy manager's queue is full for a moment, and a READY=1 that is lost ends the service.
constexpr time_t kSendPatienceSeconds = 5;

// A shorter one can't be kept by a process that others keep from its CPU for a moment, and who
// feeds it does nothing else.
constexpr std::chrono::milliseconds kWatchdogMin{10};

// What WATCHDOG_USEC and WATCHDOG_PID say: how often to feed, if at all.
absl::StatusOr<std::optional<io::Nanos>> WatchdogInterval(const std::optional<std::string>& usec,
                                                          const std::optional<std::string>& pid) {
  if (!usec.has_value()) return std::nullopt;
  int64_t whose = getpid();
  if (pid.has_value() && !Parse(*pid, &whose)) {
    return Malformed("WATCHDOG_PID", *pid, "a process id");
  }
  if (whose != getpid()) return std::nullopt;  // another's, whatever it says
  int64_t microseconds = 0;
  if (!Parse(*usec, &microseconds) || microseconds > INT64_MAX / 1000) {
    return Malformed("WATCHDOG_USEC", *usec, "a number of microseconds");
  }
  const auto watched = std::chrono::microseconds(microseconds);
  if (watched < kWatchdogMin) {
    return Malformed("WATCHDOG_USEC", *usec,
                     "long enough to be kept; WatchdogSec= of the unit: at least 10ms");
  }
  return io::Nanos(watched) / 2;
}

}  // namespace

absl::StatusOr<std::vector<ActivatedSocket>> ActivatedSockets() {
  const auto pid = Take("LISTEN_PID"), fds = Take("LISTEN_FDS"), names = Take("LISTEN_FDNAMES");
  if (!pid.has_value() || !fds.has_value()) return std::vector<ActivatedSocket>();
  int64_t whose = 0;
  if (!Parse(*pid, &whose)) return Malformed("LISTEN_PID", *pid, "a process id");
  if (whose != getpid()) return std::vector<ActivatedSocket>();
  int count = 0;
  if (!absl::SimpleAtoi(*fds, &count) || count < 0 || count > kFdsMax) {
    return Malformed("LISTEN_FDS", *fds, "a number of descriptors");
  }
  std::vector<std::string> name_list(count, "unknown");
  if (names.has_value() && count > 0) {
    name_list = absl::StrSplit(*names, ':');
    if (name_list.size() != static_cast<size_t>(count)) {
      return absl::InvalidArgumentError(absl::StrCat("LISTEN_FDNAMES has ", name_list.size(),
                                                     " names, and LISTEN_FDS is ", count));
    }
  }
  std::vector<ActivatedSocket> sockets;
  for (int i = 0; i < count; ++i) {
    const int fd = kFirstFd + i;
    auto kind = InspectSocket(fd);
    if (!kind.ok()) {
      return absl::Status(kind.status().code(),
                          absl::StrCat("of the ", count, " sockets from the service manager, ",
                                       std::string(kind.status().message())));
    }
    // It is open, so F_SETFD can't fail.
    fcntl(fd, F_SETFD, fcntl(fd, F_GETFD) | FD_CLOEXEC);
    sockets.push_back({.fd = fd, .name = name_list[i], .kind = std::move(*kind)});
  }
  return sockets;
}

absl::StatusOr<Notifier> Notifier::FromEnvironment() {
  const auto path = Take("NOTIFY_SOCKET"), usec = Take("WATCHDOG_USEC"), pid = Take("WATCHDOG_PID");
  Notifier notifier;
  if (!path.has_value() || path->empty()) return notifier;
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  // An abstract name may fill the field, and a path needs its NUL.
  const bool abstract = path->front() == '@';
  if ((path->front() != '/' && !abstract) || path->size() < 2 ||
      path->size() > sizeof(address.sun_path) - (abstract ? 0 : 1)) {
    return Malformed("NOTIFY_SOCKET", *path, "a path or @name of a Unix socket");
  }
  std::memcpy(address.sun_path, path->data(), path->size());
  if (abstract) address.sun_path[0] = '\0';
  const auto size =
      static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path->size() + (abstract ? 0 : 1));

  UniqueFd fd(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  // Connected now, so that it can be reached from wherever privileges and namespaces go later.
  if (!fd || connect(fd.get(), reinterpret_cast<sockaddr*>(&address), size) != 0) {
    const int error = errno;
    const std::string what =
        absl::StrCat("the service manager can't be told at '", *path, "': ", io::ErrnoName(error));
    switch (error) {
      case EMFILE:
      case ENFILE:
      case ENOBUFS:
      case ENOMEM:
        return absl::ResourceExhaustedError(what);
      case EACCES:
      case EPERM:
      case EAFNOSUPPORT:
        return absl::PermissionDeniedError(
            absl::StrCat(what, "; RestrictAddressFamilies= of the unit must have AF_UNIX"));
      case ENOENT:
      case ENOTDIR:
      case ECONNREFUSED:
      case EPROTOTYPE:
        return absl::UnavailableError(what);
      default:
        return absl::InternalError(what);
    }
  }

  const auto interval = WatchdogInterval(usec, pid);
  if (!interval.ok()) return interval.status();
  notifier.watchdog_interval_ = *interval;
  const timeval patience = {.tv_sec = kSendPatienceSeconds, .tv_usec = 0};
  setsockopt(fd.get(), SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
  notifier.socket_ = std::move(fd);
  return notifier;
}

absl::Status Notifier::Send(const std::string& assignment, bool waits) const {
  if (!active()) return absl::OkStatus();
  const int flags = MSG_NOSIGNAL | (waits ? 0 : MSG_DONTWAIT);
  while (send(socket_.get(), assignment.data(), assignment.size(), flags) < 0) {
    const int error = errno;
    const std::string what = absl::StrCat("the service manager can't be told '", assignment,
                                          "': ", io::ErrnoName(error));
    switch (error) {
      case EINTR:
        continue;
      case EAGAIN:  // its queue stayed full; for who doesn't wait: it has enough to read
        if (!waits) return absl::OkStatus();
        [[fallthrough]];
      case ECONNREFUSED:
      case ECONNRESET:
      case ENOTCONN:
      case EPIPE:
        return absl::UnavailableError(what);
      case ENOBUFS:
      case ENOMEM:
      case EMSGSIZE:
        return absl::ResourceExhaustedError(what);
      case EACCES:
      case EPERM:
        return absl::PermissionDeniedError(what);
      default:
        return absl::InternalError(what);
    }
  }
  return absl::OkStatus();
}

absl::Status Notifier::Ready() const { return Send("READY=1"); }

absl::Status Notifier::Stopping() const { return Send("STOPPING=1"); }

absl::Status Notifier::Status(std::string text) const {
  // A line end would start another assignment.
  std::replace_if(
      text.begin(), text.end(), [](char c) { return c == '\n' || c == '\r'; }, ' ');
  return Send("STATUS=" + text);
}

absl::Status Notifier::MainPid(pid_t pid) const { return Send(absl::StrCat("MAINPID=", pid)); }

absl::Status Notifier::Watchdog() const { return Send("WATCHDOG=1", /*waits=*/false); }

}  // namespace server
