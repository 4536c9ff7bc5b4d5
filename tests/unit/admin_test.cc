#include "server/admin.h"

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <rapidcheck.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <functional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "bench/process.h"
#include "io/endpoint.h"
#include "io/sockets.h"
#include "server/http_request.h"

namespace server::admin_tests {
namespace {

using std::chrono::milliseconds;

constexpr char kGet[] = "GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n";
constexpr AdminOptions kPatient = {.deadline = std::chrono::hours(1),
                                   .linger = std::chrono::hours(1)};

// More than the sockets of a connection keep whose peer doesn't read: a send buffer grows to 4 MiB
// unless tcp_wmem was raised, a receive buffer only for who reads (tcp(7)).
constexpr size_t kHuge = 12 << 20;

bool Until(const std::function<bool()>& condition) {  // the limit ends a hang
  const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (!condition()) {
    if (std::chrono::steady_clock::now() > give_up) return false;
    std::this_thread::sleep_for(milliseconds(1));
  }
  return true;
}

// An admin server on a free port, with /metrics, a large page and one that fails.
class Served {
 public:
  explicit Served(AdminOptions options = kPatient) {
    const auto listener =
        io::OpenListener(*io::Resolve("127.0.0.1:0"), {.backlog = 128}, /*nonblocking=*/false);
    EXPECT_TRUE(listener.ok()) << listener.status();
    at_ = *io::LocalEndpoint(*listener);
    auto server = AdminServer::Start(*listener, Pages(), options);
    EXPECT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
  }
  static std::vector<AdminPage> Pages() {
    return {
        {"/metrics", "for Prometheus", "text/plain; version=0.0.4", [] { return "m 1\n"; }},
        {"/large", "a megabyte", "text/plain", [] { return std::string(1 << 20, 'x'); }},
        {"/huge", "more than sockets buffer", "text/plain", [] { return std::string(kHuge, 'x'); }},
        {"/broken", "fails", "text/plain", [] { return absl::UnavailableError("it is broken"); }}};
  }
  const io::Endpoint& at() const { return at_; }
  std::string url() const { return "http://" + at_.ToString(); }
  AdminServer& operator*() { return *server_; }
  AdminServer* operator->() { return server_.get(); }
  void Stop() { server_.reset(); }

 private:
  io::Endpoint at_;
  std::unique_ptr<AdminServer> server_;
};

// A client; how the server ended the connection is what it reports.
class Client {
 public:
  explicit Client(const io::Endpoint& at) : fd_(*io::OpenConnector(at, /*nonblocking=*/false)) {
    const timeval hang = {.tv_sec = 60, .tv_usec = 0};
    setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &hang, sizeof(hang));
    setsockopt(fd_, SOL_SOCKET, SO_SNDTIMEO, &hang, sizeof(hang));
    if (connect(fd_, at.address(), at.size()) != 0) ADD_FAILURE() << std::strerror(errno);
  }
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;
  ~Client() { close(fd_); }

  // False when the server ended the connection.
  bool Send(std::string_view bytes) const {
    while (!bytes.empty()) {
      const ssize_t size = TEMP_FAILURE_RETRY(send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL));
      if (size < 0) return false;
      bytes.remove_prefix(static_cast<size_t>(size));
    }
    return true;
  }
  void Finish() const { shutdown(fd_, SHUT_WR); }
  // All that comes; then how it ended: "" for FIN, or the error's name.
  std::string ReadAll(std::string* ended) const {
    std::string all;
    char buffer[4096];
    ssize_t size;
    while ((size = TEMP_FAILURE_RETRY(recv(fd_, buffer, sizeof(buffer), 0))) > 0) {
      all.append(buffer, static_cast<size_t>(size));
    }
    *ended = size == 0 ? "" : strerrorname_np(errno);
    return all;
  }
  std::string ReadToFin() const {
    std::string ended;
    std::string all = ReadAll(&ended);
    EXPECT_EQ(ended, "");
    return all;
  }
  int fd() const { return fd_; }

 private:
  int fd_;
};

std::string Exchange(const io::Endpoint& at, std::string_view request) {
  const Client client(at);
  client.Send(request);
  return client.ReadToFin();
}

std::string StatusOf(const std::string& reply) {
  return reply.starts_with("HTTP/1.1 ") ? reply.substr(9, 3) : "none: " + reply;
}
std::string BodyOf(const std::string& reply) { return reply.substr(reply.find("\r\n\r\n") + 4); }

