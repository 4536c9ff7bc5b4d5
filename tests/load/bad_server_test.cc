#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>
#include <thread>
#include <tuple>
#include <vector>

#include "io/errors.h"
#include "tests/load/drive.h"

// Servers that never answer rightly, to clients who would rather be greeted: the run ends, says
// what was wrong, and its result is saved.
namespace load_tests::bad_server {
namespace {

// What it does with a connection when it comes.
enum class Kind { kCloses, kResets, kSendsGarbage, kSendsHalf, kSilent };

class BadServer {
 public:
  explicit BadServer(Kind kind) : listener_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in at = {};
    at.sin_family = AF_INET;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(at);
    auto* address = reinterpret_cast<sockaddr*>(&at);
    if (bind(listener_, address, size) != 0 || listen(listener_, 64) != 0 ||
        getsockname(listener_, address, &size) != 0) {
      throw std::runtime_error("listen: " + io::ErrnoName(errno));
    }
    port_ = std::to_string(ntohs(at.sin_port));
    thread_ = std::thread([this, kind] {
      int fd;
      while ((fd = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC)) >= 0) Treat(kind, fd);
    });
  }
  ~BadServer() {
    shutdown(listener_, SHUT_RDWR);  // ends accept4()
    thread_.join();
    for (const int fd : held_) close(fd);
    close(listener_);
  }

  const std::string& port() const { return port_; }

 private:
  void Treat(Kind kind, int fd) {
    const linger now = {.l_onoff = 1, .l_linger = 0};
    if (kind == Kind::kResets) setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
    if (kind == Kind::kCloses || kind == Kind::kResets) {
      close(fd);
      return;
    }
    const std::string text =
        kind == Kind::kSendsGarbage ? std::string("\0\xff\r\n\x1b[2J", 8) : "h";
    if (kind != Kind::kSilent) send(fd, text.data(), text.size(), MSG_NOSIGNAL);
    held_.push_back(fd);
  }

  int listener_;
  std::string port_;
  std::vector<int> held_;  // of the thread, until it has ended
  std::thread thread_;
};

class Meets : public testing::TestWithParam<std::tuple<Kind, std::vector<const char*>>> {};

TEST_P(Meets, AndSavesWhatItSaw) {
  const auto& [kind, flags] = GetParam();
  BadServer server(kind);
  const std::string file = Scratch("bad_server") + ".json";
  Args arguments = {"load",
                    server.port(),
                    "-c",
                    "2",
                    "-d",
                    "20ms",
                    "--warmup",
                    "0s",
                    "-b",
                    "epoll",
                    "--connect-timeout",
                    "50ms",
                    "--timeout",
                    "20ms",
                    "--timestamps",
                    "off",
                    "--json",
                    file};
  for (const char* flag : flags) arguments.emplace_back(flag);
  const Ended ended = Ringside(arguments);
  EXPECT_EQ(ended.exit_code, 1) << ended.err;
  EXPECT_NE(ended.out.find("verdict"), std::string::npos) << ended.out;
  EXPECT_NE(ended.err.find("the run is not valid"), std::string::npos) << ended.err;
  std::ifstream saved(file, std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(saved), {}};
  const Json json = Json::parse(text, nullptr, false);
  ASSERT_TRUE(json.is_object()) << text;
  EXPECT_EQ(json["valid"], false);
  unlink(file.c_str());
}

using Flags = std::vector<const char*>;
INSTANTIATE_TEST_SUITE_P(
    Load, Meets,
    testing::Values(std::tuple(Kind::kSilent, Flags{"-w", "crr"}),
                    std::tuple(Kind::kSendsHalf, Flags{"-w", "crr"}),
                    std::tuple(Kind::kCloses, Flags{"--service", "greet"}),
                    std::tuple(Kind::kResets, Flags{"--service", "greet"}),
                    std::tuple(Kind::kSendsGarbage, Flags{"--service", "greet"}),
                    std::tuple(Kind::kSendsHalf, Flags{"--service", "greet"}),
                    std::tuple(Kind::kSilent, Flags{"--service", "greet", "-w", "crr"})));

}  // namespace
}  // namespace load_tests::bad_server
