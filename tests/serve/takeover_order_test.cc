#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <list>
#include <string>
#include <vector>

#include "io/sockets.h"
#include "server/takeover.h"
#include "server/unique_fd.h"
#include "tests/serve/plain_client.h"

// Who accepts when, seen from the other side of a takeover; and that nobody who doesn't read what a
// server says has a part in it.
namespace serve_tests::takeover_order {
namespace {

// Accepts as many as connect now: those that nobody else has accepted.
void ExpectWaiting(const std::string& address, int listener) {
  std::list<PlainClient> clients;
  for (int i = 0; i < 20; ++i) {
    EXPECT_EQ(clients.emplace_back(address).error(), 0);
    pollfd there = {.fd = listener, .events = POLLIN, .revents = 0};
    ASSERT_EQ(poll(&there, 1, 60'000), 1) << "somebody else accepts";
    const server::UniqueFd accepted(accept(listener, nullptr, nullptr));
    EXPECT_TRUE(accepted);
  }
}

TEST(TakeoverOrder, TheRunningServerStopsAndThenSaysSo) {
  const std::string path = Scratch("takeover");
  Serving old({"127.0.0.1:0", "--takeover", path});
  auto successor = server::TakeoverClient::Connect(path);
  ASSERT_TRUE(successor.ok()) << successor.status();
  ASSERT_TRUE(successor->has_value());
  const auto sockets = (*successor)->TakeSockets();
  ASSERT_EQ(sockets.size(), 1u);
  const server::UniqueFd listener(sockets[0].fd);
  PlainClient connected(old.address());
  EXPECT_EQ(connected.Ask("it serves"), "it serves");
  const absl::Status released = (*successor)->Ready();
  EXPECT_TRUE(released.ok()) << released;
  ExpectWaiting(old.address(), listener.get());
  EXPECT_EQ(connected.Ask("and serves on"), "and serves on");
  successor->reset();
  connected.End();
  EXPECT_EQ(old.Ending()["connections"]["accepted"], 1);
}

TEST(TakeoverOrder, TheNewServerWaitsForThat) {
  const std::string path = Scratch("takeover");
  const auto listening =
      io::OpenListener(*io::Resolve("127.0.0.1:0"), {.backlog = 64}, /*nonblocking=*/true);
  ASSERT_TRUE(listening.ok()) << listening.status();
  const server::UniqueFd listener(*listening);
  const std::string address = io::LocalEndpoint(*listening)->ToString();
  server::TakeoverServer running;
  ASSERT_TRUE(running.Listen(path).ok());
  bench::Process next = Serving::Launch({address, "--takeover", path});
  pollfd there = {.fd = running.fd(), .events = POLLIN, .revents = 0};
  ASSERT_EQ(poll(&there, 1, 60'000), 1) << next.Errors();
  const auto result = running.Handle({{listener.get(), "echo=" + address}});
  ASSERT_EQ(result.outcome, server::TakeoverServer::Outcome::kHandedOver) << result.status;
  ExpectWaiting(address, listener.get());
  EXPECT_EQ(next.Output(), "") << "it isn't ready yet";
  const absl::Status released = running.Release();
  EXPECT_TRUE(released.ok()) << released;
  PlainClient client(address);
  EXPECT_EQ(client.Ask("it serves"), "it serves");
  client.End();
  next.Signal(SIGTERM);
  EXPECT_EQ(cli_tests::WaitFor(next).exit_code, 0);
}

// A FIFO that is full, with a reader that doesn't read.
class FullPipe {
 public:
  FullPipe() : path_(Scratch("fifo")) {
    EXPECT_EQ(mkfifo(path_.c_str(), 0600), 0);
    read_.Reset(open(path_.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
    write_.Reset(open(path_.c_str(), O_WRONLY | O_NONBLOCK | O_CLOEXEC));
    fcntl(write_.get(), F_SETPIPE_SZ, 4096);
    while (write(write_.get(), "full", 4) > 0) {
    }
    EXPECT_EQ(errno, EAGAIN);
  }
  ~FullPipe() { std::filesystem::remove(path_); }
  // Words before a program's own that make it its stderr.
  std::vector<std::string> AsStderr() const { return {"sh", "-c", "exec \"$@\" 2>" + path_, "sh"}; }
  // What is in it now.
  std::string Read() {
    std::string text;
    char part[4096];
    for (ssize_t n; (n = read(read_.get(), part, sizeof(part))) > 0;) text.append(part, n);
    return text;
  }

 private:
  const std::string path_;
  server::UniqueFd read_, write_;
};

TEST(TakeoverOrder, AStderrThatNobodyReadsStopsNothing) {
  FullPipe pipe;
  const std::vector<std::string> arguments = {"127.0.0.1:" + cli_tests::FreePort(), "--takeover",
                                              Scratch("takeover"), "--log-connections"};
  Serving old(arguments, pipe.AsStderr());
  for (int i = 0; i < 20; ++i) EXPECT_EQ(PlainClient(old.address()).Ask("hello"), "hello");
  PlainClient stays(old.address());
  EXPECT_EQ(stays.Ask("first"), "first");
  Serving next(arguments, pipe.AsStderr());
  EXPECT_TRUE(next.ready()["listeners"][0]["inherited"].get<bool>());
  EXPECT_EQ(PlainClient(old.address()).Ask("hello"), "hello");
  EXPECT_EQ(stays.Ask("still"), "still");
  std::string said;
  EXPECT_TRUE(Until([&] {
    said += pipe.Read();
    return said.find("has taken over") != std::string::npos;
  }));
  // In the end it would wait for a second, for somebody to read.
  const auto ended = [&](Serving& server) {
    EXPECT_TRUE(Until([&] {
      pipe.Read();
      return server.process().Wait(0, -1) == bench::Process::Waited::kEnded;
    }));
    return server.Ending();
  };
  stays.End();
  EXPECT_EQ(ended(old)["connections"]["accepted"], 21);
  next.process().Signal(SIGTERM);
  EXPECT_EQ(ended(next)["connections"]["accepted"], 1);
}

}  // namespace
}  // namespace serve_tests::takeover_order
