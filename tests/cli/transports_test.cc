#include <netinet/in.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <cstddef>
#include <cstring>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "tests/cli/ringside.h"
#include "tests/tier.h"

// `ringside load` over all that is no TCP, against servers that are not ours: threads of the test,
// which also lose, hold back, double and change datagrams as they are told.
namespace cli_tests {
namespace {

// A socket bound where nobody else is, and what `load` calls its address.
struct Bound {
  int fd;
  std::string address;
};

Bound BindAnew(const std::string& transport) {
  static std::atomic<int> names{0};
  if (transport == "udp") {
    const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    sockaddr_in at = {};
    at.sin_family = AF_INET;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(at);
    EXPECT_EQ(bind(fd, reinterpret_cast<sockaddr*>(&at), size), 0);
    getsockname(fd, reinterpret_cast<sockaddr*>(&at), &size);
    return {fd, "udp://127.0.0.1:" + std::to_string(ntohs(at.sin_port))};
  }
  const int type = transport == "unix"             ? SOCK_STREAM
                   : transport == "unix-seqpacket" ? SOCK_SEQPACKET
                                                   : SOCK_DGRAM;
  const std::string name =
      "ringside-test-" + std::to_string(getpid()) + "-" + std::to_string(++names);
  const int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
  sockaddr_un at = {};
  at.sun_family = AF_UNIX;
  name.copy(at.sun_path + 1, sizeof(at.sun_path) - 1);
  const socklen_t size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
  EXPECT_EQ(bind(fd, reinterpret_cast<sockaddr*>(&at), size), 0);
  return {fd, transport + ":@" + name};
}

// A server of datagrams. `answer` is told which datagram of its peer this is, from 1, and over all,
// and gives what is sent back, in this order; what is sent later comes from a later call.
class DatagramServer {
 public:
  struct Request {
    uint64_t of_peer, of_all;
    std::string peer, bytes;
  };
  using Answer = std::function<std::vector<std::string>(const Request&)>;

  DatagramServer(const std::string& transport, Answer answer)
      : bound_(BindAnew(transport)), answer_(std::move(answer)), thread_([this] { Serve(); }) {}
  ~DatagramServer() {
    eventfd_write(stop_, 1);
    thread_.join();
    close(bound_.fd);
    close(stop_);
  }
  const std::string& address() const { return bound_.address; }
  uint64_t received() const { return received_; }

 private:
  void Serve() {
    std::map<std::string, uint64_t> counts;
    std::vector<char> buffer(256 * 1024);
    pollfd ready[2] = {{bound_.fd, POLLIN, 0}, {stop_, POLLIN, 0}};
    while (poll(ready, 2, -1) >= 0 && ready[1].revents == 0) {
      sockaddr_storage peer;
      socklen_t size = sizeof(peer);
      auto* to = reinterpret_cast<sockaddr*>(&peer);
      const ssize_t n = recvfrom(bound_.fd, buffer.data(), buffer.size(), MSG_DONTWAIT, to, &size);
      if (n < 0) continue;  // ECONNREFUSED: an earlier answer's peer has gone
      const std::string name(reinterpret_cast<char*>(&peer), size);
      const Request request = {.of_peer = ++counts[name],
                               .of_all = ++received_,
                               .peer = name,
                               .bytes = std::string(buffer.data(), n)};
      for (const std::string& out : answer_(request)) {
        (void)sendto(bound_.fd, out.data(), out.size(), MSG_NOSIGNAL, to, size);
      }
    }
  }

  const Bound bound_;
  const Answer answer_;
  const int stop_ = eventfd(0, EFD_CLOEXEC);
  std::atomic<uint64_t> received_{0};
  std::thread thread_;
};

std::vector<std::string> Echo(const DatagramServer::Request& in) { return {in.bytes}; }

class LoadOver : public testing::TestWithParam<std::tuple<std::string, std::string>> {
 protected:
  void SetUp() override {
    if (!Available(backend())) GTEST_SKIP() << backend() << " is not available here";
  }
  std::string backend() const { return std::get<0>(GetParam()); }
  std::string transport() const { return std::get<1>(GetParam()); }

