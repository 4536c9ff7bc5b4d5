#include "bench/compare.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <random>

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "bench/compare_json.h"
#include "bench/record.h"

namespace bench {
namespace {

using Json = nlohmann::ordered_json;
using Clock = std::chrono::steady_clock;

// Void rounds of an arm in a row after which nothing will be learned of it here.
constexpr int kVoidInRowMax = 6;
constexpr double kPaceShare = 0.6;   // of the slower arm's full speed, at the most
constexpr double kGuessShare = 0.5;  // of full speed: where the first search begins

// Rounded down to two digits, so that a pace reads well and repeats.
double TwoDigits(double value) {
  const double unit = std::pow(10, std::floor(std::log10(value)) - 1);
  return std::floor(value / unit) * unit;
}

class Play {
 public:
  Play(const CompareOptions& options, const std::function<void(const CompareProgress&)>& progress)
      : options_(options), progress_(progress), order_(options.seed), begun_(Clock::now()) {
    for (const Arm& arm : options.arms) judged_arms_ += arm.role == Role::kArm;
    for (const Scenario& scenario : options.scenarios) {
      Record& record = records_.emplace_back();
      record.scenario = scenario;
      record.rate_guesses.resize(options.arms.size(), 0);
      for (size_t arm = 1; arm < options.arms.size(); ++arm) {
        record.comparisons.push_back({.arm = arm});
      }
    }
  }

  absl::Status All() {
    absl::Status status = FindPaces();
    while (status.ok() && AnyOpen() && !OutOfBudget()) {
      for (Record& record : records_) {
        if (!status.ok() || record.done() || OutOfBudget()) continue;
        status = PlayBlock(record);
      }
    }
    for (Record& record : records_) JudgeOpen(record, /*budget_ended=*/true);
    return status;
  }

  Json ToJson() const {
    TimeSpent time = time_;
    time.wall_ns = std::chrono::nanoseconds(Clock::now() - begun_).count();
    return ResultJson(options_, records_, time);
  }

 private:
  bool AnyOpen() const {
    return std::any_of(records_.begin(), records_.end(),
                       [](const Record& record) { return !record.done(); });
  }

  int64_t LeftNs() const {
    return options_.budget_ns - std::chrono::nanoseconds(Clock::now() - begun_).count();
  }

  bool OutOfBudget() const {
    int64_t block_ns = 0;
    for (const Record& record : records_) block_ns = std::max(block_ns, record.block_ns);
    return LeftNs() < block_ns;
  }

  int OpenPairs(const Record& record) const {
    int pairs = options_.pairs_max;
    for (const Comparison& comparison : record.comparisons) {
      if (!comparison.done) pairs = std::min(pairs, Pairs(record, comparison.arm));
    }
    return pairs;
  }

  void Tell(const Record& record, std::string note) {
    const int pairs = OpenPairs(record);
    int look = options_.pairs_max;
    for (int candidate : kLooks) {
      if (candidate > pairs) look = std::min(look, candidate);
    }
    int64_t left = 0;
    for (const Record& other : records_) {
      if (!other.done()) left += other.block_ns * (options_.pairs_max - OpenPairs(other));
    }
    progress_({.scenario = record.scenario.name,
               .pair = pairs + 1,
               .next_look = look,
               .left_ns = std::min(std::max<int64_t>(0, LeftNs()), left > 0 ? left : LeftNs()),
               .note = std::move(note)});
  }

  // A pace that the arms hold: the scenario's own, or a share of the slower one's full speed. In an
  // ablation an arm that can't hold the first one's pace has lost, and doesn't slow the others.
  absl::Status FindPaces() {
    for (Record& record : records_) {
      Scenario& scenario = record.scenario;
      const bool paced = scenario.pace_rps > 0 && !scenario.pace_fixed;
      const bool searches = !scenario.objective.empty();
      if (!paced && !searches) continue;
      Tell(record, "");
      double slower = INFINITY;
      for (size_t arm = 0; arm < options_.arms.size(); ++arm) {
        if (arm > 0 && options_.ablation && !searches) break;
        const auto speed = FullSpeed(options_.arms[arm], scenario, options_.plan);
        if (!speed.ok()) return speed.status();
        time_.measured_ns += options_.plan.window_ns;
        time_.warmup_ns += options_.plan.warmup_ns;
        record.rate_guesses[arm] = kGuessShare * *speed;
        slower = std::min(slower, *speed);
      }
      if (paced) scenario.pace_rps = std::min(scenario.pace_rps, TwoDigits(kPaceShare * slower));
    }
    return absl::OkStatus();
  }

  std::vector<size_t> Order(const Record& record) {
    std::vector<size_t> order = {0};
    for (const Comparison& comparison : record.comparisons) {
      if (!comparison.done) order.push_back(comparison.arm);
    }
    std::shuffle(order.begin(), order.end(), order_);
    return order;
  }

