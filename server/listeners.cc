#include "server/listeners.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "io/errors.h"
#include "io/sockets.h"
#include "server/service_host.h"
#include "server/socket_filter.h"

namespace server {
namespace {

constexpr size_t kSmallFilter = 512;  // instructions: fits in any net.core.optmem_max

// Attaches the access list to sockets, and says once where that doesn't work.
class Filters {
 public:
  Filters(const AccessList& access, std::vector<std::string>* warnings)
      : access_(access), filter_(SocketFilter::Compile(access)), warnings_(warnings) {}

  // Whether the socket has a filter now.
  bool Attach(int fd) {
    if (filter_.program.empty()) {
      SocketFilter::Detach(fd);  // a predecessor's
      return false;
    }
    absl::Status status = filter_.Attach(fd);
    if (absl::IsResourceExhausted(status) && filter_.program.size() > kSmallFilter) {
      filter_ = SocketFilter::Compile(access_, kSmallFilter);
      status = filter_.Attach(fd);
    }
    if (status.ok()) return true;
    SocketFilter::Detach(fd);  // a predecessor's denies others than this list
    Warn(absl::StrCat("the access list is checked after the handshake only: ",
                      std::string(status.message())));
    return false;
  }

 private:
  void Warn(std::string what) {
    if (std::exchange(warned_, true)) return;
    warnings_->push_back(std::move(what));
  }

  const AccessList& access_;
  SocketFilter filter_;
  std::vector<std::string>* warnings_;
  bool warned_ = false;
};

absl::Status ApplyUnixAccess(const UnixAccess& access, ListenerSockets* listener) {
  const std::string path = listener->at.path();
  if (path.empty()) return absl::OkStatus();
  listener->path = OwnPath::Of(listener->sockets.front().get());
  if (!access.mode && !access.owner.uid && !access.owner.gid) return absl::OkStatus();
  return access.ApplyTo(path);
}

// Whether all threads accept from the same sockets. Unix has no SO_REUSEPORT. With it a thread
// whose table of direct descriptors is full would keep, in the backlog of its socket, whoever the
// kernel's hash assigns to it; from a common one those take who have room.
bool IsShared(const ServerOptions& options, const io::Endpoint& at) {
  return at.is_unix() || (options.loop.direct_accepts != 0 && !at.is_datagram());
}

absl::Status OpenSockets(const ServerOptions& options, Filters& filters,
                         ListenerSockets* listener) {
  const io::Endpoint& asked = listener->spec.at;
  const bool shared = IsShared(options, asked);
  const bool shares = options.threads > 1 && !shared;  // the port, by SO_REUSEPORT
  if (shares) {
    const absl::Status unused = io::CheckUnused(asked);
    if (!unused.ok()) return unused;
  }
  listener->at = asked;
  const uint32_t count = shared ? 1 : options.threads;
  for (uint32_t i = 0; i < count; ++i) {
    // The first finds the port where port 0 was asked for.
    auto fd = io::OpenListener(listener->at, {.backlog = options.backlog, .reuse_port = shares},
                               /*nonblocking=*/true, [&](int socket) {
                                 if (!asked.is_unix()) listener->filtered = filters.Attach(socket);
                                 return absl::OkStatus();
                               });
    if (!fd.ok()) return fd.status();
    listener->sockets.emplace_back(*fd);
    const auto local = io::LocalEndpoint(*fd);
    if (!local.ok()) return local.status();
    listener->at = *local;
  }
  return asked.is_unix() ? ApplyUnixAccess(options.unix_access, listener) : absl::OkStatus();
}

absl::Status Adopt(UniqueFd fd, Filters& filters, ListenerSockets* listener) {
  const auto local = io::LocalEndpoint(fd.get());
  if (!local.ok()) return local.status();
  listener->at = *local;
  listener->inherited = true;
  if (!local->is_unix()) listener->filtered = filters.Attach(fd.get());
  listener->path = OwnPath::Of(fd.get());
  listener->sockets.push_back(std::move(fd));
  return absl::OkStatus();
}

// What tells a socket from all others, however many descriptors it has (SO_COOKIE, socket(7)).
uint64_t CookieOf(int fd) {
  uint64_t cookie = 0;
  socklen_t size = sizeof(cookie);
  return getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &size) == 0 ? cookie : 0;
}

bool Has(const ListenerSockets& listener, int fd) {
  const uint64_t cookie = CookieOf(fd);
  return std::any_of(listener.sockets.begin(), listener.sockets.end(), [&](const UniqueFd& socket) {
    return cookie != 0 && CookieOf(socket.get()) == cookie;
  });
}

absl::StatusOr<std::vector<ListenerSockets>> AdoptActivated(const ServerOptions& options,
                                                            std::vector<ActivatedSocket> activated,
                                                            Filters& filters,
                                                            std::vector<std::string>* warnings) {
  std::vector<ListenerSockets> listeners;
  for (ActivatedSocket& socket : activated) {
    UniqueFd fd(socket.fd);
    const bool named = ServiceHost::NumberOf(socket.name) != ServiceHost::kNone;
    const std::string service = named ? socket.name : options.listeners.front().service;
    const auto local = io::LocalEndpoint(fd.get());
    if (!local.ok()) return local.status();
    auto listener = std::find_if(listeners.begin(), listeners.end(),
                                 [&](const ListenerSockets& one) { return one.at == *local; });
    if (listener == listeners.end()) {
      listener = listeners.insert(listeners.end(), ListenerSockets());
      listener->spec = {.service = service, .at = *local};
    } else if (listener->spec.service != service) {
      return absl::InvalidArgumentError(absl::StrCat(
          "the service manager passed two sockets of ", local->ToString(), ", for ",
          listener->spec.service, " and for ", service, "; an address has one service"));
    } else if (Has(*listener, fd.get())) {
      warnings->push_back(absl::StrCat("the service manager passed the socket of ",
                                       local->ToString(), " twice; it is served once"));
      continue;
    }
    const absl::Status adopted = Adopt(std::move(fd), filters, &*listener);
    if (!adopted.ok()) return adopted;
    listener->path = {};  // the manager's
  }
  return listeners;
}

}  // namespace

