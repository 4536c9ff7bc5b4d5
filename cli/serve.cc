#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <iterator>
#include <memory>
#include <optional>

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "cli/common.h"
#include "cli/output_lines.h"
#include "cli/serve_flags.h"
#include "cli/shortfalls.h"
#include "cli/signals.h"
#include "cli/subcommands.h"
#include "io/backends.h"
#include "io/endpoint.h"
#include "report/escape.h"
#include "report/json_text.h"
#include "report/text.h"
#include "server/admin.h"
#include "server/kernel_view.h"
#include "server/metrics.h"
#include "server/own_path.h"
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

// How long whoever reads our output may take nothing of it, where we wait for that at all: with the
// ready line, and in the end.
constexpr io::Nanos kReaderPatience = std::chrono::seconds(1);
constexpr size_t kResultBytesMax = 64 << 20;  // of stdout: never reached by what we say there

// A server in its surroundings: signals, the service manager, predecessor and successor, the admin
// address. Once it serves, nothing that it says makes it wait (cli/output_lines.h): who doesn't
// read our log must not stop a takeover halfway.
class ServeProcess {
 public:
  ServeProcess(const ServeFlags& flags, server::ServerOptions options)
      : flags_(flags), options_(std::move(options)) {}

  void Warn(const std::string& what) {
    err_.Write(absl::StrCat("ringside serve: ", report::PlainText(what), "\n"));
  }

  int Run() {
    const absl::Status started = Start();
    if (!started.ok()) {
      admin_path_.Remove();
      return Failed(started, StartFailed(started));
    }
    const auto ready = server::ReadyJson(server_->options(), *server_);
    out_.Write(flags_.json ? report::JsonText(ready) + "\n" : report::ReadyText(ready));
    const absl::Status told = out_.Flush(kReaderPatience);
    // Who waits for that line would wait for ever. (Whoever took over serves on: nobody else does.)
    if (!told.ok() && !absl::IsDeadlineExceeded(told) && !has_taken_over_) {
      return Failed(told, kExitFailed);
    }
    WarnUnlessOk(told);
    WarnUnlessOk(notifier_.Ready());

    RunUntilEnd();
    server::ServerSummary summary;
    const absl::Status status = server_->Wait(&summary);
    admin_.reset();
    admin_path_.Remove();
    logger_.reset();
    (void)err_.Flush(kReaderPatience);  // first, where both are one pipe
    const auto json = server::SummaryJson(server_->options(), *server_, summary);
    out_.Write(flags_.json ? report::JsonText(json) + "\n" : report::ServeText(json));
    const absl::Status written = out_.Flush(kReaderPatience);
    if (status.ok() && written.ok()) return kExitOk;
    if (!written.ok()) Failed(written, kExitFailed);
    if (status.ok()) return kExitFailed;
    const int code = Failed(status, kExitFailed);
    if (absl::IsDeadlineExceeded(status)) _exit(code);  // a thread is left that has our log
    return code;
  }

