#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "io/socket_path.h"
#include "io/sockets.h"
#include "server/listeners.h"
#include "server/metrics.h"
#include "server/own_path.h"
#include "server/prometheus.h"
#include "server/server.h"
#include "tests/unit/descriptors.h"

namespace server {
namespace {

class ActivatedTest : public unit_tests::LeavesNothingOpen {
 protected:
  static int Open(const io::Endpoint& at) {
    return *io::OpenListener(at, {.backlog = 8, .reuse_port = !at.is_unix()}, true);
  }
  static ServerOptions Options() {
    ServerOptions options;
    options.listeners = {{.service = "echo", .at = *io::Resolve("127.0.0.1:0")}};
    options.backend = "epoll";
    options.threads = 2;
    return options;
  }
};

TEST_F(ActivatedTest, SocketsOfOneAddressAreOneListener) {
  const int first = Open(*io::Resolve("127.0.0.1:0"));
  const io::Endpoint at = *io::LocalEndpoint(first);
  const int second = Open(at), again = fcntl(first, F_DUPFD_CLOEXEC, 3);
  const int other = Open(*io::Resolve("127.0.0.1:0"));
  Server server(Options());
  std::vector<ActivatedSocket> activated;
  for (const int fd : {first, second, again, other}) {
    activated.push_back({.fd = fd, .name = "unknown", .kind = {}});
  }
  ASSERT_TRUE(server.Open({}, std::move(activated)).ok());
  EXPECT_EQ(server.listeners().size(), 2u);
  EXPECT_EQ(server.SocketsToPass().size(), 3u);
  ASSERT_EQ(server.warnings().size(), 1u);
  EXPECT_TRUE(absl::StrContains(server.warnings()[0], "twice")) << server.warnings()[0];
  ASSERT_TRUE(server.Start().ok());
  ASSERT_TRUE(server.Serve().ok());
  const auto page = MetricsPage(Options(), server, 0);  // Prometheus took none of it
  ASSERT_TRUE(page.ok()) << page.status();
  EXPECT_TRUE(absl::StrContains(
      *page, "ringside_accept_queue_limit{listener=\"" + at.ToString() + "\"} 16\n"))
      << *page;
}

TEST_F(ActivatedTest, TwoServicesAtOneAddressAreRefused) {
  const int first = Open(*io::Resolve("127.0.0.1:0"));
  const int second = Open(*io::LocalEndpoint(first));
  Server server(Options());
  std::vector<ActivatedSocket> activated;
  activated.push_back({.fd = first, .name = "echo", .kind = {}});
  activated.push_back({.fd = second, .name = "counter", .kind = {}});
  const absl::Status opened = server.Open({}, std::move(activated));
  EXPECT_TRUE(absl::IsInvalidArgument(opened)) << opened;
}

// Whatever comes: Unix paths that differ only where they are no text are written alike.
TEST_F(ActivatedTest, NoTwoListenersHaveOneName) {
  std::vector<OpenedListener> listeners;
  for (const char* at : {"127.0.0.1:9", "127.0.0.1:9", "unix:/\xfe", "unix:/\xff", "unix:/\xfd",
                         "mptcp://127.0.0.1:9", "udp://127.0.0.1:9"}) {
    listeners.push_back({.service = "echo", .at = *io::Resolve(at), .request_unit = ""});
  }
  std::set<std::string> names;
  for (const std::string& name : ListenerNames(listeners)) names.insert(LabelText(name));
  EXPECT_EQ(names.size(), listeners.size());
  EXPECT_EQ(ListenerNames(listeners)[1], "127.0.0.1:9#2");
}

TEST_F(ActivatedTest, APathIsRemovedWhereItIsStillOurs) {
  const std::string path = InFolder("u"), aside = InFolder("aside");
  UniqueFd socket(Open(*io::Resolve("unix:" + path)));
  OwnPath own = OwnPath::Of(socket.get());
  socket.Reset();  // its number may be another's from now on, but that it is held
  std::filesystem::rename(path, aside);
  UniqueFd another(Open(*io::Resolve("unix:" + path)));
  own.Remove();
  EXPECT_TRUE(std::filesystem::exists(path));
  struct stat file = {};
  ASSERT_EQ(lstat(path.c_str(), &file), 0);
  EXPECT_FALSE(io::RemoveSocketPath(path, file.st_dev, file.st_ino + 1));
  EXPECT_TRUE(std::filesystem::is_socket(path));
  OwnPath its = OwnPath::Of(another.get());
  its.Remove();
  EXPECT_FALSE(std::filesystem::exists(path));
  std::ofstream(path) << "after it";
  its.Remove();
  EXPECT_TRUE(std::filesystem::exists(path));
}

}  // namespace
}  // namespace server
