#include "loadgen/load.h"

#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <future>

#include "absl/strings/str_cat.h"
#include "io/loops.h"
#include "io/threads.h"
#include "loadgen/generator.h"
#include "services/all.h"
#include "services/pattern.h"

namespace loadgen {
namespace {

void MergeErrors(const LoadErrors& from, LoadErrors* into) {
  into->by_errno.Merge(from.by_errno);
  into->connect_failed += from.connect_failed;
  into->connect_timed_out += from.connect_timed_out;
  into->closed_by_server += from.closed_by_server;
  into->unanswered += from.unanswered;
  into->surplus += from.surplus;
  into->corrupt_connections += from.corrupt_connections;
  into->service += from.service;
}

void MergeResult(const LoadResult& from, LoadResult* into) {
  into->duration_s = std::max(into->duration_s, from.duration_s);
  into->requests += from.requests;
  into->throughput_rps += from.throughput_rps;
  into->requests_total += from.requests_total;
  into->connections.requested += from.connections.requested;
  into->connections.opened += from.connections.opened;
  into->connections.answered += from.connections.answered;
  into->connections.silent += from.connections.silent;
  into->bytes.sent += from.bytes.sent;
  into->bytes.received += from.bytes.received;
  into->bytes.corrupt += from.bytes.corrupt;
  MergeErrors(from.errors, &into->errors);
  into->corruptions.insert(into->corruptions.end(), from.corruptions.begin(),
                           from.corruptions.end());
  if (into->problem.empty()) into->problem = from.problem;
  into->latency.Merge(from.latency);
  into->cpu_ns += from.cpu_ns;
  into->system_calls += from.system_calls;
  into->server_cpu_ns = std::max(into->server_cpu_ns, from.server_cpu_ns);
  into->pace_late_max_ns = std::max(into->pace_late_max_ns, from.pace_late_max_ns);
  into->lost_requests += from.lost_requests;
  into->datagrams.lost += from.datagrams.lost;
  into->datagrams.late += from.datagrams.late;
  into->datagrams.reordered += from.datagrams.reordered;
  into->datagrams.doubled += from.datagrams.doubled;
  into->interrupted |= from.interrupted;
  into->io.Merge(from.io);
}

template <class Backend, class Service>
void RunThreads(const LoadOptions& options, Load::Shared& shared,
                std::vector<std::future<absl::Status>>* opened) {
  struct Proof {
    std::mutex mutex;
    typename Service::Tally tally;
  };
  auto proof = std::make_shared<Proof>();
  shared.prove = [proof](LoadResult*) { return proof->tally.Problem(); };
  for (uint32_t i = 0; i < options.threads; ++i) {
    std::promise<absl::Status> ready;
    opened->push_back(ready.get_future());
    shared.threads.emplace_back([&options, &shared, i, proof, ready = std::move(ready)]() mutable {
      prctl(PR_SET_TIMERSLACK, 1);  // a burst is due to the microsecond, not to the default 50
      absl::Status status;
      if (!options.cpus.empty()) status = io::PinThread(options.cpus[i % options.cpus.size()]);
      auto generator = std::make_unique<Generator<Backend, Service>>(options, shared, i);
      status.Update(generator->Open());
      const bool ok = status.ok();
      ready.set_value(std::move(status));
      if (ok) {
        generator->Run();
        const std::lock_guard lock(proof->mutex);
        proof->tally.Merge(generator->tally());
      } else {
        shared.Opened();
      }
      if (shared.running.fetch_sub(1) == 1) shared.ended.Wake();
    });
  }
}

}  // namespace

std::vector<std::string> ServiceNames() { return services::All::Names(); }

services::Exchange ExchangeOf(const std::string& service) {
  auto exchange = services::Exchange::kRequestReply;
  services::All::Pick(service, [&]<class Service>() { exchange = Service::kExchange; });
  return exchange;
}

uint64_t MessageBytesMax(const io::Endpoint& at) {
  if (!at.keeps_messages()) return 0;
  constexpr uint64_t kUdpHeader = 8, kIpHeader = 20, kPacket = 65535;
  if (!at.is_unix()) {  // IPv6's length leaves its header out (RFC 8200)
    return kPacket - kUdpHeader - (at.family() == AF_INET6 ? 0 : kIpHeader);
  }
  // The kernel keeps 32 bytes of the send buffer for itself (unix_dgram_sendmsg()).
  constexpr uint64_t kKept = 32, kDefault = 212'992;
  const int fd = socket(AF_UNIX, at.type() | SOCK_CLOEXEC, 0);
  int bytes = 0;
  socklen_t size = sizeof(bytes);
  const bool known = fd >= 0 && getsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, &size) == 0;
  if (fd >= 0) close(fd);
  const uint64_t buffer = known && bytes > 0 ? static_cast<uint64_t>(bytes) : kDefault;
  return std::min<uint64_t>(buffer - kKept, services::Pattern::kSliceMax);
}

