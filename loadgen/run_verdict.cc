#include "loadgen/run_verdict.h"

#include <algorithm>
#include <cmath>
#include <span>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "stats/series.h"

namespace loadgen {
namespace {

// From where on each thing is worth a word.
constexpr double kFullCpu = 0.95;          // of a thread's time
constexpr double kRateReached = 0.99;      // of what was offered
constexpr double kStealShare = 0.01;       // of the machine's CPU time
constexpr double kStoppedShare = 0.01;     // of the window
constexpr double kOthersCpus = 0.10;       // CPUs
constexpr double kWaitedShare = 0.05;      // of a thread's time, runnable without a CPU
constexpr double kLagShare = 0.10;         // of the response time at the same percentile
constexpr double kUnequal = 4;             // the busiest connection to the middle one
constexpr double kClientShare = 0.5;       // of the latency
constexpr double kCostsMore = 1.1;         // the client's CPU to the server's
constexpr int64_t kLoopLagNs = 5'000'000;  // at the 99th percentile
constexpr uint64_t kSharesMin = 100;       // requests of the middle connection, to judge shares

std::string Percent(double share) { return absl::StrFormat("%.3g %%", share * 100); }

std::string Micros(int64_t ns) {
  return ns < 1'000'000 ? absl::StrFormat("%.3g µs", ns / 1e3)
                        : absl::StrFormat("%.4g ms", ns / 1e6);
}

class Accuser {
 public:
  Accuser(const LoadOptions& options, const LoadResult& result, const Evidence& evidence)
      : options_(options), result_(result), evidence_(evidence) {}

  std::vector<Accusation> All() {
    Cpu();
    Noise();
    Schedule();
    Shares();
    Latency();
    Settling();
    return std::move(found_);
  }

 private:
  void Add(std::string_view code, std::string text, std::string mend) {
    found_.push_back({code, std::move(text), std::move(mend)});
  }

  void Cpu() {
    if (!options_.spin && result_.cpu_share_max >= kFullCpu) {
      Add("client_cpu_full",
          absl::StrCat("a client thread used ", Percent(result_.cpu_share_max),
                       " of its CPU: the figures may be the client's own limit"),
          options_.open_loop() ? "give it more threads (-t) on CPUs of their own (--cpus)"
                               : "give it more threads (-t), fewer connections, or a --rate below "
                                 "what it reached");
    }
    const double server = result_.server_cpu_ns;
    if (server > 0 && !options_.spin && result_.cpu_ns > kCostsMore * server) {
      Add("client_costs_more",
          absl::StrFormat("the client used %.2f times the server's CPU time",
                          static_cast<double>(result_.cpu_ns) / server),
          "put the client on CPUs of its own (--cpus), or on another machine");
    }
  }

  void Noise() {
    const double stopped_s = static_cast<double>(result_.stopped_ns) / 1e9;
    if (result_.stopped_ns > 0 && stopped_s >= kStoppedShare * result_.duration_s) {
      Add("client_stopped",
          absl::StrFormat("a client thread stood still for %.2f s of %.2f s: what came meanwhile "
                          "was neither sent nor seen in time",
                          stopped_s, result_.duration_s),
          "measure again without what stopped it (SIGSTOP, a debugger, a frozen control group, a "
          "machine without a CPU to spare)");
    }
    if (evidence_.window && evidence_.steal_share >= kStealShare) {
      Add("steal",
          absl::StrCat("the hypervisor took ", Percent(evidence_.steal_share), " of the CPU time"),
          "measure on a quieter host, or for longer (-d)");
    }
    const bool others =
        evidence_.others_cpus >= std::max(kOthersCpus, 2 * evidence_.others_error_cpus);
    if (evidence_.window && evidence_.others_known && others) {
      Add("others_cpu", absl::StrFormat("other processes used %.2f CPUs", evidence_.others_cpus),
          "end them, or keep them off these CPUs (taskset, --cpus)");
    }
    const bool stopped = Quota(evidence_.throttled, "this process'");
    Quota(evidence_.server_throttled, "the server's");
    const double thread_ns = result_.duration_s * 1e9 * options_.threads;
    // Threads that the quota stopped were without a CPU, too: that is nobody else's doing.
    if (!stopped && result_.usage.waited_ns > 0 &&
        result_.usage.waited_ns >= kWaitedShare * thread_ns) {
      Add("cpu_taken",
          absl::StrCat("client threads were runnable and without a CPU for ",
                       Percent(result_.usage.waited_ns / thread_ns), " of the time"),
          "pin them to CPUs that nothing else uses (--cpus), or use fewer (-t)");
    }
    const int64_t lag = result_.loop_lag.Percentile(99);
    if (result_.loop_lag.count() > 0 && lag >= kLoopLagNs) {
      Add("loop_lag", absl::StrCat("the event loop was ", Micros(lag), " late in 1 % of its turns"),
          "give it more threads (-t), or fewer connections (-c) or bytes (-s) each");
    }
  }

