#include "stats/socket_diag.h"

#include <arpa/inet.h>
#include <libmnl/libmnl.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <linux/tcp.h>
#include <linux/unix_diag.h>
#include <net/if.h>
#include <sys/socket.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "stats/unix_name.h"

namespace stats {
namespace {

using internal::Netlink;
using internal::OpenNetlink;

// The kernel's include/net/tcp_states.h, which it exports to nobody: all protocols use them.
enum KernelState : uint8_t {
  kEstablished = 1,
  kTimeWait = 6,
  kClose = 7,
  kListen = 10,
};
constexpr const char* kStateNames[] = {
    "UNKNOWN", "ESTAB",      "SYN-SENT", "SYN-RECV", "FIN-WAIT-1", "FIN-WAIT-2", "TIME-WAIT",
    "UNCONN",  "CLOSE-WAIT", "LAST-ACK", "LISTEN",   "CLOSING",    "SYN-RECV"};

constexpr uint32_t StateBit(int state) { return 1u << state; }
constexpr uint32_t kAllStates = 0xffff;

// Which of a family's sockets to tell apart as waiting for peers, and as having one.
enum class Role { kListener, kConnection };

// Large enough for each datagram of a dump: the kernel fills at most 32 KiB.
constexpr size_t kBufferBytes = 32 * 1024;
constexpr uint32_t kSequence = 1;  // each dump has a netlink socket of its own

std::string ErrorName(int error) {
  const char* symbol = strerrorname_np(error);
  return symbol != nullptr ? absl::StrCat(symbol, " (", strerrordesc_np(error), ")")
                           : absl::StrCat("E", error);
}

// What a dump of `module`'s sockets, or the netlink socket for it, ended with.
absl::Status DiagError(int error, const char* module) {
  const std::string name = ErrorName(error);
  switch (error) {
    case EPERM:
    case EACCES:
      return absl::PermissionDeniedError(absl::StrCat(
          "this process may not ask the kernel for sockets (NETLINK_SOCK_DIAG): ", name,
          "; a seccomp filter or a security module forbids it: allow AF_NETLINK "
          "sockets to the container or the unit"));
    case EAFNOSUPPORT:
      return absl::UnavailableError(
          absl::StrCat("there are no AF_NETLINK sockets here: ", name,
                       "; in a systemd unit add AF_NETLINK to RestrictAddressFamilies="));
    case EPROTONOSUPPORT:
      return absl::UnavailableError(absl::StrCat("this kernel has no NETLINK_SOCK_DIAG: ", name,
                                                 "; it needs CONFIG_INET_DIAG "
                                                 "and CONFIG_UNIX_DIAG"));
    case ENOENT:
    case EOPNOTSUPP:
      return absl::UnavailableError(absl::StrCat(
          "the kernel's module ", module, " is not there: ", name, "; as root: modprobe ", module));
    case EMFILE:
    case ENFILE:
      return absl::ResourceExhaustedError(
          absl::StrCat("no file descriptor is left for a netlink socket: ", name));
    case ENOMEM:
    case ENOBUFS:
      return absl::ResourceExhaustedError(
          absl::StrCat("the kernel has no memory for listing sockets: ", name));
    case EINTR:
    case EBUSY:
      return absl::AbortedError(absl::StrCat("the kernel's table of sockets changed under each of ",
                                             internal::kDumpAttempts, " dumps: ", name,
                                             "; try again"));
    case EINVAL:
      return absl::UnavailableError(
          absl::StrCat("this kernel's ", module, " is too old to filter by local port: ", name));
    default:
      return absl::InternalError(absl::StrCat("listing sockets (", module, "): ", name));
  }
}

// Whether a new dump may do better.
bool IsPassing(int error) { return error == EINTR || error == EBUSY || error == ENOBUFS; }

class MnlNetlink : public Netlink {
 public:
  static absl::StatusOr<std::unique_ptr<Netlink>> Open() {
    mnl_socket* socket = mnl_socket_open2(NETLINK_SOCK_DIAG, SOCK_CLOEXEC);
    if (socket == nullptr) return DiagError(errno, "sock_diag");
    auto netlink = std::make_unique<MnlNetlink>(socket);
    if (mnl_socket_bind(socket, 0, MNL_SOCKET_AUTOPID) != 0) return DiagError(errno, "sock_diag");
    return netlink;
  }
  explicit MnlNetlink(mnl_socket* socket) : socket_(socket) {}
  MnlNetlink(const MnlNetlink&) = delete;
  MnlNetlink& operator=(const MnlNetlink&) = delete;
  // Ends a dump that was not read to its end, too.
  ~MnlNetlink() override { mnl_socket_close(socket_); }

