#include "stress/hold.h"

#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "io/backends.h"
#include "report/format.h"
#include "report/json_text.h"
#include "stats/histogram_json.h"
#include "stress/descriptors.h"
#include "stress/hold_plan.h"
#include "stress/kernel_memory.h"
#include "stress/load_process.h"
#include "stress/ramp_limits.h"
#include "stress/ramp_series.h"

namespace stress {
namespace {

constexpr int kRampLookMs = 20;
constexpr int64_t kForeverNs = 86'400'000'000'000;
constexpr int64_t kWarmupNs = 100'000'000;  // the first heartbeats, which wake all the threads
constexpr int64_t kBackNs = 5'000'000'000;  // then what hasn't come back is taken for left

int64_t Now() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

int64_t TcpSockets() {
  const auto counters = stats::KernelCounters::Read();
  return counters.ok() ? counters->gauges.tcp_sockets : -1;
}

// What both ends and the kernel use at a moment.
struct Usage {
  std::vector<TargetUse> servers, clients;
  KernelMemory kernel;
};

// The change in one of its numbers from `before` to `after`, by all processes; -1: it isn't known.
int64_t Grown(const std::vector<TargetUse>& before, const std::vector<TargetUse>& after,
              int64_t TargetUse::*number) {
  int64_t grown = 0;
  if (before.empty() || before.size() != after.size()) return -1;
  for (size_t i = 0; i < before.size(); ++i) {
    if (before[i].*number < 0 || after[i].*number < 0) return -1;
    grown += after[i].*number - before[i].*number;
  }
  return std::max<int64_t>(0, grown);
}

Json Each(int64_t grown, uint64_t count) {
  return grown < 0 || count == 0 ? Json() : Json(static_cast<double>(grown) / count);
}

// One experiment, from the servers' start to their end. One thread.
class HoldRun {
 public:
  HoldRun(const HoldOptions& options, HoldPlan plan, uint64_t descriptors, const Context& context)
      : options_(options),
        plan_(std::move(plan)),
        descriptors_(descriptors),
        context_(context),
        result_({.experiment = "hold"}) {
    result_.connections.requested = options.connections;
  }

  absl::StatusOr<Result> Run() {
    result_.limit = MemoryGuard(options_.memory_floor_bytes).Check();
    if (!result_.limit) {
      absl::Status status = StartServers();
      if (status.ok()) status = StartLoads();
      if (!status.ok()) return status;
      Ramp();
      KeepThem();
      AwaitEnd();
      Conclude();
    }
    result_.kernel = kernel_.End();
    result_.finding = Finding();
    result_.own = OwnJson();
    return std::move(result_);
  }

 private:
  bool Ours() const { return !options_.target.at; }
  const Target& TargetOf(size_t share) const { return targets_[Ours() ? share : 0]; }
  const char* Kind() const { return plan_.direct ? "direct" : "file"; }

  absl::Status StartServers() {
    const size_t count = Ours() ? plan_.shares.size() : 1;
    for (size_t i = 0; i < count; ++i) {
      TargetOptions asked = options_.target;
      asked.service = "echo";
      asked.flags = ServeFlagsOf(options_, plan_, plan_.shares[i], descriptors_);
      auto target = Target::Start(asked, context_);
      if (!target.ok()) return target.status();
      targets_.push_back(*std::move(target));
    }
    return absl::OkStatus();
  }

  loadgen::LoadOptions LoadOf(size_t share) const {
    const auto processes = static_cast<double>(plan_.shares.size());
    const Target& target = TargetOf(share);
    loadgen::LoadOptions load;
    load.at = target.at();
    load.backend = options_.client_backend;
    load.workload = loadgen::Workload::kHold;
    load.connections = plan_.shares[share].connections;
    load.sources = plan_.shares[share].sources;
    load.threads = plan_.threads;  // on any CPU: opening costs the client more than the server
    load.message_bytes = options_.message_bytes;
    const double rate = options_.heartbeat_rate / processes;
    load.rate.segments = {{rate, rate, loadgen::kNever}};
    load.connect_rate = options_.connect_rate / processes;
    load.connect_timeout_ns = kForeverNs;  // when the ramp is over, RampWatch says
    load.warmup_ns = kWarmupNs;
    load.duration_ns = options_.hold_ns;
    load.timestamp_every = 0;
    load.seed += share;
    if (plan_.direct) load.loop.direct_descriptors = load.connections / load.threads + 1;
    io::ShareMemory(load.threads, &load.loop);
    return load;
  }

