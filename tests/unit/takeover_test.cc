#include "server/takeover.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <rapidcheck.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <future>
#include <set>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "tests/unit/descriptors.h"

namespace server {
namespace {

using Claim = TakeoverServer::Claim;
using Outcome = TakeoverServer::Outcome;
using std::chrono::milliseconds;
using unit_tests::ExitCodeOf;
using unit_tests::InChild;
using unit_tests::OpenDescriptors;
using wire::Channel;
using wire::Encode;
using wire::FrameType;

constexpr uid_t kNobody = 65534;
constexpr TakeoverOptions kHurried = {.patience = milliseconds(50)};
constexpr TakeoverOptions kPatient = {.patience = std::chrono::seconds(60)};

ino_t InodeOf(int fd) {
  struct stat file = {};
  EXPECT_EQ(fstat(fd, &file), 0);
  return file.st_ino;
}

bool Contains(const absl::Status& status, const std::string& text) {
  return absl::StrContains(std::string(status.message()), text);
}

// A socket bound to loopback; `type` SOCK_STREAM listens.
int BoundInet(int type) {
  const int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);
  sockaddr_in at = {};
  at.sin_family = AF_INET;
  at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  EXPECT_EQ(bind(fd, reinterpret_cast<sockaddr*>(&at), sizeof(at)), 0);
  if (type == SOCK_STREAM) {
    EXPECT_EQ(listen(fd, 16), 0);
  }
  return fd;
}

// A Unix socket that listens at a path or @name.
int BoundUnix(const std::string& path, int type) {
  const int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
  sockaddr_un at = {};
  at.sun_family = AF_UNIX;
  std::memcpy(at.sun_path, path.data(), path.size());
  if (at.sun_path[0] == '@') at.sun_path[0] = '\0';
  EXPECT_EQ(bind(fd, reinterpret_cast<sockaddr*>(&at),
                 offsetof(sockaddr_un, sun_path) + path.size() + (path[0] == '@' ? 0 : 1)),
            0);
  EXPECT_EQ(listen(fd, 16), 0);
  return fd;
}

int ConnectedUnix(const std::string& path) {
  const int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
  sockaddr_un at = {};
  at.sun_family = AF_UNIX;
  std::memcpy(at.sun_path, path.data(), path.size());
  EXPECT_EQ(connect(fd, reinterpret_cast<sockaddr*>(&at), sizeof(at)), 0);
  return fd;
}

bool WaitReadable(int fd) {
  pollfd wait = {.fd = fd, .events = POLLIN, .revents = 0};
  return poll(&wait, 1, 60'000) == 1;
}

void CloseAll(const std::vector<PassedSocket>& sockets) {
  for (const PassedSocket& socket : sockets) close(socket.fd);
}

std::vector<PassedSocket> ManySockets(int count) {
  std::vector<PassedSocket> sockets;
  for (int i = 0; i < count; ++i) {
    sockets.push_back({.fd = BoundInet(SOCK_DGRAM), .label = absl::StrCat("socket ", i)});
  }
  return sockets;
}

// The messages of a peer that keeps to nothing, sent as they are.
void SendRaw(int fd, const std::string& bytes, const std::vector<int>& fds = {}) {
  std::vector<char> control(CMSG_SPACE(sizeof(int) * 253));
  iovec part = {.iov_base = const_cast<char*>(bytes.data()), .iov_len = bytes.size()};
  msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
  if (!fds.empty()) {
    message.msg_control = control.data();
    message.msg_controllen = CMSG_SPACE(sizeof(int) * fds.size());
    cmsghdr* rights = CMSG_FIRSTHDR(&message);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(sizeof(int) * fds.size());
    std::memcpy(CMSG_DATA(rights), fds.data(), sizeof(int) * fds.size());
  }
  ASSERT_EQ(sendmsg(fd, &message, MSG_NOSIGNAL), ssize_t(bytes.size()));
}

class TakeoverTest : public unit_tests::LeavesNothingOpen {
 protected:
  std::string Path() const { return InFolder("takeover"); }
  std::string Name() const { return absl::StrCat("@", Path()); }
};

// The running process: waits for one peer and handles it.
TakeoverServer::Result HandleOne(TakeoverServer& server, const std::vector<PassedSocket>& sockets) {
  EXPECT_TRUE(WaitReadable(server.fd()));
  return server.Handle(sockets);
}

std::optional<TakeoverClient> MustConnect(const std::string& path) {
  auto client = TakeoverClient::Connect(path, kPatient);
  EXPECT_TRUE(client.ok()) << client.status();
  EXPECT_TRUE(client.ok() && client->has_value());
  return client.ok() ? std::move(*client) : std::nullopt;
}

// Takes these sockets over in this process, and checks that they arrive as they are.
void ExpectTakenOver(const std::string& path, const std::vector<PassedSocket>& sockets) {
  TakeoverServer server(kPatient);
  ASSERT_TRUE(server.Listen(path).ok());
  std::atomic<bool> released = false;
  std::thread running([&] {
    const auto result = HandleOne(server, sockets);
    EXPECT_EQ(result.outcome, Outcome::kHandedOver) << result.status;
    EXPECT_EQ(result.peer, getpid());
    released = true;
    EXPECT_TRUE(server.Release().ok());
    EXPECT_EQ(server.fd(), -1);
  });
  {
    auto client = MustConnect(path);
    EXPECT_EQ(client->predecessor(), getpid());
    const auto taken = client->TakeSockets();
    EXPECT_TRUE(client->TakeSockets().empty());
    EXPECT_EQ(taken.size(), sockets.size());
    for (size_t i = 0; i < taken.size() && i < sockets.size(); ++i) {
      EXPECT_EQ(taken[i].label, sockets[i].label);
      EXPECT_EQ(InodeOf(taken[i].fd), InodeOf(sockets[i].fd));
      EXPECT_TRUE(fcntl(taken[i].fd, F_GETFD) & FD_CLOEXEC);
    }
    EXPECT_FALSE(released);
    const absl::Status ready = client->Ready();
    EXPECT_TRUE(ready.ok()) << ready;
    EXPECT_TRUE(released);
    CloseAll(taken);
  }
  running.join();
}

TEST_F(TakeoverTest, PassesEachKindOfSocketWithItsLabel) {
  const std::vector<PassedSocket> sockets = {
      {BoundInet(SOCK_STREAM), "tcp 0"},
      {BoundInet(SOCK_DGRAM), ""},
      {BoundUnix(InFolder("stream"), SOCK_STREAM), std::string("\0\xff binary\n", 10)},
      {BoundUnix(InFolder("packets"), SOCK_SEQPACKET), std::string(4096, 'x')}};
  ExpectTakenOver(Path(), sockets);
  ExpectTakenOver(Name(), sockets);
  CloseAll(sockets);
}

TEST_F(TakeoverTest, PassesMoreThanAMessageHolds) {
  for (const int count : {0, 252, 253, 254, 300}) {
    const auto sockets = ManySockets(count);
    ExpectTakenOver(InFolder(absl::StrCat("of", count)), sockets);
    CloseAll(sockets);
  }
}

TEST_F(TakeoverTest, PassesLongLabelsInSeveralMessages) {
  auto sockets = ManySockets(40);
  for (size_t i = 0; i < sockets.size(); ++i) sockets[i].label.resize(4096 - i % 3, char('a' + i));
  ExpectTakenOver(Path(), sockets);
  CloseAll(sockets);
}

TEST_F(TakeoverTest, AcceptsInTheNewProcessAfterwards) {
  const int listener = BoundInet(SOCK_STREAM);
  TakeoverServer server(kPatient);
  ASSERT_TRUE(server.Listen(Path()).ok());
  const std::string path = Path();
  const pid_t child = InChild([&] {
    close(listener);
    auto client = TakeoverClient::Connect(path, kPatient);
    if (!client.ok() || !client->has_value()) return 1;
    const auto taken = (*client)->TakeSockets();
    if (taken.size() != 1 || !(*client)->Ready().ok()) return 2;
    TakeoverServer next;
    if (!next.Listen(path, Claim::kPredecessors).ok()) return 3;
    client->reset();
    const int connection = accept(taken[0].fd, nullptr, nullptr);
    return connection >= 0 && write(connection, "new", 3) == 3 ? 0 : 4;
  });
  const auto result = HandleOne(server, {{listener, "the only one"}});
  EXPECT_EQ(result.outcome, Outcome::kHandedOver) << result.status;
  EXPECT_EQ(result.peer, child);
  sockaddr_in at = {};
  socklen_t size = sizeof(at);
  getsockname(listener, reinterpret_cast<sockaddr*>(&at), &size);
  close(listener);  // ours: the port stays open
  EXPECT_TRUE(server.Release().ok());
  const int connection = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  EXPECT_EQ(connect(connection, reinterpret_cast<sockaddr*>(&at), size), 0);
  char text[8] = {};
  EXPECT_EQ(read(connection, text, sizeof(text)), 3);
  EXPECT_STREQ(text, "new");
  close(connection);
  EXPECT_EQ(ExitCodeOf(child), 0);
}

// ---- who is at the path -------------------------------------------------------------------------

TEST_F(TakeoverTest, NobodyThereIsNoError) {
  close(BoundUnix(InFolder("dead"), SOCK_SEQPACKET));
  for (const std::string& path : {Path(), Name(), InFolder("dead"), InFolder("no/folder")}) {
    const auto client = TakeoverClient::Connect(path);
    ASSERT_TRUE(client.ok()) << client.status();
    EXPECT_FALSE(client->has_value());
  }
  TakeoverServer server;
  EXPECT_EQ(server.Handle({}).outcome, Outcome::kNothing);  // before Listen()
  ASSERT_TRUE(server.Listen(Path()).ok());
  EXPECT_EQ(server.Handle({}).outcome, Outcome::kNothing);
  EXPECT_TRUE(absl::IsFailedPrecondition(server.Release()));
}

TEST_F(TakeoverTest, ListensAtAFileOfModeSixHundredAndRemovesIt) {
  const mode_t before = umask(0);
  {
    TakeoverServer server;
    ASSERT_TRUE(server.Listen(Path()).ok());
    struct stat file = {};
    ASSERT_EQ(lstat(Path().c_str(), &file), 0);
    EXPECT_EQ(file.st_mode & 07777, 0600u);
    namespace fs = std::filesystem;
    const auto files = fs::directory_iterator(fs::path(Path()).parent_path());
    EXPECT_EQ(std::distance(files, fs::directory_iterator()), 1);  // nothing beside it
  }
  umask(before);
  EXPECT_FALSE(std::filesystem::exists(Path()));
}

TEST_F(TakeoverTest, LeavesAFileThatIsNoLongerItsOwn) {
  {
    TakeoverServer server;
    ASSERT_TRUE(server.Listen(Path()).ok());
    std::filesystem::remove(Path());
    std::ofstream(Path()) << "another's";
  }
  EXPECT_TRUE(std::filesystem::is_regular_file(Path()));
}

TEST_F(TakeoverTest, ReplacesADeadSocketAndNothingElse) {
  close(BoundUnix(Path(), SOCK_STREAM));
  {
    TakeoverServer server;
    EXPECT_TRUE(server.Listen(Path()).ok());
    TakeoverServer second;
    const absl::Status taken = second.Listen(Path());
    EXPECT_TRUE(absl::IsAlreadyExists(taken)) << taken;
    EXPECT_EQ(second.fd(), -1);
  }
  std::ofstream(Path()) << "precious";
  for (const Claim claim : {Claim::kFree, Claim::kPredecessors}) {
    TakeoverServer server;
    const absl::Status taken = server.Listen(Path(), claim);
    EXPECT_TRUE(absl::IsAlreadyExists(taken)) << taken;
    EXPECT_TRUE(Contains(taken, "is not a socket")) << taken;
  }
  EXPECT_EQ(std::filesystem::file_size(Path()), 8u);
  const int other = BoundUnix(InFolder("other"), SOCK_STREAM);
  TakeoverServer server;
  EXPECT_TRUE(absl::IsAlreadyExists(server.Listen(InFolder("other"))));
  EXPECT_TRUE(
      absl::IsFailedPrecondition(TakeoverClient::Connect(InFolder("other"), kPatient).status()));
  close(other);
}

TEST_F(TakeoverTest, SaysWhatIsWrongWithAPath) {
  const auto listen_at = [](const std::string& path) {
    TakeoverServer server;
    return server.Listen(path);
  };
  EXPECT_TRUE(absl::IsInvalidArgument(listen_at("")));
  EXPECT_TRUE(absl::IsInvalidArgument(listen_at("@")));
  EXPECT_TRUE(absl::IsInvalidArgument(listen_at(std::string("a\0b", 3))));
  EXPECT_TRUE(absl::IsInvalidArgument(listen_at(InFolder(std::string(100, 'x')))));
  EXPECT_TRUE(absl::IsInvalidArgument(listen_at(absl::StrCat("@", std::string(107, 'x')))));
  EXPECT_TRUE(absl::IsInvalidArgument(TakeoverClient::Connect("").status()));
  EXPECT_TRUE(absl::IsNotFound(listen_at(InFolder("no/folder"))));
  EXPECT_TRUE(absl::IsPermissionDenied(listen_at("/proc/x")) ||
              absl::IsNotFound(listen_at("/proc/x")));
  TakeoverServer server, second;
  EXPECT_TRUE(server.Listen(Name()).ok());
  EXPECT_TRUE(absl::IsAlreadyExists(second.Listen(Name())));
}

// ---- succession ---------------------------------------------------------------------------------

// A hands over to B, and C comes when A has let go and B isn't there yet: it waits, and finds B.
TEST_F(TakeoverTest, AThirdProcessAlwaysFindsSomebody) {
  const auto sockets = ManySockets(1);
  TakeoverServer a(kPatient), b(kPatient);
  ASSERT_TRUE(a.Listen(Path()).ok());
  const int listener_of_a = a.fd();
  std::thread running([&] {
    EXPECT_EQ(HandleOne(a, sockets).outcome, Outcome::kHandedOver);
    EXPECT_TRUE(a.Release().ok());
  });
  auto client_b = MustConnect(Path());
  CloseAll(client_b->TakeSockets());
  EXPECT_TRUE(client_b->Ready().ok());
  std::thread third([&] {
    auto client_c = MustConnect(Path());
    CloseAll(client_c->TakeSockets());
    EXPECT_TRUE(client_c->Ready().ok());
  });
  EXPECT_TRUE(WaitReadable(listener_of_a));  // C waits there
  EXPECT_TRUE(b.Listen(Path(), Claim::kPredecessors).ok());
  client_b.reset();
  running.join();
  EXPECT_EQ(HandleOne(b, sockets).outcome, Outcome::kHandedOver);
  EXPECT_TRUE(b.Release().ok());
  third.join();
  CloseAll(sockets);
}

TEST_F(TakeoverTest, AnAbstractNamePassesOnWhenItsOwnerLetsGo) {
  TakeoverServer a(kPatient), b(kPatient);
  ASSERT_TRUE(a.Listen(Name()).ok());
  std::thread running([&] {
    EXPECT_EQ(HandleOne(a, {}).outcome, Outcome::kHandedOver);
    EXPECT_TRUE(a.Release().ok());
  });
  auto client = MustConnect(Name());
  auto listening =
      std::async(std::launch::async, [&] { return b.Listen(Name(), Claim::kPredecessors); });
  EXPECT_TRUE(client->Ready().ok());
  EXPECT_TRUE(listening.get().ok());
  client.reset();
  running.join();
  TakeoverServer hurried(kHurried);
  EXPECT_TRUE(absl::IsAlreadyExists(hurried.Listen(Name(), Claim::kPredecessors)));
}

// ---- peers that fail ----------------------------------------------------------------------------

// Whatever a peer does, the next one is served.
class BadPeerTest : public TakeoverTest {
 protected:
  void SetUp() override { ASSERT_TRUE(server_.Listen(Path()).ok()); }
  void TearDown() override {
    std::thread good([&] {
      auto client = MustConnect(Path());
      CloseAll(client->TakeSockets());
      EXPECT_TRUE(client->Ready().ok());
    });
    const auto result = HandleOne(server_, sockets_);
    EXPECT_EQ(result.outcome, Outcome::kHandedOver) << result.status;
    EXPECT_TRUE(server_.Release().ok());
    good.join();
    CloseAll(sockets_);
  }
  absl::Status Failure() {
    const auto result = HandleOne(server_, sockets_);
    EXPECT_EQ(result.outcome, Outcome::kFailed);
    EXPECT_FALSE(result.status.ok());
    return result.status;
  }
  TakeoverServer server_{kPatient};
  std::vector<PassedSocket> sockets_ = ManySockets(300);
};

// A server that soon loses patience.
class StallingPeerTest : public TakeoverTest {
 protected:
  void SetUp() override { ASSERT_TRUE(server_.Listen(Path()).ok()); }
  TakeoverServer server_{kHurried};
};

TEST_F(StallingPeerTest, BeforeItsHello) {
  const int peer = ConnectedUnix(Path());
  const auto result = HandleOne(server_, {});
  EXPECT_EQ(result.outcome, Outcome::kFailed);
  EXPECT_TRUE(absl::IsDeadlineExceeded(result.status)) << result.status;
  close(peer);
  EXPECT_EQ(server_.Handle({}).outcome, Outcome::kNothing);
}

TEST_F(StallingPeerTest, ThatReadsNothing) {
  // More than the socket's buffer holds.
  auto sockets = ManySockets(200);
  for (PassedSocket& socket : sockets) socket.label.resize(4096);
  const int peer = ConnectedUnix(Path());
  SendRaw(peer, Encode(FrameType::kHello));
  const auto result = HandleOne(server_, sockets);
  EXPECT_TRUE(absl::IsDeadlineExceeded(result.status)) << result.status;
  close(peer);
  CloseAll(sockets);
}

// The running process takes the takeover back; its word reaches the peer although the connection
// was reset with a message unread.
TEST_F(TakeoverTest, ThePeerIsReadyTooLate) {
  const UniqueFd signal(eventfd(0, EFD_CLOEXEC));
  TakeoverServer server({.patience = kPatient.patience, .interrupt_fd = signal.get()});
  ASSERT_TRUE(server.Listen(Path()).ok());
  std::thread running([&] {
    const auto result = HandleOne(server, {});
    EXPECT_EQ(result.outcome, Outcome::kFailed);
    EXPECT_TRUE(absl::IsCancelled(result.status)) << result.status;
  });
  auto client = MustConnect(Path());
  EXPECT_EQ(eventfd_write(signal.get(), 1), 0);
  running.join();
  const absl::Status ready = client->Ready();
  EXPECT_TRUE(absl::IsAborted(ready)) << ready;
  EXPECT_TRUE(Contains(ready, "a signal interrupted")) << ready;
}

TEST_F(TakeoverTest, ThePeersWordIsReadAfterAReset) {
  int pair[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
  SendRaw(pair[0], Encode(FrameType::kReady));  // stays unread: closing resets
  SendRaw(pair[1], Encode(FrameType::kRefused, "too late"));
  close(pair[1]);
  Channel channel(UniqueFd(pair[0]), "the peer", kPatient.patience, -1);
  const absl::Status first = channel.Receive(FrameType::kReleased).status();
  EXPECT_TRUE(absl::IsAborted(first)) << first;
  EXPECT_TRUE(Contains(first, "too late")) << first;
  EXPECT_TRUE(absl::IsUnavailable(channel.Receive(FrameType::kReleased).status()));
}

TEST_F(TakeoverTest, ThePeerNeverLetsGo) {
  const UniqueFd signal(eventfd(0, EFD_CLOEXEC));
  TakeoverServer server({.patience = kPatient.patience, .interrupt_fd = signal.get()});
  ASSERT_TRUE(server.Listen(Path()).ok());
  std::thread running([&] {
    EXPECT_EQ(HandleOne(server, {}).outcome, Outcome::kHandedOver);
    EXPECT_TRUE(absl::IsCancelled(server.Release()));
    EXPECT_EQ(server.fd(), -1);
  });
  auto client = MustConnect(Path());
  EXPECT_TRUE(client->Ready().ok());
  EXPECT_EQ(eventfd_write(signal.get(), 1), 0);
  running.join();
}

TEST_F(BadPeerTest, DiesBeforeItsHello) {
  close(ConnectedUnix(Path()));
  EXPECT_TRUE(absl::IsUnavailable(Failure()));
}

TEST_F(BadPeerTest, DiesBeforeItIsReady) {
  std::thread dying([&] { MustConnect(Path()); });
  EXPECT_TRUE(absl::IsUnavailable(Failure()));
  dying.join();
}

TEST_F(BadPeerTest, IsKilledBeforeItIsReady) {
  const std::string path = Path();
  const pid_t child = InChild([&] {
    const auto client = TakeoverClient::Connect(path, kPatient);
    return client.ok() && client->has_value() ? raise(SIGKILL) : 1;
  });
  EXPECT_TRUE(absl::IsUnavailable(Failure()));
  EXPECT_EQ(ExitCodeOf(child), 128 + SIGKILL);
}

TEST_F(BadPeerTest, HasAnotherVersion) {
  std::string hello = Encode(FrameType::kHello);
  hello[sizeof(wire::kMagic)] = 7;
  const int peer = ConnectedUnix(Path());
  SendRaw(peer, hello);
  const absl::Status failure = Failure();
  EXPECT_TRUE(absl::IsFailedPrecondition(failure)) << failure;
  EXPECT_TRUE(Contains(failure, "version 7")) << failure;
  Channel channel(UniqueFd(peer), "the server", kPatient.patience, -1);
  const auto answer = channel.Receive(FrameType::kSockets);
  EXPECT_TRUE(absl::IsAborted(answer.status())) << answer.status();  // it is told why
  EXPECT_TRUE(Contains(answer.status(), "version 7")) << answer.status();
}

TEST_F(BadPeerTest, SpeaksOutOfTurn) {
  for (const FrameType type : {FrameType::kReady, FrameType::kReleased, FrameType(9)}) {
    const int peer = ConnectedUnix(Path());
    SendRaw(peer, Encode(type));
    EXPECT_TRUE(absl::IsDataLoss(Failure()));
    close(peer);
  }
  const int peer = ConnectedUnix(Path());
  SendRaw(peer, Encode(FrameType::kHello));
  SendRaw(peer, Encode(FrameType::kHello));
  EXPECT_TRUE(absl::IsDataLoss(Failure()));
  close(peer);
}

TEST_F(BadPeerTest, SendsSocketsOfItsOwn) {
  const int peer = ConnectedUnix(Path());
  SendRaw(peer, Encode(FrameType::kHello), {peer, peer});
  EXPECT_TRUE(absl::IsDataLoss(Failure()));
  close(peer);
}

TEST_F(BadPeerTest, OnlyFindsSocketsThatCantBePassed) {
  std::thread refused([&] {
    for (int i = 0; i < 2; ++i) {
      const auto client = TakeoverClient::Connect(Path(), kPatient);
      EXPECT_TRUE(absl::IsAborted(client.status())) << client.status();
    }
  });
  EXPECT_TRUE(WaitReadable(server_.fd()));
  EXPECT_TRUE(absl::IsInvalidArgument(server_.Handle({{0, std::string(4097, 'x')}}).status));
  EXPECT_TRUE(WaitReadable(server_.fd()));
  EXPECT_TRUE(absl::IsInvalidArgument(server_.Handle({{-1, "not open"}}).status));
  refused.join();
}

TEST_F(TakeoverTest, TheServerDiesBeforeItLetsGo) {
  auto server = std::make_unique<TakeoverServer>(kPatient);
  ASSERT_TRUE(server->Listen(Path()).ok());
  std::thread running([&] {
    EXPECT_EQ(HandleOne(*server, {}).outcome, Outcome::kHandedOver);
    server.reset();
  });
  auto client = MustConnect(Path());
  const absl::Status ready = client->Ready();
  EXPECT_TRUE(absl::IsUnavailable(ready)) << ready;
  running.join();
}

TEST_F(TakeoverTest, ASignalEndsEachWait) {
  const UniqueFd signal(eventfd(1, EFD_CLOEXEC));
  const TakeoverOptions interrupted = {.patience = kPatient.patience, .interrupt_fd = signal.get()};
  TakeoverServer server(interrupted);
  ASSERT_TRUE(server.Listen(Path()).ok());
  EXPECT_TRUE(absl::IsCancelled(TakeoverClient::Connect(Path(), interrupted).status()));
  (void)server.Handle({});  // the one that is gone
  const int peer = ConnectedUnix(Path());
  EXPECT_TRUE(absl::IsCancelled(server.Handle({}).status));
  close(peer);
  TakeoverServer holder, waiter(interrupted);
  ASSERT_TRUE(holder.Listen(Name()).ok());
  EXPECT_TRUE(absl::IsCancelled(waiter.Listen(Name(), Claim::kPredecessors)));
}

// ---- users --------------------------------------------------------------------------------------

TEST_F(TakeoverTest, AForeignUserGetsNothing) {
  if (geteuid() != 0) GTEST_SKIP() << "only root can act as another user";
  for (const bool trusted : {false, true}) {
    TakeoverOptions options = kPatient;
    if (trusted) options.trusted_uid = kNobody;
    TakeoverServer server(options);
    ASSERT_TRUE(server.Listen(Name()).ok());
    const std::string name = Name();
    const pid_t child = InChild([&] {
      if (setuid(kNobody) != 0) return 1;
      auto client = TakeoverClient::Connect(name, kPatient);
      if (!client.ok()) return absl::IsAborted(client.status()) ? 2 : 3;
      if ((*client)->TakeSockets().size() != 1) return 4;
      return (*client)->Ready().ok() ? 0 : 5;
    });
    const UniqueFd socket(BoundInet(SOCK_STREAM));
    const auto result = HandleOne(server, {{socket.get(), "a"}});
    EXPECT_EQ(result.outcome, trusted ? Outcome::kHandedOver : Outcome::kFailed) << result.status;
    EXPECT_EQ(absl::IsPermissionDenied(result.status), !trusted) << result.status;
    EXPECT_EQ(server.Release().ok(), trusted);
    EXPECT_EQ(ExitCodeOf(child), trusted ? 0 : 2);
  }
}

// The refusal is read also where it came, and the connection closed, before our hello.
TEST_F(TakeoverTest, ARefusalBeforeTheHelloIsRead) {
  const UniqueFd listener(BoundUnix(Path(), SOCK_SEQPACKET));
  for (int i = 0; i < 50; ++i) {
    std::thread refusing([&] {
      const int peer = accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC);
      SendRaw(peer, Encode(FrameType::kRefused, "you are nobody"));
      close(peer);
    });
    const auto client = TakeoverClient::Connect(Path(), kPatient);
    EXPECT_TRUE(absl::IsAborted(client.status())) << client.status();
    refusing.join();
  }
}

// An abstract name has no permissions: anybody may have got it before us.
TEST_F(TakeoverTest, AForeignUsersServerIsNotTrusted) {
  if (geteuid() != 0) GTEST_SKIP() << "only root can act as another user";
  int ready[2], end[2];
  ASSERT_EQ(pipe2(ready, O_CLOEXEC), 0);
  ASSERT_EQ(pipe2(end, O_CLOEXEC), 0);
  const std::string name = Name();
  const pid_t child = InChild([&] {
    close(end[1]);
    if (setuid(kNobody) != 0) return 1;
    TakeoverServer server;
    if (!server.Listen(name).ok()) return 2;
    char byte = 0;
    if (write(ready[1], "", 1) != 1) return 3;
    return read(end[0], &byte, 1) == 0 ? 0 : 4;
  });
  char byte = 0;
  EXPECT_EQ(read(ready[0], &byte, 1), 1);
  const auto client = TakeoverClient::Connect(name, kPatient);
  EXPECT_TRUE(absl::IsPermissionDenied(client.status())) << client.status();
  for (const int fd : {ready[0], ready[1], end[0], end[1]}) close(fd);
  EXPECT_EQ(ExitCodeOf(child), 0);
}

// ---- descriptors run out ------------------------------------------------------------------------

// No more than `spare` descriptors can be opened while it lives.
class FewDescriptors {
 public:
  explicit FewDescriptors(int spare) {
    getrlimit(RLIMIT_NOFILE, &before_);
    rlimit few = before_;
    std::vector<UniqueFd> fds;  // the numbers to come, with the gaps
    for (int i = 0; i <= spare; ++i) fds.emplace_back(dup(0));
    few.rlim_cur = fds.back().get();
    setrlimit(RLIMIT_NOFILE, &few);
  }
  ~FewDescriptors() { setrlimit(RLIMIT_NOFILE, &before_); }

 private:
  rlimit before_ = {};
};

TEST_F(TakeoverTest, AServerWithoutDescriptorsCanStillBeReplaced) {
  const UniqueFd socket(BoundInet(SOCK_STREAM));
  TakeoverServer server(kPatient);
  ASSERT_TRUE(server.Listen(Path()).ok());
  const std::string path = Path();
  const pid_t child = InChild([&] {
    auto client = TakeoverClient::Connect(path, kPatient);
    if (!client.ok() || !client->has_value()) return 1;
    return (*client)->TakeSockets().size() == 1 && (*client)->Ready().ok() ? 0 : 2;
  });
  {
    const FewDescriptors none(0);
    ASSERT_EQ(dup(0), -1);
    const auto result = HandleOne(server, {{socket.get(), "a"}});
    EXPECT_EQ(result.outcome, Outcome::kHandedOver) << result.status;
  }
  EXPECT_TRUE(server.Release().ok());
  EXPECT_EQ(ExitCodeOf(child), 0);
}

// ---- the protocol -------------------------------------------------------------------------------

// A message of a malicious peer, as the other end gets it. The sender has closed by then.
absl::StatusOr<wire::Frame> ReceiveRaw(const std::string& bytes, const std::vector<int>& fds) {
  int pair[2];
  EXPECT_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
  SendRaw(pair[0], bytes, fds);
  close(pair[0]);
  Channel channel(UniqueFd(pair[1]), "the peer", kPatient.patience, -1);
  return channel.Receive(FrameType::kSockets);
}

const std::vector<std::string> kThreeLabels = {"tcp 0", "", "udp 1"};

std::string ThreeSockets() {
  size_t taken = 0;
  return wire::EncodeSockets(3, kThreeLabels, &taken);
}

// `number` in the place of a header's field.
std::string With(size_t offset, uint32_t number) {
  std::string frame = ThreeSockets();
  std::memcpy(frame.data() + offset, &number, sizeof(number));
  return frame;
}

using WireTest = unit_tests::LeavesNothingOpen;

TEST_F(WireTest, AMessageCutAnywhereIsRefused) {
  const std::string frame = ThreeSockets();
  ASSERT_TRUE(ReceiveRaw(frame, {0, 0, 0}).ok());
  const size_t open = OpenDescriptors();
  for (size_t length = 0; length < frame.size(); ++length) {
    const auto got = ReceiveRaw(frame.substr(0, length), {0, 0, 0});
    EXPECT_FALSE(got.ok()) << length;
    EXPECT_EQ(OpenDescriptors(), open) << length;
    // Also where the header announces the shorter length.
    if (length < sizeof(wire::Header)) continue;
    std::string consistent = With(offsetof(wire::Header, bytes), length - sizeof(wire::Header));
    EXPECT_TRUE(absl::IsDataLoss(ReceiveRaw(consistent.substr(0, length), {0, 0, 0}).status()));
  }
  EXPECT_TRUE(absl::IsDataLoss(ReceiveRaw(frame + "x", {0, 0, 0}).status()));
}

TEST_F(WireTest, AFlippedBitIsRefusedOrChangesALabel) {
  const std::string frame = ThreeSockets();
  const size_t open = OpenDescriptors();
  for (size_t bit = 0; bit < 8 * frame.size(); ++bit) {
    std::string flipped = frame;
    flipped[bit / 8] ^= char(1 << bit % 8);
    const auto got = ReceiveRaw(flipped, {0, 0, 0});
    if (!got.ok()) {
      EXPECT_EQ(OpenDescriptors(), open) << bit;
      continue;
    }
    // What is left to flip is a label, or the total, which is checked against what comes.
    EXPECT_EQ(got->fds.size(), 3u) << bit;
    size_t changed = got->total != 3;
    for (size_t i = 0; i < 3; ++i) changed += got->labels[i] != kThreeLabels[i];
    EXPECT_EQ(changed, 1u) << bit;
  }
}

TEST_F(WireTest, RandomBytesNeverBreakTheDecoder) {
  EXPECT_TRUE(rc::check("any labels survive, any damage is survived", [] {
    const auto labels =
        *rc::gen::container<std::vector<std::string>>(rc::gen::string<std::string>());
    size_t taken = 0;
    std::string frame = wire::EncodeSockets(labels.size(), labels, &taken);
    RC_ASSERT(taken == std::min<size_t>(labels.size(), 253) || frame.size() > 20'000);
    const auto fds = [&] {
      std::vector<UniqueFd> owned;
      for (size_t i = 0; i < taken; ++i) owned.emplace_back(dup(0));
      return owned;
    };
    const auto whole = wire::Decode(frame, fds());
    RC_ASSERT(whole.ok());
    RC_ASSERT(std::equal(whole->labels.begin(), whole->labels.end(), labels.begin()));
    const auto damages = *rc::gen::container<std::vector<std::pair<size_t, char>>>(
        rc::gen::pair(rc::gen::inRange<size_t>(0, frame.size()), rc::gen::arbitrary<char>()));
    for (const auto& [at, byte] : damages) frame[at] = byte;
    frame.resize(*rc::gen::inRange<size_t>(0, frame.size() + 1));
    const auto damaged = wire::Decode(frame, fds());
    if (damaged.ok() && damaged->type == FrameType::kSockets) {
      RC_ASSERT(damaged->fds.size() == taken && damaged->labels.size() == taken);
    }
  }));
}

TEST_F(WireTest, EachLieHasItsSentence) {
  using wire::Header;
  struct Lie {
    std::string frame;
    size_t fds;
    const char* sentence;
  };
  size_t taken = 0;
  const std::vector<std::string> too_long = {std::string(4097, 'x')};
  const std::vector<Lie> lies = {
      {"hello", 0, "has no header"},
      {With(0, 0), 3, "does not speak the takeover protocol"},
      {With(offsetof(Header, version), 0), 3, "older than our version 1"},
      {With(offsetof(Header, version), 2), 3, "newer than our version 1"},
      {With(offsetof(Header, version), 2).substr(0, 12), 3, "newer than our version 1"},
      {ThreeSockets().substr(0, 20), 3, "a header has 28"},
      {With(offsetof(Header, type), 77), 3, "unknown type: 77"},
      {With(offsetof(Header, type), uint32_t(FrameType::kReady)), 3, "where none belong"},
      {With(offsetof(Header, total), 1'000'000), 3, "announced 1000000 sockets"},
      {With(offsetof(Header, total), 2), 3, "3 sockets where it announced 2"},
      {With(offsetof(Header, count), 2), 3, "3 sockets in a message that announced 2"},
      {ThreeSockets(), 2, "2 sockets in a message that announced 3"},
      {ThreeSockets(), 4, "4 sockets in a message that announced 3"},
      {With(offsetof(Header, bytes), 4'000'000'000), 3, "which announced 4000000000"},
      {With(sizeof(Header), 4000), 3, "a label of 4000 bytes in a message that has"},
      {With(sizeof(Header), 0xffffffff), 3, "a label of 4294967295 bytes; at most 4096"},
      {wire::EncodeSockets(1, too_long, &taken), 1, "a label of 4097 bytes"},
      {Encode(FrameType::kReady), 0, "sent a message of type 3 where type 2 was due"},
      {Encode(FrameType::kRefused, "no mood"), 0, "refused: no mood"},
      {std::string(40'000, 'x'), 3, "of more than 32768 bytes"},
  };
  const size_t open = OpenDescriptors();
  for (const Lie& lie : lies) {
    const auto got = ReceiveRaw(lie.frame, std::vector<int>(lie.fds, 0));
    EXPECT_TRUE(Contains(got.status(), lie.sentence)) << got.status();
    EXPECT_TRUE(absl::StartsWith(std::string(got.status().message()), "the peer ")) << got.status();
    EXPECT_EQ(OpenDescriptors(), open) << lie.sentence;
  }
}

TEST_F(WireTest, SocketsThatDontFitAreFatal) {
  int pair[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
  SendRaw(pair[0], ThreeSockets(), {0, 0, 0});
  close(pair[0]);
  const size_t open = OpenDescriptors();
  {
    Channel channel(UniqueFd(pair[1]), "the peer", kPatient.patience, -1);
    const FewDescriptors two(2);
    const auto got = channel.Receive(FrameType::kSockets);
    EXPECT_TRUE(absl::IsResourceExhausted(got.status())) << got.status();
    EXPECT_TRUE(Contains(got.status(), "only 2 of the sockets")) << got.status();
  }
  EXPECT_EQ(OpenDescriptors(), open - 1);  // the channel's own
}

// ---- servers that lie ---------------------------------------------------------------------------

struct Sent {
  std::string frame;
  size_t fds;
};

// What Connect() says to a server that sends these frames and closes.
absl::Status ConnectToLiar(const std::string& path, const std::vector<Sent>& frames) {
  const UniqueFd listener(BoundUnix(path, SOCK_SEQPACKET));
  std::thread liar([&] {
    EXPECT_TRUE(WaitReadable(listener.get()));
    const UniqueFd peer(accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
    char hello[64];
    EXPECT_EQ(recv(peer.get(), hello, sizeof(hello), 0), ssize_t(sizeof(wire::Header)));
    for (const Sent& sent : frames) SendRaw(peer.get(), sent.frame, std::vector<int>(sent.fds, 0));
  });
  const auto client = TakeoverClient::Connect(path, kPatient);
  liar.join();
  return client.status();
}

TEST_F(TakeoverTest, AServerWhoseCountsDontMatchIsRefused) {
  size_t taken = 0;
  const std::vector<std::string> none;
  const auto of_total = [](uint32_t total) { return With(offsetof(wire::Header, total), total); };
  const Sent more = {of_total(7), 3}, whole = {of_total(4), 3};
  const auto liar = [&](const std::vector<Sent>& frames) {
    static int number = 0;
    return ConnectToLiar(InFolder(absl::StrCat("liar", ++number)), frames);
  };
  EXPECT_TRUE(absl::IsDataLoss(liar({more, whole})));
  EXPECT_TRUE(absl::IsDataLoss(liar({whole, whole})));
  EXPECT_TRUE(absl::IsDataLoss(liar({{wire::EncodeSockets(3, none, &taken), 0}})));
  EXPECT_TRUE(absl::IsUnavailable(liar({more})));  // it dies halfway
  EXPECT_TRUE(absl::IsFailedPrecondition(liar({{With(offsetof(wire::Header, version), 9), 3}})));
}

TEST_F(TakeoverTest, AServerThatStallsIsGivenUp) {
  const UniqueFd listener(BoundUnix(Path(), SOCK_SEQPACKET));
  const auto client = TakeoverClient::Connect(Path(), kHurried);
  EXPECT_TRUE(absl::IsDeadlineExceeded(client.status())) << client.status();
}

}  // namespace
}  // namespace server
