#include "stats/server_finder.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "tests/unit/descriptors.h"

namespace stats::server_finder_tests {
namespace {

using unit_tests::ExitCodeOf;
using unit_tests::InChild;
using Pids = std::vector<pid_t>;

struct Address {
  sockaddr_storage storage = {};
  socklen_t size = 0;
  sockaddr* get() { return reinterpret_cast<sockaddr*>(&storage); }
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
  uint16_t port() const { return ntohs(reinterpret_cast<const sockaddr_in&>(storage).sin_port); }
};

// The family is told by the text.
Address Inet(const std::string& text, uint16_t port) {
  Address address;
  if (text.find(':') == std::string::npos) {
    auto* v4 = reinterpret_cast<sockaddr_in*>(&address.storage);
    *v4 = {.sin_family = AF_INET, .sin_port = htons(port)};
    EXPECT_EQ(inet_pton(AF_INET, text.c_str(), &v4->sin_addr), 1) << text;
    address.size = sizeof(*v4);
  } else {
    auto* v6 = reinterpret_cast<sockaddr_in6*>(&address.storage);
    *v6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
    EXPECT_EQ(inet_pton(AF_INET6, text.c_str(), &v6->sin6_addr), 1) << text;
    address.size = sizeof(*v6);
  }
  return address;
}

Address Unix(const std::string& name) {
  Address address;
  auto* local = reinterpret_cast<sockaddr_un*>(&address.storage);
  local->sun_family = AF_UNIX;
  std::memcpy(local->sun_path, name.data(), name.size());
  address.size = offsetof(sockaddr_un, sun_path) + name.size() + (name[0] == '\0' ? 0 : 1);
  return address;
}

constexpr int kReusePort = 1, kV6Only = 2;

// A socket that waits at `address`; -1 where it can't. The port that it got is put into `address`.
int Waiting(Address* address, int type, int flags = 0, int protocol = 0) {
  const int family = address->storage.ss_family;
  const int fd = socket(family, type | SOCK_CLOEXEC, protocol);
  const int reuse = (flags & kReusePort) != 0, v6_only = (flags & kV6Only) != 0;
  if (family != AF_UNIX) setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &reuse, sizeof(reuse));
  if (family == AF_INET6) setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &v6_only, sizeof(v6_only));
  if (fd >= 0 && bind(fd, address->get(), address->size) == 0 &&
      (type == SOCK_DGRAM || listen(fd, 5) == 0) &&
      getsockname(fd, address->get(), &address->size) == 0) {
    return fd;
  }
  if (fd >= 0) close(fd);
  return -1;
}

// A process that holds what is given until it is ended; the parent keeps nothing of it.
class Holder {
 public:
  explicit Holder(int fd) : child_(InChild([] { return pause(); })) {
    if (fd >= 0) close(fd);
  }
  Holder(const Holder&) = delete;
  Holder& operator=(const Holder&) = delete;
  ~Holder() {
    kill(child_, SIGKILL);
    ExitCodeOf(child_);
  }
  pid_t pid() const { return child_; }

 private:
  pid_t child_;
};

Pids Find(const Address& address, int type = SOCK_STREAM) {
  absl::StatusOr<Pids> found = FindListeners(address.get(), address.size, type);
  EXPECT_TRUE(found.ok()) << found.status();
  return found.ok() ? *std::move(found) : Pids{-1};
}

Pids Sorted(Pids pids) {
  std::ranges::sort(pids);
  return pids;
}

class ServerFinder : public unit_tests::LeavesNothingOpen {
 protected:
  // A server at the address, in a process of its own; it gets a port where `at` has none.
  static Holder Serve(Address* at, int type = SOCK_STREAM, int flags = 0) {
    const int fd = Waiting(at, type, flags);
    EXPECT_GE(fd, 0) << std::strerror(errno);
    return Holder(fd);
  }
  static bool HasIpv6() {
    Address at = Inet("::1", 0);
    const int fd = Waiting(&at, SOCK_STREAM);
    if (fd >= 0) close(fd);
    return fd >= 0;
  }
};

TEST_F(ServerFinder, FindsTcpAndUdpApart) {
  Address tcp = Inet("127.0.0.1", 0), udp = Inet("127.0.0.1", 0);
  const Holder server = Serve(&tcp), datagrams = Serve(&udp, SOCK_DGRAM);
  EXPECT_EQ(Find(tcp), Pids{server.pid()});
  EXPECT_EQ(Find(udp, SOCK_DGRAM), Pids{datagrams.pid()});
  EXPECT_EQ(Find(Inet("0.0.0.0", tcp.port())), Pids{server.pid()});  // the loopback, to a client
  EXPECT_EQ(Find(Inet("::ffff:127.0.0.1", tcp.port())), Pids{server.pid()});
  EXPECT_EQ(Find(Inet("127.0.0.2", tcp.port())), Pids{});  // another address
}