  absl::Status StartLoads() {
    for (size_t i = 0; i < plan_.shares.size(); ++i) {
      auto load = LoadProcess::Start(LoadOf(i));
      if (!load.ok()) return load.status();
      loads_.push_back(*std::move(load));
    }
    return absl::OkStatus();
  }

  Usage UseNow() const {
    Usage usage;
    usage.kernel = KernelMemory::Read();
    for (const Target& target : targets_) usage.servers.push_back(target.Use());
    for (const LoadProcess& load : loads_) usage.clients.push_back(UseOf(load.pid()));
    return usage;
  }

  struct Progress {
    uint64_t open = 0, answered = 0;
    bool opened = true, closing = true, ended = true;
  };
  // Of all processes together.
  Progress Look() {
    Progress all;
    for (LoadProcess& load : loads_) {
      const LoadProcess::Progress one = load.Look();
      all.open += one.open;
      all.answered += one.answered;
      all.opened &= one.opened;
      all.closing &= one.closing;
      all.ended &= one.ended;
    }
    return all;
  }

  // Tells the loads of it once. Whether the user wants an end.
  bool HandleInterrupt() {
    if (result_.interrupted || !context_.Interrupted()) return result_.interrupted;
    for (LoadProcess& load : loads_) load.Interrupt();
    return result_.interrupted = true;
  }

  // Waits for a look's length, or for an interrupt that nobody has seen.
  void Pause(int ms) const {
    Context waiting = context_;
    if (result_.interrupted) waiting.interrupt_fd = -1;
    waiting.Await(-1, ms);
  }

  void Ramp() {
    std::vector<pid_t> servers;
    for (const Target& target : targets_) servers.push_back(target.pid());
    RampWatch watch(options_.memory_floor_bytes, options_.connect_timeout_ns, std::move(servers),
                    options_.connections);
    before_ = UseNow();
    const int64_t began = Now();
    for (LoadProcess& load : loads_) load.Begin();
    while (!HandleInterrupt()) {
      Pause(kRampLookMs);
      const Progress now = Look();
      const double at_s = (Now() - began) / 1e9;
      series_.Add(at_s, now.open, now.answered);
      context_.note(absl::StrFormat("%.0f s, %s of %s connections answered", at_s,
                                    report::FormatCount(now.answered),
                                    report::FormatCount(options_.connections)));
      if (now.opened) break;
      if (!result_.limit) Stop(watch.Check(Now(), now.answered));
    }
    lowest_memory_ = watch.lowest_memory_bytes();
    held_ = UseNow();
    answered_ = Look().answered;
  }

  // A limit ends the ramp; with what there is, it goes on.
  void Stop(std::optional<Limit> limit) {
    if (!limit) return;
    result_.limit = std::move(limit);
    for (LoadProcess& load : loads_) load.StopOpening();
  }

  // Lets the heartbeats go, until their time is over.
  void KeepThem() {
    for (LoadProcess& load : loads_) load.Go();
    const int64_t began = Now();
    while (!Look().closing && !HandleInterrupt()) {
      Pause(kRampLookMs);
      context_.note(absl::StrFormat("%s connections held for %.1f s",
                                    report::FormatCount(answered_), (Now() - began) / 1e9));
    }
    while (!Look().closing) Pause(1);
  }

  bool DescriptorsAreBack() const {
    for (size_t i = 0; i < targets_.size(); ++i) {
      const int64_t open = OpenDescriptors(targets_[i].pid());
      if (open >= 0 && open > before_.servers[i].descriptors) return false;
    }
    return true;
  }

