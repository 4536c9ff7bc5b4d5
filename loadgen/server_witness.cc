#include "loadgen/server_witness.h"

#include <poll.h>

#include <cmath>
#include <string>

#include "absl/strings/str_cat.h"

namespace loadgen {
namespace {

constexpr int64_t kAnswerNs = 2'000'000'000;
constexpr int kPauseMs = 20;  // between two questions

}  // namespace

absl::StatusOr<ServerMetrics> ServerWitness::Read() const {
  return ReadServerMetrics(from_, kAnswerNs);
}

template <class Done>
absl::StatusOr<ServerMetrics> ServerWitness::ReadUntil(int64_t quiet_ns, int64_t patience_ns,
                                                       const Done& done) const {
  auto first = Read();
  if (!first.ok()) return first.status();
  ServerMetrics last = *std::move(first);
  const int64_t begin = last.at_ns;
  int64_t changed = last.at_ns;
  while (!done(last) && last.at_ns - changed < quiet_ns && last.at_ns - begin < patience_ns) {
    poll(nullptr, 0, kPauseMs);
    auto next = Read();
    if (!next.ok()) return next.status();
    if (!next->SameCounts(last)) changed = next->at_ns;
    last = *std::move(next);
  }
  return last;
}

absl::Status ServerWitness::RunBegins() {
  constexpr int64_t kQuietNs = 30'000'000, kPatienceNs = 1'000'000'000;
  auto begin = ReadUntil(kQuietNs, kPatienceNs, [](const ServerMetrics& server) {
    return !server.is_ringside || server.open == 0;
  });
  if (!begin.ok()) return begin.status();
  run_begin_ = *std::move(begin);
  return absl::OkStatus();
}

void ServerWitness::WindowBegins() {
  auto server = Read();
  if (server.ok()) window_begin_ = *std::move(server);
}

void ServerWitness::WindowEnds() {
  if (!window_begin_ || window_end_) return;
  auto server = Read();
  if (server.ok()) window_end_ = *std::move(server);
}

// The readings come a little after the window's begin and its end, so what is taken from them is
// the rate.
void ServerWitness::GiveCpu(std::vector<LoadResult>* results) const {
  if (!window_begin_ || !window_end_ || window_end_->at_ns <= window_begin_->at_ns) return;
  const double seconds = window_end_->cpu_seconds - window_begin_->cpu_seconds;
  if (window_begin_->cpu_seconds < 0 || seconds < 0) return;  // not told, or begun anew
  const double share =
      seconds * 1e9 / static_cast<double>(window_end_->at_ns - window_begin_->at_ns);
  constexpr double kCpusMax = 1 << 20;  // beyond, it is no figure of a machine
  if (!(share < kCpusMax)) return;
  for (LoadResult& result : *results) {
    if (result.server_cpu_ns >= 0) continue;
    result.server_cpu_ns = std::llround(share * result.duration_s * 1e9);
    result.server_cpu_by_metrics = true;
  }
}

Reconciliation ServerWitness::RunEnds(const std::vector<LoadOptions>& classes,
                                      std::vector<LoadResult>* results) {
  constexpr int64_t kQuietNs = 2'000'000'000, kPatienceNs = 10'000'000'000;
  WindowEnds();
  GiveCpu(results);
  Reconciliation found;
  const auto end = ReadUntil(kQuietNs, kPatienceNs, [&](const ServerMetrics& server) {
    found = Reconcile(classes, *results, run_begin_, server);
    return found.differences.empty();
  });
  if (!end.ok()) {
    found = {};
    found.differences = {
        absl::StrCat("the server can't be asked any more: ", std::string(end.status().message()))};
  }
  if (results->size() == 1) {
    results->front().errors.reconciliation = found.differences.size();
  }
  return found;
}

}  // namespace loadgen
