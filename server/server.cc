#include "server/server.h"

#include <fcntl.h>
#include <pthread.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <future>
#include <mutex>
#include <optional>
#include <thread>

#include "absl/strings/str_cat.h"
#include "io/loops.h"
#include "io/threads.h"
#include "io/waker.h"
#include "server/listeners.h"
#include "server/worker.h"
#include "services/all.h"

namespace server {
namespace {

constexpr std::chrono::milliseconds kReportPatience{200};
constexpr int kPatiencesToEnd = 5;
constexpr io::Nanos kDeadlineMax = std::chrono::hours(24 * 365);  // a sum with it never overflows

// What a service counts as a request.
std::string RequestUnit(const std::string& name, uint64_t message_bytes) {
  std::string unit;
  services::All::Pick(name, [&]<class Service>() {
    unit = Service::kRequest;
    if (requires { &Service::message_bytes; } && message_bytes > 0) {
      unit = absl::StrCat(message_bytes, " bytes");
    }
  });
  return unit;
}

struct ThreadResult {
  absl::Status status;
  ServerSummary summary;
  bool ended = false;
};

void CloseAll(const std::vector<io::ListenOptions>& sockets) {
  for (const io::ListenOptions& socket : sockets) close(socket.fd);
}

// "thread 1 does not", "threads 1 and 3 do not", "threads 0, 1 and 3 do not".
std::string ThatDoNot(const std::vector<size_t>& threads) {
  std::string text = threads.size() == 1 ? "thread " : "threads ";
  for (size_t i = 0; i < threads.size(); ++i) {
    absl::StrAppend(&text, i == 0 ? "" : i + 1 == threads.size() ? " and " : ", ", threads[i]);
  }
  return absl::StrCat(text, threads.size() == 1 ? " does not" : " do not");
}

}  // namespace

std::vector<std::string> ServiceNames() { return services::All::Names(); }

void ServerSummary::Merge(const ServerSummary& other) {
  io.Merge(other.io);
  features = other.features;
  requests.resize(std::max(requests.size(), other.requests.size()));
  for (size_t i = 0; i < other.requests.size(); ++i) requests[i] += other.requests[i];
  refusals.Merge(other.refusals);
  open += other.open;
  aborted_at_deadline += other.aborted_at_deadline;
  delayed += other.delayed;
  delayed_bytes += other.delayed_bytes;
  cpu_ns += other.cpu_ns;
}

struct Server::Shared {
  explicit Shared(ServerOptions its_options)
      : options(std::move(its_options)),
        common(options),
        control(options.threads),
        results(options.threads) {}

  ServerOptions options;
  Common common;
  Control control;
  std::vector<ListenerSockets> sockets;
  std::vector<OpenedListener> listeners;
  std::vector<std::string> warnings;
  std::vector<std::thread> threads;
  std::vector<ThreadResult> results;
  std::atomic<uint32_t> running{0};
  io::Waker ended;
  std::mutex ends_mutex;  // of ThreadResult::ended
  std::condition_variable ends;
  std::optional<std::chrono::steady_clock::time_point> overdue_at;  // once threads are to end
  std::chrono::steady_clock::time_point since;
  bool served = false;
  bool handed_over = false;

  // Our own copies: as long as one is open, the kernel completes handshakes.
  void CloseSockets() {
    for (ListenerSockets& listener : sockets) listener.sockets.clear();
  }

  void OnThreadEnd(uint32_t i) {
    const bool failed = !results[i].status.ok();
    {
      const std::lock_guard lock(ends_mutex);
      results[i].ended = true;
    }
    ends.notify_all();
    if (running.fetch_sub(1) == 1 || failed) ended.Wake();
  }

  // Of a start that failed half-way: all is as before it.
  void EndThreads() {
    control.SetPhase(Phase::kAborting);
    for (std::thread& thread : threads) thread.join();
    threads.clear();
    running.store(0);
    ended.Clear();
    std::fill(results.begin(), results.end(), ThreadResult());
    control.Reset();
  }

  // They are to end within `deadline`.
  void BeginEnd(io::Nanos deadline) {
    overdue_at = std::chrono::steady_clock::now() + std::min(deadline, kDeadlineMax) +
                 common.options.thread_patience * kPatiencesToEnd;
  }