  int Send(std::span<const char> request) override {
    while (mnl_socket_sendto(socket_, request.data(), request.size()) < 0) {
      if (errno != EINTR) return errno;
    }
    return 0;
  }
  // A signal is no reason to begin anew, unlike NLM_F_DUMP_INTR: so EINTR never comes from here.
  ssize_t Receive(std::span<char> buffer) override {
    while (true) {
      const ssize_t size = mnl_socket_recvfrom(socket_, buffer.data(), buffer.size());
      if (size >= 0) return size;
      if (errno != EINTR) return -errno;
    }
  }
  uint32_t port_id() const override { return mnl_socket_get_portid(socket_); }

 private:
  mnl_socket* socket_;
};

// ---- requests -----------------------------------------------------------------------------------

struct Request {
  alignas(nlmsghdr) char bytes[256 + 16 * kPortsMax] = {};
  std::span<const char> span() const {
    return {bytes, reinterpret_cast<const nlmsghdr*>(bytes)->nlmsg_len};
  }
};

nlmsghdr* PutHeader(Request* request) {
  nlmsghdr* header = mnl_nlmsg_put_header(request->bytes);
  header->nlmsg_type = SOCK_DIAG_BY_FAMILY;
  header->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
  header->nlmsg_seq = kSequence;
  return header;
}

// The filter program "local port is one of these": for each port a comparison, which takes two
// operations, and a jump to the end; where it fails, it jumps behind the jump. The last one's
// failure leads beyond the end, which rejects. Source: net/ipv4/inet_diag.c, inet_diag_bc_run().
std::vector<inet_diag_bc_op> PortFilter(const std::vector<uint16_t>& ports) {
  constexpr int kOp = sizeof(inet_diag_bc_op);
  std::vector<inet_diag_bc_op> program;
  for (size_t i = 0; i < ports.size(); ++i) {
    program.push_back({.code = INET_DIAG_BC_S_EQ, .yes = 2 * kOp, .no = 3 * kOp});
    program.push_back({.code = INET_DIAG_BC_NOP, .yes = 0, .no = ports[i]});
    const size_t behind = ports.size() - 1 - i;  // ports still to come: 3 operations, the last 2
    if (behind == 0) break;
    program.push_back({.code = INET_DIAG_BC_JMP,
                       .yes = kOp,
                       .no = static_cast<unsigned short>(kOp + kOp * (3 * behind - 1))});
  }
  return program;
}

uint32_t InetStates(SocketProtocol protocol, Role role, bool time_wait) {
  const uint32_t waiting = StateBit(protocol == SocketProtocol::kTcp ? kListen : kClose);
  if (role == Role::kListener) return waiting;
  const uint32_t connected = kAllStates & ~(StateBit(kListen) | StateBit(kClose));
  return time_wait ? connected : connected & ~StateBit(kTimeWait);
}

Request InetRequest(int family, SocketProtocol protocol, Role role, const SocketQuery& query) {
  Request request;
  nlmsghdr* header = PutHeader(&request);
  auto* body =
      static_cast<inet_diag_req_v2*>(mnl_nlmsg_put_extra_header(header, sizeof(inet_diag_req_v2)));
  body->sdiag_family = static_cast<uint8_t>(family);
  body->sdiag_protocol = protocol == SocketProtocol::kTcp ? IPPROTO_TCP : IPPROTO_UDP;
  body->idiag_states = InetStates(protocol, role, query.time_wait);
  body->idiag_ext = 1 << (INET_DIAG_SKMEMINFO - 1);
  if (role == Role::kConnection) body->idiag_ext |= 1 << (INET_DIAG_INFO - 1);
  if (!query.ports.empty()) {
    const std::vector<inet_diag_bc_op> filter = PortFilter(query.ports);
    mnl_attr_put(header, INET_DIAG_REQ_BYTECODE, filter.size() * sizeof(filter[0]), filter.data());
  }
  return request;
}

Request UnixRequest(Role role) {
  Request request;
  nlmsghdr* header = PutHeader(&request);
  auto* body =
      static_cast<unix_diag_req*>(mnl_nlmsg_put_extra_header(header, sizeof(unix_diag_req)));
  body->sdiag_family = AF_UNIX;
  body->udiag_states =
      role == Role::kListener ? StateBit(kListen) | StateBit(kClose) : StateBit(kEstablished);
  body->udiag_show =
      UDIAG_SHOW_NAME | UDIAG_SHOW_VFS | UDIAG_SHOW_RQLEN | UDIAG_SHOW_PEER | UDIAG_SHOW_UID;
  return request;
}

// ---- answers ------------------------------------------------------------------------------------

// Calls f(type, payload) for each attribute behind the fixed part of a message.
template <class F>
void ForEachAttribute(const nlmsghdr* header, size_t offset, F f) {
  const auto* attribute = static_cast<const nlattr*>(mnl_nlmsg_get_payload_offset(header, offset));
  const char* end = static_cast<const char*>(mnl_nlmsg_get_payload_tail(header));
  while (mnl_attr_ok(attribute, static_cast<int>(end - reinterpret_cast<const char*>(attribute)))) {
    f(mnl_attr_get_type(attribute),
      std::span(static_cast<const char*>(mnl_attr_get_payload(attribute)),
                mnl_attr_get_payload_len(attribute)));
    attribute = mnl_attr_next(attribute);
  }
}

// A structure of the kernel's, which may be shorter than ours or longer: what is missing is 0.
template <class T>
T Copy(std::span<const char> payload) {
  T value = {};
  std::memcpy(&value, payload.data(), std::min(payload.size(), sizeof(value)));
  return value;
}

std::string InetName(int family, const __be32* address, __be16 port, uint32_t device) {
  char text[INET6_ADDRSTRLEN] = "?";
  inet_ntop(family, address, text, sizeof(text));
  if (family == AF_INET) return absl::StrCat(text, ":", ntohs(port));
  in6_addr v6;
  std::memcpy(&v6, address, sizeof(v6));
  // A link-local address is one only together with its interface.
  char name[IF_NAMESIZE];
  if (IN6_IS_ADDR_LINKLOCAL(&v6) && if_indextoname(device, name) != nullptr) {
    return absl::StrCat("[", text, "%", name, "]:", ntohs(port));
  }
  return absl::StrCat("[", text, "]:", ntohs(port));
}

const char* StateName(uint8_t state) {
  return kStateNames[state < std::size(kStateNames) ? state : 0];
}

TcpDetails Details(const tcp_info& info) {
  return {.rtt_us = info.tcpi_rtt,
          .rtt_var_us = info.tcpi_rttvar,
          .min_rtt_us = info.tcpi_min_rtt,
          .retransmits = info.tcpi_total_retrans,
          .unacked = info.tcpi_unacked,
          .lost = info.tcpi_lost,
          .cwnd = info.tcpi_snd_cwnd,
          .not_sent_bytes = info.tcpi_notsent_bytes,
          .bytes_acked = info.tcpi_bytes_acked,
          .bytes_received = info.tcpi_bytes_received,
          .sndbuf_limited_us = info.tcpi_sndbuf_limited,
          .rwnd_limited_us = info.tcpi_rwnd_limited};
}

std::optional<SocketInfo> ParseInet(const nlmsghdr* header, SocketProtocol protocol) {
  if (mnl_nlmsg_get_payload_len(header) < sizeof(inet_diag_msg)) return std::nullopt;
  const auto& message = *static_cast<const inet_diag_msg*>(mnl_nlmsg_get_payload(header));
  const int family = message.idiag_family;
  if (family != AF_INET && family != AF_INET6) return std::nullopt;
  SocketInfo info = {
      .protocol = protocol == SocketProtocol::kTcp ? "tcp" : "udp",
      .state = StateName(message.idiag_state),
      .local = InetName(family, message.id.idiag_src, message.id.idiag_sport, message.id.idiag_if),
      .recv_queue = message.idiag_rqueue,
      .send_queue = message.idiag_wqueue,
      .uid = message.idiag_uid,
      .inode = message.idiag_inode};
  if (message.idiag_state != kListen && message.idiag_state != kClose) {
    info.remote =
        InetName(family, message.id.idiag_dst, message.id.idiag_dport, message.id.idiag_if);
  }
  ForEachAttribute(header, sizeof(inet_diag_msg), [&](int type, std::span<const char> payload) {
    if (type == INET_DIAG_INFO && protocol == SocketProtocol::kTcp) {
      info.tcp = Details(Copy<tcp_info>(payload));
    } else if (type == INET_DIAG_SKMEMINFO &&
               payload.size() >= SK_MEMINFO_VARS * sizeof(uint32_t)) {
      info.drops = Copy<std::array<uint32_t, SK_MEMINFO_VARS>>(payload)[SK_MEMINFO_DROPS];
    } else if (type == INET_DIAG_SKV6ONLY) {
      info.v6_only = Copy<uint8_t>(payload) != 0;
    }
  });
  return info;
}

const char* UnixProtocol(int type) {
  switch (type) {
    case SOCK_DGRAM:
      return "unix-dgram";
    case SOCK_SEQPACKET:
      return "unix-seqpacket";
    default:
      return "unix";
  }
}

std::optional<SocketInfo> ParseUnix(const nlmsghdr* header, Role role, const SocketQuery& query) {
  if (mnl_nlmsg_get_payload_len(header) < sizeof(unix_diag_msg)) return std::nullopt;
  const auto& message = *static_cast<const unix_diag_msg*>(mnl_nlmsg_get_payload(header));
  SocketInfo info = {.protocol = UnixProtocol(message.udiag_type),
                     .state = StateName(message.udiag_state),
                     .inode = message.udiag_ino};
  ForEachAttribute(header, sizeof(unix_diag_msg), [&](int type, std::span<const char> payload) {
    switch (type) {
      case UNIX_DIAG_NAME:
        info.local = UnixName(payload);
        break;
      case UNIX_DIAG_VFS: {
        const auto file = Copy<unix_diag_vfs>(payload);
        // The kernel's own dev_t: include/linux/kdev_t.h, MINORBITS is 20.
        const dev_t device = makedev(file.udiag_vfs_dev >> 20, file.udiag_vfs_dev & 0xfffff);
        info.file = SocketFile{.device = device, .inode = file.udiag_vfs_ino};
        break;
      }
      case UNIX_DIAG_PEER:
        info.peer_inode = Copy<uint32_t>(payload);
        break;
      case UNIX_DIAG_RQLEN: {
        const auto queues = Copy<unix_diag_rqlen>(payload);
        info.recv_queue = queues.udiag_rqueue;
        info.send_queue = queues.udiag_wqueue;
        break;
      }
      case UNIX_DIAG_UID:
        info.uid = Copy<uint32_t>(payload);
        break;
      default:
        break;
    }
  });
  // A datagram socket with a name can be sent to; a stream that neither listens nor is connected
  // is nothing yet.
  if (role == Role::kListener && message.udiag_state == kClose &&
      (message.udiag_type != SOCK_DGRAM || info.local.empty())) {
    return std::nullopt;
  }
  const auto& names = query.unix_names;
  if (!names.empty() && std::find(names.begin(), names.end(), info.local) == names.end()) {
    return std::nullopt;
  }
  return info;
}

// ---- dumps --------------------------------------------------------------------------------------

using Parse = std::function<std::optional<SocketInfo>(const nlmsghdr*)>;

struct Sink {
  const Parse& parse;
  size_t max;
  SocketList* list;
  int error = 0;  // what the kernel ended the dump with
};

int OnSocket(const nlmsghdr* header, void* data) {
  auto& sink = *static_cast<Sink*>(data);
  std::optional<SocketInfo> info = sink.parse(header);
  if (!info) return MNL_CB_OK;
  if (sink.list->sockets.size() >= sink.max) {
    sink.list->more = true;
    return MNL_CB_STOP;
  }
  sink.list->sockets.push_back(std::move(*info));
  return MNL_CB_OK;
}

// Both NLMSG_ERROR and NLMSG_DONE begin with a negative errno, or 0. That of DONE is where a
// missing module shows, and libmnl's own callback doesn't look at it.
int OnEnd(const nlmsghdr* header, void* data) {
  if (mnl_nlmsg_get_payload_len(header) >= sizeof(int)) {
    static_cast<Sink*>(data)->error = -*static_cast<const int*>(mnl_nlmsg_get_payload(header));
  }
  return MNL_CB_STOP;
}

int OnOverrun(const nlmsghdr*, void* data) {
  static_cast<Sink*>(data)->error = ENOBUFS;
  return MNL_CB_STOP;
}

// One dump, to its end or until the list is full. 0 or an errno.
int DumpOnce(Netlink& netlink, const Request& request, Sink* sink) {
  if (const int error = netlink.Send(request.span())) return error;
  mnl_cb_t control[NLMSG_MIN_TYPE] = {};
  control[NLMSG_ERROR] = OnEnd;
  control[NLMSG_DONE] = OnEnd;
  control[NLMSG_OVERRUN] = OnOverrun;
  std::vector<nlmsghdr> storage(kBufferBytes / sizeof(nlmsghdr));  // aligned for messages
  const std::span<char> buffer(reinterpret_cast<char*>(storage.data()), kBufferBytes);
  while (true) {
    const ssize_t size = netlink.Receive(buffer);
    if (size < 0) return static_cast<int>(-size);
    const int result = mnl_cb_run2(buffer.data(), static_cast<size_t>(size), kSequence,
                                   netlink.port_id(), OnSocket, sink, control, NLMSG_MIN_TYPE);
    if (result < 0) return errno;  // EINTR: NLM_F_DUMP_INTR was set
    if (result == MNL_CB_STOP) return sink->error;
  }
}

absl::Status Dump(const OpenNetlink& open, const Request& request, const char* module, size_t max,
                  const Parse& parse, SocketList* list) {
  if (list->more) return absl::OkStatus();
  const size_t before = list->sockets.size();
  int error = 0;
  for (int attempt = 0; attempt < internal::kDumpAttempts; ++attempt) {
    list->sockets.resize(before);
    auto netlink = open();
    if (!netlink.ok()) return netlink.status();
    Sink sink = {.parse = parse, .max = max, .list = list};
    error = DumpOnce(**netlink, request, &sink);
    if (error == 0) return absl::OkStatus();
    list->more = false;
    if (!IsPassing(error)) break;
  }
  return DiagError(error, module);
}

absl::Status DumpInet(SocketProtocol protocol, Role role, const SocketQuery& query,
                      const OpenNetlink& open, SocketList* list) {
  const Parse parse = [protocol](const nlmsghdr* header) { return ParseInet(header, protocol); };
  const char* module = protocol == SocketProtocol::kTcp ? "tcp_diag" : "udp_diag";
  for (const int family : {AF_INET, AF_INET6}) {
    const absl::Status dumped =
        Dump(open, InetRequest(family, protocol, role, query), module, query.max, parse, list);
    if (!dumped.ok()) return dumped;
  }
  return absl::OkStatus();
}

absl::StatusOr<SocketList> Query(const SocketQuery& query, Role role, const OpenNetlink& open) {
  if (query.ports.size() > kPortsMax) {
    return absl::InvalidArgumentError(absl::StrCat("sockets of ", query.ports.size(),
                                                   " ports were asked for; ask for ", kPortsMax,
                                                   " at most"));
  }
  SocketList list;
  for (const SocketProtocol protocol : query.protocols) {
    const absl::Status dumped =
        protocol == SocketProtocol::kUnix
            ? Dump(
                  open, UnixRequest(role), "unix_diag", query.max,
                  [&](const nlmsghdr* header) { return ParseUnix(header, role, query); }, &list)
            : DumpInet(protocol, role, query, open, &list);
    if (!dumped.ok()) return dumped;
  }
  return list;
}

}  // namespace

namespace internal {

absl::StatusOr<SocketList> Listeners(const SocketQuery& query, const OpenNetlink& open) {
  return Query(query, Role::kListener, open);
}

absl::StatusOr<SocketList> Connections(const SocketQuery& query, const OpenNetlink& open) {
  return Query(query, Role::kConnection, open);
}

}  // namespace internal

absl::StatusOr<SocketList> Listeners(const SocketQuery& query) {
  return Query(query, Role::kListener, MnlNetlink::Open);
}

absl::StatusOr<SocketList> Connections(const SocketQuery& query) {
  return Query(query, Role::kConnection, MnlNetlink::Open);
}

}  // namespace stats
