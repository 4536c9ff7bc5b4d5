#include "stress/slow.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "loadgen/load_json.h"
#include "report/format.h"
#include "stats/histogram_json.h"
#include "stress/kernel_memory.h"
#include "stress/memory_guard.h"
#include "stress/run_load.h"

namespace stress {
namespace {

// Slow peers have filled what they can fill when less than kStillBytes a peer left in kStillMs; it
// is waited for up to kSettleMs.
constexpr int kStillMs = 300, kSettleMs = 10'000;
constexpr uint64_t kStillBytes = 64;
constexpr int64_t kWarmupNs = 200'000'000;

// One kind of peers at one server.
class Trial {
 public:
  Trial(const SlowExperiment& options, const TargetOptions& asked, SlowKind kind,
        const Context& context, Result* result)
      : options_(options),
        asked_(asked),
        kind_(kind),
        name_(Name(kind)),
        context_(context),
        result_(*result),
        guard_(options.memory_floor_bytes) {}

  // Its row; null where it was interrupted before there was one.
  absl::StatusOr<Json> Run() {
    TargetOptions asked = asked_;
    asked.service = "echo";
    asked.flags.insert(asked.flags.begin(), {"--size", absl::StrCat(options_.message_bytes, "B")});
    auto target = Target::Start(asked, context_);
    if (!target.ok()) return target.status();
    auto without = Good(*target, "without slow peers");
    if (!without.ok()) return without.status();
    Json row;
    if (GoesOn()) {
      auto with = WithPeers(*target, *without);
      if (!with.ok()) return with.status();
      row = *std::move(with);
    }
    const auto summary = target->Stop();
    if (!summary.ok()) {
      result_.problem = std::string(summary.status().message());
    } else if (!summary->is_null() && !row.is_null()) {
      row["server"]["stalled_closed"] = (*summary)["limits"]["stalled_closed"];
      row["server"]["idle_closed"] = (*summary)["limits"]["idle_closed"];
      row["server"]["accepted"] = (*summary)["connections"]["accepted"];
    }
    return row;
  }

 private:
  bool GoesOn() const { return !result_.interrupted && !result_.limit && result_.problem.empty(); }

  // A measurement of the good client.
  absl::StatusOr<LoadRun> Good(const Target& target, const char* when) {
    loadgen::LoadOptions load;
    load.at = target.at();
    load.backend = options_.client_backend;
    load.connections = options_.connections;
    load.cpus = target.client_cpus();
    load.message_bytes = options_.message_bytes;
    load.duration_ns = options_.duration_ns;
    load.warmup_ns = kWarmupNs;
    load.server_pid = target.pid();
    if (options_.rate > 0) {
      load.workload = loadgen::Workload::kRate;
      load.rate.segments = {{options_.rate, options_.rate, loadgen::kNever}};
    }
    auto run = RunLoad(load, guard_, context_, [&](double at_s, const loadgen::Load&) {
      context_.note(absl::StrFormat("%s: the good client %s, %.0f s", name_, when, at_s));
    });
    if (!run.ok()) return run.status();
    result_.interrupted = result_.interrupted || run->interrupted;
    if (!result_.limit) result_.limit = run->limit;
    const loadgen::LoadResult& good = run->result;
    result_.connections.requested += good.connections.requested;
    result_.connections.opened += good.connections.opened;
    result_.connections.answered += good.connections.answered;
    if (GoesOn() && !good.valid()) {
      result_.problem = absl::StrCat(name_, ": the good client, ", when, ", had ",
                                     report::FormatCount(good.errors.total()), " errors and ",
                                     report::FormatCount(good.requests), " answers");
    }
    return run;
  }

  // Waits until the peers have filled what they can fill.
  void Settle(const SlowPeers& peers) {
    uint64_t before = 0;
    for (int waited = 0; waited < kSettleMs && GoesOn(); waited += kStillMs) {
      context_.note(absl::StrFormat("%s: filling up", name_));
      context_.Await(-1, kStillMs);
      if (context_.Interrupted()) result_.interrupted = true;
      if (auto limit = guard_.Check()) result_.limit = std::move(limit);
      const SlowCounts now = peers.counts();
      const bool there = now.opened + now.failed == options_.peers;
      const bool still = now.sent_bytes - before < kStillBytes * options_.peers;
      if (there && still && waited > 0) return;
      before = now.sent_bytes;
    }
  }

