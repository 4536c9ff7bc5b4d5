#include "server/systemd.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <csignal>
#include <cstring>
#include <functional>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "tests/unit/descriptors.h"

namespace server {
namespace {

using unit_tests::ExitCodeOf;
using unit_tests::InChild;

UniqueFd UnixSocket(const std::string& path, int type) {
  UniqueFd fd(socket(AF_UNIX, type | SOCK_CLOEXEC, 0));
  sockaddr_un at = {};
  at.sun_family = AF_UNIX;
  std::memcpy(at.sun_path, path.data(), path.size());
  if (path[0] == '@') at.sun_path[0] = '\0';
  const size_t size = offsetof(sockaddr_un, sun_path) + path.size() + (path[0] == '@' ? 0 : 1);
  EXPECT_EQ(bind(fd.get(), reinterpret_cast<sockaddr*>(&at), size), 0);
  if (type != SOCK_DGRAM) {
    EXPECT_EQ(listen(fd.get(), 4), 0);
  }
  return fd;
}

UniqueFd InetSocket(int family, int type) {
  UniqueFd fd(socket(family, type | SOCK_CLOEXEC, 0));
  sockaddr_in6 at = {};
  at.sin6_family = static_cast<sa_family_t>(family);
  if (family == AF_INET6) {
    at.sin6_addr = in6addr_loopback;
  } else {
    reinterpret_cast<sockaddr_in&>(at).sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  }
  const socklen_t size = family == AF_INET6 ? sizeof(sockaddr_in6) : sizeof(sockaddr_in);
  EXPECT_EQ(bind(fd.get(), reinterpret_cast<sockaddr*>(&at), size), 0);
  if (type == SOCK_STREAM) {
    EXPECT_EQ(listen(fd.get(), 4), 0);
  }
  return fd;
}

// ---- socket activation --------------------------------------------------------------------------

struct Activation {
  std::vector<int> fds;
  std::string count;  // "": as many as fds
  const char* names = nullptr;
  std::string pid;  // "": the child's
};

// Runs `check` in a process that is started as a service manager starts one.
int Activated(const Activation& how, const std::function<int()>& check) {
  return ExitCodeOf(InChild([&] {
    std::vector<int> out_of_the_way;
    for (const int fd : how.fds) {
      // -1: a descriptor that is promised and isn't there.
      out_of_the_way.push_back(fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 100));
    }
    for (size_t i = 0; i < how.fds.size(); ++i) {
      const int at = 3 + static_cast<int>(i);
      if (out_of_the_way[i] < 0) {
        close(at);
      } else if (dup2(out_of_the_way[i], at) != at) {
        return 251;
      }
    }
    const auto count = how.count.empty() ? std::to_string(how.fds.size()) : how.count;
    const auto pid = how.pid.empty() ? std::to_string(getpid()) : how.pid;
    setenv("LISTEN_FDS", count.c_str(), 1);
    setenv("LISTEN_PID", pid.c_str(), 1);
    if (how.names != nullptr) setenv("LISTEN_FDNAMES", how.names, 1);
    const int result = check();
    for (const char* name : {"LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"}) {
      if (getenv(name) != nullptr) return 252;  // each call unsets them
    }
    return result;
  }));
}

class SystemdTest : public unit_tests::LeavesNothingOpen {
 protected:
  // Expects this sentence of ActivatedSockets().
  static void ExpectError(const Activation& how, absl::StatusCode code, const char* sentence) {
    EXPECT_EQ(Activated(how,
                        [&] {
                          const absl::Status status = ActivatedSockets().status();
                          const bool said =
                              absl::StrContains(std::string(status.message()), sentence);
                          if (status.code() == code && said) return 0;
                          fprintf(stderr, "%s\n", status.ToString().c_str());
                          return 1;
                        }),
              0)
        << sentence;
  }
};

TEST_F(SystemdTest, ThereAreNoSocketsWithoutAManager) {
  const auto sockets = ActivatedSockets();
  ASSERT_TRUE(sockets.ok()) << sockets.status();
  EXPECT_TRUE(sockets->empty());
}

TEST_F(SystemdTest, TellsWhatEachSocketIs) {
  const UniqueFd tcp = InetSocket(AF_INET, SOCK_STREAM), udp = InetSocket(AF_INET, SOCK_DGRAM),
                 stream = UnixSocket(InFolder("stream"), SOCK_STREAM),
                 packets = UnixSocket(absl::StrCat("@", InFolder("packets")), SOCK_SEQPACKET),
                 datagrams = UnixSocket(InFolder("datagrams"), SOCK_DGRAM);
  const std::string stream_path = InFolder("stream"), name = absl::StrCat("@", InFolder("packets"));
  const auto check = [&] {
    const auto sockets = ActivatedSockets();
    if (!sockets.ok() || sockets->size() != 5) return 1;
    for (size_t i = 0; i < 5; ++i) {
      const ActivatedSocket& s = (*sockets)[i];
      if (s.fd != 3 + int(i) || !(fcntl(s.fd, F_GETFD) & FD_CLOEXEC)) return 2;
      if (s.kind.listening != (s.kind.type != SOCK_DGRAM)) return 3;
    }
    const auto& s = *sockets;
    if (s[0].name != "web" || !s[1].name.empty() || s[4].name != "unknown") return 4;
    if (!absl::StartsWith(s[0].kind.ToString(), "TCP socket 127.0.0.1:")) return 5;
    if (!absl::StartsWith(s[1].kind.ToString(), "UDP socket 127.0.0.1:")) return 6;
    if (s[2].kind.ToString() != absl::StrCat("Unix stream socket ", stream_path)) return 7;
    if (s[3].kind.ToString() != absl::StrCat("Unix seqpacket socket ", name)) return 8;
    if (s[4].kind.family != AF_UNIX || s[4].kind.type != SOCK_DGRAM) return 9;
    const auto again = ActivatedSockets();  // they are taken
    return again.ok() && again->empty() ? 0 : 10;
  };
  const std::vector<int> fds = {tcp.get(), udp.get(), stream.get(), packets.get(), datagrams.get()};
  EXPECT_EQ(Activated({.fds = fds, .names = "web::c:d:unknown"}, check), 0);
}

TEST_F(SystemdTest, SocketsWithoutNamesAreUnknown) {
  const UniqueFd tcp = InetSocket(AF_INET6, SOCK_STREAM);
  EXPECT_EQ(Activated({.fds = {tcp.get()}},
                      [] {
                        const auto sockets = ActivatedSockets();
                        if (!sockets.ok() || sockets->size() != 1) return 1;
                        if ((*sockets)[0].name != "unknown") return 2;
                        return absl::StartsWith((*sockets)[0].kind.address, "[::1]:") ? 0 : 3;
                      }),
            0);
}

TEST_F(SystemdTest, SocketsOfAnotherProcessAreLeftAlone) {
  const UniqueFd tcp = InetSocket(AF_INET, SOCK_STREAM);
  const auto none = [] {
    const auto sockets = ActivatedSockets();
    return sockets.ok() && sockets->empty() ? 0 : 1;
  };
  EXPECT_EQ(Activated({.fds = {tcp.get()}, .pid = "1"}, none), 0);
  EXPECT_EQ(Activated({.fds = {}, .count = "0"}, none), 0);
}

TEST_F(SystemdTest, EachMistakeOfTheManagerHasItsSentence) {
  const UniqueFd tcp = InetSocket(AF_INET, SOCK_STREAM);
  const std::vector<int> one = {tcp.get()};
  using Code = absl::StatusCode;
  ExpectError({.fds = one, .pid = "x"}, Code::kInvalidArgument, "LISTEN_PID='x'");
  for (const char* count : {"x", "-1", "1 2", "99999999999", "2000000"}) {
    ExpectError({.fds = one, .count = count}, Code::kInvalidArgument, "LISTEN_FDS='");
  }
  ExpectError({.fds = one, .names = "a:b"}, Code::kInvalidArgument, "has 2 names");
  ExpectError({.fds = {tcp.get(), -1}}, Code::kFailedPrecondition, "descriptor 4 is not open");
  int ends[2];
  ASSERT_EQ(pipe2(ends, O_CLOEXEC), 0);
  ExpectError({.fds = {ends[0]}}, Code::kInvalidArgument, "descriptor 3 is not a socket");
  close(ends[0]);
  close(ends[1]);
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
  ExpectError({.fds = {ends[0]}}, Code::kFailedPrecondition, "set Accept=no");
  close(ends[0]);
  close(ends[1]);
  const UniqueFd idle(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)),
      unbound(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)),
      nameless(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  ExpectError({.fds = {idle.get()}}, Code::kFailedPrecondition, "does not listen");
  ExpectError({.fds = {unbound.get()}}, Code::kFailedPrecondition, "is not bound");
  ExpectError({.fds = {nameless.get()}}, Code::kFailedPrecondition, "is not bound");
}

