#include "bench/arm.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <functional>

#include <nlohmann/json.hpp>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"

namespace bench {
namespace {

using Json = nlohmann::ordered_json;

constexpr int64_t kReadyTimeoutNs = 10'000'000'000;
constexpr int64_t kStopTimeoutNs = 15'000'000'000;
constexpr int64_t kGlanceNs = 1'000'000;

sockaddr_in Loopback(uint16_t port) {
  sockaddr_in at = {};
  at.sin_family = AF_INET;
  at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  at.sin_port = htons(port);
  return at;
}

// A port that nobody listens on at the moment.
uint16_t FreePort() {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in at = Loopback(0);
  socklen_t size = sizeof(at);
  (void)bind(fd, reinterpret_cast<sockaddr*>(&at), size);
  getsockname(fd, reinterpret_cast<sockaddr*>(&at), &size);
  close(fd);
  return ntohs(at.sin_port);
}

bool Accepts(uint16_t port) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const sockaddr_in at = Loopback(port);
  const bool connected = connect(fd, reinterpret_cast<const sockaddr*>(&at), sizeof(at)) == 0;
  close(fd);
  return connected;
}

// The JSON object of the last line of the output that is one with that event.
Json EventOf(const std::string& output, const char* event) {
  Json found;
  for (size_t at = 0; at < output.size();) {
    const size_t end = output.find('\n', at);
    if (end == std::string::npos) break;
    Json line = Json::parse(output.substr(at, end - at), nullptr, /*allow_exceptions=*/false);
    if (line.is_object() && line.value("event", "") == event) found = std::move(line);
    at = end + 1;
  }
  return found;
}

absl::Status ServerFailed(const Arm& arm, const char* what, const Process& process) {
  std::string said = process.Errors();
  while (!said.empty() && said.back() == '\n') said.pop_back();
  const std::string code =
      process.ended() ? absl::StrCat(" with exit code ", process.exit_code()) : "";
  return absl::InternalError(absl::StrCat("the server of arm '", arm.name, "' (",
                                          absl::StrJoin(arm.command, " "), ") ", what, code,
                                          said.empty() ? "" : absl::StrCat("; it said: ", said)));
}

}  // namespace

std::string OwnExecutable() { return std::filesystem::read_symlink("/proc/self/exe").string(); }

absl::StatusOr<Arm> ParseArm(const std::string& text, const std::vector<std::string>& backends) {
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
  const bool has_port = absl::StrContains(text, "{port}");
  if (!arm.ringside && !has_port) {
    return absl::InvalidArgumentError(
        absl::StrCat("arm '", arm.name, "' names no port; put {port} where the command takes it"));
  }
  return arm;
}

absl::StatusOr<RunningServer> StartServer(const Arm& arm, uint64_t message_bytes,
                                          const std::vector<int>& cpus, int interrupt_fd) {
  std::vector<std::string> argv = arm.command;
  uint16_t port = 0;
  if (arm.ringside) {
    argv.insert(argv.end(), {"0", "--json", "--size", absl::StrCat(message_bytes)});
  } else {
    port = FreePort();
    for (std::string& word : argv)
      word = absl::StrReplaceAll(word, {{"{port}", absl::StrCat(port)}});
  }
  auto process = Process::Start(argv, cpus);
  if (!process.ok()) return process.status();
  RunningServer server{std::move(*process), port};
  const auto give_up = std::chrono::steady_clock::now() + std::chrono::nanoseconds(kReadyTimeoutNs);
  while (std::chrono::steady_clock::now() < give_up) {
    if (arm.ringside) {
      const Json ready = EventOf(server.process.Output(), "ready");
      if (!ready.is_null()) server.port = ready["port"].get<uint16_t>();
    }
    if (arm.ringside ? server.port != 0 : Accepts(server.port)) return server;
    switch (server.process.Wait(kGlanceNs, interrupt_fd)) {
      case Process::Waited::kEnded:
        return ServerFailed(arm, "ended at once", server.process);
      case Process::Waited::kInterrupted:
        return absl::CancelledError("interrupted");
      case Process::Waited::kTimeout:
        break;
    }
  }
  return ServerFailed(arm, "was not ready in 10 s", server.process);
}

absl::StatusOr<double> StopServer(const Arm& arm, RunningServer server, int interrupt_fd) {
  server.process.Signal(SIGTERM);
  switch (server.process.Wait(kStopTimeoutNs, interrupt_fd)) {
    case Process::Waited::kInterrupted:
      return absl::CancelledError("interrupted");
    case Process::Waited::kTimeout:
      return ServerFailed(arm, "did not end on SIGTERM", server.process);
    case Process::Waited::kEnded:
      break;
  }
  if (!arm.ringside) return -1.0;
  if (server.process.exit_code() != 0) return ServerFailed(arm, "failed", server.process);
  const Json summary = EventOf(server.process.Output(), "summary");
  if (summary.is_null()) return ServerFailed(arm, "gave no summary", server.process);
  return summary["syscalls_per_request"].get<double>();
}

}  // namespace bench