TEST(Admin, AnswersGetAndHead) {
  Served served;
  const std::string get = Exchange(served.at(), kGet);
  EXPECT_EQ(StatusOf(get), "200");
  EXPECT_EQ(BodyOf(get), "m 1\n");
  EXPECT_NE(get.find("\r\nContent-Type: text/plain; version=0.0.4\r\n"), std::string::npos) << get;
  EXPECT_NE(get.find("\r\nContent-Length: 4\r\n"), std::string::npos) << get;
  const std::string head = Exchange(served.at(), "HEAD /metrics HTTP/1.0\r\n\r\n");
  EXPECT_EQ(StatusOf(head), "200");
  EXPECT_EQ(BodyOf(head), "");
  EXPECT_NE(head.find("\r\nContent-Length: 4\r\n"), std::string::npos) << head;
  const std::string index = BodyOf(Exchange(served.at(), "GET / HTTP/1.0\r\n\r\n"));
  EXPECT_NE(index.find("/metrics     for Prometheus\n"), std::string::npos) << index;
  const std::string broken = Exchange(served.at(), "GET /broken HTTP/1.0\r\n\r\n");
  EXPECT_EQ(StatusOf(broken), "500");
  EXPECT_NE(BodyOf(broken).find("it is broken"), std::string::npos);
  EXPECT_EQ(served->counts().connections, 4u);
  EXPECT_EQ(served->counts().answered, 3u);
  EXPECT_EQ(served->counts().refused, 1u);
}

struct Bad {
  std::string request;
  const char* status;
};