// What the test below is when systemd-socket-activate(1) has started it.
void ExpectActivated() {
  const auto sockets = ActivatedSockets();
  ASSERT_TRUE(sockets.ok()) << sockets.status();
  ASSERT_EQ(sockets->size(), 2u);
  EXPECT_EQ((*sockets)[0].name, "first");
  EXPECT_EQ((*sockets)[1].name, "second");
  for (const ActivatedSocket& s : *sockets) {
    EXPECT_EQ(s.kind.family, AF_UNIX);
    EXPECT_TRUE(s.kind.listening);
  }
}

TEST_F(SystemdTest, WorksWithTheRealProgram) {
  if (getenv("LISTEN_FDS") != nullptr) return ExpectActivated();
  if (system("command -v systemd-socket-activate >/dev/null") != 0) {
    GTEST_SKIP() << "systemd-socket-activate is not installed";
  }
  const std::string a = InFolder("a"), b = InFolder("b");
  // Not "/proc/self/exe": there that would be systemd-socket-activate.
  const std::string self = std::filesystem::read_symlink("/proc/self/exe");
  const pid_t helper = InChild([&] {
    execlp("systemd-socket-activate", "systemd-socket-activate", "-l", a.c_str(), "-l", b.c_str(),
           "--fdname=first:second", self.c_str(),
           "--gtest_filter=SystemdTest.WorksWithTheRealProgram", nullptr);
    return 1;
  });
  const UniqueFd client(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un at = {};
  at.sun_family = AF_UNIX;
  std::memcpy(at.sun_path, b.data(), b.size());
  while (connect(client.get(), reinterpret_cast<sockaddr*>(&at), sizeof(at)) != 0) {
    ASSERT_EQ(kill(helper, 0), 0);
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  EXPECT_EQ(ExitCodeOf(helper), 0);
}

// ---- readiness ----------------------------------------------------------------------------------

// The environment of a service, for as long as it lives.
class Environment {
 public:
  explicit Environment(const std::vector<std::pair<const char*, std::string>>& variables) {
    for (const auto& [name, value] : variables) setenv(name, value.c_str(), 1);
  }
  ~Environment() {
    for (const char* name : {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"}) unsetenv(name);
  }
};

std::string Received(const UniqueFd& manager) {
  char text[512];
  const ssize_t n = recv(manager.get(), text, sizeof(text), 0);
  return n < 0 ? "an error" : std::string(text, n);
}

TEST_F(SystemdTest, WithoutAManagerNobodyIsTold) {
  const auto notifier = Notifier::FromEnvironment();
  ASSERT_TRUE(notifier.ok());
  EXPECT_FALSE(notifier->active());
  EXPECT_FALSE(notifier->watchdog_interval().has_value());
  EXPECT_TRUE(notifier->Ready().ok());
  EXPECT_TRUE(notifier->Watchdog().ok());
  EXPECT_TRUE(Notifier().Stopping().ok());
}

TEST_F(SystemdTest, TheManagerIsToldAtAPathOrAName) {
  for (const std::string& address : {InFolder("notify"), absl::StrCat("@", InFolder("notify"))}) {
    const UniqueFd manager = UnixSocket(address, SOCK_DGRAM);
    const Environment environment({{"NOTIFY_SOCKET", address}});
    const auto notifier = Notifier::FromEnvironment();
    ASSERT_TRUE(notifier.ok()) << notifier.status();
    EXPECT_TRUE(notifier->active());
    EXPECT_EQ(getenv("NOTIFY_SOCKET"), nullptr);
    EXPECT_TRUE(notifier->Ready().ok());
    EXPECT_EQ(Received(manager), "READY=1");
    EXPECT_TRUE(notifier->Status("two\nlines\r of 7 connections").ok());
    EXPECT_EQ(Received(manager), "STATUS=two lines  of 7 connections");
    EXPECT_TRUE(notifier->MainPid(4711).ok());
    EXPECT_EQ(Received(manager), "MAINPID=4711");
    EXPECT_TRUE(notifier->Watchdog().ok());
    EXPECT_EQ(Received(manager), "WATCHDOG=1");
    EXPECT_TRUE(notifier->Stopping().ok());
    EXPECT_EQ(Received(manager), "STOPPING=1");
  }
}

TEST_F(SystemdTest, AManagerThatIsGoneIsAnError) {
  UniqueFd manager = UnixSocket(InFolder("notify"), SOCK_DGRAM);
  const Environment environment({{"NOTIFY_SOCKET", InFolder("notify")}});
  const auto notifier = Notifier::FromEnvironment();
  ASSERT_TRUE(notifier.ok());
  manager.Reset();
  EXPECT_TRUE(absl::IsUnavailable(notifier->Ready())) << notifier->Ready();
  const Environment again({{"NOTIFY_SOCKET", InFolder("notify")}});
  EXPECT_TRUE(absl::IsUnavailable(Notifier::FromEnvironment().status()));
}

TEST_F(SystemdTest, ABadAddressIsAnError) {
  for (const std::string& address :
       {std::string("notify"), std::string("@"), std::string("/"),
        absl::StrCat("/", std::string(107, 'x')), absl::StrCat("@", std::string(108, 'x')),
        std::string("vsock:2:1234")}) {
    const Environment environment({{"NOTIFY_SOCKET", address}});
    const absl::Status status = Notifier::FromEnvironment().status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << address << ": " << status;
  }
  // As long as they may be.
  for (const std::string& name :
       {absl::StrCat("@", std::string(107, 'x')), absl::StrCat("@", std::string(106, 'x'))}) {
    const UniqueFd manager = UnixSocket(name, SOCK_DGRAM);
    const Environment environment({{"NOTIFY_SOCKET", name}});
    EXPECT_TRUE(Notifier::FromEnvironment().ok());
  }
}

TEST_F(SystemdTest, TheWatchdogIsFedTwiceInItsTime) {
  const UniqueFd manager = UnixSocket(InFolder("notify"), SOCK_DGRAM);
  using Variables = std::vector<std::pair<const char*, std::string>>;
  const auto notifier = [&](Variables variables) {
    variables.emplace_back("NOTIFY_SOCKET", InFolder("notify"));
    const Environment environment(variables);
    return Notifier::FromEnvironment();
  };
  const std::string own = std::to_string(getpid());
  const auto half = std::chrono::seconds(15);
  EXPECT_EQ(notifier({{"WATCHDOG_USEC", "30000000"}})->watchdog_interval(), half);
  EXPECT_EQ(notifier({{"WATCHDOG_USEC", "30000000"}, {"WATCHDOG_PID", own}})->watchdog_interval(),
            half);
  EXPECT_EQ(notifier({{"WATCHDOG_USEC", "10000"}})->watchdog_interval(),
            std::chrono::milliseconds(5));
  EXPECT_FALSE(notifier({{"WATCHDOG_USEC", "30000000"}, {"WATCHDOG_PID", "1"}})
                   ->watchdog_interval()
                   .has_value());
  EXPECT_FALSE(notifier({})->watchdog_interval().has_value());
  // What isn't for us may say anything.
  EXPECT_TRUE(notifier({{"WATCHDOG_USEC", "1"}, {"WATCHDOG_PID", "1"}}).ok());
  // Feeding one of less than 10 ms would take a CPU.
  for (const char* usec :
       {"", "x", "0", "1", "9999", "-5", "9223372036854775807", "99999999999999999999"}) {
    EXPECT_TRUE(absl::IsInvalidArgument(notifier({{"WATCHDOG_USEC", usec}}).status())) << usec;
  }
  EXPECT_TRUE(
      absl::IsInvalidArgument(notifier({{"WATCHDOG_USEC", "1"}, {"WATCHDOG_PID", "x"}}).status()));
}

TEST_F(SystemdTest, AManagerThatDoesNotReadHoldsUpNoWatchdog) {
  const UniqueFd manager = UnixSocket(InFolder("notify"), SOCK_DGRAM);
  const Environment environment({{"NOTIFY_SOCKET", InFolder("notify")}});
  const auto notifier = Notifier::FromEnvironment();
  ASSERT_TRUE(notifier.ok());
  // net.unix.max_dgram_qlen messages fill its queue, or bytes do. Each that finds no room would
  // take 5 s, and this never end.
  for (int i = 0; i < 2000; ++i) EXPECT_TRUE(notifier->Watchdog().ok());
  EXPECT_EQ(Received(manager), "WATCHDOG=1");
}

}  // namespace
}  // namespace server
