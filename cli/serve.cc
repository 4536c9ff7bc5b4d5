#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <iostream>
#include <memory>
#include <optional>

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "cli/common.h"
#include "cli/outputs.h"
#include "cli/serve_flags.h"
#include "cli/shortfalls.h"
#include "cli/signals.h"
#include "cli/subcommands.h"
#include "io/backends.h"
#include "io/endpoint.h"
#include "report/json_text.h"
#include "report/text.h"
#include "server/admin.h"
#include "server/metrics.h"
#include "server/privileges.h"
#include "server/prometheus.h"
#include "server/server.h"
#include "server/server_json.h"
#include "server/systemd.h"
#include "server/takeover.h"
#include "server/unique_fd.h"

namespace cli {
namespace {

constexpr const char* kServe = "serve";

void Warn(const std::string& what) { std::cerr << "ringside serve: " << what << "\n"; }
void WarnUnlessOk(const absl::Status& status) {
  if (!status.ok()) Warn(std::string(status.message()));
}

// A server in its surroundings: signals, the service manager, predecessor and successor, the admin
// address.
class ServeProcess {
 public:
  ServeProcess(const ServeFlags& flags, server::ServerOptions options)
      : flags_(flags), options_(std::move(options)) {}

  int Run() {
    const absl::Status started = Start();
    if (!started.ok()) {
      if (admin_is_ours_) RemoveAdminPath();
      return Fail(kServe, started, StartFailed(started));
    }
    const auto ready = server::ReadyJson(server_->options(), *server_);
    const int told = Tell(ready, &report::ReadyText);
    WarnUnlessOk(notifier_.Ready());
    // Who waits for that line would wait for ever. (Whoever took over serves on: nobody else does.)
    if (told != 0 && told != EPIPE && !has_taken_over_) server_->Abort();

    RunUntilEnd();
    server::ServerSummary summary;
    const absl::Status status = server_->Wait(&summary);
    admin_.reset();
    if (admin_listener_) RemoveAdminPath();
    logger_.reset();
    const auto json = server::SummaryJson(server_->options(), *server_, summary);
    Tell(json, &report::ServeText);
    return status.ok() ? kExitOk : Fail(kServe, status, kExitFailed);
  }

 private:
  // On standard output, as JSON or as text; returns 0 or the errno.
  int Tell(const nlohmann::ordered_json& json,
           std::string (*text)(const nlohmann::ordered_json&)) const {
    return Print(kServe, flags_.json ? report::JsonText(json) + "\n" : text(json));
  }

  // From nothing to serving. The order matters: sockets while we may bind them, then the user, then
  // threads and rings, which are to be that user's; the predecessor stops when we can go on.
  absl::Status Start() {
    auto activated = server::ActivatedSockets();
    if (!activated.ok()) return activated.status();
    auto notifier = server::Notifier::FromEnvironment();
    if (!notifier.ok()) return notifier.status();
    notifier_ = *std::move(notifier);

    absl::Status status = FindPredecessor();
    if (!status.ok()) return status;
    server_ = std::make_unique<server::Server>(options_);
    std::vector<server::PassedSocket> inherited;
    if (predecessor_) inherited = predecessor_->TakeSockets();
    TakeAdminFrom(&inherited);
    status = server_->Open(std::move(inherited), *std::move(activated));
    for (const std::string& warning : server_->warnings()) Warn(warning);
    if (status.ok()) status = OpenAdmin();
    if (status.ok() && takeover_ && !predecessor_) {
      status = Named("--takeover", takeover_->Listen(flags_.takeover));
    }
    if (status.ok() && !flags_.user.empty()) status = Named("--user", server::DropTo(flags_.user));
    if (status.ok()) status = OpenLog();  // a thread
    if (status.ok()) status = StartServer();
    if (status.ok() && admin_listener_) status = StartAdmin();
    if (status.ok()) status = Succeed();
    return status;
  }

  absl::Status FindPredecessor() {
    if (flags_.takeover.empty()) return absl::OkStatus();
    server::TakeoverOptions options = {.interrupt_fd = signals_.fd()};
    if (!flags_.user.empty()) {
      const auto user = server::ParseUsers(flags_.user.substr(0, flags_.user.find(':')));
      if (!user.ok()) return user.status();
      options.trusted_uid = user->front();
    }
    takeover_.emplace(options);
    auto predecessor = server::TakeoverClient::Connect(flags_.takeover, options);
    if (!predecessor.ok()) return Named("--takeover", predecessor.status());
    predecessor_ = *std::move(predecessor);
    return absl::OkStatus();
  }