 private:
  void WarnUnlessOk(const absl::Status& status) {
    if (!status.ok()) Warn(std::string(status.message()));
  }
  int Failed(const absl::Status& status, int code) {
    WarnUnlessOk(status);
    (void)err_.Flush(kReaderPatience);
    return code;
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
        *log_, [this](std::string_view lines) { err_.Write(report::PlainText(lines)); });
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
    admin_path_ = server::OwnPath::Of(*fd);
    return absl::OkStatus();
  }

  absl::Status StartAdmin() {
    const auto at = io::LocalEndpoint(admin_listener_.get());
    const int listener = fcntl(admin_listener_.get(), F_DUPFD_CLOEXEC, 3);  // ours is to be passed
    if (listener < 0) return absl::ResourceExhaustedError("no descriptor is left for --metrics");
    auto admin = server::AdminServer::Start(
        listener,
        {{.path = "/metrics",
          .about = "for Prometheus",
          .content_type = std::string(server::kPrometheusContentType),
          .body =
              [this] { return server::MetricsPage(server_->options(), *server_, err_.lost()); }},
         {.path = "/status",
          .about = "for people",
          .content_type = "text/plain; charset=utf-8",
          .body = [this]() -> absl::StatusOr<std::string> {
            return report::StatusText(
                server::StatusJson(server_->options(), *server_, connections_view_));
          }}});
    if (!admin.ok()) return admin.status();
    admin_ = *std::move(admin);
    if (at.ok()) Warn(absl::StrCat("metrics on ", at->ToString()));
    return absl::OkStatus();
  }

  // Takes the predecessor's place.
  absl::Status Succeed() {
    if (predecessor_) {
      const absl::Status ready = predecessor_->Ready();
      if (absl::IsAborted(ready)) return ready;  // it serves on
      WarnUnlessOk(ready);
      if (admin_listener_) admin_path_ = server::OwnPath::Of(admin_listener_.get());
    }
    const absl::Status serves = server_->Serve();
    if (!serves.ok() || !predecessor_) return serves;
    WarnUnlessOk(takeover_->Listen(flags_.takeover, server::TakeoverServer::Claim::kPredecessors));
    predecessor_.reset();
    has_taken_over_ = true;
    return absl::OkStatus();
  }

  // The first signal drains, the second ends at once. Threads that hang end it, too.
  void RunUntilEnd() {
    bool draining = false;
    while (true) {
      pollfd fds[] = {
          {.fd = server_->ended_fd(), .events = POLLIN, .revents = 0},
          {.fd = signals_.fd(), .events = POLLIN, .revents = 0},
          {.fd = draining || !takeover_ ? -1 : takeover_->fd(), .events = POLLIN, .revents = 0},
          out_.Awaited(),
          err_.Awaited()};
      poll(fds, std::size(fds), PollTimeout());
      if (notifier_.watchdog_interval()) WarnUnlessOk(notifier_.Watchdog());
      if (fds[0].revents != 0) return draining ? void() : server_->Abort();
      if (server_->UntilOverdue() == io::Nanos::zero()) return server_->Abort();
      if (fds[2].revents != 0) HandOver();
      if (fds[3].revents != 0) out_.Resume();
      if (fds[4].revents != 0) err_.Resume();
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
    const io::Nanos until =
        std::min(notifier_.watchdog_interval().value_or(io::kForever), server_->UntilOverdue());
    if (until == io::kForever) return -1;
    constexpr io::Nanos kHour = std::chrono::hours(1);  // more milliseconds may not fit
    return static_cast<int>(
        std::chrono::ceil<std::chrono::milliseconds>(std::min(until, kHour)).count());
  }

  void HandOver() {
    std::vector<server::PassedSocket> sockets = server_->SocketsToPass();
    if (admin_listener_) sockets.push_back({admin_listener_.get(), AdminLabel()});
    const auto result = takeover_->Handle(sockets);
    if (result.outcome == server::TakeoverServer::Outcome::kFailed) WarnUnlessOk(result.status);
    if (result.outcome != server::TakeoverServer::Outcome::kHandedOver) return;
    // First of all: the successor waits for a few seconds only, then it accepts whatever we do.
    WarnUnlessOk(server_->Retire());
    admin_.reset();  // the successor answers there
    admin_listener_.Reset();
    admin_path_ = {};
    // Before the successor says that it is ready, which a manager may take from its main process
    // only.
    WarnUnlessOk(notifier_.MainPid(result.peer));
    WarnUnlessOk(takeover_->Release());
    Warn(absl::StrCat("process ", result.peer, " has taken over; serving those who are connected"));
  }

  void PrintStatus() {
    const auto status = server::StatusJson(server_->options(), *server_, connections_view_);
    out_.Write(flags_.json ? report::JsonText(status) + "\n" : report::StatusText(status));
  }

  const ServeFlags& flags_;
  server::ServerOptions options_;
  Signals signals_{SIGUSR1};
  OutputLines out_{STDOUT_FILENO, kServe, kResultBytesMax};
  OutputLines err_{STDERR_FILENO, absl::StrCat("ringside ", kServe)};
  server::Notifier notifier_;
  std::optional<server::TakeoverServer> takeover_;
  std::optional<server::TakeoverClient> predecessor_;
  bool has_taken_over_ = false;
  std::unique_ptr<server::ConnectionLog> log_;
  std::unique_ptr<server::ConnectionLogger> logger_;
  std::unique_ptr<server::Server> server_;
  server::ConnectionsView connections_view_;
  server::UniqueFd admin_listener_;
  server::OwnPath admin_path_;
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
  const auto shortfalls = ServeShortfalls(wanted, f.threads, f.backlog);
  ServeProcess process(f, *std::move(options));
  for (const std::string& what : shortfalls) process.Warn(what);
  return process.Run();
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
