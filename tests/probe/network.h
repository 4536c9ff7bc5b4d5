#pragma once

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "tests/cli/ringside.h"
#include "tests/usable_address.h"

// Networks of the tests' own, and what listens in them.
namespace probe_tests {

using cli_tests::Ended;
using cli_tests::Json;
using Ports = std::set<int>;

// A descriptor that is closed at the end.
class Fd {
 public:
  explicit Fd(int fd = -1) : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Fd& operator=(Fd&&) = delete;
  ~Fd() { Close(); }
  int get() const { return fd_; }
  void Close() {
    if (fd_ >= 0) close(fd_);
    fd_ = -1;
  }

 private:
  int fd_;
};

struct At {
  sockaddr_storage storage = {};
  socklen_t size = 0;
  sockaddr* get() { return reinterpret_cast<sockaddr*>(&storage); }
};

inline At AddressOf(const std::string& host, int port) {
  At at;
  if (host.find(':') == std::string::npos) {
    auto* v4 = reinterpret_cast<sockaddr_in*>(&at.storage);
    *v4 = {.sin_family = AF_INET, .sin_port = htons(static_cast<uint16_t>(port))};
    inet_pton(AF_INET, host.c_str(), &v4->sin_addr);
    at.size = sizeof(*v4);
  } else {
    auto* v6 = reinterpret_cast<sockaddr_in6*>(&at.storage);
    *v6 = {.sin6_family = AF_INET6, .sin6_port = htons(static_cast<uint16_t>(port))};
    inet_pton(AF_INET6, host.c_str(), &v6->sin6_addr);
    at.size = sizeof(*v6);
  }
  return at;
}

// A TCP socket that is bound; it listens where there is a backlog.
inline Fd Bound(const std::string& host, int port, int backlog, bool v6_only = false) {
  At at = AddressOf(host, port);
  Fd fd(socket(at.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  const int only = v6_only ? 1 : 0;
  if (at.storage.ss_family == AF_INET6) {
    setsockopt(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &only, sizeof(only));
  }
  EXPECT_EQ(bind(fd.get(), at.get(), at.size), 0) << host << " " << port << strerror(errno);
  if (backlog > 0) {
    EXPECT_EQ(listen(fd.get(), backlog), 0) << strerror(errno);
  }
  return fd;
}

inline bool WriteText(const std::string& path, const std::string& text) {
  const Fd fd(open(path.c_str(), O_WRONLY | O_CLOEXEC));
  return fd.get() >= 0 &&
         write(fd.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size());
}

inline std::string Shell(const std::string& command) {
  const Ended ended = cli_tests::RunToEnd({"sh", "-c", command});
  EXPECT_EQ(ended.exit_code, 0) << command << ": " << ended.err;
  return ended.out;
}

// How ports are asked: by a backend's connect, or half-open.
inline std::vector<std::string> MethodArguments(const std::string& method) {
  if (method == "syn") return {"--syn"};
  return {"--backend", method};
}

// The result of `ringside probe`, which must end with that exit code.
inline Json ProbeJson(std::vector<std::string> arguments, int exit_code = 0) {
  arguments.insert(arguments.begin(), {RINGSIDE_BINARY, "probe"});
  arguments.insert(arguments.end(), {"--json", "-"});
  const Ended ended = cli_tests::RunToEnd(std::move(arguments));
  EXPECT_EQ(ended.exit_code, exit_code) << ended.err;
  return Json::parse(ended.out, nullptr, false);
}

inline Ports OpenPorts(const Json& result) {
  Ports ports;
  for (const Json& open : result.at("open")) ports.insert(open.at("port").get<int>());
  return ports;
}

// The test, and what it starts, is in a network namespace that holds nothing but loopback.
class OwnNetwork : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "only root may make networks";
    if (!cli_tests::Installed("ip")) GTEST_SKIP() << "iproute2 is not installed";
    before_ = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
    if (unshare(CLONE_NEWNET) != 0) {
      GTEST_SKIP() << "no network namespace of its own: " << strerror(errno);
    }
    Shell("ip link set lo up");
    network_tests::AwaitLoopback();
    if (HasParam() && GetParam() == "io_uring" && !cli_tests::Available("io_uring")) {
      GTEST_SKIP() << "io_uring is not available here";
    }
    if (HasParam() && GetParam() == "syn") {
      const Fd raw(socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_TCP));
      if (raw.get() < 0) GTEST_SKIP() << "CAP_NET_RAW is not available here";
    }
  }
  void TearDown() override {
    if (before_ < 0) return;
    setns(before_, CLONE_NEWNET);
    close(before_);
  }

  Json Probe(std::vector<std::string> arguments) {
    const std::vector<std::string> method = MethodArguments(GetParam());
    arguments.insert(arguments.end(), method.begin(), method.end());
    return ProbeJson(std::move(arguments));
  }

  // A network with a host that never answers: what is sent to 10.99.0.2 arrives at an interface
  // that it isn't for.
  static void AddSilentNetwork() {
    Shell(
        "ip link add silent0 type veth peer name gone0 && "
        "echo 1 > /proc/sys/net/ipv6/conf/silent0/disable_ipv6 && "
        "ip addr add 10.99.0.1/24 dev silent0 && ip link set gone0 up && "
        "ip link set silent0 up && "
        "ip neigh add 10.99.0.2 lladdr 02:00:00:00:00:02 dev silent0 nud permanent");
  }
  static int PacketsSent() {
    const Json links = Json::parse(Shell("ip -s -j link show dev silent0"));
    return links[0]["stats64"]["tx"]["packets"].get<int>();
  }

 private:
  static bool HasParam() {
    return testing::UnitTest::GetInstance()->current_test_info()->value_param() != nullptr;
  }
  int before_ = -1;
};

inline std::string MethodName(const testing::TestParamInfo<std::string>& info) {
  return info.param;
}

}  // namespace probe_tests