TEST_F(ServerFinder, NobodyIsThereAfterTheEnd) {
  Address at = Inet("127.0.0.1", 0);
  pid_t ended;
  {
    const Holder server = Serve(&at);
    ended = server.pid();
    EXPECT_EQ(Find(at), Pids{ended});
  }
  // Someone else may have got the port meanwhile.
  const absl::StatusOr<Pids> found = FindListeners(at.get(), at.size, SOCK_STREAM);
  EXPECT_TRUE(!found.ok() || std::ranges::find(*found, ended) == found->end());
}

TEST_F(ServerFinder, AServerOfAllAddressesIsMetAtLocalOnesOnly) {
  for (const int type : {SOCK_STREAM, SOCK_DGRAM}) {
    Address at = Inet("0.0.0.0", 0);
    const Holder server = Serve(&at, type);
    EXPECT_EQ(Find(Inet("127.0.0.1", at.port()), type), Pids{server.pid()});
    EXPECT_EQ(Find(Inet("127.1.2.3", at.port()), type), Pids{server.pid()});
    EXPECT_EQ(Find(Inet("0.0.0.0", at.port()), type), Pids{server.pid()});
    // TEST-NET-1 of RFC 5737 is nobody's.
    EXPECT_EQ(Find(Inet("192.0.2.1", at.port()), type), Pids{});
  }
}

TEST_F(ServerFinder, ADualStackServerIsMetOverIpv4) {
  if (!HasIpv6()) GTEST_SKIP() << "no IPv6 here";
  Address dual = Inet("::", 0), only = Inet("::", 0);
  const Holder server = Serve(&dual), v6_server = Serve(&only, SOCK_STREAM, kV6Only);
  EXPECT_EQ(Find(Inet("127.0.0.1", dual.port())), Pids{server.pid()});
  EXPECT_EQ(Find(Inet("::1", dual.port())), Pids{server.pid()});
  EXPECT_EQ(Find(Inet("::", dual.port())), Pids{server.pid()});
  EXPECT_EQ(Find(Inet("::1", only.port())), Pids{v6_server.pid()});
  EXPECT_EQ(Find(Inet("127.0.0.1", only.port())), Pids{});
  EXPECT_EQ(Find(Inet("2001:db8::1", dual.port())), Pids{});  // RFC 3849: nobody's
}

TEST_F(ServerFinder, TheSocketOfTheAddressIsPreferred) {
  Address one = Inet("127.0.0.1", 0);
  const Holder server = Serve(&one, SOCK_STREAM, kReusePort);
  Address all = Inet("0.0.0.0", one.port());
  const Holder other = Serve(&all, SOCK_STREAM, kReusePort);
  EXPECT_EQ(Find(one), Pids{server.pid()});
  EXPECT_EQ(Find(Inet("127.0.0.2", one.port())), Pids{other.pid()});
}

TEST_F(ServerFinder, FindsAllOfAGroupThatSharesAPort) {
  for (const int type : {SOCK_STREAM, SOCK_DGRAM}) {
    Address at = Inet("127.0.0.1", 0);
    const Holder first = Serve(&at, type, kReusePort), second = Serve(&at, type, kReusePort);
    EXPECT_EQ(Find(at, type), Sorted({first.pid(), second.pid()}));
  }
}

TEST_F(ServerFinder, FindsAllThatShareASocket) {
  Address at = Inet("127.0.0.1", 0);
  const int fd = Waiting(&at, SOCK_STREAM);
  ASSERT_GE(fd, 0);
  const Holder first(-1), second(-1);  // with what they inherited
  EXPECT_EQ(Find(at), Sorted({getpid(), first.pid(), second.pid()}));
  close(fd);
  EXPECT_EQ(Find(at), Sorted({first.pid(), second.pid()}));
}

TEST_F(ServerFinder, AMptcpListenerIsATcpListener) {
  Address at = Inet("127.0.0.1", 0);
  const int fd = Waiting(&at, SOCK_STREAM, 0, IPPROTO_MPTCP);
  if (fd < 0) GTEST_SKIP() << "no MPTCP here";
  const Holder server(fd);
  EXPECT_EQ(Find(at), Pids{server.pid()});
}