  // Whether a control group's quota of CPU time stopped it in the window.
  bool Quota(const stats::CgroupThrottling& throttled, const char* whose) {
    if (!evidence_.window || throttled.periods == 0) return false;
    Add("cpu_quota",
        absl::StrFormat("%s control group (%s) used up its CPU quota of %.3g CPUs (cpu.max) and "
                        "was stopped in %d periods, its threads together for %.3g s",
                        whose, throttled.group, throttled.cpus, throttled.periods,
                        static_cast<double>(throttled.ns) / 1e9),
        "raise the quota (CPUQuota= in the unit, --cpus of the container), or ask for less "
        "(--rate, -c)");
    return true;
  }

  void Schedule() {
    if (!options_.open_loop()) return;
    const ScheduleCounts& schedule = result_.schedule;
    const uint64_t missed = schedule.unsent + schedule.shed;
    if (schedule.offered > 0 && missed > (1 - kRateReached) * schedule.offered) {
      Add("rate_not_reached",
          absl::StrFormat("%d of %d requests that were due were not sent", missed,
                          schedule.offered),
          "offer less (--rate); more connections (-c) or --depth where they were all busy");
    }
    const int64_t lag = result_.lag.Percentile(99), response = result_.latency.Percentile(99);
    if (result_.lag.count() > 0 && lag > kLagShare * response) {
      Add("schedule_lag",
          absl::StrCat("requests went out up to ", Micros(lag),
                       " late (p99) though a connection was free: ",
                       Percent(static_cast<double>(lag) / std::max<int64_t>(1, response)),
                       " of the response time's p99 is the client's"),
          "--busy-poll on a CPU of its own, more threads (-t), or a lower --rate");
    }
  }

  void Shares() {
    const auto& c = result_.connections;
    if (c.silent > 0) {
      Add("silent_connections",
          absl::StrFormat("%d of %d connections never got a reply", c.silent, c.opened),
          "see the server's accept queue and its limits (ringside serve: SIGUSR1; ss -ltn)");
    }
    const bool starved = c.requests_min == 0 && c.requests_median > 0;
    if (c.requests_median >= kSharesMin ||
        (c.requests_median == 0 && c.requests_max > kSharesMin)) {
      const double middle = std::max<double>(1, c.requests_median);
      if (starved || c.requests_max > kUnequal * middle || c.requests_min * kUnequal < middle) {
        Add("unequal_shares",
            absl::StrFormat("connections got between %d and %d requests each, half of them at most "
                            "%d: the total hides that some starved",
                            c.requests_min, c.requests_max, c.requests_median),
            "use a --rate, which gives all the same, and see the server's fairness");
      }
    }
  }

  void Latency() {
    if (result_.client_sample.count() >= kSharesMin && !options_.open_loop()) {
      const double share = result_.client_wait.Mean() / std::max(1.0, result_.client_sample.Mean());
      if (share >= kClientShare) {
        Add("client_share",
            absl::StrCat("replies lay in this client's kernel for ", Percent(share),
                         " of the latency, waiting to be read"),
            "measure latency at a --rate well below saturation, or with more threads (-t)");
      }
    }
    const int64_t median = result_.latency.Percentile(50);
    const bool alternates = options_.depth == 1 && options_.at.transport() == io::Transport::kTcp;
    if (alternates && median >= 38'000'000 && median <= 48'000'000) {
      Add("delayed_ack",
          absl::StrCat("a median of ", Micros(median),
                       " is that of Nagle's algorithm against delayed acknowledgments"),
          "set TCP_NODELAY at the server, or have it write a reply in one piece");
    }
    if (result_.latency.clamped() > 0) {
      Add("beyond_histogram",
          absl::StrFormat("%d latencies were above 100 s, and count as that",
                          result_.latency.clamped()),
          "set a --timeout");
    }
  }

  void Settling() {
    // A plan that changes its rate is not meant to be stationary.
    if (options_.rate.segments.size() > 1) return;
    if (options_.open_loop() &&
        options_.rate.segments[0].begin_rate != options_.rate.segments[0].end_rate) {
      return;
    }
    const std::vector<double> rates = Rates();
    if (options_.requests > 0 && rates.size() < stats::kIntervalsMin) return;  // it is done by then
    const stats::Stationarity found = stats::CheckStationarity(rates);
    const std::string reason = found.Reason();
    if (found.too_short) {
      Add("too_short", reason, "measure for longer (-d)");
    } else if (!reason.empty()) {
      Add("not_settled", reason, WarmUpLonger(rates));
    }
  }