  // With another backend where any will do, and the one that was chosen can't run.
  absl::Status StartServer() {
    absl::Status status = server_->Start();
    std::string backend = options_.backend, why;
    io::LoopOptions scratch;
    while (flags_.backend == "auto" && options_.loop.direct_accepts == 0 &&
           SetLoop(flags_.loop, io::NextBackend(backend), &scratch).ok() &&
           FallBack(kServe, status, &backend, &why)) {
      server_->UseBackend(backend, why);
      status = server_->Start();
    }
    return status;
  }

  absl::Status OpenLog() {
    if (!flags_.log_connections) return absl::OkStatus();
    std::vector<std::string> names;
    for (const auto& listener : server_->listeners()) names.push_back(listener.at.ToString());
    log_ = std::make_unique<server::ConnectionLog>(
        server::ConnectionLogOptions{.listeners = names, .workers = options_.threads});
    server_->LogTo(log_.get());
    logger_ = std::make_unique<server::ConnectionLogger>(
        *log_, [](std::string_view lines) { std::cerr << lines << std::flush; });
    return logger_->started();
  }

  std::string AdminLabel() const { return absl::StrCat("metrics=", flags_.metrics); }

  // A predecessor's admin address is ours, where it is the same.
  void TakeAdminFrom(std::vector<server::PassedSocket>* inherited) {
    std::erase_if(*inherited, [this](const server::PassedSocket& socket) {
      if (!socket.label.starts_with("metrics=")) return false;
      server::UniqueFd listener(socket.fd);
      if (socket.label == AdminLabel()) admin_listener_ = std::move(listener);
      return true;
    });
  }

  absl::Status OpenAdmin() {
    if (flags_.metrics.empty() || admin_listener_) return absl::OkStatus();
    const auto at = io::Resolve(flags_.metrics);
    if (!at.ok()) return Named("--metrics", at.status());
    const auto fd = server::OpenAdminListener(*at);
    if (!fd.ok()) return Named("--metrics", fd.status());
    admin_listener_ = server::UniqueFd(*fd);
    admin_is_ours_ = true;
    return absl::OkStatus();
  }

  absl::Status StartAdmin() {
    const auto at = io::LocalEndpoint(admin_listener_.get());
    const int listener = fcntl(admin_listener_.get(), F_DUPFD_CLOEXEC, 3);  // ours is to be passed
    if (listener < 0) return absl::ResourceExhaustedError("no descriptor is left for --metrics");
    auto admin = server::AdminServer::Start(
        listener, {{.path = "/metrics",
                    .about = "for Prometheus",
                    .content_type = std::string(server::kPrometheusContentType),
                    .body = [this] { return server::MetricsPage(server_->options(), *server_); }},
                   {.path = "/status",
                    .about = "for people",
                    .content_type = "text/plain; charset=utf-8",
                    .body = [this]() -> absl::StatusOr<std::string> {
                      return report::StatusText(server::StatusJson(server_->options(), *server_));
                    }}});
    if (!admin.ok()) return admin.status();
    admin_ = *std::move(admin);
    if (at.ok()) std::cerr << "ringside serve: metrics on " << at->ToString() << "\n";
    return absl::OkStatus();
  }

  // Takes the predecessor's place.
  absl::Status Succeed() {
    if (predecessor_) {
      const absl::Status ready = predecessor_->Ready();
      if (absl::IsAborted(ready)) return ready;  // it serves on
      WarnUnlessOk(ready);
    }
    const absl::Status serves = server_->Serve();
    if (!serves.ok() || !predecessor_) return serves;
    WarnUnlessOk(takeover_->Listen(flags_.takeover, server::TakeoverServer::Claim::kPredecessors));
    predecessor_.reset();
    has_taken_over_ = true;
    return absl::OkStatus();
  }