  // Waits for all threads, once they are to end no longer than they may take. Those that hang.
  std::vector<size_t> Join() {
    std::vector<size_t> hanging;
    {
      std::unique_lock lock(ends_mutex);
      const auto all = [this] {
        return std::all_of(results.begin(), results.begin() + static_cast<long>(threads.size()),
                           [](const ThreadResult& result) { return result.ended; });
      };
      if (overdue_at) {
        ends.wait_until(lock, *overdue_at, all);
      } else {
        ends.wait(lock, all);
      }
      for (size_t i = 0; i < threads.size(); ++i) {
        if (!results[i].ended) hanging.push_back(i);
      }
    }
    for (size_t i = 0; i < threads.size(); ++i) {
      if (std::find(hanging.begin(), hanging.end(), i) == hanging.end()) {
        threads[i].join();
      } else {
        threads[i].detach();
      }
    }
    threads.clear();
    return hanging;
  }

  // The body of thread `i`. `ready` gets why it can't run, if so.
  template <class Backend>
  void RunThread(uint32_t i, std::promise<absl::Status> ready) {
    pthread_setname_np(pthread_self(), absl::StrCat("worker ", i).substr(0, 15).c_str());
    const std::vector<int>& cpus = common.options.cpus;
    if (!cpus.empty()) {
      const absl::Status pinned = io::PinThread(cpus[i % cpus.size()]);
      if (!pinned.ok()) return ready.set_value(pinned);
    }
    Worker<Backend::template Loop> worker(common, control, i);
    absl::Status opened = worker.Open();
    std::vector<io::ListenOptions> mine;
    for (size_t tag = 0; opened.ok() && tag < sockets.size(); ++tag) {
      auto some = sockets[tag].ForThread(i, common.options.threads, tag, common.options);
      if (some.ok()) mine.insert(mine.end(), some->begin(), some->end());
      opened.Update(some.status());
    }
    const bool ok = opened.ok();
    if (!ok) CloseAll(mine);
    ready.set_value(std::move(opened));
    if (!ok) return;
    results[i].status = worker.Run(mine, &results[i].summary);
  }
};

Server::Server(ServerOptions options)
    : shared_(std::make_shared<Shared>(std::move(options))), options_(shared_->options) {}

Server::~Server() {
  if (!shared_->served) {
    for (ListenerSockets& listener : shared_->sockets) listener.Abandon();
  }
  Abort();
  shared_->Join();
  if (!shared_->served || shared_->handed_over) return;
  for (ListenerSockets& listener : shared_->sockets) listener.path.Remove();
}

absl::Status Server::Open(std::vector<PassedSocket> inherited,
                          std::vector<ActivatedSocket> activated) {
  Shared& shared = *shared_;
  auto sockets =
      OpenListeners(options_, std::move(inherited), std::move(activated), &shared.warnings);
  if (!sockets.ok()) return sockets.status();
  shared.sockets = std::move(*sockets);
  for (const ListenerSockets& listener : shared.sockets) {
    const uint8_t service = ServiceHost::NumberOf(listener.spec.service);
    if (service == ServiceHost::kNone) {
      return absl::InvalidArgumentError(
          absl::StrCat("there is no service '", listener.spec.service, "'"));
    }
    shared.common.listeners.push_back(
        {.service = service, .at = listener.at, .filtered = listener.filtered});
    options_.loop.datagrams |= listener.at.is_datagram();
    if (listener.at.transport() == io::Transport::kUdp) {
      shared.common.datagram_ports.set(listener.at.port());
    }
    shared.listeners.push_back(
        {.service = listener.spec.service,
         .at = listener.at,
         .request_unit = RequestUnit(listener.spec.service, options_.service.message_bytes),
         .inherited = listener.inherited});
  }
  return absl::OkStatus();
}

void Server::UseBackend(const std::string& backend, const std::string& why) {
  options_.backend = backend;
  options_.backend_fallback = why;
}

absl::Status Server::Start() {
  Shared& shared = *shared_;
  if (shared.ended.fd() < 0 && !shared.ended.Open()) {
    return absl::ResourceExhaustedError("no descriptor for an eventfd");
  }
  absl::Status status = absl::OkStatus();
  const bool known = io::Loops::Pick(options_.backend, [&]<class Backend>() {
    for (uint32_t i = 0; i < options_.threads && status.ok(); ++i) {
      std::promise<absl::Status> ready;
      auto opened = ready.get_future();
      // A thread that hangs may outlive the server.
      shared.running.fetch_add(1);
      std::thread thread;
      status = io::StartThread(
          absl::StrCat("the server (", i + 1, " of ", options_.threads, ")"),
          [its_own = shared_, i, its = std::move(ready)]() mutable {
            its_own->template RunThread<Backend>(i, std::move(its));
            its_own->OnThreadEnd(i);
          },
          &thread);
      if (!status.ok()) {
        shared.running.fetch_sub(1);
        break;
      }
      shared.threads.push_back(std::move(thread));
      status = opened.get();
    }
  });
  if (!known) {
    return absl::InvalidArgumentError(absl::StrCat("there is no backend '", options_.backend, "'"));
  }
  if (!status.ok()) shared.EndThreads();
  return status;
}

absl::Status Server::Serve() {
  shared_->served = true;
  shared_->since = std::chrono::steady_clock::now();
  shared_->control.SetPhase(Phase::kServing);
  return absl::OkStatus();
}

const std::vector<OpenedListener>& Server::listeners() const { return shared_->listeners; }

const std::vector<std::string>& Server::warnings() const { return shared_->warnings; }

std::vector<PassedSocket> Server::SocketsToPass() const {
  std::vector<PassedSocket> passed;
  for (const ListenerSockets& listener : shared_->sockets) {
    for (const UniqueFd& socket : listener.sockets) {
      passed.push_back({socket.get(), TakeoverLabel(listener.spec)});
    }
  }
  return passed;
}

void Server::Drain() noexcept {
  shared_->BeginEnd(options_.drain_deadline);
  shared_->CloseSockets();
  shared_->control.SetPhase(Phase::kDraining);
}

absl::Status Server::Retire() {
  shared_->handed_over = true;
  shared_->control.SetPhase(Phase::kRetiring);
  const auto give_up = std::chrono::steady_clock::now() + options_.thread_patience;
  std::vector<size_t> hanging;
  while (true) {
    const auto reports = shared_->control.AskAll(kReportPatience);
    hanging.clear();
    for (size_t i = 0; i < reports.size(); ++i) {
      if (reports[i].listening) hanging.push_back(i);
    }
    if (hanging.empty() || std::chrono::steady_clock::now() >= give_up) break;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  shared_->CloseSockets();
  if (hanging.empty()) return absl::OkStatus();
  return absl::DeadlineExceededError(
      absl::StrCat(ThatDoNot(hanging), " say that accepting has stopped: not for ",
                   std::chrono::duration<double>(options_.thread_patience).count(), " s"));
}

void Server::Abort() noexcept {
  shared_->BeginEnd(io::Nanos::zero());
  shared_->CloseSockets();
  shared_->control.SetPhase(Phase::kAborting);
}

ServerSummary Server::Snapshot(std::vector<ServerSummary>* by_thread) {
  ServerSummary all;
  for (const Control::Reported& report : shared_->control.AskAll(kReportPatience)) {
    all.Merge(report.summary);
    if (by_thread != nullptr) by_thread->push_back(report.summary);
  }
  all.elapsed_ns =
      std::chrono::nanoseconds(std::chrono::steady_clock::now() - shared_->since).count();
  return all;
}

int Server::ended_fd() const { return shared_->ended.fd(); }

io::Nanos Server::UntilOverdue() const {
  if (!shared_->overdue_at) return io::kForever;
  return std::max<io::Nanos>(io::Nanos::zero(),
                             *shared_->overdue_at - std::chrono::steady_clock::now());
}

absl::Status Server::Wait(ServerSummary* summary) {
  *summary = {};
  const std::vector<size_t> hanging = shared_->Join();
  summary->elapsed_ns =
      std::chrono::nanoseconds(std::chrono::steady_clock::now() - shared_->since).count();
  absl::Status status;
  if (!hanging.empty()) {
    status = absl::DeadlineExceededError(
        absl::StrCat(ThatDoNot(hanging), " end; what they did lately is not in the summary"));
  }
  const auto told = shared_->control.Last();
  for (size_t i = 0; i < shared_->results.size(); ++i) {
    // What a thread that hangs has of its own may be written to when it goes on.
    if (std::find(hanging.begin(), hanging.end(), i) != hanging.end()) {
      summary->Merge(told[i].summary);
      continue;
    }
    summary->Merge(shared_->results[i].summary);
    status.Update(shared_->results[i].status);
  }
  return status;
}

}  // namespace server