  // The mend where the run's beginning differs from the rest of it, or something else does.
  std::string WarmUpLonger(std::span<const double> rates) const {
    const size_t warmup = stats::WarmupEnd(rates);
    if (warmup == 0) return "see what else runs, or warm up for longer (--warmup auto)";
    const double share = static_cast<double>(warmup) / static_cast<double>(rates.size());
    const double seconds =
        static_cast<double>(options_.warmup_ns) / 1e9 + share * result_.duration_s;
    return absl::StrFormat("the first %.0f %% of it look like a warm-up: --warmup %.0fs",
                           share * 100, std::ceil(seconds));
  }

  // The rates of the series, of several intervals at a time where one has few requests.
  std::vector<double> Rates() const {
    constexpr uint64_t kRequestsMin = 50;
    const size_t rows = result_.series.size();
    const uint64_t each = rows > 0 ? std::max<uint64_t>(1, result_.requests / rows) : 1;
    const size_t group = std::max<uint64_t>(1, (kRequestsMin + each - 1) / each);
    std::vector<double> rates;
    for (size_t i = 0; i + group <= rows; i += group) {
      double requests = 0, seconds = 0;
      for (size_t j = i; j < i + group; ++j) {
        requests += static_cast<double>(result_.series[j].requests);
        seconds += result_.series[j].length_s;
      }
      if (seconds >= group * options_.interval_ns / 2e9) rates.push_back(requests / seconds);
    }
    return rates;
  }

  const LoadOptions& options_;
  const LoadResult& result_;
  const Evidence& evidence_;
  std::vector<Accusation> found_;
};

bool Has(const RunVerdict& verdict, std::initializer_list<std::string_view> codes) {
  return std::any_of(verdict.accusations.begin(), verdict.accusations.end(), [&](const auto& one) {
    return std::find(codes.begin(), codes.end(), one.code) != codes.end();
  });
}

const std::string& TextOf(const RunVerdict& verdict, std::string_view code) {
  static const std::string none;
  for (const Accusation& one : verdict.accusations) {
    if (one.code == code) return one.text;
  }
  return none;
}

void Decide(const LoadOptions& options, const LoadResult& result, RunVerdict* verdict) {
  const double server = result.server_thread_share_max;  // below 0: not known
  const bool client_full = Has(*verdict, {"client_cpu_full"});
  const bool missed = Has(*verdict, {"rate_not_reached"});
  if (!result.valid() || result.too_many_errors) {
    verdict->kind = RunKind::kIncomplete;
    verdict->reason = result.interrupted       ? "it was interrupted"
                      : result.too_many_errors ? "it was ended at --max-errors"
                      : result.requests == 0   ? "nothing was answered"
                      : result.errors.reconciliation > 0
                          ? "the server counted otherwise"
                          : "not all that was asked was answered rightly";
    return;
  }
  for (const char* noise : {"cpu_quota", "client_stopped", "steal", "others_cpu", "cpu_taken"}) {
    if (!Has(*verdict, {noise})) continue;
    verdict->kind = RunKind::kNoisy;
    verdict->reason = TextOf(*verdict, noise);
    return;
  }
  // Full at both ends, it is the server that is measured.
  if (client_full && server < kFullCpu) {
    verdict->kind = RunKind::kClientBound;
    verdict->reason =
        server < 0
            ? "a client thread was at its limit, and what the server had left "
              "is not known"
            : absl::StrCat("a client thread was at its limit, the server's busiest thread at ",
                           Percent(server), " of a CPU");
    return;
  }
  if (missed || server >= kFullCpu) {
    verdict->kind = RunKind::kServerBound;
    verdict->reason =
        missed ? absl::StrCat("of the rate offered, ",
                              absl::StrFormat("%.0f/s", result.throughput_rps), " was reached")
               : absl::StrCat("the server's busiest thread used ", Percent(server), " of a CPU");
    return;
  }
  verdict->kind = RunKind::kValid;
  verdict->reason =
      absl::StrCat(options.open_loop() ? "the rate offered was reached, and " : "",
                   ServerKnown(result)
                       ? "neither end was at its limit"
                       : "the client was not at its limit; what the server had left is not known");
}

}  // namespace

bool ServerKnown(const LoadResult& result) { return result.server_thread_share_max >= 0; }

std::string_view Name(RunKind kind) {
  switch (kind) {
    case RunKind::kIncomplete:
      return "incomplete";
    case RunKind::kNoisy:
      return "noisy";
    case RunKind::kClientBound:
      return "client-bound";
    case RunKind::kServerBound:
      return "server-bound";
    case RunKind::kValid:
      return "valid";
  }
  return "";
}

RunVerdict Judge(const LoadOptions& options, const LoadResult& result, const Evidence& evidence) {
  RunVerdict verdict;
  verdict.accusations = Accuser(options, result, evidence).All();
  Decide(options, result, &verdict);
  return verdict;
}

}  // namespace loadgen
