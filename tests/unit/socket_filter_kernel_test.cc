#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <linux/if_packet.h>
#include <linux/ipv6.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <fstream>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "io/endpoint.h"
#include "io/errors.h"
#include "server/access_list.h"
#include "server/socket_filter.h"
#include "tests/usable_address.h"

// What the kernel makes of the programs: real sockets over loopback. "Never arrives" is decided by
// order, not by time: on loopback a packet is processed in the sender's own system call, so what a
// neighbour sends later arrives later.
namespace server {
namespace {

class Socket {
 public:
  Socket(int family, int type) : fd_(socket(family, type | SOCK_CLOEXEC, 0)) {}
  explicit Socket(int fd) : fd_(fd) {}
  Socket(Socket&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  ~Socket() {
    if (fd_ >= 0) close(fd_);
  }
  int fd() const { return fd_; }

 private:
  int fd_;
};

// A failed step ends a scenario by this, so that a child process can tell its parent what it was.
struct Failed {
  std::string what;
};

// Begins the reason why a scenario can't be played here.
constexpr char kSkip[] = "skip: ";

void Check(bool holds, const std::string& what) {
  if (!holds) throw Failed{what};
}

void CheckCall(int result, const std::string& what) {
  Check(result >= 0, what + ": " + io::ErrnoName(errno));
}

io::Endpoint At(const std::string& address, uint16_t port) {
  if (address.find(':') == std::string::npos) {
    sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(port)};
    Check(inet_pton(AF_INET, address.c_str(), &in.sin_addr) == 1, address);
    return {io::Transport::kTcp, reinterpret_cast<const sockaddr*>(&in), sizeof(in)};
  }
  sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
  Check(inet_pton(AF_INET6, address.c_str(), &in6.sin6_addr) == 1, address);
  return {io::Transport::kTcp, reinterpret_cast<const sockaddr*>(&in6), sizeof(in6)};
}

// Who talks to whom: `denied` is refused by the list, `allowed` isn't.
struct Cast {
  const char* listen;  // what the server binds
  const char* server;  // where the clients find it
  const char* denied;
  const char* allowed;
  const char* list;  // --deny
};

constexpr Cast kV4 = {"127.0.0.1", "127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.2"};
constexpr Cast kDualStack = {"::", "127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.2"};
constexpr Cast kV6 = {"2001:db8::1", "2001:db8::1", "2001:db8::2", "2001:db8::3", "2001:db8::2"};

SocketFilter FilterOf(const Cast& cast) {
  const auto list = AccessList::Parse({}, {cast.list});
  Check(list.ok(), list.status().ToString());
  return SocketFilter::Compile(*list);
}

// Bound with the filter, and listening where it is TCP.
Socket Serve(const Cast& cast, int type) {
  const io::Endpoint at = At(cast.listen, 0);
  Socket server(at.family(), type | SOCK_NONBLOCK);
  CheckCall(server.fd(), "socket");
  if (at.family() == AF_INET6) {
    const int off = 0;
    CheckCall(setsockopt(server.fd(), IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off)), "V6ONLY");
  }
  const absl::Status attached = FilterOf(cast).Attach(server.fd());
  if (absl::IsPermissionDenied(attached)) throw Failed{kSkip + attached.ToString()};
  Check(attached.ok(), attached.ToString());
  CheckCall(bind(server.fd(), at.address(), at.size()), "bind");
  if (type == SOCK_STREAM) CheckCall(listen(server.fd(), 16), "listen");
  return server;
}

uint16_t PortOf(const Socket& socket) {
  const auto local = io::LocalEndpoint(socket.fd());
  Check(local.ok(), local.status().ToString());
  return local->port();
}

// A client that sends from `address`, connected to `to` or, with TCP, under way.
Socket Connect(const std::string& address, const io::Endpoint& to, int type) {
  const io::Endpoint from = At(address, 0);
  Socket client(from.family(), type | SOCK_NONBLOCK);
  CheckCall(client.fd(), "socket");
  CheckCall(bind(client.fd(), from.address(), from.size()), "bind " + address);
  const int result = connect(client.fd(), to.address(), to.size());
  Check(result == 0 || errno == EINPROGRESS, "connect: " + io::ErrnoName(errno));
  return client;
}

void Await(const Socket& socket, short events, const std::string& what) {
  constexpr int kHangMs = 60'000;
  pollfd wait = {.fd = socket.fd(), .events = events};
  Check(poll(&wait, 1, kHangMs) == 1, "nothing comes of " + what);
}

int TcpState(const Socket& socket) {
  tcp_info info = {};
  socklen_t size = sizeof(info);
  CheckCall(getsockopt(socket.fd(), IPPROTO_TCP, TCP_INFO, &info, &size), "TCP_INFO");
  return info.tcpi_state;
}

// Instructions of the filter that the socket has; 0 without one.
size_t FilterLength(const Socket& socket) {
  socklen_t count = 0;
  CheckCall(getsockopt(socket.fd(), SOL_SOCKET, SO_GET_FILTER, nullptr, &count), "SO_GET_FILTER");
  return count;
}

bool IsFrom(const sockaddr_storage& peer, const std::string& address) {
  char text[INET6_ADDRSTRLEN] = "";
  const auto* in = reinterpret_cast<const sockaddr_in*>(&peer);
  const auto* in6 = reinterpret_cast<const sockaddr_in6*>(&peer);
  if (peer.ss_family == AF_INET) inet_ntop(AF_INET, &in->sin_addr, text, sizeof(text));
  if (peer.ss_family == AF_INET6) inet_ntop(AF_INET6, &in6->sin6_addr, text, sizeof(text));
  return text == address || text == "::ffff:" + address;
}

Socket Accept(const Socket& server, const std::string& from) {
  Await(server, POLLIN, "accepting " + from);
  sockaddr_storage peer = {};
  socklen_t size = sizeof(peer);
  Socket accepted(accept4(server.fd(), reinterpret_cast<sockaddr*>(&peer), &size, SOCK_CLOEXEC));
  CheckCall(accepted.fd(), "accept");
  Check(IsFrom(peer, from), "another one than " + from + " was accepted");
  return accepted;
}

void ExpectEcho(const Socket& client, const Socket& server) {
  char in[4] = {};
  Check(write(client.fd(), "ring", 4) == 4, "the client's write");
  Check(recv(server.fd(), in, 4, MSG_WAITALL) == 4, "the server's read");
  Check(write(server.fd(), in, 4) == 4, "the server's write");
  Await(client, POLLIN, "the echo");
  Check(read(client.fd(), in, 4) == 4 && std::memcmp(in, "ring", 4) == 0, "the echo");
}

void TcpKeepsTheDeniedInSynSent(const Cast& cast) {
  const Socket server = Serve(cast, SOCK_STREAM);
  const io::Endpoint at = At(cast.server, PortOf(server));
  const Socket denied = Connect(cast.denied, at, SOCK_STREAM);
  const Socket allowed = Connect(cast.allowed, at, SOCK_STREAM);
  const Socket accepted = Accept(server, cast.allowed);
  Check(FilterLength(accepted) > 0, "an accepted socket doesn't inherit the filter");
  SocketFilter::Detach(accepted.fd());
  Check(FilterLength(accepted) == 0, "the filter is still there");
  SocketFilter::Detach(accepted.fd());  // without a filter: nothing happens
  ExpectEcho(allowed, accepted);
  Check(TcpState(denied) == TCP_SYN_SENT, "the denied source is not in SYN_SENT");
  Check(accept(server.fd(), nullptr, nullptr) < 0 && errno == EAGAIN, "another one was accepted");
  // It was the filter, and nothing else, that kept it out: the next SYN gets through without.
  SocketFilter::Detach(server.fd());
  Await(denied, POLLOUT, "connecting without a filter");
  Check(TcpState(denied) == TCP_ESTABLISHED, "the source that was denied has not connected");
  ExpectEcho(denied, Accept(server, cast.denied));
}

// What the server's socket has: the sender's word, or "" for nothing.
std::string NextDatagram(const Socket& server) {
  char in[16];
  const ssize_t n = recv(server.fd(), in, sizeof(in), 0);
  Check(n >= 0 || errno == EAGAIN, "recv: " + io::ErrnoName(errno));
  return n < 0 ? "" : std::string(in, n);
}

void UdpNeverQueuesTheDenied(const Cast& cast) {
  const Socket server = Serve(cast, SOCK_DGRAM);
  const io::Endpoint at = At(cast.server, PortOf(server));
  const Socket denied = Connect(cast.denied, at, SOCK_DGRAM);
  const Socket allowed = Connect(cast.allowed, at, SOCK_DGRAM);
  Check(write(denied.fd(), "denied", 6) == 6, "write");
  Check(write(allowed.fd(), "allowed", 7) == 7, "write");
  Await(server, POLLIN, "the datagram");
  Check(NextDatagram(server) == "allowed", "the denied datagram arrived");
  Check(NextDatagram(server).empty(), "the denied datagram arrived late");
  SocketFilter::Detach(server.fd());
  Check(write(denied.fd(), "denied", 6) == 6, "write");
  Await(server, POLLIN, "a datagram without a filter");
  Check(NextDatagram(server) == "denied", "another datagram arrived");
}

using Scenario = std::function<void(const Cast&)>;

// What went wrong; "" for nothing.
std::string Play(const Scenario& scenario, const Cast& cast) {
  try {
    scenario(cast);
  } catch (const Failed& failed) {
    return failed.what;
  }
  return "";
}

// ---- a network of the test's own
// ------------------------------------------------------------------

void Permit(int result, const std::string& what) {
  if (result < 0) throw Failed{kSkip + what + ": " + io::ErrnoName(errno)};
}

// Enters a new network, as root or as anybody, and sets its loopback up.
void EnterOwnNetwork() {
  if (unshare(CLONE_NEWNET) != 0) Permit(unshare(CLONE_NEWUSER | CLONE_NEWNET), "unshare");
  const Socket control(AF_INET, SOCK_DGRAM);
  ifreq request = {};
  std::strcpy(request.ifr_name, "lo");
  CheckCall(ioctl(control.fd(), SIOCGIFFLAGS, &request), "SIOCGIFFLAGS");
  request.ifr_flags |= IFF_UP;
  Permit(ioctl(control.fd(), SIOCSIFFLAGS, &request), "SIOCSIFFLAGS");
}

void AddV6Address(const char* address) {
  const Socket control(AF_INET6, SOCK_DGRAM);
  Permit(control.fd(), "an IPv6 socket");
  in6_ifreq request = {};
  request.ifr6_prefixlen = 128;
  request.ifr6_ifindex = static_cast<int>(if_nametoindex("lo"));
  Check(inet_pton(AF_INET6, address, &request.ifr6_addr) == 1, address);
  Permit(ioctl(control.fd(), SIOCSIFADDR, &request), "an IPv6 address");
  network_tests::AwaitUsable(address);
}

// Plays in a child process with a network of its own.
std::string PlayInOwnNetwork(const Scenario& scenario, const Cast& cast) {
  int ends[2];
  EXPECT_EQ(pipe(ends), 0);
  const pid_t child = fork();
  if (child == 0) {
    const std::string result = Play(
        [&](const Cast& its_cast) {
          EnterOwnNetwork();
          if (std::strchr(its_cast.server, ':') != nullptr) {
            for (const char* address : {its_cast.server, its_cast.denied, its_cast.allowed}) {
              AddV6Address(address);
            }
          }
          scenario(its_cast);
        },
        cast);
    const std::string report = "ended" + result;
    _exit(write(ends[1], report.data(), report.size()) < 0 ? 1 : 0);
  }
  close(ends[1]);
  std::string report;
  char buffer[512];
  for (ssize_t n; (n = read(ends[0], buffer, sizeof(buffer))) > 0;) report.append(buffer, n);
  close(ends[0]);
  int status = 0;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  return report.starts_with("ended") ? report.substr(5) : "the child died: " + report;
}

// ---- what is on the wire
// --------------------------------------------------------------------------

// Packets from the server's port to a client.
struct Seen {
  size_t from_client = 0, to_client = 0, syn_acks = 0, resets = 0;
};

// Sees all packets of loopback from its construction on.
class Watcher {
 public:
  Watcher() : socket_(socket(AF_PACKET, SOCK_DGRAM | SOCK_NONBLOCK, htons(ETH_P_ALL))) {
    Permit(socket_.fd(), "AF_PACKET");
    sockaddr_ll lo = {.sll_family = AF_PACKET,
                      .sll_protocol = htons(ETH_P_ALL),
                      .sll_ifindex = static_cast<int>(if_nametoindex("lo"))};
    CheckCall(bind(socket_.fd(), reinterpret_cast<sockaddr*>(&lo), sizeof(lo)), "bind to lo");
  }

