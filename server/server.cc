#include "server/server.h"

#include <atomic>
#include <chrono>
#include <future>
#include <thread>

#include "absl/strings/str_cat.h"
#include "io/loops.h"
#include "io/sockets.h"
#include "io/threads.h"
#include "io/waker.h"
#include "server/worker.h"
#include "services/all.h"

namespace server {
namespace {

void MergeSummary(const ServerSummary& from, ServerSummary* into) {
  into->io.Merge(from.io);
  into->features = from.features;
  into->requests += from.requests;
  into->open_at_drain += from.open_at_drain;
  into->aborted_at_deadline += from.aborted_at_deadline;
  into->cpu_ns += from.cpu_ns;
}

struct ThreadResult {
  absl::Status status;
  ServerSummary summary;
};

}  // namespace

std::vector<std::string> ServiceNames() { return services::All::Names(); }

struct Server::Shared {
  Control control;
  std::vector<std::thread> threads;
  std::vector<ThreadResult> results;
  std::atomic<uint32_t> running{0};
  io::Waker ended;

  void OnThreadEnd(bool failed) {
    if (running.fetch_sub(1) == 1 || failed) ended.Wake();
  }
  std::chrono::steady_clock::time_point since;

  // The body of one thread. `ready` gets the address that it listens on, or why it doesn't.
  using Body = std::function<void(uint32_t thread, io::Endpoint at,
                                  std::promise<absl::StatusOr<io::Endpoint>> ready)>;
  Body body;
  std::shared_ptr<void> service;
};

Server::Server(ServerOptions options)
    : options_(std::move(options)), shared_(std::make_unique<Shared>()) {}

Server::~Server() {
  Abort();
  for (std::thread& thread : shared_->threads) {
    if (thread.joinable()) thread.join();
  }
}

std::string Server::request_unit() const {
  std::string unit;
  services::All::Pick(options_.service, [&]<class Service>() {
    unit = Service::kRequest;
    if (requires { &Service::message_bytes; } && options_.message_bytes > 0) {
      unit = absl::StrCat(options_.message_bytes, " bytes");
    }
  });
  return unit;
}

absl::Status Server::Start() {
  bool known = false;
  io::Loops::Pick(options_.backend, [&]<class Backend>() {
    known = services::All::Pick(options_.service, [&]<class Service>() {
      const services::ServiceOptions service_options{.message_bytes = options_.message_bytes,
                                                     .text = options_.reply_text,
                                                     .delay = options_.delay};
      auto service = std::make_shared<Service>(service_options);
      shared_->service = service;
      shared_->body = [this, service](uint32_t thread, io::Endpoint at,
                                      std::promise<absl::StatusOr<io::Endpoint>> ready) {
        using Loop = typename Backend::template Loop<Responder<Service>>;
        ThreadResult& result = shared_->results[thread];
        if (!options_.cpus.empty()) {
          const absl::Status pinned = io::PinThread(options_.cpus[thread % options_.cpus.size()]);
          if (!pinned.ok()) return ready.set_value(pinned);
        }
        Worker<Loop, Service> worker(options_, *service, shared_->control);
        absl::StatusOr<io::Endpoint> opened = worker.Open(at, options_.threads > 1);
        const bool ok = opened.ok();
        ready.set_value(std::move(opened));
        if (!ok) return;
        result.status = worker.Run(&result.summary);
        shared_->OnThreadEnd(!result.status.ok());
      };
    });
  });
  if (!known) {
    return absl::InvalidArgumentError(absl::StrCat("there is no backend '", options_.backend,
                                                   "' or no service '", options_.service, "'"));
  }
  if (options_.threads > 1) {
    const absl::Status unused = io::CheckUnused(options_.at);
    if (!unused.ok()) return unused;
  }
  if (!shared_->ended.Open()) return absl::ResourceExhaustedError("no descriptor for an eventfd");
  shared_->results.resize(options_.threads);
  address_ = options_.at;
  // One after the other: the first finds the port where port 0 was asked for.
  for (uint32_t i = 0; i < options_.threads; ++i) {
    std::promise<absl::StatusOr<io::Endpoint>> ready;
    auto opened = ready.get_future();
    shared_->running.fetch_add(1);
    shared_->threads.emplace_back(shared_->body, i, address_, std::move(ready));
    const absl::StatusOr<io::Endpoint> result = opened.get();
    if (!result.ok()) return result.status();
    address_ = *result;
  }
  shared_->since = std::chrono::steady_clock::now();
  return absl::OkStatus();
}

void Server::Drain() noexcept { shared_->control.SetPhase(Phase::kDraining); }

void Server::Abort() noexcept { shared_->control.SetPhase(Phase::kAborting); }

int Server::ended_fd() const { return shared_->ended.fd(); }

absl::Status Server::Wait(ServerSummary* summary) {
  *summary = {};
  for (std::thread& thread : shared_->threads) thread.join();
  shared_->threads.clear();
  summary->elapsed_ns =
      std::chrono::nanoseconds(std::chrono::steady_clock::now() - shared_->since).count();
  absl::Status status;
  for (const ThreadResult& result : shared_->results) {
    MergeSummary(result.summary, summary);
    status.Update(result.status);
  }
  return status;
}

}  // namespace server
