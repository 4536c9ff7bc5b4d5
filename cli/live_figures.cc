#include "cli/live_figures.h"

#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"
#include "report/format.h"

namespace cli {
namespace {

using Phase = loadgen::LoadProgress::Phase;

constexpr size_t kRatesMax = 64;  // no sparkline is longer
constexpr int64_t kSecond = 1'000'000'000;

double PerSecond(uint64_t count, int64_t length_ns) {
  return length_ns > 0 ? static_cast<double>(count) * 1e9 / static_cast<double>(length_ns) : 0;
}

// The address is what somebody typed, and a Unix path may be anything: what has another width than
// one column, or none, is shown as '?'.
std::string Printable(std::string text) {
  std::replace_if(
      text.begin(), text.end(), [](char c) { return c < 0x20 || c >= 0x7f; }, '?');
  return text;
}

std::string Title(const loadgen::LoadOptions& options, uint64_t connections) {
  std::string title = absl::StrCat(options.service, " on ", Printable(options.at.ToString()), " (",
                                   options.backend, "), ", report::FormatCount(connections), " × ",
                                   report::FormatBytes(options.message_bytes));
  if (loadgen::ExchangeOf(options.service) == services::Exchange::kSource) return title;
  if (options.depth > 1) absl::StrAppend(&title, ", depth ", options.depth);
  return absl::StrCat(title, options.open_loop() ? ", open loop" : ", closed loop");
}

PanelPercentiles Percentiles(const stats::Histogram& latency) {
  return {.count = latency.count(),
          .p50 = latency.Percentile(50),
          .p90 = latency.Percentile(90),
          .p99 = latency.Percentile(99),
          .p99_9 = latency.Percentile(99.9),
          .max = latency.max()};
}

double Share(double part, double whole) {
  return whole > 0 ? std::clamp(part / whole, 0.0, 1.0) : 1;
}

}  // namespace

LiveFigures::LiveFigures(const loadgen::LoadOptions& options)
    : options_(options),
      wanted_(options.requests > 0 ? std::min<uint64_t>(options.connections, options.requests)
                                   : options.connections) {}

void LiveFigures::OnProgress(const loadgen::LoadProgress& progress, int64_t now_ns,
                             int64_t cpu_ns) {
  if (samples_.empty() || progress.phase != progress_.phase) {
    phase_since_ns_ = now_ns;
    phase_requests_ = progress.requests;
  }
  progress_ = progress;
  const bool loads = progress.phase == Phase::kWarmup || progress.phase == Phase::kMeasuring;
  if (!samples_.empty() && loads && newest_slot_ < 0) {
    const Sample& last = samples_.back();
    AddRate(PerSecond(progress.requests - last.requests, now_ns - last.at_ns));
  }
  samples_.push_back({now_ns, progress.requests, cpu_ns});
  while (samples_.size() > 2 && now_ns - samples_[1].at_ns >= kSecond) samples_.pop_front();
}

void LiveFigures::OnInterval(const loadgen::Interval& interval) {
  const int64_t number = std::max<int64_t>(0, interval.begin_ns) / kSlotNs;
  Slot& slot = slots_[static_cast<size_t>(number % kSlots)];
  if (slot.number != number) {
    slot.latency.Reset();
    slot.number = number;
    slot.length_ns = 0;
    slot.requests = slot.offered = 0;
  }
  slot.length_ns += interval.length_ns;
  slot.requests += interval.requests;
  slot.offered += interval.offered;
  slot.latency.Merge(interval.latency);
  newest_slot_ = std::max(newest_slot_, number);
  length_ns_ += interval.length_ns;
  requests_ += interval.requests;
  offered_ += interval.offered;
  errors_ += interval.errors;
  latency_.Merge(interval.latency);
  AddRate(PerSecond(interval.requests, interval.length_ns));
}

PanelState LiveFigures::State() const {
  PanelState state;
  state.title = Title(options_, wanted_);
  state.phase = progress_.phase;
  state.rates.assign(rates_.begin(), rates_.end());
  state.has_latency = services::HasLatency(loadgen::ExchangeOf(options_.service));
  state.open = progress_.open;
  state.wanted = wanted_;
  state.errors = errors_;
  state.threads = static_cast<uint32_t>(std::min<uint64_t>(options_.threads, wanted_));
  state.offered_rps = options_.open_loop() ? options_.rate.segments.front().begin_rate : 0;
  DescribePhase(&state);
  DescribeRates(&state);
  if (newest_slot_ >= 0) DescribeIntervals(&state);
  return state;
}

void LiveFigures::AddRate(double per_second) {
  rates_.push_back(per_second);
  if (rates_.size() > kRatesMax) rates_.pop_front();
}

void LiveFigures::DescribePhase(PanelState* state) const {
  const auto of_time = [&](int64_t length_ns) {
    const int64_t past_ns = samples_.empty() ? 0 : samples_.back().at_ns - phase_since_ns_;
    state->done = Share(static_cast<double>(past_ns), static_cast<double>(length_ns));
    state->left_ns = std::max<int64_t>(0, length_ns - past_ns);
  };
  switch (progress_.phase) {
    case Phase::kConnecting:
      state->done = Share(static_cast<double>(progress_.open), static_cast<double>(wanted_));
      break;
    case Phase::kWarmup:
      of_time(options_.warmup_ns);
      break;
    case Phase::kMeasuring:
      if (options_.requests == 0) {
        of_time(options_.duration_ns);
        break;
      }
      state->done =
          Share(static_cast<double>(progress_.requests), static_cast<double>(options_.requests));
      state->left_requests =
          static_cast<int64_t>(options_.requests - std::min(options_.requests, progress_.requests));
      break;
    case Phase::kDraining:
      break;
  }
}

void LiveFigures::DescribeRates(PanelState* state) const {
  if (samples_.empty()) return;
  const Sample &first = samples_.front(), &last = samples_.back();
  const int64_t length_ns = last.at_ns - first.at_ns;
  state->rate_now = PerSecond(last.requests - first.requests, length_ns);
  if (progress_.phase == Phase::kMeasuring) {
    state->rate_run = PerSecond(last.requests - phase_requests_, last.at_ns - phase_since_ns_);
  }
  if (length_ns > 0 && state->threads > 0) {
    state->cpu_share = static_cast<double>(last.cpu_ns - first.cpu_ns) /
                       static_cast<double>(length_ns) / state->threads;
  }
}

void LiveFigures::DescribeIntervals(PanelState* state) const {
  int64_t length_ns = 0;
  uint64_t requests = 0, offered = 0;
  stats::Histogram latency;
  for (const Slot& slot : slots_) {
    if (slot.number < 0 || slot.number <= newest_slot_ - kSlots) continue;
    length_ns += slot.length_ns;
    requests += slot.requests;
    offered += slot.offered;
    latency.Merge(slot.latency);
  }
  if (progress_.phase == Phase::kMeasuring) state->rate_now = PerSecond(requests, length_ns);
  state->rate_run = PerSecond(requests_, length_ns_);
  state->last_second = Percentiles(latency);
  state->run = Percentiles(latency_);
  if (!options_.open_loop()) return;
  if (offered > 0) state->offered_rps = PerSecond(offered, length_ns);
  const uint64_t settled = requests_ + errors_;
  const uint64_t waiting = offered_ > settled ? offered_ - settled : 0;
  state->behind_ns = static_cast<int64_t>(static_cast<double>(waiting) * 1e9 / state->offered_rps);
}

}  // namespace cli