  // Reads all there is.
  void Read() {
    uint8_t packet[2048];
    while (true) {
      sockaddr_ll from = {};
      socklen_t size = sizeof(from);
      const ssize_t n = recvfrom(socket_.fd(), packet, sizeof(packet), 0,
                                 reinterpret_cast<sockaddr*>(&from), &size);
      if (n < 0 && errno == EAGAIN) return;
      CheckCall(static_cast<int>(n), "recvfrom lo");
      // Loopback shows each packet twice: as it is sent, within the sender's call, and as it comes.
      if (from.sll_pkttype == PACKET_OUTGOING) packets_.emplace_back(packet, packet + n);
    }
  }

  Seen With(const std::string& client) const {
    uint8_t address[16];
    const bool v4 = client.find(':') == std::string::npos;
    const size_t size = v4 ? 4 : 16, source = v4 ? 12 : 8, header = v4 ? 20 : 40;
    inet_pton(v4 ? AF_INET : AF_INET6, client.c_str(), address);
    Seen seen;
    for (const auto& packet : packets_) {
      if (packet.size() < header || packet[0] >> 4 != (v4 ? 4 : 6)) continue;
      if (std::memcmp(&packet[source], address, size) == 0) ++seen.from_client;
      if (std::memcmp(&packet[source + size], address, size) != 0) continue;
      ++seen.to_client;
      if (packet[v4 ? 9 : 6] != IPPROTO_TCP || packet.size() < header + 20) continue;
      const uint8_t flags = packet[header + 13];
      if ((flags & (TH_SYN | TH_ACK)) == (TH_SYN | TH_ACK)) ++seen.syn_acks;
      if ((flags & TH_RST) != 0) ++seen.resets;
    }
    return seen;
  }

