#include "bench/arm.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <fstream>
#include <sstream>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "bench/own_server.h"

namespace bench {
namespace {

constexpr int64_t kGlanceNs = 1'000'000;

sockaddr_in Loopback(uint16_t port) {
  sockaddr_in at = {};
  at.sin_family = AF_INET;
  at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  at.sin_port = htons(port);
  return at;
}

// A port that nobody listens on at the moment.
uint16_t FreePort(int type) {
  const int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);
  sockaddr_in at = Loopback(0);
  socklen_t size = sizeof(at);
  (void)bind(fd, reinterpret_cast<sockaddr*>(&at), size);
  getsockname(fd, reinterpret_cast<sockaddr*>(&at), &size);
  close(fd);
  return ntohs(at.sin_port);
}

bool Connects(int type, const sockaddr* at, socklen_t size) {
  const int fd = socket(at->sa_family, type | SOCK_CLOEXEC, 0);
  const bool connected = connect(fd, at, size) == 0;
  close(fd);
  return connected;
}

// Whether a UDP socket is bound to the port. The kernel is asked, since a datagram would be a
// request, and a bind of ours would be in the server's way.
bool IsBound(uint16_t port) {
  const std::string end = absl::StrFormat(":%04X", port);
  for (const char* table : {"/proc/net/udp", "/proc/net/udp6"}) {
    std::ifstream file(table);
    std::string line, slot, local;
    while (std::getline(file, line)) {
      std::istringstream fields(line);
      if (fields >> slot >> local && absl::EndsWith(local, end)) return true;
    }
  }
  return false;
}

// Where an arm's server is to be.
struct Place {
  std::string transport;
  uint16_t port = 0;
  std::string name;  // abstract (unix(7))

  std::string address() const {
    if (transport == "unix") return absl::StrCat("unix:@", name);
    if (transport == "seqpacket") return absl::StrCat("unix-seqpacket:@", name);
    if (transport == "unix-dgram") return absl::StrCat("unix-dgram:@", name);
    return absl::StrCat(transport == "udp" ? "udp://" : "", "127.0.0.1:", port);
  }

  bool Ready() const {
    if (transport == "udp") return IsBound(port);
    if (!IsUnix(transport)) {
      const sockaddr_in at = Loopback(port);
      return Connects(SOCK_STREAM, reinterpret_cast<const sockaddr*>(&at), sizeof(at));
    }
    sockaddr_un at = {};
    at.sun_family = AF_UNIX;
    name.copy(at.sun_path + 1, sizeof(at.sun_path) - 1);
    const int type = transport == "unix"        ? SOCK_STREAM
                     : transport == "seqpacket" ? SOCK_SEQPACKET
                                                : SOCK_DGRAM;
    return Connects(type, reinterpret_cast<const sockaddr*>(&at),
                    static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size()));
  }
};

// A place that nobody has; one of our own servers picks its port itself.
Place NewPlace(const std::string& transport, bool ringside) {
  static std::atomic<int> names{0};
  Place place = {.transport = transport};
  if (IsUnix(transport)) {
    place.name = absl::StrCat("ringside-compare-", getpid(), "-", ++names);
  } else if (!ringside) {
    place.port = FreePort(IsDatagram(transport) ? SOCK_DGRAM : SOCK_STREAM);
  }
  return place;
}

std::string Described(const Arm& arm) {
  return absl::StrCat("the server of arm '", arm.name, "' (", absl::StrJoin(arm.command, " "), ")");
}

// One of our own servers is told where to listen anyway: its command may say where that goes, as
// any other's does.
absl::Status LeaveOutPlace(Arm* arm) {
  std::erase_if(arm->command, [](const std::string& word) {
    return word == "{address}" || word == "{port}" || word == "127.0.0.1:{port}";
  });
  for (const std::string& word : arm->command) {
    if (!absl::StrContains(word, "{port}") && !absl::StrContains(word, "{address}")) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("arm '", arm->name,
                     "': ringside serve listens on one address here, which it "
                     "is given; leave out '",
                     word, "'"));
  }
  return absl::OkStatus();
}

