#include "loadgen/collector.h"

#include <algorithm>
#include <cmath>
#include <span>
#include <utility>

namespace loadgen {
namespace {

void Add(const Interval& from, Interval* into) {
  into->requests += from.requests;
  into->errors += from.errors;
  into->connections += from.connections;
  into->bytes_received += from.bytes_received;
  into->bytes_sent += from.bytes_sent;
  into->latency.Merge(from.latency);
}

void Clear(Interval* interval) {
  interval->number = 0;
  interval->begin_ns = interval->length_ns = 0;
  interval->offered = interval->requests = interval->errors = interval->connections = 0;
  interval->bytes_received = interval->bytes_sent = 0;
  interval->latency.Reset();
}

}  // namespace

Outbox::Outbox() : spares_(kSpares) {}

void Outbox::Publish(Interval& interval) {
  const std::lock_guard lock(mutex_);
  if (published_.size() >= kPublishedMax) {
    Interval& last = published_.back();
    Add(interval, &last);
    last.connections = interval.connections;
    last.length_ns = interval.begin_ns + interval.length_ns - last.begin_ns;
    Clear(&interval);
    return;
  }
  published_.push_back(std::move(interval));
  if (spares_.empty()) {
    interval = Interval();
    return;
  }
  interval = std::move(spares_.back());
  spares_.pop_back();
}

std::vector<Interval> Outbox::Take() {
  const std::lock_guard lock(mutex_);
  return std::exchange(published_, {});
}

void Outbox::Return(Interval interval) {
  Clear(&interval);
  const std::lock_guard lock(mutex_);
  if (spares_.size() < kSpares) spares_.push_back(std::move(interval));
}

Collector::Collector(const LoadOptions& options) : options_(options), next_(options.threads) {
  if (!options.open_loop()) return;
  schedule_.emplace(options.rate, Schedule::Options{.arrivals = options.arrivals,
                                                    .burst = options.connections,
                                                    .seed = options.seed});
}

void Collector::Collect(std::vector<Outbox>& outboxes, bool at_end, const F& f) {
  for (size_t i = 0; i < outboxes.size(); ++i) {
    for (Interval& interval : outboxes[i].Take()) {
      // What an overlooked outbox holds may span several intervals, and ends with the last of them.
      next_[i] = interval.number + std::max<int64_t>(1, interval.length_ns / options_.interval_ns);
      auto& into = waiting_[std::max(interval.number, finished_)];
      if (into.length_ns == 0) {
        into = std::move(interval);
        continue;
      }
      into.length_ns = std::max(into.length_ns, interval.length_ns);
      Add(interval, &into);
      outboxes[i].Return(std::move(interval));
    }
  }
  uint64_t complete = *std::min_element(next_.begin(), next_.end());
  if (at_end) complete = waiting_.empty() ? finished_ : waiting_.rbegin()->first + 1;
  while (finished_ < complete) {
    // In one that is missing, no thread came to publish anything: that is a figure too.
    auto node = waiting_.extract(finished_);
    Interval interval = node.empty() ? Interval() : std::move(node.mapped());
    interval.number = finished_;
    interval.length_ns = std::max(interval.length_ns, at_end ? 1 : options_.interval_ns);
    finished_ += std::max<int64_t>(1, interval.length_ns / options_.interval_ns);
    Finish(interval, f);
    outboxes.front().Return(std::move(interval));
  }
}

void Collector::Finish(Interval& interval, const F& f) {
  interval.begin_ns = static_cast<int64_t>(interval.number) * options_.interval_ns;
  if (schedule_) {
    interval.offered = static_cast<uint64_t>(
        std::llround(schedule_->CountUntil(interval.begin_ns + interval.length_ns) -
                     schedule_->CountUntil(interval.begin_ns)));
  }
  latency_.Merge(interval.latency);
  const stats::Histogram& latency = interval.latency;
  series_.push_back({.begin_s = interval.begin_ns / 1e9,
                     .length_s = interval.length_ns / 1e9,
                     .offered = interval.offered,
                     .requests = interval.requests,
                     .errors = interval.errors,
                     .p50_ns = latency.Percentile(50),
                     .p90_ns = latency.Percentile(90),
                     .p99_ns = latency.Percentile(99),
                     .p99_9_ns = latency.Percentile(99.9),
                     .max_ns = latency.max()});
  if (f) f(interval);
}

bool WarmupWatch::Settled(int64_t now_ns, uint64_t requests) {
  if (last_ns_ == 0) {
    last_ns_ = now_ns;
    last_requests_ = requests;
    return false;
  }
  if (now_ns - last_ns_ < kIntervalNs) return false;
  rates_.push_back(static_cast<double>(requests - last_requests_) * 1e9 /
                   static_cast<double>(now_ns - last_ns_));
  last_ns_ = now_ns;
  last_requests_ = requests;
  if (rates_.size() > 2 * kGroup) rates_.pop_front();
  if (rates_.size() < 2 * kGroup) return false;
  const auto mean = [&](size_t from) {
    double sum = 0;
    for (size_t i = from; i < from + kGroup; ++i) sum += rates_[i];
    return sum / kGroup;
  };
  const double before = mean(0), after = mean(kGroup);
  double squares = 0;
  for (size_t i = 0; i < 2 * kGroup; ++i) {
    const double off = rates_[i] - (i < kGroup ? before : after);
    squares += off * off;
  }
  const double error = std::sqrt(squares / (2 * kGroup - 2) * 2 / kGroup);  // of the difference
  // A rate that still changes spreads, too: that is no noise.
  return std::abs(after - before) <= std::max(kAlike * after, std::min(error, kNoise * after));
}

}  // namespace loadgen