std::string TakeoverLabel(const ListenSpec& spec) {
  return absl::StrCat(spec.service, "=", spec.at.ToString());
}

absl::StatusOr<std::vector<ListenerSockets>> OpenListeners(const ServerOptions& options,
                                                           std::vector<PassedSocket> inherited,
                                                           std::vector<ActivatedSocket> activated,
                                                           std::vector<std::string>* warnings) {
  Filters filters(options.access, warnings);
  if (!activated.empty()) return AdoptActivated(options, std::move(activated), filters, warnings);
  std::vector<ListenerSockets> listeners;
  const auto fail = [&](const absl::Status& status) {
    for (ListenerSockets& listener : listeners) listener.Abandon();
    for (const PassedSocket& passed : inherited) {
      if (passed.fd >= 0) close(passed.fd);
    }
    return status;
  };
  for (const ListenSpec& spec : options.listeners) {
    ListenerSockets& listener = listeners.emplace_back();
    listener.spec = spec;
    for (PassedSocket& passed : inherited) {
      if (passed.fd < 0 || passed.label != TakeoverLabel(spec)) continue;
      listener.predecessors.push_back(SocketFilter::Of(passed.fd));
      const absl::Status adopted =
          Adopt(UniqueFd(std::exchange(passed.fd, -1)), filters, &listener);
      if (!adopted.ok()) return fail(adopted);
    }
    if (!listener.sockets.empty()) continue;
    const absl::Status opened = OpenSockets(options, filters, &listener);
    if (!opened.ok()) return fail(opened);
  }
  for (const PassedSocket& passed : inherited) {
    if (passed.fd < 0) continue;
    close(passed.fd);
    warnings->push_back(absl::StrCat("the predecessor's ", passed.label,
                                     " is not served any more: no --listen asks for it"));
  }
  return listeners;
}

absl::StatusOr<std::vector<io::ListenOptions>> ListenerSockets::ForThread(
    uint32_t thread, uint32_t threads, uint64_t tag, const ServerOptions& options) const {
  std::vector<io::ListenOptions> mine;
  const auto add = [&](const UniqueFd& socket, bool shared) {
    mine.push_back({.backlog = options.backlog,
                    .tag = tag,
                    .fd = fcntl(socket.get(), F_DUPFD_CLOEXEC, 3),
                    .udp_gro = options.udp_gro,
                    .shared = shared});
    return mine.back().fd >= 0;
  };
  bool enough = true;
  if (IsShared(options, at)) {
    for (const UniqueFd& socket : sockets) enough = enough && add(socket, threads > 1);
  } else if (sockets.size() < threads) {
    // Fewer sockets than threads: some threads share one.
    const size_t which = thread % sockets.size();
    enough = add(sockets[which], sockets.size() + which < threads);
  } else {
    for (size_t i = thread; i < sockets.size(); i += threads)
      enough = enough && add(sockets[i], false);
  }
  if (enough) return mine;
  const int error = errno;
  for (const io::ListenOptions& each : mine) {
    if (each.fd >= 0) close(each.fd);
  }
  return absl::ResourceExhaustedError(
      absl::StrCat("no file descriptor is left for a listener: ", io::ErrnoName(error),
                   "; raise the limit (ulimit -n)"));
}

void ListenerSockets::Abandon() {
  if (at.is_unix()) return inherited ? void() : path.Remove();
  for (size_t i = 0; i < sockets.size() && i < predecessors.size(); ++i) {
    const SocketFilter& before = predecessors[i];
    // Without the right to attach, its own list holds after the handshake.
    if (before.program.empty() || !before.Attach(sockets[i].get()).ok()) {
      SocketFilter::Detach(sockets[i].get());
    }
  }
}

}  // namespace server