// Waits until somebody accepts or takes datagrams there.
absl::Status AwaitForeign(const Arm& arm, const Place& place, Process* process, int interrupt_fd) {
  const auto give_up = std::chrono::steady_clock::now() + std::chrono::nanoseconds(kServerReadyNs);
  while (std::chrono::steady_clock::now() < give_up) {
    if (place.Ready()) return absl::OkStatus();
    switch (process->Wait(kGlanceNs, interrupt_fd)) {
      case Process::Waited::kEnded:
        return ServerFailed(Described(arm), "ended at once", *process);
      case Process::Waited::kInterrupted:
        return absl::CancelledError("interrupted");
      case Process::Waited::kTimeout:
        break;
    }
  }
  return ServerFailed(Described(arm), "was not ready in 10 s", *process);
}

}  // namespace

bool IsUnix(const std::string& transport) {
  return transport == "unix" || transport == "seqpacket" || transport == "unix-dgram";
}

bool IsDatagram(const std::string& transport) {
  return transport == "udp" || transport == "unix-dgram";
}

absl::StatusOr<Arm> ParseArm(const std::string& text, const std::vector<std::string>& backends,
                             const std::string& transport) {
  const size_t equals = text.find('=');
  if (equals == std::string::npos) {
    if (std::find(backends.begin(), backends.end(), text) == backends.end()) {
      return absl::InvalidArgumentError(
          absl::StrCat("'", text, "' is neither a backend (", absl::StrJoin(backends, ", "),
                       ") nor NAME=COMMAND; write for example --arm mine='./server {port}'"));
    }
    return Arm{text, {OwnExecutable(), "serve", "--backend", text}, true};
  }
  Arm arm{.name = text.substr(0, equals)};
  auto words = SplitWords(text.substr(equals + 1));
  if (!words.ok()) return words.status();
  arm.command = *words;
  if (arm.name.empty() || arm.command.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("'", text, "' lacks a name or a command; write NAME=COMMAND"));
  }
  if (arm.command[0] == "serve") arm.command.insert(arm.command.begin(), OwnExecutable());
  arm.ringside = arm.command.size() > 1 && arm.command[1] == "serve";
  if (arm.ringside) {
    const absl::Status left_out = LeaveOutPlace(&arm);
    if (!left_out.ok()) return left_out;
  }
  const bool has_address = absl::StrContains(text, "{address}");
  if (IsUnix(transport) && !arm.ringside && !has_address) {
    return absl::InvalidArgumentError(
        absl::StrCat("arm '", arm.name,
                     "' names no address; put {address} where the command takes "
                     "it (--transport ",
                     transport, " has no ports)"));
  }
  if (!arm.ringside && !has_address && !absl::StrContains(text, "{port}")) {
    return absl::InvalidArgumentError(absl::StrCat(
        "arm '", arm.name,
        "' names no port; put {port} or {address} where the command takes it (another build of "
        "ringside needs neither: NAME=PATH serve FLAGS)"));
  }
  return arm;
}

absl::StatusOr<RunningServer> StartServer(const Arm& arm, const std::string& transport,
                                          const std::vector<std::string>& flags,
                                          const std::vector<int>& cpus, int interrupt_fd) {
  std::vector<std::string> argv = arm.command;
  Place place = NewPlace(transport, arm.ringside);
  if (arm.ringside) {
    argv.insert(argv.end(), {place.address(), "--json"});
    argv.insert(argv.end(), flags.begin(), flags.end());
    auto server = StartOwnServer(argv, Described(arm), cpus, interrupt_fd);
    if (!server.ok()) return server.status();
    if (!IsUnix(transport)) place.port = server->ready["port"].get<uint16_t>();
    return RunningServer{std::move(server->process), place.address()};
  }
  for (std::string& word : argv) {
    word = absl::StrReplaceAll(
        word, {{"{port}", absl::StrCat(place.port)}, {"{address}", place.address()}});
  }
  auto process = Process::Start(argv, cpus, /*nofile=*/0, Process::kSomeBytes);
  if (!process.ok()) return process.status();
  const absl::Status ready = AwaitForeign(arm, place, &*process, interrupt_fd);
  if (!ready.ok()) return ready;
  return RunningServer{*std::move(process), place.address()};
}

absl::StatusOr<double> StopServer(const Arm& arm, RunningServer server, int interrupt_fd) {
  if (arm.ringside) {
    const auto summary =
        StopOwnServer({std::move(server.process), Described(arm), {}}, interrupt_fd);
    if (!summary.ok()) return summary.status();
    return (*summary)["loop"]["system_calls"].get<double>();
  }
  const absl::Status ended = EndServer(Described(arm), &server.process, interrupt_fd);
  if (!ended.ok()) return ended;
  return std::nan("");
}

}  // namespace bench