  // The first signal drains, the second ends at once.
  void RunUntilEnd() {
    bool draining = false;
    while (true) {
      pollfd fds[] = {
          {.fd = server_->ended_fd(), .events = POLLIN, .revents = 0},
          {.fd = signals_.fd(), .events = POLLIN, .revents = 0},
          {.fd = draining || !takeover_ ? -1 : takeover_->fd(), .events = POLLIN, .revents = 0}};
      poll(fds, 3, PollTimeout());
      if (notifier_.watchdog_interval()) WarnUnlessOk(notifier_.Watchdog());
      if (fds[0].revents != 0) return draining ? void() : server_->Abort();
      if (fds[2].revents != 0) HandOver();
      for (int signal; (signal = signals_.Take()) != 0;) {
        if (signal == SIGUSR1) {
          PrintStatus();
        } else if (draining) {
          server_->Abort();
        } else {
          draining = true;
          WarnUnlessOk(notifier_.Stopping());
          server_->Drain();
        }
      }
    }
  }

  int PollTimeout() const {
    const auto interval = notifier_.watchdog_interval();
    if (!interval) return -1;
    return static_cast<int>(
        std::chrono::duration_cast<std::chrono::milliseconds>(*interval).count());
  }

  void HandOver() {
    std::vector<server::PassedSocket> sockets = server_->SocketsToPass();
    if (admin_listener_) sockets.push_back({admin_listener_.get(), AdminLabel()});
    const auto result = takeover_->Handle(sockets);
    if (result.outcome == server::TakeoverServer::Outcome::kFailed) WarnUnlessOk(result.status);
    if (result.outcome != server::TakeoverServer::Outcome::kHandedOver) return;
    Warn(absl::StrCat("process ", result.peer, " has taken over; serving those who are connected"));
    WarnUnlessOk(notifier_.MainPid(result.peer));
    server_->Retire();
    admin_.reset();  // the successor answers there
    admin_listener_.Reset();
    WarnUnlessOk(takeover_->Release());
  }

  // That of a unix: address; a successor's is not ours any more.
  void RemoveAdminPath() const {
    const auto at = io::LocalEndpoint(admin_listener_.get());
    if (at.ok() && !at->path().empty()) unlink(at->path().c_str());
  }

  void PrintStatus() {
    const auto status = server::StatusJson(server_->options(), *server_);
    Tell(status, &report::StatusText);
  }

  const ServeFlags& flags_;
  server::ServerOptions options_;
  Signals signals_{SIGUSR1};
  server::Notifier notifier_;
  std::optional<server::TakeoverServer> takeover_;
  std::optional<server::TakeoverClient> predecessor_;
  bool has_taken_over_ = false;
  std::unique_ptr<server::ConnectionLog> log_;
  std::unique_ptr<server::ConnectionLogger> logger_;
  std::unique_ptr<server::Server> server_;
  server::UniqueFd admin_listener_;
  bool admin_is_ours_ = false;  // we made it: no predecessor's
  std::unique_ptr<server::AdminServer> admin_;
};

int Run(const ServeFlags& f, bool address_given, bool connections_given) {
  auto options = ToServerOptions(f, address_given);
  if (!options.ok()) return Fail(kServe, options.status(), kExitUsage);
  options->backend = f.backend;
  io::LoopOptions scratch;  // "auto" is no backend yet: what is wrong on any is told first
  const absl::Status right = SetLoop(f.loop, f.backend, &scratch);
  if (!right.ok()) return Fail(kServe, right, kExitUsage);
  const absl::Status available = UseBackend(kServe, &options->backend, &options->backend_fallback);
  if (!available.ok()) return Fail(kServe, available, kExitSkipped);
  const absl::Status loop = SetLoop(f.loop, options->backend, &options->loop);
  if (!loop.ok()) return Fail(kServe, loop, kExitUsage);
  const uint64_t wanted = connections_given ? f.connections_max : 0;
  for (const std::string& what : ServeShortfalls(wanted, f.threads, f.backlog)) Warn(what);
  return ServeProcess(f, *std::move(options)).Run();
}

}  // namespace

Subcommand ServeCommand() {
  auto f = std::make_shared<ServeFlags>();
  auto given = std::make_shared<const Flags*>();
  return {.name = kServe,
          .summary = "the server: echo, counter, greet and the other services",
          .declare =
              [f, given](Flags& flags) {
                *given = &flags;
                DeclareServe(flags, *f);
              },
          .run =
              [f, given] {
                return Run(*f, f->listen.empty() || (*given)->Given("ADDRESS"),
                           (*given)->Given("--connections-max"));
              }};
}

}  // namespace cli