TEST_F(ServerFinder, FindsUnixServersByPathAndByAbstractName) {
  for (const int type : {SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET}) {
    const std::string name = "s\t" + std::to_string(type);
    Address path = Unix(InFolder(name)), abstract = Unix('\0' + InFolder(name));
    const Holder server = Serve(&path, type), hidden = Serve(&abstract, type);
    EXPECT_EQ(Find(path, type), Pids{server.pid()});
    EXPECT_EQ(Find(abstract, type), Pids{hidden.pid()});
    EXPECT_EQ(Find(path, type == SOCK_STREAM ? SOCK_DGRAM : SOCK_STREAM), Pids{});
    EXPECT_EQ(Find(Unix('\0' + InFolder("none")), type), Pids{});
  }
}

TEST_F(ServerFinder, AUnixServerIsFoundByAnotherNameOfItsFile) {
  Address path = Unix(InFolder("server"));
  const Holder server = Serve(&path);
  ASSERT_EQ(symlink("server", InFolder("link").c_str()), 0);
  EXPECT_EQ(Find(Unix(InFolder("link"))), Pids{server.pid()});
  EXPECT_EQ(Find(Unix(InFolder("./server"))), Pids{server.pid()});
}

TEST_F(ServerFinder, AUnixServerWhoseFileIsTakenIsMetNoMore) {
  Address path = Unix(InFolder("server"));
  const Holder old = Serve(&path);
  ASSERT_EQ(unlink(InFolder("server").c_str()), 0);
  EXPECT_EQ(Find(path), Pids{});
  Address again = Unix(InFolder("server"));
  const Holder server = Serve(&again);
  EXPECT_EQ(Find(path), Pids{server.pid()});
}

// Its descriptor is under way in a message: no process holds it.
TEST_F(ServerFinder, ASocketThatNoProcessHoldsIsAnError) {
  Address at = Inet("127.0.0.1", 0);
  const int fd = Waiting(&at, SOCK_STREAM);
  ASSERT_GE(fd, 0);
  int ends[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, ends), 0);
  char byte = 'x';
  iovec bytes{&byte, 1};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr message{};
  message.msg_iov = &bytes;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof(control);
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  *header = {.cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
  std::memcpy(CMSG_DATA(header), &fd, sizeof(fd));
  ASSERT_EQ(sendmsg(ends[0], &message, 0), 1);
  close(fd);
  const absl::Status status = FindListeners(at.get(), at.size, SOCK_STREAM).status();
  // Where there are processes that may not be looked into, one of them might hold it.
  char link[64];
  const bool all_visible = readlink("/proc/1/fd/0", link, sizeof(link)) > 0;
  EXPECT_TRUE(absl::IsNotFound(status) || (!all_visible && absl::IsPermissionDenied(status)))
      << status;
  EXPECT_NE(status.message().find("127.0.0.1:" + std::to_string(at.port())), std::string::npos)
      << status;
  close(ends[0]);
  close(ends[1]);
}

TEST_F(ServerFinder, OtherUsersProcessesCannotBeSeen) {
  if (getuid() != 0) GTEST_SKIP() << "needs root, to become another user";
  Address at = Inet("127.0.0.1", 0);
  const Holder server = Serve(&at);
  const pid_t stranger = InChild([&] {
    constexpr int kNobody = 65534;
    if (setgid(kNobody) != 0 || setuid(kNobody) != 0) return 1;
    const absl::Status status = FindListeners(at.get(), at.size, SOCK_STREAM).status();
    if (!absl::IsPermissionDenied(status)) return 2;
    return status.message().find("user 0") != std::string::npos ? 0 : 3;
  });
  EXPECT_EQ(ExitCodeOf(stranger), 0);
}

TEST_F(ServerFinder, BadAddressesAreNamed) {
  const auto error_of = [](const Address& address, socklen_t size, int type) {
    const absl::Status status = FindListeners(address.get(), size, type).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
    return std::string(status.message());
  };
  const Address v4 = Inet("127.0.0.1", 9), v6 = Inet("::1", 9), path = Unix("/s");
  EXPECT_NE(error_of(v4, v4.size, SOCK_SEQPACKET).find("SOCK_DGRAM"), std::string::npos);
  EXPECT_NE(error_of(v4, 8, SOCK_STREAM).find("8 bytes"), std::string::npos);
  EXPECT_NE(error_of(v6, sizeof(sockaddr_in), SOCK_STREAM).find("16 bytes"), std::string::npos);
  EXPECT_NE(error_of(Inet("::1", 0), v6.size, SOCK_STREAM).find("no port"), std::string::npos);
  EXPECT_NE(error_of(path, path.size, SOCK_RAW).find("SOCK_SEQPACKET"), std::string::npos);
  EXPECT_NE(error_of(path, 2, SOCK_STREAM).find("a name"), std::string::npos);
  EXPECT_NE(error_of({}, 0, SOCK_STREAM).find("AF_UNIX"), std::string::npos);
}

}  // namespace
}  // namespace stats::server_finder_tests