Load::Load(LoadOptions options)
    : options_(std::move(options)), shared_(std::make_unique<Shared>()) {
  // A connection without a request would prove nothing.
  if (options_.requests > 0 && options_.requests < options_.connections) {
    options_.connections = static_cast<uint32_t>(options_.requests);
  }
  options_.threads = std::max(1u, std::min(options_.threads, options_.connections));
  if (options_.at.keeps_messages()) {  // a message is received whole, or not at all
    constexpr uint64_t kPoolBytes = 64 << 20;
    io::LoopOptions& loop = options_.loop;
    const uint64_t largest = std::max<uint64_t>(options_.message_bytes, options_.reply_text.size());
    loop.recv_buffer_bytes =
        static_cast<uint32_t>(std::max<uint64_t>(loop.recv_buffer_bytes, largest));
    loop.recv_buffers =
        std::min(loop.recv_buffers, static_cast<uint32_t>(kPoolBytes / loop.recv_buffer_bytes));
  }
}

Load::~Load() {
  Interrupt();
  for (std::thread& thread : shared_->threads) thread.join();
}

absl::Status Load::Start() {
  const services::Exchange exchange = ExchangeOf(options_.service);
  if (options_.at.is_datagram() && exchange != services::Exchange::kRequestReply &&
      exchange != services::Exchange::kSink) {
    return absl::InvalidArgumentError(absl::StrCat("a server of ", options_.service,
                                                   " speaks first, and over datagrams it can't"));
  }
  if (!shared_->ended.Open()) return absl::ResourceExhaustedError("no descriptor for an eventfd");
  shared_->opening = options_.threads;
  shared_->running = options_.threads;
  shared_->results.resize(options_.threads);
  shared_->progress = std::vector<ThreadProgress>(options_.threads);
  shared_->wakes.resize(options_.threads, [] {});
  std::vector<std::future<absl::Status>> opened;
  bool known = false;
  io::Loops::Pick(options_.backend, [&]<class Backend>() {
    known = services::All::Pick(options_.service, [&]<class Service>() {
      RunThreads<Backend, Service>(options_, *shared_, &opened);
    });
  });
  if (!known) {
    return absl::InvalidArgumentError(absl::StrCat("there is no backend '", options_.backend,
                                                   "' or no service '", options_.service, "'"));
  }
  absl::Status status;
  for (auto& thread : opened) status.Update(thread.get());
  if (!status.ok()) Interrupt();
  return status;
}

void Load::Interrupt() noexcept {
  shared_->interrupted.store(true);
  const std::lock_guard lock(shared_->mutex);
  for (auto& wake : shared_->wakes) wake();
}

int Load::ended_fd() const { return shared_->ended.fd(); }

LoadProgress Load::Progress() const {
  LoadProgress progress = {LoadProgress::Phase::kDraining, 0, 0};
  for (const ThreadProgress& thread : shared_->progress) {
    progress.requests += thread.requests.load(std::memory_order_relaxed);
    progress.open += thread.open.load(std::memory_order_relaxed);
    progress.phase =
        std::min(progress.phase,
                 static_cast<LoadProgress::Phase>(thread.phase.load(std::memory_order_relaxed)));
  }
  return progress;
}

absl::Status Load::Wait(LoadResult* result) {
  for (std::thread& thread : shared_->threads) thread.join();
  shared_->threads.clear();
  absl::Status status;
  result->loss_max = options_.loss_max;
  result->silence_may_be_loss = options_.at.is_datagram() && options_.requests > 0;
  std::vector<uint64_t> shares;
  for (ThreadResult& thread : shared_->results) {
    status.Update(thread.status);
    MergeResult(thread.result, result);
    shares.insert(shares.end(), thread.requests_by_connection.begin(),
                  thread.requests_by_connection.end());
  }
  if (!shares.empty()) {
    std::sort(shares.begin(), shares.end());
    result->connections.requests_min = shares.front();
    result->connections.requests_median = shares[shares.size() / 2];
    result->connections.requests_max = shares.back();
  }
  const std::string problem = shared_->prove(result);
  if (!problem.empty()) {
    ++result->errors.service;
    result->problem = problem;
  }
  return status;
}

}  // namespace loadgen