  absl::Status PlayBlock(Record& record) {
    Tell(record, "");
    const auto begun = Clock::now();
    Block block;
    block.begin_s = std::chrono::duration<double>(begun - begun_).count();
    block.order = Order(record);
    block.arms.resize(options_.arms.size());
    // Arms of a round get the same arrivals and sizes. The next round gets others: what an interval
    // tells is to hold for any, and not for those that one seed happens to draw.
    RoundPlan plan = options_.plan;
    plan.seed = std::max<uint64_t>(1, options_.seed + record.blocks.size());
    for (const size_t arm : block.order) {
      auto round = PlayRound(options_.arms[arm], record.scenario, plan, &record.rate_guesses[arm]);
      if (!round.ok()) return round.status();
      time_.measured_ns += round->measured_ns;
      time_.warmup_ns += round->warmup_ns;
      block.arms[arm] = *std::move(round);
    }
    record.block_ns = std::chrono::nanoseconds(Clock::now() - begun).count();
    record.blocks.push_back(std::move(block));
    absl::Status status = CheckGate(record);
    if (status.ok()) status = NoteVoids(record);
    if (status.ok()) JudgeOpen(record, /*budget_ended=*/false);
    return status;
  }

  // What a verdict is about has to be known of each arm.
  absl::Status CheckGate(const Record& record) {
    const Block& block = record.blocks.back();
    for (const size_t arm : block.order) {
      const RoundResult& round = *block.arms[arm];
      if (!round.void_why.empty() || !std::isnan(round.figures[record.scenario.metric])) continue;
      return absl::FailedPreconditionError(
          absl::StrCat(record.scenario.metric, " of arm '", options_.arms[arm].name, "' in ",
                       record.scenario.name,
                       " can't be known (its server doesn't tell, or too few requests are behind "
                       "it); choose another --metric, or a longer --window"));
    }
    return absl::OkStatus();
  }

  // Counts voids in a row. An arm that has only these is given up. It is an error where the arm is
  // to blame and nothing else is left to compare.
  absl::Status NoteVoids(Record& record) {
    const Block& block = record.blocks.back();
    const RoundResult& first = *block.arms[0];
    record.first_void_in_row = first.void_why.empty() ? 0 : record.first_void_in_row + 1;
    const bool nothing_left = record.first_void_in_row >= kVoidInRowMax;
    if (nothing_left && !first.disturbed) return VoidError(record, 0, first.void_why);
    for (Comparison& comparison : record.comparisons) {
      const auto& round = block.arms[comparison.arm];
      if (!round.has_value()) continue;
      comparison.void_in_row = round->void_why.empty() ? 0 : comparison.void_in_row + 1;
      if (!nothing_left && comparison.void_in_row < kVoidInRowMax) continue;
      const RoundResult& blamed = nothing_left ? first : *round;
      if (judged_arms_ == 1 && !blamed.disturbed) {
        return VoidError(record, comparison.arm, blamed.void_why);
      }
      comparison.done = true;
      comparison.gave_up =
          absl::StrCat(kVoidInRowMax, " rounds in a row were void: ", blamed.void_why);
      Tell(record, absl::StrCat(record.scenario.name, ", ", options_.arms[comparison.arm].name,
                                ": ", comparison.gave_up));
    }
    return absl::OkStatus();
  }

  absl::Status VoidError(const Record& record, size_t arm, const std::string& why) {
    return absl::InternalError(absl::StrCat(kVoidInRowMax, " rounds of ", record.scenario.name,
                                            " in a row were void; the last, of '",
                                            options_.arms[arm].name, "': ", why));
  }

  void JudgeOpen(Record& record, bool budget_ended) {
    for (Comparison& comparison : record.comparisons) {
      if (comparison.done) continue;
      const int pairs = Pairs(record, comparison.arm);
      const bool last = budget_ended || pairs >= options_.pairs_max;
      if (!last && (!IsLook(pairs) || comparison.looked_at == pairs)) continue;
      comparison.looked_at = pairs;
      JudgeNow(record, comparison, last);
    }
  }

  void JudgeNow(Record& record, Comparison& comparison, bool last) {
    const size_t gate = MetricIndex(record.scenario.metric);
    comparison.judgement = Judge(LogRatios(record, comparison.arm, gate), record.scenario.margin,
                                 kMetrics[gate].lower_is_better, last, ConfidenceOf(judged_arms_));
    comparison.judged = true;
    comparison.done = comparison.judgement.final;
    const int pairs = comparison.judgement.pairs;
    const std::string arm =
        options_.arms.size() > 2 ? absl::StrCat(", ", options_.arms[comparison.arm].name) : "";
    Tell(record,
         absl::StrFormat("%s%s after %d %s: %s", record.scenario.name, arm, pairs,
                         pairs == 1 ? "pair" : "pairs",
                         comparison.done ? Name(comparison.judgement.verdict) : "not decided yet"));
  }

  const CompareOptions& options_;
  const std::function<void(const CompareProgress&)>& progress_;
  std::mt19937_64 order_;
  const Clock::time_point begun_;
  std::vector<Record> records_;
  TimeSpent time_;
  int judged_arms_ = 0;
};

}  // namespace

absl::Status Compare(const CompareOptions& options,
                     const std::function<void(const CompareProgress&)>& progress, Json* json,
                     bool* interrupted) {
  Play play(options, progress);
  const absl::Status status = play.All();
  *interrupted = absl::IsCancelled(status);
  *json = play.ToJson();
  (*json)["interrupted"] = *interrupted;
  (*json)["problem"] =
      status.ok() || *interrupted ? Json(nullptr) : Json(std::string(status.message()));
  return *interrupted ? absl::OkStatus() : status;
}

}  // namespace bench
