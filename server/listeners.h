#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "server/own_path.h"
#include "server/server.h"
#include "server/socket_filter.h"
#include "server/unique_fd.h"

namespace server {

// A listener's sockets, opened or adopted, before any loop has them.
struct ListenerSockets {
  ListenSpec spec;  // as it was asked for; adopted from a service manager: as it is
  io::Endpoint at;  // the real address
  std::vector<UniqueFd> sockets;
  bool filtered = false;                   // the access list is attached
  std::vector<SocketFilter> predecessors;  // the filters that a predecessor's sockets had, in order
  bool inherited = false;                  // from a predecessor, or the service manager
  OwnPath path;                            // of a Unix socket, which we remove in the end

  // Copies of the sockets for thread `thread` of `threads`, as its loop is to listen on them.
  // Errors: no descriptor is left.
  absl::StatusOr<std::vector<io::ListenOptions>> ForThread(uint32_t thread, uint32_t threads,
                                                           uint64_t tag,
                                                           const ServerOptions& options) const;
  // Undoes all, since we don't come to serve: a predecessor, which then serves on, has its filters
  // back and keeps its path; a path of ours is removed.
  void Abandon();
};

// What a socket is called on its way to a successor: "echo=127.0.0.1:9999".
std::string TakeoverLabel(const ListenSpec& spec);

// Opens the sockets of `options.listeners`: for TCP and UDP one a thread, for Unix, and for TCP
// with direct descriptors, one. Those of `inherited` whose label says that they are the same are
// adopted instead, and the others closed; where the service manager passed any (`activated`), they
// are all there are, each with the service of its name, or the first listener's; those of one
// address (ReusePort=) are one listener, and one socket that was passed twice is served once. Each
// IP socket gets the access list as a filter before it is bound, as far as the kernel allows; if it
// doesn't, `warnings` says so. Errors: as of io::OpenListener(), UnixAccess::ApplyTo();
// InvalidArgument for an activated socket that can't be served on, and for two services at one
// address: whom a peer reaches there would be chance.
absl::StatusOr<std::vector<ListenerSockets>> OpenListeners(const ServerOptions& options,
                                                           std::vector<PassedSocket> inherited,
                                                           std::vector<ActivatedSocket> activated,
                                                           std::vector<std::string>* warnings);

}  // namespace server
