#include "stats/socket_diag.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <deque>
#include <filesystem>
#include <ostream>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace stats::socket_diag_tests {
namespace {

class Fd {
 public:
  explicit Fd(int fd = -1) : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Fd& operator=(Fd&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~Fd() {
    if (fd_ >= 0) close(fd_);
  }
  int get() const { return fd_; }

 private:
  int fd_;
};

// A socket address of any family.
struct Address {
  sockaddr_storage storage = {};
  socklen_t size = sizeof(storage);
  sockaddr* get() { return reinterpret_cast<sockaddr*>(&storage); }
  uint16_t port() const {
    return ntohs(reinterpret_cast<const sockaddr_in*>(&storage)->sin_port);  // the same place in v6
  }
};

Address Loopback(int family) {
  Address address;
  if (family == AF_INET) {
    auto* v4 = reinterpret_cast<sockaddr_in*>(&address.storage);
    *v4 = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    address.size = sizeof(*v4);
  } else {
    auto* v6 = reinterpret_cast<sockaddr_in6*>(&address.storage);
    *v6 = {.sin6_family = AF_INET6, .sin6_addr = in6addr_loopback};
    address.size = sizeof(*v6);
  }
  return address;
}

Address UnixAddress(const std::string& name) {
  Address address;
  auto* local = reinterpret_cast<sockaddr_un*>(&address.storage);
  local->sun_family = AF_UNIX;
  std::memcpy(local->sun_path, name.data(), name.size());
  address.size = offsetof(sockaddr_un, sun_path) + name.size() + (name[0] == '\0' ? 0 : 1);
  return address;
}

Address NameOf(const Fd& fd) {
  Address address;
  EXPECT_EQ(getsockname(fd.get(), address.get(), &address.size), 0);
  return address;
}

std::string Text(const Address& address) {
  char host[INET6_ADDRSTRLEN];
  if (address.storage.ss_family == AF_INET) {
    const auto& v4 = reinterpret_cast<const sockaddr_in&>(address.storage);
    inet_ntop(AF_INET, &v4.sin_addr, host, sizeof(host));
    return std::string(host) + ":" + std::to_string(address.port());
  }
  const auto& v6 = reinterpret_cast<const sockaddr_in6&>(address.storage);
  inet_ntop(AF_INET6, &v6.sin6_addr, host, sizeof(host));
  return "[" + std::string(host) + "]:" + std::to_string(address.port());
}

uint32_t InodeOf(const Fd& fd) {
  struct stat status = {};
  EXPECT_EQ(fstat(fd.get(), &status), 0);
  return static_cast<uint32_t>(status.st_ino);
}

Fd Bound(Address address, int type) {
  Fd fd(socket(address.storage.ss_family, type | SOCK_CLOEXEC, 0));
  EXPECT_GE(fd.get(), 0) << std::strerror(errno);
  EXPECT_EQ(bind(fd.get(), address.get(), address.size), 0) << std::strerror(errno);
  return fd;
}

Fd Listening(const Address& address, int backlog, int type = SOCK_STREAM) {
  Fd fd = Bound(address, type);
  EXPECT_EQ(listen(fd.get(), backlog), 0) << std::strerror(errno);
  return fd;
}

Fd Connected(Address to, int type = SOCK_STREAM) {
  Fd fd(socket(to.storage.ss_family, type | SOCK_CLOEXEC, 0));
  EXPECT_GE(fd.get(), 0) << std::strerror(errno);
  EXPECT_EQ(connect(fd.get(), to.get(), to.size), 0) << std::strerror(errno);
  return fd;
}

Fd Accepted(const Fd& listener) {
  return Fd(accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
}

SocketList Must(absl::StatusOr<SocketList> list) {
  EXPECT_TRUE(list.ok()) << list.status();
  return list.ok() ? *std::move(list) : SocketList{};
}

SocketQuery OfPort(SocketProtocol protocol, uint16_t port) {
  return {.protocols = {protocol}, .ports = {port}};
}

// Asks until the answer is as it should be; the limit ends a hang.
template <class Ask, class IsRight>
SocketList Until(Ask ask, IsRight is_right) {
  const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  SocketList list = Must(ask());
  while (!is_right(list) && std::chrono::steady_clock::now() < give_up) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    list = Must(ask());
  }
  EXPECT_TRUE(is_right(list));
  return list;
}

class EachFamily : public testing::TestWithParam<int> {
 protected:
  void SetUp() override {
    Address address = Loopback(GetParam());
    const Fd probe(socket(GetParam(), SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (bind(probe.get(), address.get(), address.size) != 0) {
      GTEST_SKIP() << "no loopback address of IPv6 here";
    }
  }
  Address loopback() const { return Loopback(GetParam()); }
};

INSTANTIATE_TEST_SUITE_P(SocketDiag, EachFamily, testing::Values(AF_INET, AF_INET6),
                         [](const auto& family) { return family.param == AF_INET ? "v4" : "v6"; });

TEST_P(EachFamily, ListenerShowsItsAcceptQueueAndItsLimit) {
  const Fd listener = Listening(loopback(), 5);
  const Address at = NameOf(listener);
  std::vector<Fd> waiting;
  for (int i = 0; i < 3; ++i) waiting.push_back(Connected(at));
  const SocketList list = Until(
      [&] { return Listeners(OfPort(SocketProtocol::kTcp, at.port())); },
      [](const SocketList& l) { return l.sockets.size() == 1 && l.sockets[0].recv_queue == 3; });
  ASSERT_EQ(list.sockets.size(), 1u);
  const SocketInfo& info = list.sockets[0];
  EXPECT_EQ(info.protocol, "tcp");
  EXPECT_EQ(info.state, "LISTEN");
  EXPECT_EQ(info.local, Text(at));
  EXPECT_EQ(info.remote, "");
  EXPECT_EQ(info.recv_queue, 3u);
  EXPECT_EQ(info.send_queue, 5u);
  EXPECT_EQ(info.uid, getuid());
  EXPECT_EQ(info.inode, InodeOf(listener));
  EXPECT_EQ(info.drops, 0u);
  EXPECT_FALSE(info.tcp.has_value());
  EXPECT_FALSE(list.more);
}

TEST_P(EachFamily, ConnectionShowsUnreadBytes) {
  const Fd listener = Listening(loopback(), 5);
  const Address at = NameOf(listener);
  const Fd client = Connected(at);
  const Fd served = Accepted(listener);
  const std::string bytes(1234, 'x');
  ASSERT_EQ(send(client.get(), bytes.data(), bytes.size(), 0), 1234);
  const SocketList list = Until(
      [&] { return Connections(OfPort(SocketProtocol::kTcp, at.port())); },
      [](const SocketList& l) { return l.sockets.size() == 1 && l.sockets[0].recv_queue == 1234; });
  ASSERT_EQ(list.sockets.size(), 1u);  // the client's end has another local port
  const SocketInfo& info = list.sockets[0];
  EXPECT_EQ(info.state, "ESTAB");
  EXPECT_EQ(info.local, Text(at));
  EXPECT_EQ(info.remote, Text(NameOf(client)));
  EXPECT_EQ(info.inode, InodeOf(served));
  ASSERT_TRUE(info.tcp.has_value());
  EXPECT_EQ(info.tcp->bytes_received, 1234u);
  EXPECT_GT(info.tcp->cwnd, 0u);
  EXPECT_EQ(info.tcp->retransmits, 0u);
  // The client's end, found by its own port, has had all of it acknowledged, in some time.
  const SocketList other = Until(
      [&] { return Connections(OfPort(SocketProtocol::kTcp, NameOf(client).port())); },
      [](const SocketList& l) {
        return l.sockets.size() == 1 && l.sockets[0].tcp && l.sockets[0].tcp->bytes_acked >= 1234;
      });
  EXPECT_EQ(other.sockets.at(0).remote, Text(at));
  EXPECT_GT(other.sockets.at(0).tcp->rtt_us, 0u);
}

TEST_P(EachFamily, UdpShowsAQueuedDatagram) {
  const Fd receiver = Bound(loopback(), SOCK_DGRAM);
  const Address at = NameOf(receiver);
  const auto ask = [&] { return Listeners(OfPort(SocketProtocol::kUdp, at.port())); };
  ASSERT_EQ(Must(ask()).sockets.size(), 1u);
  EXPECT_EQ(Must(ask()).sockets[0].recv_queue, 0u);
  const Fd sender = Connected(at, SOCK_DGRAM);
  ASSERT_EQ(send(sender.get(), "hello", 5, 0), 5);
  const SocketList list = Until(ask, [](const SocketList& l) {
    return l.sockets.size() == 1 && l.sockets[0].recv_queue >= 5;
  });
  const SocketInfo& info = list.sockets.at(0);
  EXPECT_EQ(info.protocol, "udp");
  EXPECT_EQ(info.state, "UNCONN");
  EXPECT_EQ(info.local, Text(at));
  EXPECT_EQ(info.inode, InodeOf(receiver));
  EXPECT_EQ(info.drops, 0u);
  // The sender has a peer, and is a connection.
  const SocketList connected =
      Must(Connections(OfPort(SocketProtocol::kUdp, NameOf(sender).port())));
  ASSERT_EQ(connected.sockets.size(), 1u);
  EXPECT_EQ(connected.sockets[0].state, "ESTAB");
  EXPECT_EQ(connected.sockets[0].remote, Text(at));
}

TEST_P(EachFamily, UdpCountsWhatAFullBufferLost) {
  const Fd receiver = Bound(loopback(), SOCK_DGRAM);
  const int least = 1;  // the kernel's least is some 2 KiB
  ASSERT_EQ(setsockopt(receiver.get(), SOL_SOCKET, SO_RCVBUF, &least, sizeof(least)), 0);
  const Fd sender = Connected(NameOf(receiver), SOCK_DGRAM);
  const std::string bytes(1000, 'x');
  for (int i = 0; i < 64; ++i) ASSERT_EQ(send(sender.get(), bytes.data(), 1000, 0), 1000);
  Until([&] { return Listeners(OfPort(SocketProtocol::kUdp, NameOf(receiver).port())); },
        [](const SocketList& l) { return l.sockets.size() == 1 && l.sockets[0].drops > 0u; });
}

TEST_P(EachFamily, HalfClosedConnectionsSayWhichHalf) {
  const Fd listener = Listening(loopback(), 5);
  const Address at = NameOf(listener);
  const Fd client = Connected(at);
  const Fd served = Accepted(listener);
  ASSERT_EQ(shutdown(client.get(), SHUT_WR), 0);
  Until([&] { return Connections(OfPort(SocketProtocol::kTcp, at.port())); },
        [](const SocketList& l) {
          return l.sockets.size() == 1 && l.sockets[0].state == "CLOSE-WAIT";
        });
  Until([&] { return Connections(OfPort(SocketProtocol::kTcp, NameOf(client).port())); },
        [](const SocketList& l) {
          return l.sockets.size() == 1 && l.sockets[0].state == "FIN-WAIT-2";
        });
}

TEST(SocketDiag, TimeWaitIsListedOnlyWhenAskedFor) {
  const Fd listener = Listening(Loopback(AF_INET), 5);
  const Address at = NameOf(listener);
  {
    const Fd client = Connected(at);
    Fd served = Accepted(listener);
    served = Fd();  // the server closes first, so TIME-WAIT is at its end
    char byte;
    ASSERT_EQ(recv(client.get(), &byte, 1, 0), 0);
  }
  SocketQuery query = OfPort(SocketProtocol::kTcp, at.port());
  query.time_wait = true;
  const SocketList list = Until([&] { return Connections(query); },
                                [](const SocketList& l) {
                                  return l.sockets.size() == 1 && l.sockets[0].state == "TIME-WAIT";
                                });
  EXPECT_EQ(list.sockets.at(0).inode, 0u);
  EXPECT_FALSE(list.sockets[0].tcp.has_value());
  query.time_wait = false;
  EXPECT_TRUE(Must(Connections(query)).sockets.empty());
}

// Lets this process have `descriptors` of them; whether it may.
bool AllowFds(rlim_t descriptors) {
  rlimit limit = {};
  getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = std::min(limit.rlim_max, std::max(limit.rlim_cur, descriptors));
  return setrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur >= descriptors;
}

TEST(SocketDiag, ManyConnectionsAreEnumeratedExactly) {
  constexpr size_t kConnections = 500;
  if (!AllowFds(2 * kConnections + 100)) GTEST_SKIP() << "too few descriptors (ulimit -n)";
  const Fd listener = Listening(Loopback(AF_INET), 128);
  const Address at = NameOf(listener);
  std::vector<Fd> clients, served;
  std::set<std::string> names;
  for (size_t i = 0; i < kConnections; ++i) {
    clients.push_back(Connected(at));
    served.push_back(Accepted(listener));
    names.insert(Text(NameOf(clients.back())));
  }
  SocketQuery query = OfPort(SocketProtocol::kTcp, at.port());
  const SocketList list = Must(Connections(query));
  std::set<std::string> seen;
  for (const SocketInfo& info : list.sockets) {
    EXPECT_EQ(info.local, Text(at));
    seen.insert(info.remote);
  }
  EXPECT_EQ(list.sockets.size(), kConnections);
  EXPECT_EQ(seen, names);
  EXPECT_FALSE(list.more);

  query.max = kConnections;
  EXPECT_EQ(Must(Connections(query)).sockets.size(), kConnections);
  EXPECT_FALSE(Must(Connections(query)).more);
  query.max = 10;
  EXPECT_EQ(Must(Connections(query)).sockets.size(), 10u);
  EXPECT_TRUE(Must(Connections(query)).more);
  query.max = 0;
  EXPECT_TRUE(Must(Connections(query)).sockets.empty());
  EXPECT_TRUE(Must(Connections(query)).more);
}

TEST(SocketDiag, SeveralPortsAreFilteredByTheKernel) {
  std::vector<Fd> listeners;
  std::vector<uint16_t> ports;
  for (int i = 0; i < 5; ++i) {
    listeners.push_back(Listening(Loopback(AF_INET), 7));
    ports.push_back(NameOf(listeners.back()).port());
  }
  const auto found = [](std::vector<uint16_t> wanted) {
    std::set<std::string> names;
    for (const auto& info :
         Must(Listeners({.protocols = {SocketProtocol::kTcp}, .ports = std::move(wanted)}))
             .sockets) {
      names.insert(info.local);
    }
    return names;
  };
  const auto name = [&](int i) { return "127.0.0.1:" + std::to_string(ports[i]); };
  EXPECT_EQ(found({ports[0], ports[3]}), (std::set{name(0), name(3)}));
  EXPECT_EQ(found({ports[4], ports[1], ports[2]}), (std::set{name(1), name(2), name(4)}));
  EXPECT_EQ(found({ports[2], ports[2]}), std::set{name(2)});
  // As many as there may be, ours last. Ports from 1 up are hardly in use; ours is not among them.
  std::vector<uint16_t> many;
  for (size_t i = 1; i < kPortsMax; ++i) many.push_back(static_cast<uint16_t>(i));
  many.push_back(ports[4]);
  EXPECT_TRUE(found(many).contains(name(4)));
  EXPECT_FALSE(found(many).contains(name(3)));
  many.push_back(ports[3]);
  EXPECT_EQ(Listeners({.ports = many}).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(SocketDiag, WithoutPortsAllAreListed) {
  const Fd listener = Listening(Loopback(AF_INET), 7);
  const Fd receiver = Bound(Loopback(AF_INET), SOCK_DGRAM);
  std::set<std::pair<std::string, uint32_t>> seen;
  for (const SocketInfo& info : Must(Listeners({})).sockets)
    seen.insert({info.protocol, info.inode});
  EXPECT_TRUE(seen.contains({"tcp", InodeOf(listener)}));
  EXPECT_TRUE(seen.contains({"udp", InodeOf(receiver)}));
}

// A folder that goes with the test.
class Folder {
 public:
  Folder() {
    std::string name = testing::TempDir() + "/socket_diag_XXXXXX";
    path_ = mkdtemp(name.data());
  }
  ~Folder() { std::filesystem::remove_all(path_); }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

struct UnixKind {
  int type;
  const char* protocol;
  friend std::ostream& operator<<(std::ostream& out, const UnixKind& kind) {
    return out << kind.protocol;
  }
};

class EachUnixKind : public testing::TestWithParam<UnixKind> {};
INSTANTIATE_TEST_SUITE_P(SocketDiag, EachUnixKind,
                         testing::Values(UnixKind{SOCK_STREAM, "unix"},
                                         UnixKind{SOCK_SEQPACKET, "unix-seqpacket"}),
                         [](const auto& kind) {
                           return kind.param.type == SOCK_STREAM ? "stream" : "seqpacket";
                         });

TEST_P(EachUnixKind, ListenersByPathAndAbstractShowTheirQueue) {
  const Folder folder;
  const std::string path = folder / "a socket";
  const std::string abstract = std::string(1, '\0') + "ringside test " + std::to_string(getpid());
  for (const std::string& name : {path, abstract}) {
    const Fd listener = Listening(UnixAddress(name), 5, GetParam().type);
    const std::vector<Fd> unrelated = [&] {
      std::vector<Fd> fds;
      for (int i = 0; i < 3; ++i) fds.push_back(Connected(UnixAddress(name), GetParam().type));
      return fds;
    }();
    const std::string shown = name[0] == '\0' ? "@" + name.substr(1) : name;
    const SocketQuery query = {.protocols = {SocketProtocol::kUnix}, .unix_names = {shown}};
    const SocketList list = Must(Listeners(query));
    ASSERT_EQ(list.sockets.size(), 1u) << shown;
    const SocketInfo& info = list.sockets[0];
    EXPECT_EQ(info.protocol, GetParam().protocol);
    EXPECT_EQ(info.state, "LISTEN");
    EXPECT_EQ(info.local, shown);
    EXPECT_EQ(info.recv_queue, 3u);
    EXPECT_EQ(info.send_queue, 5u);
    EXPECT_EQ(info.uid, getuid());
    EXPECT_EQ(info.inode, InodeOf(listener));
  }
}

TEST_P(EachUnixKind, ConnectionsShowUnreadBytesAndTheirPeer) {
  const Folder folder;
  const std::string path = folder / "socket";
  const Fd listener = Listening(UnixAddress(path), 5, GetParam().type);
  const Fd client = Connected(UnixAddress(path), GetParam().type);
  const Fd served = Accepted(listener);
  ASSERT_EQ(send(client.get(), "seven!!", 7, 0), 7);
  const SocketList list =
      Must(Connections({.protocols = {SocketProtocol::kUnix}, .unix_names = {path}}));
  ASSERT_EQ(list.sockets.size(), 1u);  // an accepted socket has the listener's name; a client none
  const SocketInfo& info = list.sockets[0];
  EXPECT_EQ(info.state, "ESTAB");
  EXPECT_EQ(info.recv_queue, 7u);
  EXPECT_EQ(info.inode, InodeOf(served));
  EXPECT_EQ(info.peer_inode, InodeOf(client));
}

TEST(SocketDiag, UnixDatagramSocketsWithANameAreListeners) {
  const Folder folder;
  const std::string path = folder / "socket";
  const Fd receiver = Bound(UnixAddress(path), SOCK_DGRAM);
  const Fd nameless(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  const Fd idle =
      Bound(UnixAddress(folder / "idle"), SOCK_STREAM);  // neither listens nor connected
  const SocketList list = Must(Listeners({.protocols = {SocketProtocol::kUnix}}));
  std::set<uint32_t> inodes;
  for (const SocketInfo& info : list.sockets) inodes.insert(info.inode);
  EXPECT_TRUE(inodes.contains(InodeOf(receiver)));
  EXPECT_FALSE(inodes.contains(InodeOf(nameless)));
  EXPECT_FALSE(inodes.contains(InodeOf(idle)));
  const SocketList named =
      Must(Listeners({.protocols = {SocketProtocol::kUnix}, .unix_names = {path}}));
  ASSERT_EQ(named.sockets.size(), 1u);
  EXPECT_EQ(named.sockets[0].protocol, "unix-dgram");
  EXPECT_EQ(named.sockets[0].state, "UNCONN");
}

TEST(SocketDiag, UnixNamesCannotCommandATerminal) {
  const std::string evil =
      std::string(1, '\0') + "a\x1b[2J\n\\" + std::string(1, '\0') + std::to_string(getpid());
  const Fd listener = Listening(UnixAddress(evil), 5);
  const std::string shown = "@a\\x1b[2J\\x0a\\\\@" + std::to_string(getpid());
  const SocketList list =
      Must(Listeners({.protocols = {SocketProtocol::kUnix}, .unix_names = {shown}}));
  ASSERT_EQ(list.sockets.size(), 1u);
  EXPECT_EQ(list.sockets[0].inode, InodeOf(listener));
}

// ---- answers that a kernel seldom gives
// ----------------------------------------------------------

struct Script {
  int send_error = 0;
  std::deque<std::vector<char>> datagrams;  // at their end: receive_error
  int receive_error = EIO;
};

class ScriptedNetlink : public internal::Netlink {
 public:
  explicit ScriptedNetlink(Script script) : script_(std::move(script)) {}
  int Send(std::span<const char>) override { return script_.send_error; }
  ssize_t Receive(std::span<char> buffer) override {
    if (script_.datagrams.empty()) return -script_.receive_error;
    const std::vector<char> datagram = std::move(script_.datagrams.front());
    script_.datagrams.pop_front();
    std::memcpy(buffer.data(), datagram.data(), datagram.size());
    return static_cast<ssize_t>(datagram.size());
  }
  uint32_t port_id() const override { return 77; }

 private:
  Script script_;
};

// A kernel that answers one dump after the other; the last answer for ever.
class ScriptedKernel {
 public:
  explicit ScriptedKernel(std::vector<Script> scripts) : scripts_(std::move(scripts)) {}
  internal::OpenNetlink open() {
    return [this]() -> absl::StatusOr<std::unique_ptr<internal::Netlink>> {
      const Script& script = scripts_[std::min(opened_++, scripts_.size() - 1)];
      return std::make_unique<ScriptedNetlink>(script);
    };
  }
  size_t opened() const { return opened_; }

 private:
  std::vector<Script> scripts_;
  size_t opened_ = 0;
};

std::vector<char> Message(uint16_t type, uint16_t flags, const void* payload, size_t size) {
  nlmsghdr header = {.nlmsg_len = static_cast<uint32_t>(NLMSG_LENGTH(size)),
                     .nlmsg_type = type,
                     .nlmsg_flags = flags,
                     .nlmsg_seq = 1,
                     .nlmsg_pid = 77};
  std::vector<char> bytes(NLMSG_SPACE(size));
  std::memcpy(bytes.data(), &header, sizeof(header));
  std::memcpy(bytes.data() + NLMSG_HDRLEN, payload, size);
  return bytes;
}

std::vector<char> SocketMessage(uint16_t port, uint16_t flags = NLM_F_MULTI) {
  inet_diag_msg message = {.idiag_family = AF_INET, .idiag_state = 10};
  message.id.idiag_sport = htons(port);
  return Message(SOCK_DIAG_BY_FAMILY, flags, &message, sizeof(message));
}

std::vector<char> Done(int error = 0) {
  const int negative = -error;
  return Message(NLMSG_DONE, NLM_F_MULTI, &negative, sizeof(negative));
}

std::vector<char> Failed(int error) {
  nlmsgerr body = {.error = -error};
  return Message(NLMSG_ERROR, 0, &body, sizeof(body));
}

const SocketQuery kTcpOnly = {.protocols = {SocketProtocol::kTcp}};

TEST(SocketDiag, InterruptedDumpIsRepeatedAndNothingListedTwice) {
  const Script interrupted = {
      .datagrams = {SocketMessage(1), SocketMessage(2, NLM_F_MULTI | NLM_F_DUMP_INTR), Done()}};
  const Script complete = {.datagrams = {SocketMessage(1), SocketMessage(3), Done()}};
  const Script none = {.datagrams = {Done()}};
  ScriptedKernel kernel({interrupted, interrupted, complete, interrupted, none});
  const SocketList list = Must(internal::Listeners(kTcpOnly, kernel.open()));
  ASSERT_EQ(list.sockets.size(), 2u);
  EXPECT_EQ(list.sockets[0].local, "0.0.0.0:1");
  EXPECT_EQ(list.sockets[1].local, "0.0.0.0:3");
  EXPECT_EQ(kernel.opened(), 5u);  // IPv4: three dumps, IPv6: two
}

TEST(SocketDiag, DumpThatIsAlwaysInterruptedIsGivenUp) {
  ScriptedKernel kernel({{.datagrams = {SocketMessage(2, NLM_F_MULTI | NLM_F_DUMP_INTR), Done()}}});
  const auto list = internal::Listeners(kTcpOnly, kernel.open());
  EXPECT_EQ(list.status().code(), absl::StatusCode::kAborted) << list.status();
  EXPECT_EQ(kernel.opened(), static_cast<size_t>(internal::kDumpAttempts));
}

struct Refusal {
  int error;
  absl::StatusCode code;
  const char* says;
  int attempts;
};

TEST(SocketDiag, ErrorsAreNamedWhereverTheyCome) {
  const Refusal refusals[] = {
      {EPERM, absl::StatusCode::kPermissionDenied, "seccomp", 1},
      {EACCES, absl::StatusCode::kPermissionDenied, "security module", 1},
      {ENOENT, absl::StatusCode::kUnavailable, "modprobe tcp_diag", 1},
      {EOPNOTSUPP, absl::StatusCode::kUnavailable, "modprobe tcp_diag", 1},
      {EPROTONOSUPPORT, absl::StatusCode::kUnavailable, "CONFIG_INET_DIAG", 1},
      {EAFNOSUPPORT, absl::StatusCode::kUnavailable, "RestrictAddressFamilies=", 1},
      {EINVAL, absl::StatusCode::kUnavailable, "too old", 1},
      {ENOMEM, absl::StatusCode::kResourceExhausted, "no memory", 1},
      {EMFILE, absl::StatusCode::kResourceExhausted, "descriptor", 1},
      {ENFILE, absl::StatusCode::kResourceExhausted, "descriptor", 1},
      {ENOBUFS, absl::StatusCode::kResourceExhausted, "no memory", internal::kDumpAttempts},
      {EBUSY, absl::StatusCode::kAborted, "try again", internal::kDumpAttempts},
      {EIO, absl::StatusCode::kInternal, "EIO", 1},
  };
  for (const Refusal& refusal : refusals) {
    const Script scripts[] = {{.send_error = refusal.error},
                              {.receive_error = refusal.error},
                              {.datagrams = {Failed(refusal.error)}},
                              {.datagrams = {SocketMessage(1), Done(refusal.error)}}};
    for (const Script& script : scripts) {
      ScriptedKernel kernel({script});
      const auto list = internal::Listeners(kTcpOnly, kernel.open());
      EXPECT_EQ(list.status().code(), refusal.code) << list.status();
      EXPECT_NE(list.status().message().find(refusal.says), std::string::npos) << list.status();
      EXPECT_NE(list.status().message().find(strerrorname_np(refusal.error)), std::string::npos);
      EXPECT_EQ(kernel.opened(), static_cast<size_t>(refusal.attempts)) << refusal.error;
    }
  }
}

TEST(SocketDiag, UnixModuleIsNamed) {
  ScriptedKernel kernel({{.datagrams = {Done(ENOENT)}}});
  const auto list = internal::Connections({.protocols = {SocketProtocol::kUnix}}, kernel.open());
  EXPECT_NE(list.status().message().find("modprobe unix_diag"), std::string::npos) << list.status();
}

TEST(SocketDiag, OverrunIsRepeated) {
  const int nothing = 0;
  ScriptedKernel kernel({{.datagrams = {Message(NLMSG_OVERRUN, 0, &nothing, sizeof(nothing))}},
                         {.datagrams = {SocketMessage(1), Done()}},
                         {.datagrams = {Done()}}});
  EXPECT_EQ(Must(internal::Listeners(kTcpOnly, kernel.open())).sockets.size(), 1u);
}

TEST(SocketDiag, ShortMessagesAreSkipped) {
  std::vector<char> both = Message(SOCK_DIAG_BY_FAMILY, NLM_F_MULTI, "abc", 4);
  const std::vector<char> good = SocketMessage(9);
  both.insert(both.end(), good.begin(), good.end());
  ScriptedKernel kernel({{.datagrams = {both, Done()}}, {.datagrams = {Done()}}});
  const SocketList list = Must(internal::Listeners(kTcpOnly, kernel.open()));
  ASSERT_EQ(list.sockets.size(), 1u);
  EXPECT_EQ(list.sockets[0].local, "0.0.0.0:9");
}

}  // namespace
}  // namespace stats::socket_diag_tests
