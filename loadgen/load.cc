#include "loadgen/load.h"

#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <future>

#include "absl/strings/str_cat.h"
#include "io/loops.h"
#include "io/threads.h"
#include "loadgen/generator.h"
#include "loadgen/text_client.h"
#include "services/all.h"
#include "services/pattern.h"

namespace loadgen {
namespace {

// A server that isn't ours, as a service of which there is only the client.
struct TextService {
  static constexpr std::string_view kName = kTextService;
  static constexpr services::Exchange kExchange = TextClient::kExchange;
  using Client = TextClient;
  using Tally = TextClient::Tally;
};

// Whose clients we are: our own services', and any text protocol's.
using Clients = services::All::With<TextService>;

void MergeErrors(const LoadErrors& from, LoadErrors* into) {
  into->by_errno.Merge(from.by_errno);
  into->connect_failed += from.connect_failed;
  into->connect_timed_out += from.connect_timed_out;
  into->closed_by_server += from.closed_by_server;
  into->timeouts += from.timeouts;
  into->unanswered += from.unanswered;
  into->surplus += from.surplus;
  into->corrupt_connections += from.corrupt_connections;
  into->service += from.service;
}

void MergeUsage(const stats::ThreadUsage& from, stats::ThreadUsage* into) {
  into->cpu_ns += from.cpu_ns;
  into->waited_ns =
      from.waited_ns < 0 ? -1 : std::max<int64_t>(0, into->waited_ns) + from.waited_ns;
  into->voluntary_switches += from.voluntary_switches;
  into->involuntary_switches += from.involuntary_switches;
  into->minor_faults += from.minor_faults;
  into->major_faults += from.major_faults;
}

// All but the latency, which a Collector has.
void MergeResult(const LoadResult& from, LoadResult* into) {
  into->duration_s = std::max(into->duration_s, from.duration_s);
  into->warmup_s = std::max(into->warmup_s, from.warmup_s);
  into->requests += from.requests;
  into->throughput_rps += from.throughput_rps;
  into->requests_total += from.requests_total;
  into->connections.requested += from.connections.requested;
  into->connections.opened += from.connections.opened;
  into->connections.answered += from.connections.answered;
  into->connections.silent += from.connections.silent;
  into->connections.closed_by_client += from.connections.closed_by_client;
  into->connections.closed_by_server += from.connections.closed_by_server;
  into->connections.retried_requests += from.connections.retried_requests;
  into->opening_s = std::max(into->opening_s, from.opening_s);
  into->bytes.sent += from.bytes.sent;
  into->bytes.received += from.bytes.received;
  into->bytes.corrupt += from.bytes.corrupt;
  into->window_bytes.sent += from.window_bytes.sent;
  into->window_bytes.received += from.window_bytes.received;
  MergeErrors(from.errors, &into->errors);
  into->corruptions.insert(into->corruptions.end(), from.corruptions.begin(),
                           from.corruptions.end());
  into->failures.insert(into->failures.end(), from.failures.begin(), from.failures.end());
  if (into->problem.empty()) into->problem = from.problem;
  into->schedule.offered += from.schedule.offered;
  into->schedule.shed += from.schedule.shed;
  into->schedule.unsent += from.schedule.unsent;
  into->service.Merge(from.service);
  into->connect.Merge(from.connect);
  into->first_byte.Merge(from.first_byte);
  into->close.Merge(from.close);
  into->lag.Merge(from.lag);
  into->loop_lag.Merge(from.loop_lag);
  into->client_wait.Merge(from.client_wait);
  into->client_sample.Merge(from.client_sample);
  into->censored += from.censored;
  into->cpu_ns += from.cpu_ns;
  into->system_calls += from.system_calls;
  MergeUsage(from.usage, &into->usage);
  into->cpu_share_max = std::max(into->cpu_share_max, from.cpu_share_max);
  into->stopped_ns = std::max(into->stopped_ns, from.stopped_ns);
  into->server_cpu_ns = std::max(into->server_cpu_ns, from.server_cpu_ns);
  into->server_thread_share_max =
      std::max(into->server_thread_share_max, from.server_thread_share_max);
  into->lost_requests += from.lost_requests;
  if (into->tcp.sockets == 0) into->tcp = from.tcp;  // one thread's sample stands for all
  into->datagrams.lost += from.datagrams.lost;
  into->datagrams.late += from.datagrams.late;
  into->datagrams.reordered += from.datagrams.reordered;
  into->datagrams.doubled += from.datagrams.doubled;
  into->interrupted |= from.interrupted;
  into->too_many_errors |= from.too_many_errors;
  into->out_of_ports |= from.out_of_ports;
  into->io.Merge(from.io);
}

template <class Backend, class Service>
absl::Status RunThreads(Load::Shared& shared, Load::Class& load, std::vector<Load::Part>* parts,
                        std::vector<std::future<absl::Status>>* opened) {
  struct Proof {
    std::mutex mutex;
    typename Service::Tally tally;
  };
  auto proof = std::make_shared<Proof>();
  load.prove = [proof] { return proof->tally.Problem(); };
  for (uint32_t i = 0; i < load.options.threads; ++i) {
    std::promise<absl::Status> ready;
    auto its_status = ready.get_future();
    const auto wake = static_cast<uint32_t>(shared.threads.size());
    auto body = [&shared, &load, i, wake, proof, starting = std::move(parts->back()),
                 ready = std::move(ready)]() mutable {
      Load::Part part = std::move(starting);
      prctl(PR_SET_TIMERSLACK, 1);  // a request is due to the microsecond, not to the default 50
      const LoadOptions& options = load.options;
      absl::Status status;
      if (!options.cpus.empty()) status = io::PinThread(options.cpus[i % options.cpus.size()]);
      auto generator = std::make_unique<Generator<Backend, Service>>(shared, part, load, i, wake);
      status.Update(generator->Open());
      const bool ok = status.ok();
      ready.set_value(std::move(status));
      shared.all_open.wait(false);
      if (ok) {
        generator->Run();
        const std::lock_guard lock(proof->mutex);
        proof->tally.Merge(generator->tally());
      }
    };
    parts->pop_back();
    std::thread thread;
    const absl::Status started =
        io::StartThread(absl::StrCat("the load (", i + 1, " of ", load.options.threads, ")"),
                        std::move(body), &thread);
    if (!started.ok()) return started;
    shared.threads.push_back(std::move(thread));
    opened->push_back(std::move(its_status));
  }
  return absl::OkStatus();
}

// On a stream: what a connection's replies fill at once, where their size is known. The replies of
// many connections wait in a buffer each, and of small ones several share a page.
uint32_t BufferForReplies(const LoadOptions& options, uint64_t largest) {
  constexpr uint64_t kLeast = 256;
  const uint64_t most = options.loop.recv_buffer_bytes;
  const bool known = options.service != kTextService &&
                     ExchangeOf(options.service) == services::Exchange::kRequestReply;
  if (!known || largest * options.depth >= most) return options.loop.recv_buffer_bytes;
  return static_cast<uint32_t>(std::clamp(std::bit_ceil(largest * options.depth), kLeast, most));
}

// What the threads of a class can't know before all of them have been asked.
LoadOptions Suited(LoadOptions options) {
  if (options.service == kTextService) options.message_bytes = options.text.request.size();
  // A connection without a request would prove nothing.
  if (options.requests > 0 && options.requests < options.connections) {
    options.connections = static_cast<uint32_t>(options.requests);
  }
  options.threads = std::max(1u, std::min(options.threads, options.connections));
  io::LoopOptions& loop = options.loop;
  const uint64_t largest =
      std::max<uint64_t>({options.message_bytes, options.sizes.Max(), options.reply_text.size()});
  if (!options.at.keeps_messages()) {
    loop.recv_buffer_bytes = BufferForReplies(options, largest);
    return options;
  }
  constexpr uint64_t kPoolBytes = 64 << 20;  // a message is received whole, or not at all
  loop.recv_buffer_bytes =
      static_cast<uint32_t>(std::max<uint64_t>(loop.recv_buffer_bytes, largest));
  loop.recv_buffers =
      std::min(loop.recv_buffers, static_cast<uint32_t>(kPoolBytes / loop.recv_buffer_bytes));
  return options;
}

// Starts the threads of a class; their statuses come when each has opened its loop.
absl::Status StartClass(Load::Shared& shared, Load::Class& load, std::vector<Load::Part>* parts,
                        std::vector<std::future<absl::Status>>* opened) {
  const LoadOptions& options = load.options;
  const services::Exchange exchange = ExchangeOf(options.service);
  if (options.at.is_datagram() && exchange != services::Exchange::kRequestReply &&
      exchange != services::Exchange::kSink) {
    return absl::InvalidArgumentError(absl::StrCat("a server of ", options.service,
                                                   " speaks first, and over datagrams it can't"));
  }
  bool known = false;
  absl::Status started;
  io::Loops::Pick(options.backend, [&]<class Backend>() {
    known = Clients::Pick(options.service, [&]<class Service>() {
      started = RunThreads<Backend, Service>(shared, load, parts, opened);
    });
  });
  if (known) return started;
  return absl::InvalidArgumentError(absl::StrCat("there is no backend '", options.backend,
                                                 "' or no service '", options.service, "'"));
}

// What all threads of a class found.
LoadResult Conclude(Load::Class& load) {
  LoadResult result;
  const LoadOptions& options = load.options;
  result.loss_max = options.loss_max;
  result.silence_may_be_loss = options.at.is_datagram() && options.requests > 0;
  std::vector<uint64_t> shares;
  for (ThreadResult& thread : load.results) {
    MergeResult(thread.result, &result);
    shares.insert(shares.end(), thread.requests_by_place.begin(), thread.requests_by_place.end());
  }
  result.latency = load.collector.latency();
  result.series = load.collector.series();
  if (!shares.empty()) {
    std::sort(shares.begin(), shares.end());
    result.connections.requests_min = shares.front();
    result.connections.requests_median = shares[shares.size() / 2];
    result.connections.requests_max = shares.back();
  }
  const std::string problem = load.prove ? load.prove() : "";
  if (!problem.empty()) {
    ++result.errors.service;
    result.problem = problem;
  }
  return result;
}

}  // namespace

std::vector<std::string> ServiceNames() { return services::All::Names(); }

services::Exchange ExchangeOf(const std::string& service) {
  auto exchange = services::Exchange::kRequestReply;
  Clients::Pick(service, [&]<class Service>() { exchange = Service::kExchange; });
  return exchange;
}

uint64_t RequestBytesMax(const std::string& service) {
  return service == services::Counter::kName ? services::Counter::kLineBytesMax : 0;
}

uint64_t MessageBytesMax(const io::Endpoint& at) {
  if (!at.keeps_messages()) return 0;
  if (!at.is_unix()) {  // an IPv4 address that is written as an IPv6 one is reached by IPv4
    const auto* v6 = reinterpret_cast<const sockaddr_in6*>(at.address());
    const bool mapped = at.family() == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr);
    return io::DatagramBytesMax(mapped ? AF_INET : at.family());
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

Load::Class::Class(LoadOptions its_options)
    : options(Suited(std::move(its_options))),
      progress(options.threads),
      results(options.threads),
      outboxes(options.threads),
      collector(options) {}

Load::Load(std::vector<LoadOptions> classes) : shared_(std::make_unique<Shared>()) {
  for (LoadOptions& options : classes) {
    shared_->classes.push_back(std::make_unique<Class>(std::move(options)));
  }
}

Load::~Load() {
  Interrupt();
  for (std::thread& thread : shared_->threads) thread.join();
}

std::vector<LoadOptions> Load::classes() const {
  std::vector<LoadOptions> classes;
  for (const auto& load : shared_->classes) classes.push_back(load->options);
  return classes;
}

absl::Status Load::Start() {
  uint32_t threads = 0;
  for (const auto& load : shared_->classes) threads += load->options.threads;
  if (!shared_->ended.Open()) return absl::ResourceExhaustedError("no descriptor for an eventfd");
  shared_->opening = threads;
  shared_->running = threads;
  shared_->wakes.resize(threads, [] {});
  std::vector<Part> parts;
  for (uint32_t i = 0; i < threads; ++i) parts.emplace_back(*shared_);
  std::vector<std::future<absl::Status>> opened;
  absl::Status status;
  for (const auto& load : shared_->classes) {
    if (status.ok()) status = StartClass(*shared_, *load, &parts, &opened);
  }
  for (auto& thread : opened) status.Update(thread.get());
  if (!status.ok()) Interrupt();
  parts.clear();  // of threads that were never started
  shared_->all_open.store(true);
  shared_->all_open.notify_all();
  return status;
}

void Load::Interrupt() noexcept {
  shared_->interrupted.store(true);
  const std::lock_guard lock(shared_->mutex);
  for (auto& wake : shared_->wakes) wake();
}

void Load::WaitWhenOpen() noexcept { shared_->gated.store(true); }

bool Load::Opened() const noexcept { return shared_->opening.load() == 0; }

void Load::Go() noexcept {
  if (shared_->start_at.load() == 0) shared_->StartClock();
}

void Load::StopOpening() noexcept {
  if (shared_->stop_opening.exchange(true)) return;
  const std::lock_guard lock(shared_->mutex);
  for (auto& wake : shared_->wakes) wake();
}

int Load::ended_fd() const { return shared_->ended.fd(); }

LoadProgress Load::ProgressOf(const Class& load) const {
  LoadProgress progress = {LoadProgress::Phase::kDraining, 0, 0};
  for (const ThreadProgress& thread : load.progress) {
    progress.requests += thread.requests.load(std::memory_order_relaxed);
    progress.open += thread.open.load(std::memory_order_relaxed);
    progress.phase =
        std::min(progress.phase,
                 static_cast<LoadProgress::Phase>(thread.phase.load(std::memory_order_relaxed)));
  }
  return progress;
}

LoadProgress Load::Progress(size_t of) const { return ProgressOf(*shared_->classes[of]); }

LoadProgress Load::Progress() const {
  LoadProgress all = {LoadProgress::Phase::kDraining, 0, 0};
  for (const auto& load : shared_->classes) {
    const LoadProgress one = ProgressOf(*load);
    all.requests += one.requests;
    all.open += one.open;
    all.phase = std::min(all.phase, one.phase);
  }
  return all;
}

void Load::CollectAll(bool at_end, const OnInterval& f) {
  for (size_t i = 0; i < shared_->classes.size(); ++i) {
    Class& load = *shared_->classes[i];
    load.collector.Collect(load.outboxes, at_end, [&](const Interval& interval) {
      if (f) f(i, interval);
    });
  }
}

void Load::Collect(const OnInterval& f) {
  CollectAll(/*at_end=*/false, f);
  const int64_t start = shared_->start_at.load();
  if (start == 0 || shared_->window_begin.load() != 0) return;
  const int64_t now = Now();
  const bool settled = shared_->warmup.Settled(now, Progress().requests);
  int64_t unset = 0;
  if (settled && now >= start + shared_->classes.front()->options.warmup_ns) {
    shared_->window_begin.compare_exchange_strong(unset, now + Shared::kNoticeNs);
  }
}

absl::Status Load::Wait(std::vector<LoadResult>* results, const OnInterval& f) {
  for (std::thread& thread : shared_->threads) thread.join();
  shared_->threads.clear();
  CollectAll(/*at_end=*/true, f);
  absl::Status status;
  for (const auto& load : shared_->classes) {
    for (const ThreadResult& thread : load->results) status.Update(thread.status);
    results->push_back(Conclude(*load));
  }
  return status;
}

}  // namespace loadgen