TEST(Admin, RefusesWhatItCannotAnswer) {
  Served served;
  const Bad bad_requests[] = {
      {"GET /nothing HTTP/1.0\r\n\r\n", "404"},
      {"HEAD /nothing HTTP/1.0\r\n\r\n", "404"},
      {"GET /metrics/ HTTP/1.0\r\n\r\n", "404"},
      {"GET //metrics HTTP/1.0\r\n\r\n", "404"},
      {"GET /../metrics HTTP/1.0\r\n\r\n", "404"},
      {"POST /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello", "405"},
      {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "505"},
      {"\x16\x03\x01 a TLS hello\n\n", "400"},
      {"GET / HTTP/1.0\r\nA: " + std::string(9000, 'a') + "\r\n\r\n", "431"},
      {"GET /" + std::string(100'000, 'a') + " HTTP/1.0\r\n\r\n", "431"},
      {std::string(100'000, '\n'), "431"},
      {std::string(kHttpHeadMax, 'a'), "431"},
  };
  for (const Bad& bad : bad_requests) {
    const std::string reply = Exchange(served.at(), bad.request);
    EXPECT_EQ(StatusOf(reply), bad.status) << bad.request.substr(0, 60);
    EXPECT_EQ(BodyOf(reply).empty(), bad.request.starts_with("HEAD")) << reply;
  }
  EXPECT_EQ(served->counts().refused, std::size(bad_requests));
  EXPECT_EQ(StatusOf(Exchange(served.at(), kGet)), "200");
}

TEST(Admin, HeadOfTheGreatestSizeIsRead) {
  Served served;
  std::string request = "GET /metrics HTTP/1.0\r\nA: ";
  request += std::string(kHttpHeadMax - request.size() - 4, 'a') + "\r\n\r\n";
  ASSERT_EQ(request.size(), kHttpHeadMax);
  EXPECT_EQ(StatusOf(Exchange(served.at(), request)), "200");
}

TEST(Admin, RequestMayComeByteByByte) {
  Served served;
  const Client client(served.at());
  for (const char c : std::string_view(kGet)) ASSERT_TRUE(client.Send(std::string_view(&c, 1)));
  EXPECT_EQ(BodyOf(client.ReadToFin()), "m 1\n");
}

TEST(Admin, HalfARequestThenFinIsRefused) {
  Served served;
  const Client client(served.at());
  client.Send("GET /metrics HTTP/1.1\r\nHos");
  client.Finish();
  EXPECT_EQ(StatusOf(client.ReadToFin()), "400");
  // Without a byte: a look whether the port is open. Nothing is said.
  const Client silent(served.at());
  silent.Finish();
  EXPECT_EQ(silent.ReadToFin(), "");
}

TEST(Admin, OnlyTheFirstOfPipelinedRequestsIsAnswered) {
  Served served;
  const std::string reply = Exchange(
      served.at(), std::string(kGet) + kGet + "\x01\x02junk" + std::string(50'000, '\xff'));
  EXPECT_EQ(StatusOf(reply), "200");
  EXPECT_EQ(BodyOf(reply), "m 1\n");
}

TEST(Admin, PeersThatGoAwayAreForgotten) {
  Served served;
  for (int i = 0; i < 200; ++i) {
    const Client client(served.at());
    client.Send(i % 2 == 0 ? "GET /lar" : "GET /large HTTP/1.0\r\n\r\n");
    io::ResetOnClose(client.fd());
  }
  // All slots would be taken for an hour if one were kept.
  EXPECT_EQ(StatusOf(Exchange(served.at(), kGet)), "200");
}

TEST(Admin, PeerThatNeverStopsSendingIsEnded) {
  Served served;
  const Client client(served.at());
  client.Send(kGet);
  const std::string junk(1 << 16, 'x');
  while (client.Send(junk)) {
  }
  EXPECT_EQ(StatusOf(Exchange(served.at(), kGet)), "200");
}

TEST(Admin, SlowPeersHoldUpNobody) {
  Served served;
  std::vector<std::unique_ptr<Client>> slow;
  for (int i = 0; i < 10; ++i) {
    slow.push_back(std::make_unique<Client>(served.at()));
    slow.back()->Send(i % 2 == 0 ? "GET /metrics HT" : "GET /huge HTTP/1.0\r\n\r\n");  // unread
  }
  EXPECT_EQ(StatusOf(Exchange(served.at(), kGet)), "200");
}

TEST(Admin, SlowPeersAreCutOffAndTheirPlacesGivenOn) {
  Served served({.deadline = milliseconds(50), .connections_max = 2});
  const Client first(served.at()), second(served.at());
  first.Send("G");
  std::thread dribble([&] {
    while (second.Send("A")) std::this_thread::sleep_for(milliseconds(5));
  });
  // Both places are taken, for the deadline at most; who waits is served then, in its own time.
  EXPECT_TRUE(Until([&] {
    const Client third(served.at());
    third.Send(kGet);
    std::string ended;
    return StatusOf(third.ReadAll(&ended)) == "200";
  }));
  dribble.join();
  // Who sent something is told why.
  EXPECT_TRUE(Until([&] {
    const Client again(served.at());
    again.Send("G");
    std::string ended;
    return StatusOf(again.ReadAll(&ended)) == "408";
  }));
  EXPECT_TRUE(Until([&] { return served->counts().cut_off >= 2; }));
}

TEST(Admin, GoodPeersGetThePlacesOfIdleAndSlowOnes) {
  Served served({.deadline = std::chrono::hours(1), .connections_max = 4});
  std::vector<std::unique_ptr<Client>> idle;
  for (int i = 0; i < 60; ++i) {
    idle.push_back(std::make_unique<Client>(served.at()));
    if (i % 3 == 1) idle.back()->Send("G");
    if (i % 3 == 2) idle.back()->Send("GET /huge HTTP/1.0\r\n\r\n");  // unread
  }
  for (int i = 0; i < 5; ++i) EXPECT_EQ(StatusOf(Exchange(served.at(), kGet)), "200");
  EXPECT_GE(served->counts().displaced, 60u - 4u);
  // Who had begun is told why.
  std::string ended;
  EXPECT_EQ(StatusOf(idle[1]->ReadAll(&ended)), "503");
}

TEST(Admin, PeerThatDoesNotTakeItsReplyIsCutOff) {
  Served served({.deadline = milliseconds(50)});
  const Client client(served.at());
  client.Send("GET /huge HTTP/1.0\r\n\r\n");
  EXPECT_TRUE(Until([&] { return served->counts().cut_off > 0; }));
}

TEST(Admin, FiftyClientsAtOnce) {
  Served served;
  std::atomic<int> right{0};
  std::vector<std::thread> clients;
  for (int i = 0; i < 50; ++i) {
    clients.emplace_back([&] {
      const std::string reply = Exchange(served.at(), "GET /large HTTP/1.0\r\n\r\n");
      if (StatusOf(reply) == "200" && BodyOf(reply) == std::string(1 << 20, 'x')) ++right;
    });
  }
  for (std::thread& client : clients) client.join();
  EXPECT_EQ(right.load(), 50);
}

TEST(Admin, GarbageNeverStopsIt) {
  Served served;
  const bool holds = rc::check("any bytes, then FIN, and it still answers", [&] {
    const auto bytes = *rc::gen::arbitrary<std::string>();
    const auto times = *rc::gen::inRange(1, 300);
    const Client client(served.at());
    for (int i = 0; i < times && client.Send(bytes); ++i) {
    }
    client.Finish();
    std::string ended;
    const std::string reply = client.ReadAll(&ended);
    RC_ASSERT(reply.empty() || reply.starts_with("HTTP/1.1 "));
    RC_ASSERT(StatusOf(Exchange(served.at(), kGet)) == "200");
  });
  EXPECT_TRUE(holds);
}

TEST(Admin, WithoutADescriptorItWaitsAndGoesOn) {
  Served served;
  rlimit before = {};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  const int client = *io::OpenConnector(served.at(), /*nonblocking=*/false);
  const int next = dup(client);  // the number that accept would take
  close(next);
  rlimit none = before;
  none.rlim_cur = static_cast<rlim_t>(next);
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
  ASSERT_EQ(connect(client, served.at().address(), served.at().size()), 0);
  EXPECT_TRUE(Until([&] { return served->counts().accept_pauses > 0; }));
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
  ASSERT_GT(send(client, kGet, sizeof(kGet) - 1, 0), 0);
  char buffer[9];
  EXPECT_EQ(recv(client, buffer, sizeof(buffer), MSG_WAITALL), 9);
  EXPECT_EQ(std::string_view(buffer, 9), "HTTP/1.1 ");
  close(client);
}

TEST(Admin, EndsWithConnectionsOpen) {
  Served served;
  const Client half(served.at()), reading(served.at());
  half.Send("GET /");
  reading.Send("GET /huge HTTP/1.0\r\n\r\n");
  EXPECT_TRUE(Until([&] { return served->counts().connections == 2; }));
  served.Stop();
  std::string ended;
  half.ReadAll(&ended);  // FIN or reset: it ends
  EXPECT_NE(ended, "EAGAIN");
  const int late = *io::OpenConnector(served.at(), /*nonblocking=*/false);
  EXPECT_NE(connect(late, served.at().address(), served.at().size()), 0);
  EXPECT_EQ(errno, ECONNREFUSED);
  close(late);
}

TEST(Admin, WantsAListener) {
  const auto no_socket = AdminServer::Start(-1, {});
  EXPECT_EQ(no_socket.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(no_socket.status().message().find("EBADF"), std::string::npos) << no_socket.status();
  const auto idle = AdminServer::Start(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), {});
  EXPECT_EQ(idle.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(idle.status().message().find("does not listen"), std::string::npos) << idle.status();
}

// ---- curl
// -----------------------------------------------------------------------------------------

struct Curled {
  bool installed;
  int exit_code;
  std::string out, err;
};

Curled Curl(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), {"curl", "-sS", "--max-time", "60", "--noproxy", "*"});
  auto process = bench::Process::Start(arguments, {});
  if (!process.ok()) return {.installed = false};
  EXPECT_EQ(process->Wait(90'000'000'000, -1), bench::Process::Waited::kEnded);
  return {true, process->exit_code(), process->Output(), process->Errors()};
}

TEST(Admin, CurlGetsWhatItAsksFor) {
  Served served;
  const Curled got = Curl({served.url() + "/metrics?x=1"});
  if (!got.installed) GTEST_SKIP() << "curl is not installed";
  EXPECT_EQ(got.exit_code, 0) << got.err;
  EXPECT_EQ(got.out, "m 1\n");
  const Curled head = Curl({"--head", served.url() + "/large"});
  EXPECT_EQ(head.exit_code, 0) << head.err;
  EXPECT_NE(head.out.find("Content-Length: 1048576\r\n"), std::string::npos) << head.out;
  EXPECT_EQ(Curl({served.url() + "/large"}).out.size(), 1u << 20);
  const Curled posted = Curl({"-o", "/dev/null", "-w", "%{http_code}", "-d",
                              std::string(100'000, 'x'), served.url() + "/metrics"});
  EXPECT_EQ(posted.exit_code, 0) << posted.err;
  EXPECT_EQ(posted.out, "405");
  EXPECT_EQ(Curl({"--fail", served.url() + "/nothing"}).exit_code, 22);
}

TEST(Admin, ServesAUnixSocketToo) {
  const std::string path = testing::TempDir() + "/admin_" + std::to_string(getpid());
  sockaddr_un address = {.sun_family = AF_UNIX};
  ASSERT_LT(path.size(), sizeof(address.sun_path));
  std::memcpy(address.sun_path, path.c_str(), path.size());
  const int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  ASSERT_EQ(bind(listener, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  ASSERT_EQ(listen(listener, 5), 0);
  const auto server = AdminServer::Start(listener, Served::Pages());
  ASSERT_TRUE(server.ok()) << server.status();
  const Curled got = Curl({"--unix-socket", path, "http://any/metrics"});
  unlink(path.c_str());
  if (!got.installed) GTEST_SKIP() << "curl is not installed";
  EXPECT_EQ(got.out, "m 1\n") << got.err;
}

}  // namespace
}  // namespace server::admin_tests