  // Until all connections are closed, in the kernel, too.
  void AwaitEnd() {
    constexpr int kCloseLookMs = 5;
    const int64_t began = Now();
    int64_t ended = 0;
    while (true) {
      const int64_t sockets = TcpSockets(), now = Now();
      const bool back = sockets >= 0 && sockets <= before_.kernel.gauges.tcp_sockets;
      if (back && close_ns_ < 0) close_ns_ = now - began;
      HandleInterrupt();
      const bool all_ended = Look().ended;
      if (all_ended && ended == 0) ended = now;
      if (all_ended && ((back && DescriptorsAreBack()) || now - ended > kBackNs)) break;
      context_.note(absl::StrFormat("closing, %d sockets are left", sockets));
      Pause(kCloseLookMs);
    }
    sockets_left_ = TcpSockets() - before_.kernel.gauges.tcp_sockets;
    for (const Target& target : targets_) after_.push_back(target.Use());
  }

  void Problem(const std::string& what) {
    if (result_.problem.empty()) result_.problem = what;
  }

  void Conclude() {
    for (LoadProcess& load : loads_) {
      const auto outcome = load.Wait();
      if (!outcome.ok()) Problem(std::string(outcome.status().message()));
      if (outcome.ok()) outcome_.Merge(*outcome);
    }
    result_.connections.opened = outcome_.opened;
    result_.connections.answered = outcome_.answered;
    if (result_.interrupted) answered_ = outcome_.answered;
    for (Target& target : targets_) {
      const auto summary = target.Stop();
      if (!summary.ok()) Problem(std::string(summary.status().message()));
    }
    if (!result_.limit && !result_.interrupted && outcome_.answered < options_.connections) {
      result_.limit = EndOfOurs();
    }
    if (!result_.limit && !result_.interrupted) JudgeErrors();
    if (outcome_.corrupt_bytes > 0) {
      Problem(absl::StrCat(report::FormatCount(outcome_.corrupt_bytes), " bytes were corrupt"));
    }
  }

  std::optional<Limit> EndOfOurs() const {
    const auto ports = ReadPortBudget(plan_.sources(), targets_.front().at().is_loopback());
    auto limit = LimitOfOurEnd(options_.connections, outcome_.out_of_ports, outcome_.problem,
                               outcome_.by_errno, ports.ok() ? &*ports : nullptr);
    return limit ? limit : TcpMemoryLimit(held_.kernel.gauges.tcp_memory_pages);
  }

  // What went wrong that is no limit's doing.
  void JudgeErrors() {
    if (outcome_.errors == 0 && outcome_.answered == options_.connections) return;
    Problem(absl::StrCat(
        report::FormatCount(outcome_.errors), " errors (", report::JsonText(outcome_.by_errno),
        outcome_.problem.empty() ? "" : absl::StrCat("; ", outcome_.problem), ")"));
  }

  // --- what it found ----------------------------------------------------------------------------

  Json ServerBytesEach() const {
    return Each(Grown(before_.servers, held_.servers, &TargetUse::rss_bytes), answered_);
  }
  Json ClientBytesEach() const {
    return Each(Grown(before_.clients, held_.clients, &TargetUse::rss_bytes), answered_);
  }

  std::string Finding() const {
    if (targets_.empty()) return "nothing was opened";
    std::string finding =
        absl::StrCat("held ", report::FormatCount(answered_), " connections of ",
                     report::FormatCount(options_.connections), " with ", Kind(), " descriptors");
    if (outcome_.opening_s > 0 && !result_.interrupted) {
      absl::StrAppend(&finding, ", opened in ",
                      report::FormatDuration(static_cast<int64_t>(outcome_.opening_s * 1e9)));
    }
    if (const Json each = ServerBytesEach(); !each.is_null()) {
      absl::StrAppend(&finding, absl::StrFormat("; %.0f B of the server each", each.get<double>()));
    }
    if (outcome_.heartbeat.count() > 0) {
      absl::StrAppend(&finding, "; heartbeats answered in ",
                      report::FormatDuration(outcome_.heartbeat.Percentile(99)), " (p99)");
    }
    return finding;
  }

