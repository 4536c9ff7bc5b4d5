#include "bench/own_server.h"

#include <signal.h>

#include <chrono>
#include <filesystem>
#include <utility>

#include "absl/strings/str_cat.h"

namespace bench {
namespace {

using Json = nlohmann::ordered_json;

constexpr int64_t kStopTimeoutNs = 15'000'000'000;
constexpr int64_t kReadyGlanceNs = 1'000'000;

}  // namespace

std::string OwnExecutable() { return std::filesystem::read_symlink("/proc/self/exe").string(); }

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

absl::Status ServerFailed(const std::string& who, const char* what, const Process& process) {
  std::string said = process.Errors();
  while (!said.empty() && said.back() == '\n') said.pop_back();
  const std::string code =
      process.ended() ? absl::StrCat(" with exit code ", process.exit_code()) : "";
  constexpr int kSkipped = 77;  // it can't be had on this machine: the program's exit codes
  const bool skipped = process.ended() && process.exit_code() == kSkipped;
  return absl::Status(
      skipped ? absl::StatusCode::kUnimplemented : absl::StatusCode::kInternal,
      absl::StrCat(who, " ", what, code, said.empty() ? "" : absl::StrCat("; it said: ", said)));
}

absl::StatusOr<OwnServer> StartOwnServer(const std::vector<std::string>& command,
                                         const std::string& who, const std::vector<int>& cpus,
                                         int interrupt_fd, uint64_t nofile) {
  auto process = Process::Start(command, cpus, nofile, Process::kSomeBytes);
  if (!process.ok()) return process.status();
  OwnServer server{*std::move(process), who, {}};
  const auto give_up = std::chrono::steady_clock::now() + std::chrono::nanoseconds(kServerReadyNs);
  while (std::chrono::steady_clock::now() < give_up) {
    server.ready = EventOf(server.process.Output(), "ready");
    if (!server.ready.is_null()) return server;
    switch (server.process.Wait(kReadyGlanceNs, interrupt_fd)) {
      case Process::Waited::kEnded:
        return ServerFailed(who, "ended at once", server.process);
      case Process::Waited::kInterrupted:
        return absl::CancelledError("interrupted");
      case Process::Waited::kTimeout:
        break;
    }
  }
  return ServerFailed(who, "was not ready in 10 s", server.process);
}

absl::Status EndServer(const std::string& who, Process* process, int interrupt_fd) {
  process->Signal(SIGTERM);
  switch (process->Wait(kStopTimeoutNs, interrupt_fd)) {
    case Process::Waited::kInterrupted:
      return absl::CancelledError("interrupted");
    case Process::Waited::kTimeout:
      return ServerFailed(who, "did not end on SIGTERM", *process);
    case Process::Waited::kEnded:
      break;
  }
  return absl::OkStatus();
}

absl::StatusOr<Json> StopOwnServer(OwnServer server, int interrupt_fd) {
  const absl::Status ended = EndServer(server.who, &server.process, interrupt_fd);
  if (!ended.ok()) return ended;
  if (server.process.exit_code() != 0) return ServerFailed(server.who, "failed", server.process);
  Json summary = EventOf(server.process.Output(), "summary");
  if (summary.is_null()) return ServerFailed(server.who, "gave no summary", server.process);
  return summary;
}

}  // namespace bench