  absl::StatusOr<Json> WithPeers(Target& target, const LoadRun& without) {
    const TargetUse before = target.Use();
    const KernelMemory kernel_before = KernelMemory::Read();
    SlowPeers peers({.at = target.at(),
                     .kind = kind_,
                     .peers = options_.peers,
                     .message_bytes = options_.message_bytes,
                     .trickle_every_ns = options_.trickle_every_ns,
                     .cpus = target.client_cpus()});
    const absl::Status started = peers.Start();
    if (!started.ok()) return started;
    Settle(peers);
    const TargetUse full = target.Use();
    const KernelMemory kernel_full = KernelMemory::Read();
    const uint64_t held = std::max<uint64_t>(1, peers.counts().opened);
    Json with;
    if (GoesOn()) {
      auto run = Good(target, "beside slow peers");
      if (!run.ok()) return run.status();
      with = GoodJson(*run);
      Judge(*run, without);
    }
    const SlowCounts counts = peers.counts();
    const absl::Status ran = peers.Stop();
    if (!ran.ok() && GoesOn()) result_.problem = std::string(ran.message());
    if (counts.failed > 0 && GoesOn()) {
      result_.problem = absl::StrCat(name_, ": ", report::FormatCount(counts.failed),
                                     " slow peers could not connect");
    }
    if (counts.corrupt_bytes > 0 && GoesOn()) {
      result_.problem = absl::StrCat(name_, ": ", report::FormatCount(counts.corrupt_bytes),
                                     " bytes came back wrong");
    }
    Json each;
    if (before.rss_bytes >= 0 && full.rss_bytes >= 0) {
      each = static_cast<double>(full.rss_bytes - before.rss_bytes) / held;
    }
    Note(counts, each);
    return Json{{"kind", name_},
                {"backend", target.ours() ? Json(asked_.backend) : Json()},
                {"peers", PeersJson(counts)},
                {"good", {{"without", GoodJson(without)}, {"with", with}}},
                {"memory",
                 {{"rss_bytes_each", each}, {"kernel", ToJson(kernel_before, kernel_full, held)}}},
                {"server", ToJson(target, before, full)}};
  }

  Json PeersJson(const SlowCounts& counts) const {
    return {{"requested", options_.peers},
            {"opened", counts.opened},
            {"failed", counts.failed},
            {"closed_by_server", counts.closed_by_server},
            {"answered", counts.answered},
            {"sent_bytes", counts.sent_bytes},
            {"received_bytes", counts.received_bytes},
            {"corrupt_bytes", counts.corrupt_bytes}};
  }

  static Json GoodJson(const LoadRun& run) {
    const loadgen::LoadResult& good = run.result;
    const bool known = good.server_cpu_ns >= 0 && good.requests > 0;
    return {
        {"requests", good.requests},
        {"throughput_rps", good.throughput_rps},
        {"latency_ns", stats::TimesJson(good.latency)},
        {"errors", loadgen::ErrorsJson(good)},
        {"bytes_corrupt", good.bytes.corrupt},
        {"server_cpu_us_each", known ? Json(good.server_cpu_ns / 1e3 / good.requests) : Json()}};
  }

  void Judge(const LoadRun& with, const LoadRun& without) {
    const auto p99 = [](const LoadRun& run) {
      return report::FormatDuration(run.result.latency.Percentile(99));
    };
    if (with.result.latency.count() == 0 || without.result.latency.count() == 0) return;
    p99_ = absl::StrCat("p99 of the good client ", p99(without), " without, ", p99(with), " with");
  }

  void Note(const SlowCounts& counts, const Json& each) {
    std::vector<std::string> parts;
    if (!p99_.empty()) parts.push_back(p99_);
    if (!each.is_null()) {
      const double bytes = std::max(0.0, each.get<double>());
      parts.push_back(absl::StrCat(report::FormatBytes(static_cast<uint64_t>(bytes)),
                                   " of the server's memory a peer"));
    }
    parts.push_back(absl::StrCat("the server closed ", report::FormatCount(counts.closed_by_server),
                                 " of ", report::FormatCount(options_.peers)));
    const std::string who = absl::StrCat(asked_.at ? "" : asked_.backend + ", ", name_);
    absl::StrAppend(&result_.finding, result_.finding.empty() ? "" : "; ", who, ": ",
                    absl::StrJoin(parts, ", "));
  }

  const SlowExperiment& options_;
  const TargetOptions& asked_;
  const SlowKind kind_;
  const std::string name_;
  const Context& context_;
  Result& result_;
  MemoryGuard guard_;
  std::string p99_;
};

// What slow peers fill beside the server: the memory of all of TCP, which whoever uses TCP on the
// machine then lacks.
void NamePressure(Result* result) {
  for (const stats::CounterChange& change : result->kernel.changes) {
    if (change.name != "TcpExtTCPMemoryPressures") continue;
    absl::StrAppend(&result->finding,
                    "; TCP's memory came under pressure (net.ipv4.tcp_mem), which slows down "
                    "everybody on this machine");
  }
}

}  // namespace

absl::StatusOr<Result> Slow(const SlowExperiment& options, const Context& context) {
  Result result = {.experiment = "slow"};
  Json rows = Json::array();
  const KernelWatch kernel;
  result.limit = MemoryGuard(options.memory_floor_bytes).Check();
  for (const TargetOptions& target : options.targets) {
    for (const SlowKind kind : options.kinds) {
      if (result.limit || result.interrupted || !result.problem.empty()) break;
      auto row = Trial(options, target, kind, context, &result).Run();
      if (!row.ok()) return row.status();
      if (!row->is_null()) rows.push_back(*std::move(row));
    }
  }
  result.kernel = kernel.End();
  if (result.finding.empty()) result.finding = "nothing was measured";
  NamePressure(&result);
  result.own = {{"peers", options.peers},
                {"connections", options.connections},
                {"rate", options.rate > 0 ? Json(options.rate) : Json()},
                {"message_bytes", options.message_bytes},
                {"duration_s", options.duration_ns / 1e9},
                {"trickle_every_s", options.trickle_every_ns / 1e9},
                {"rows", rows}};
  return result;
}

}  // namespace stress