  Json RampJson() const {
    const double rate = outcome_.opening_s > 0 ? outcome_.answered / outcome_.opening_s : 0;
    const auto cpu_us = [&](const auto& before, const auto& after) {
      const Json each = Each(Grown(before, after, &TargetUse::cpu_ns), answered_);
      return each.is_null() ? each : Json(each.get<double>() / 1e3);
    };
    return {{"duration_s", outcome_.opening_s},
            {"connections_per_s", rate},
            {"connect_ns", stats::TimesJson(outcome_.connect)},
            {"first_byte_ns", stats::TimesJson(outcome_.first_byte)},
            {"client_cpu_us_each", cpu_us(before_.clients, held_.clients)},
            {"server_cpu_us_each", cpu_us(before_.servers, held_.servers)},
            {"series", series_.ToJson()}};
  }

  Json MemoryJson() const {
    return {{"kernel", ToJson(before_.kernel, held_.kernel, answered_)},
            {"server_bytes_each", ServerBytesEach()},
            {"client_bytes_each", ClientBytesEach()},
            {"available_lowest_bytes", lowest_memory_ < 0 ? Json() : Json(lowest_memory_)},
            {"tcp_memory_pages", held_.kernel.gauges.tcp_memory_pages}};
  }

  Json CloseJson() const {
    return {{"duration_s", close_ns_ < 0 ? Json() : Json(close_ns_ / 1e9)},
            {"sockets_left", sockets_left_},
            {"server_descriptors_left", Grown(before_.servers, after_, &TargetUse::descriptors)},
            {"client_descriptors_left", outcome_.descriptors_after - outcome_.descriptors_before}};
  }

  Json OwnJson() const {
    Json servers = Json::array();
    for (size_t i = 0; i < targets_.size(); ++i) {
      servers.push_back(ToJson(targets_[i], before_.servers[i], after_[i]));
      servers.back()["held"] = ToJson(targets_[i], before_.servers[i], held_.servers[i])["after"];
    }
    Json json = {{"backend", Ours() ? Json(options_.target.backend) : Json()},
                 {"client_backend", options_.client_backend},
                 {"descriptors", Kind()},
                 {"processes", plan_.shares.size()},
                 {"threads", plan_.threads},
                 {"sources", plan_.sources()},
                 {"connect_rate", options_.connect_rate > 0 ? Json(options_.connect_rate) : Json()},
                 {"message_bytes", options_.message_bytes},
                 {"held", answered_}};
    if (targets_.empty()) return json;
    json["ramp"] = RampJson();
    json["memory"] = MemoryJson();
    json["heartbeat"] = {{"rate", options_.heartbeat_rate},
                         {"offered", outcome_.offered},
                         {"answered", outcome_.heartbeats},
                         {"response_ns", stats::TimesJson(outcome_.heartbeat)},
                         {"service_ns", stats::TimesJson(outcome_.service)}};
    json["close"] = CloseJson();
    json["errors"] = {{"total", outcome_.errors},
                      {"unanswered", outcome_.unanswered},
                      {"by_errno", outcome_.by_errno}};
    json["bytes_corrupt"] = outcome_.corrupt_bytes;
    json["servers"] = servers;
    return json;
  }

  const HoldOptions& options_;
  const HoldPlan plan_;
  const uint64_t descriptors_;
  const Context& context_;
  const KernelWatch kernel_;
  Result result_;
  std::vector<Target> targets_;
  std::vector<LoadProcess> loads_;
  Usage before_, held_;
  std::vector<TargetUse> after_;  // of the servers
  RampSeries series_;
  LoadOutcome outcome_;
  uint64_t answered_ = 0;
  int64_t lowest_memory_ = -1, close_ns_ = -1, sockets_left_ = 0;
};

}  // namespace

absl::StatusOr<Result> Hold(const HoldOptions& options, const Context& context) {
  const auto ports = loadgen::ReadLocalPorts();
  if (!ports.ok()) return ports.status();
  const int64_t limit = DescriptorLimit(getpid());
  const auto descriptors = static_cast<uint64_t>(std::max<int64_t>(1, limit));
  const bool loopback = !options.target.at || (options.target.at->is_loopback() &&
                                               options.target.at->family() == AF_INET);
  auto plan = PlanHold(options, descriptors, *ports, loopback);
  if (!plan.ok()) return plan.status();
  return HoldRun(options, *std::move(plan), descriptors, context).Run();
}

}  // namespace stress