  Json Load(const std::string& address, std::vector<std::string> flags, int exit_code = 0) {
    flags.insert(flags.begin(), {address, "--backend", backend()});
    return LoadJson(std::move(flags), exit_code);
  }
};

std::string NameOf(const testing::TestParamInfo<std::tuple<std::string, std::string>>& test) {
  std::string name = std::get<0>(test.param) + "_" + std::get<1>(test.param);
  for (char& c : name) c = c == '-' ? '_' : c;
  return name;
}

class LoadDatagrams : public LoadOver {};
INSTANTIATE_TEST_SUITE_P(All, LoadDatagrams,
                         testing::Combine(testing::Values("epoll", "io_uring"),
                                          testing::Values("udp", "unix-dgram")),
                         NameOf);

// So long that nothing is lost unless it was dropped, however busy the machine is.
const std::string kPatient = "5m";

TEST_P(LoadDatagrams, LosesNothing) {
  for (const auto& flags :
       std::vector<std::vector<std::string>>{{"-c", "16", "-n", "5000"},
                                             {"-c", "4", "--depth", "8", "-n", "5000", "-s", "777"},
                                             {"-c", "8", "-t", "2", "-n", "2000", "-s", "1"},
                                             {"-c", "2", "-n", "100", "-s", "65507"},
                                             {"-c", "16", "--rate", "20k", "-n", "2000"}}) {
    DatagramServer server(transport(), Echo);
    auto patient = flags;
    patient.insert(patient.end(), {"--timeout", kPatient});
    const Json json = Load(server.address(), patient);
    EXPECT_EQ(json["valid"], true);
    EXPECT_EQ(json["requests"], server.received());
    EXPECT_EQ(json["bytes"]["sent"], json["bytes"]["received"]);
    EXPECT_EQ(json["errors"]["total"], 0);
    EXPECT_EQ(json["datagrams"]["lost"], 0);
    EXPECT_EQ(json["datagrams"]["reordered"], 0);
    EXPECT_EQ(json["datagrams"]["doubled"], 0);
  }
}

// Each request that is dropped is lost, and none of them holds up its connection for good. Whatever
// else a busy machine lets time out is late.
TEST_P(LoadDatagrams, CountsWhatIsLost) {
  LEFT_TO_ALL();
  DatagramServer server(transport(), [](const auto& in) {
    return in.of_all % 100 == 0 ? std::vector<std::string>{} : Echo(in);
  });
  const Json json =
      Load(server.address(), {"-c", "16", "-n", "800", "--timeout", "2s", "--loss-max", "50%"});
  EXPECT_EQ(json["valid"], true);
  const Json& datagrams = json["datagrams"];
  EXPECT_EQ(datagrams["lost"].get<int>() - datagrams["late"].get<int>(), 8) << datagrams;
  EXPECT_EQ(json["requests"].get<int>() + datagrams["lost"].get<int>(), 800);
  EXPECT_EQ(datagrams["doubled"], 0);
  EXPECT_EQ(json["errors"]["total"], 0);
  EXPECT_EQ(server.received(), 800u);
}

TEST_P(LoadDatagrams, IsNotValidWhereMoreIsLostThanMayBe) {
  LEFT_TO_ALL();
  DatagramServer server(transport(), [](const auto& in) {
    return in.of_all == 50 ? std::vector<std::string>{} : Echo(in);
  });
  const Ended ended = Ringside({"load", server.address(), "--backend", backend(), "-c", "16", "-n",
                                "64", "--timeout", "1s"});
  EXPECT_EQ(ended.exit_code, 1);
  EXPECT_NE(ended.out.find("lost"), std::string::npos) << ended.out;
  EXPECT_NE(ended.err.find("--loss-max is 1 %"), std::string::npos) << ended.err;
}

// What a connection is asked first may be lost, too: it is asked again until it answers.
TEST_P(LoadDatagrams, OpensWhereTheFirstDatagramsAreLost) {
  DatagramServer server(transport(), [](const auto& in) {
    return in.of_peer <= 2 ? std::vector<std::string>{} : Echo(in);
  });
  const Json json = Load(server.address(), {"-c", "8", "-d", "100ms", "--warmup", "10ms",
                                            "--timeout", "100ms", "--loss-max", "100%"});
  EXPECT_EQ(json["valid"], true);
  EXPECT_EQ(json["connections"]["answered"], 8);
  EXPECT_EQ(json["connections"]["silent"], 0);
  const Json& datagrams = json["datagrams"];
  EXPECT_GE(datagrams["lost"].get<int>() - datagrams["late"].get<int>(), 16) << datagrams;
}

// A reply is held back until the next request of its peer has come: so that one was given up.
TEST_P(LoadDatagrams, TellsLateReplies) {
  LEFT_TO_ALL();
  std::string held;
  DatagramServer server(transport(), [&](const auto& in) -> std::vector<std::string> {
    if (in.of_peer % 3 == 2) {
      held = in.bytes;
      return {};
    }
    if (held.empty()) return {in.bytes};
    return {std::exchange(held, ""), in.bytes};
  });
  const Json json =
      Load(server.address(), {"-c", "1", "-n", "7", "--timeout", "500ms", "--loss-max", "100%"});
  EXPECT_EQ(json["valid"], true);
  const Json& datagrams = json["datagrams"];
  EXPECT_GE(datagrams["late"], 2);
  EXPECT_EQ(datagrams["lost"], datagrams["late"]);
  EXPECT_EQ(datagrams["reordered"], 0);
  EXPECT_EQ(json["requests"].get<int>() + datagrams["lost"].get<int>(), 7);
  EXPECT_EQ(json["bytes"]["received"], json["bytes"]["sent"]);
  EXPECT_EQ(json["errors"]["total"], 0);
}

TEST_P(LoadDatagrams, TellsReorderedReplies) {
  std::string held;
  DatagramServer server(transport(), [&](const auto& in) -> std::vector<std::string> {
    if (in.of_peer % 10 == 3) {  // another one is under way: depth is 2
      held = in.bytes;
      return {};
    }
    if (held.empty()) return {in.bytes};
    return {in.bytes, std::exchange(held, "")};
  });
  const Json json =
      Load(server.address(), {"-c", "1", "--depth", "2", "-n", "100", "--timeout", kPatient});
  EXPECT_EQ(json["valid"], true);
  EXPECT_EQ(json["requests"], 100);
  EXPECT_EQ(json["datagrams"]["reordered"], 10);
  EXPECT_EQ(json["datagrams"]["lost"], 0);
  EXPECT_EQ(json["datagrams"]["late"], 0);
}

TEST_P(LoadDatagrams, TellsDoubledReplies) {
  DatagramServer server(transport(), [](const auto& in) -> std::vector<std::string> {
    if (in.of_peer % 10 == 5) return {in.bytes, in.bytes};
    return {in.bytes};
  });
  const Json json =
      Load(server.address(), {"-c", "1", "-n", "100", "--timeout", kPatient, "--loss-max", "10%"});
  EXPECT_EQ(json["valid"], true);
  EXPECT_EQ(json["requests"], 100);
  EXPECT_EQ(json["datagrams"]["doubled"], 10);
  EXPECT_EQ(json["datagrams"]["loss_share"], 0.1);
}

TEST_P(LoadDatagrams, FindsACorruptByte) {
  DatagramServer server(transport(), [](const auto& in) -> std::vector<std::string> {
    std::string bytes = in.bytes;
    if (in.of_peer == 2) bytes[10] ^= 0x40;
    return {bytes};
  });
  const Json json = Load(server.address(), {"-c", "1", "-n", "3", "--timeout", "1s"}, 1);
  EXPECT_EQ(json["valid"], false);
  EXPECT_EQ(json["errors"]["corrupt_connections"], 1);
  EXPECT_EQ(json["bytes"]["corrupt"], 1);
  const Json& corruption = json["errors"]["corruptions"][0];
  EXPECT_EQ(corruption["offset"], 64 + 10);
  EXPECT_EQ(corruption["expected"].get<int>() ^ 0x40, corruption["got"].get<int>());
  EXPECT_EQ(json["requests"].get<int>() + json["datagrams"]["lost"].get<int>(), 3);
}

// A datagram that answers nothing is corrupt; the request's own reply still counts.
TEST_P(LoadDatagrams, FindsAForeignReply) {
  DatagramServer server(transport(), [](const auto& in) -> std::vector<std::string> {
    if (in.of_peer == 2) return {std::string(64, 'f'), in.bytes.substr(0, 63), in.bytes};
    return {in.bytes};
  });
  const Json json = Load(server.address(), {"-c", "1", "-n", "3", "--timeout", kPatient}, 1);
  EXPECT_EQ(json["requests"], 3);
  EXPECT_EQ(json["errors"]["corrupt_connections"], 1);
  ASSERT_EQ(json["errors"]["corruptions"].size(), 2u);
  EXPECT_EQ(json["errors"]["corruptions"][1]["offset"], 64 + 63);
}

// A number may be lost with the reply that had it; one that nobody was given is missed.
TEST_P(LoadDatagrams, ProvesTheCounterBesideLosses) {
  LEFT_TO_ALL();
  for (const bool skips : {false, true}) {
    DatagramServer server(transport(), [&](const auto& in) -> std::vector<std::string> {
      if (in.of_all == 20) return {};
      return {std::to_string(in.of_all + (skips && in.of_all >= 40 ? 2 : 0)) + "\n"};
    });
    const Json json =
        Load(server.address(), {"--service", "counter", "-c", "1", "-n", "100", "--timeout", "2s"},
             skips ? 1 : 0);
    EXPECT_EQ(json["valid"], !skips);
    EXPECT_EQ(json["datagrams"]["lost"].get<int>() - json["datagrams"]["late"].get<int>(), 1);
    if (skips) {
      EXPECT_NE(json["errors"]["problem"].get<std::string>().find("did not arrive"),
                std::string::npos);
    }
  }
}

TEST_P(LoadDatagrams, IsRepliedTo) {
  DatagramServer server(transport(),
                        [](const auto&) -> std::vector<std::string> { return {"yes?"}; });
  const std::vector<std::string> flags = {"--service", "reply", "-c",        "4",
                                          "-n",        "400",   "--timeout", "1s"};
  auto right = flags, wrong = flags;
  right.insert(right.end(), {"--reply-text", "yes?"});
  wrong.insert(wrong.end(), {"--reply-text", "yes!"});
  const Json json = Load(server.address(), right);
  EXPECT_EQ(json["valid"], true);
  EXPECT_EQ(json["bytes"]["received"], 1600);
  wrong[5] = "4";
  EXPECT_EQ(Load(server.address(), wrong, 1)["errors"]["corrupt_connections"], 4);
}

TEST_P(LoadDatagrams, SendsToDiscardAndFindsASurplus) {
  DatagramServer silent(transport(), [](const auto&) { return std::vector<std::string>(); });
  const Json json =
      Load(silent.address(), {"--service", "discard", "-c", "4", "-n", "1000", "-s", "64"});
  EXPECT_EQ(json["valid"], true);
  EXPECT_EQ(json["requests"], 1000);
  EXPECT_EQ(json["bytes"]["sent"], 64'000);
  DatagramServer echo(transport(), Echo);
  const Json surplus =
      Load(echo.address(), {"--service", "discard", "-c", "4", "-d", "1h", "--warmup", "0s"}, 1);
  EXPECT_EQ(surplus["errors"]["surplus"], 4);
}

TEST_P(LoadDatagrams, SaysWhatToDoWhereNobodyListens) {
  std::string address;
  {
    DatagramServer gone(transport(), Echo);
    address = gone.address();
  }
  const Ended ended = Ringside({"load", address, "--backend", backend(), "-c", "4"});
  EXPECT_EQ(ended.exit_code, 1);
  EXPECT_NE(ended.err.find("ringside serve " + address), std::string::npos) << ended.err;
}

// An echo server of Unix connections, a thread each.
class UnixServer {
 public:
  explicit UnixServer(const std::string& transport, size_t message_bytes)
      : bound_(BindAnew(transport)), message_bytes_(message_bytes) {
    EXPECT_EQ(listen(bound_.fd, 64), 0);
    thread_ = std::thread([this] { Accept(); });
  }
  ~UnixServer() {
    shutdown(bound_.fd, SHUT_RDWR);
    thread_.join();
    for (std::thread& thread : threads_) thread.join();
    close(bound_.fd);
  }
  const std::string& address() const { return bound_.address; }
  uint64_t whole() const { return whole_; }  // receives that were a message, and nothing else

 private:
  void Accept() {
    while (true) {
      const int fd = accept4(bound_.fd, nullptr, nullptr, SOCK_CLOEXEC);
      if (fd < 0 && (errno == EINTR || errno == ECONNABORTED)) continue;
      if (fd < 0) return;
      threads_.emplace_back([this, fd] { Echo(fd); });
    }
  }

  void Echo(int fd) {
    std::vector<char> buffer(256 * 1024);
    for (ssize_t n; (n = recv(fd, buffer.data(), buffer.size(), 0)) > 0;) {
      if (static_cast<size_t>(n) == message_bytes_) ++whole_;
      for (ssize_t at = 0; at < n;) {
        const ssize_t sent = send(fd, buffer.data() + at, n - at, MSG_NOSIGNAL);
        if (sent <= 0) break;
        at += sent;
      }
    }
    close(fd);
  }

  const Bound bound_;
  const size_t message_bytes_;
  std::atomic<uint64_t> whole_{0};
  std::vector<std::thread> threads_;
  std::thread thread_;
};

class LoadUnix : public LoadOver {};
INSTANTIATE_TEST_SUITE_P(All, LoadUnix,
                         testing::Combine(testing::Values("epoll", "io_uring"),
                                          testing::Values("unix", "unix-seqpacket")),
                         NameOf);

TEST_P(LoadUnix, LosesNothing) {
  for (const size_t bytes : {1u, 64u, 777u, 65'536u, 200'000u}) {
    UnixServer server(transport(), bytes);
    const uint64_t requests = bytes > 1000 ? 200 : 4000;
    const Json json = Load(
        server.address(),
        {"-c", "8", "--depth", "4", "-n", std::to_string(requests), "-s", std::to_string(bytes)});
    EXPECT_EQ(json["valid"], true);
    EXPECT_EQ(json["requests"], requests);
    EXPECT_EQ(json["bytes"]["sent"], requests * bytes);
    EXPECT_EQ(json["bytes"]["received"], requests * bytes);
    EXPECT_FALSE(json.contains("datagrams"));
    if (transport() == "unix-seqpacket") {
      EXPECT_EQ(server.whole(), requests) << bytes;
    }
  }
}

TEST_P(LoadUnix, RunsForATimeAndPaced) {
  UnixServer server(transport(), 64);
  for (const std::vector<std::string>& flags :
       {std::vector<std::string>{}, {"--rate", "2k"}, {"-t", "2"}}) {
    std::vector<std::string> all = {"-c", "8", "-d", "100ms", "--warmup", "10ms"};
    all.insert(all.end(), flags.begin(), flags.end());
    const Json json = Load(server.address(), all);
    EXPECT_EQ(json["valid"], true);
    EXPECT_EQ(json["address"], server.address());
    EXPECT_GT(json["requests"], 0);
  }
}

TEST_P(LoadUnix, SaysWhatToDoWhereNothingListens) {
  const auto said = [&](const std::string& where) {
    const Ended ended = Ringside({"load", where, "--backend", backend(), "-c", "4"});
    EXPECT_EQ(ended.exit_code, 1);
    return ended.err;
  };
  const std::string missing = transport() + ":" + testing::TempDir() + "ringside-no-such.sock";
  EXPECT_NE(said(missing).find("no such path: start a server (ringside serve " + missing),
            std::string::npos);
  const std::string nobody = transport() + ":@ringside-nobody-" + std::to_string(getpid());
  EXPECT_NE(said(nobody).find("nothing listens there: start a server (ringside serve " + nobody),
            std::string::npos);
  // Only a path has one owner of any type; abstract names are apart (unix(7)).
  const std::string path = testing::TempDir() + "ringside-type-" + std::to_string(getpid());
  const int other =
      socket(AF_UNIX, (transport() == "unix" ? SOCK_SEQPACKET : SOCK_STREAM) | SOCK_CLOEXEC, 0);
  sockaddr_un at = {};
  at.sun_family = AF_UNIX;
  ASSERT_LT(path.size(), sizeof(at.sun_path));
  path.copy(at.sun_path, path.size());
  unlink(path.c_str());
  ASSERT_EQ(bind(other, reinterpret_cast<sockaddr*>(&at), sizeof(at)), 0);
  ASSERT_EQ(listen(other, 4), 0);
  EXPECT_NE(said(transport() + ":" + path).find("a socket of another type"), std::string::npos);
  close(other);
  unlink(path.c_str());
}

}  // namespace
}  // namespace cli_tests