 private:
  Socket socket_;
  std::vector<std::vector<uint8_t>> packets_;
};

void NothingAnswersTheDenied(const Cast& cast) {
  const Socket server = Serve(cast, SOCK_STREAM);
  const io::Endpoint at = At(cast.server, PortOf(server));
  Watcher watcher;
  const Socket denied = Connect(cast.denied, at, SOCK_STREAM);
  const Socket allowed = Connect(cast.allowed, at, SOCK_STREAM);
  const Socket accepted = Accept(server, cast.allowed);
  ExpectEcho(allowed, accepted);
  watcher.Read();
  const Seen to_denied = watcher.With(cast.denied), to_allowed = watcher.With(cast.allowed);
  Check(to_denied.from_client > 0, "the denied source's SYN was not seen: the watcher is blind");
  Check(to_denied.syn_acks == 0, "a SYN-ACK went to the denied source");
  Check(to_denied.resets == 0, "a reset went to the denied source");
  Check(to_denied.to_client == 0, "something went to the denied source");
  Check(to_allowed.syn_acks > 0, "no SYN-ACK went to the allowed source");
  // The watcher sees what a port answers that isn't filtered: a reset, to the same source.
  const uint16_t port = PortOf(server);
  CheckCall(shutdown(server.fd(), SHUT_RDWR), "shutdown");  // ends listening
  const Socket refused = Connect(cast.denied, At(cast.server, port), SOCK_STREAM);
  Await(refused, POLLOUT, "the reset");
  watcher.Read();
  Check(watcher.With(cast.denied).resets > 0, "no reset was seen");
}

struct Case {
  const char* name;
  Scenario scenario;
  Cast cast;
  bool own_network;
};

void PrintTo(const Case& it, std::ostream* out) { *out << it.name; }

class SocketFilterInTheKernel : public testing::TestWithParam<Case> {};

TEST_P(SocketFilterInTheKernel, KeepsTheDeniedOut) {
  const Case& it = GetParam();
  const std::string result =
      it.own_network ? PlayInOwnNetwork(it.scenario, it.cast) : Play(it.scenario, it.cast);
  if (result.starts_with(kSkip)) GTEST_SKIP() << result;
  EXPECT_EQ(result, "");
}

INSTANTIATE_TEST_SUITE_P(
    All, SocketFilterInTheKernel,
    testing::Values(Case{"TcpV4", TcpKeepsTheDeniedInSynSent, kV4, false},
                    Case{"UdpV4", UdpNeverQueuesTheDenied, kV4, false},
                    Case{"TcpDualStack", TcpKeepsTheDeniedInSynSent, kDualStack, true},
                    Case{"UdpDualStack", UdpNeverQueuesTheDenied, kDualStack, true},
                    Case{"TcpV6", TcpKeepsTheDeniedInSynSent, kV6, true},
                    Case{"UdpV6", UdpNeverQueuesTheDenied, kV6, true},
                    Case{"WireV4", NothingAnswersTheDenied, kV4, true},
                    Case{"WireDualStack", NothingAnswersTheDenied, kDualStack, true},
                    Case{"WireV6", NothingAnswersTheDenied, kV6, true}),
    [](const auto& test) { return test.param.name; });

// As many instructions as there may be.
SocketFilter Longest() {
  SocketFilter filter;
  filter.program.assign(BPF_MAXINSNS, {BPF_RET | BPF_K, 0, 0, 0xffffffff});
  return filter;
}

TEST(SocketFilterAttach, TakesAProgramOfAThousandBlocks) {
  std::string blocks;
  for (int i = 0; i < 1000; ++i) {
    absl::StrAppend(&blocks, i == 0 ? "" : ",", 1 + i / 5, ".", i % 5 * 50, ".0.0/16");
  }
  const auto list = AccessList::Parse({}, {blocks});
  ASSERT_TRUE(list.ok()) << list.status();
  const SocketFilter filter = SocketFilter::Compile(*list);
  EXPECT_TRUE(filter.complete);
  const Socket socket(AF_INET, SOCK_DGRAM);
  const absl::Status status = filter.Attach(socket.fd());
  // A kernel whose net.core.optmem_max is small (20 KiB before Linux 6.9) says so.
  if (absl::IsResourceExhausted(status)) GTEST_SKIP() << status;
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(FilterLength(socket), filter.program.size());
}

TEST(SocketFilterAttach, SaysWhatIsWrong) {
  const Socket socket(AF_INET, SOCK_DGRAM);
  SocketFilter filter = Longest();
  absl::Status status = filter.Attach(-1);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(status.message().find("EBADF"), std::string::npos) << status;

  filter.program.resize(1);
  filter.program[0].code = 0xffff;
  status = filter.Attach(socket.fd());
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(status.message().find("EINVAL"), std::string::npos) << status;

  filter.program[0] = {BPF_RET | BPF_K, 0, 0, 0xffffffff};
  ASSERT_TRUE(filter.Attach(socket.fd()).ok());
  EXPECT_TRUE(filter.Attach(socket.fd()).ok()) << "one filter replaces another";
  const int on = 1;
  ASSERT_EQ(setsockopt(socket.fd(), SOL_SOCKET, SO_LOCK_FILTER, &on, sizeof(on)), 0);
  status = filter.Attach(socket.fd());
  EXPECT_EQ(status.code(), absl::StatusCode::kPermissionDenied);
  EXPECT_NE(status.message().find("SO_LOCK_FILTER"), std::string::npos) << status;
  SocketFilter::Detach(socket.fd());
  EXPECT_EQ(FilterLength(socket), 1u) << "a locked filter stays";
}

// Without CAP_NET_ADMIN a TCP socket may or may not take a filter; either way it is said.
TEST(SocketFilterAttach, SaysThatItTakesACapability) {
  if (geteuid() != 0) GTEST_SKIP() << "only root has capabilities to give up";
  const std::string result = PlayInOwnNetwork(
      [](const Cast&) {
        CheckCall(setresuid(65534, 65534, 65534), "setresuid");
        const Socket udp(AF_INET, SOCK_DGRAM);
        const absl::Status on_udp = FilterOf(kV4).Attach(udp.fd());
        Check(on_udp.ok(), on_udp.ToString());
        const Socket tcp(AF_INET, SOCK_STREAM);
        const absl::Status status = FilterOf(kV4).Attach(tcp.fd());
        if (status.ok()) throw Failed{std::string(kSkip) + "this kernel asks for no capability"};
        Check(absl::IsPermissionDenied(status), status.ToString());
        Check(status.message().find("CAP_NET_ADMIN") != std::string::npos, status.ToString());
        Check(FilterLength(tcp) == 0, "a filter was attached");
      },
      kV4);
  if (result.starts_with(kSkip)) GTEST_SKIP() << result;
  EXPECT_EQ(result, "");
}

// The bound of a socket's options is a network's own since Linux 6.8.
TEST(SocketFilterAttach, NamesTheBoundOfASocketsOptions) {
  const std::string result = PlayInOwnNetwork(
      [](const Cast&) {
        std::ofstream bound("/proc/sys/net/core/optmem_max");
        bound << 4096 << std::flush;
        if (!bound) throw Failed{std::string(kSkip) + "this network has no optmem_max of its own"};
        const Socket socket(AF_INET, SOCK_STREAM);
        const absl::Status status = Longest().Attach(socket.fd());
        Check(absl::IsResourceExhausted(status), status.ToString());
        Check(status.message().find("net.core.optmem_max") != std::string::npos, status.ToString());
        Check(FilterLength(socket) == 0, "a filter was attached");
        const absl::Status shorter = FilterOf(kV4).Attach(socket.fd());
        Check(shorter.ok(), shorter.ToString());
      },
      kV4);
  if (result.starts_with(kSkip)) GTEST_SKIP() << result;
  EXPECT_EQ(result, "");
}

}  // namespace
}  // namespace server
