#include "cli/live.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <string>

#include "absl/strings/str_cat.h"
#include "report/format.h"

namespace cli {
namespace {

int64_t Now() {
  return std::chrono::nanoseconds(std::chrono::steady_clock::now().time_since_epoch()).count();
}

const char* Name(loadgen::LoadProgress::Phase phase) {
  switch (phase) {
    case loadgen::LoadProgress::Phase::kConnecting:
      return "connecting";
    case loadgen::LoadProgress::Phase::kWarmup:
      return "warming up";
    case loadgen::LoadProgress::Phase::kMeasuring:
      return "measuring";
    case loadgen::LoadProgress::Phase::kDraining:
      return "draining";
  }
  return "";
}

}  // namespace

Live::Live(const loadgen::LoadOptions& options, bool quiet)
    : options_(options), shown_(!quiet && isatty(STDERR_FILENO)), last_at_ns_(Now()) {}

void Live::Show(const loadgen::LoadProgress& progress) {
  const int64_t now = Now();
  const double rate =
      (progress.requests - last_requests_) * 1e9 / std::max<int64_t>(1, now - last_at_ns_);
  last_at_ns_ = now;
  last_requests_ = progress.requests;
  std::string left;
  if (progress.phase == loadgen::LoadProgress::Phase::kMeasuring) {
    if (measuring_since_ns_ == 0) measuring_since_ns_ = now;
    if (options_.requests > 0) {
      left = absl::StrCat(", ", progress.requests * 100 / options_.requests, " %");
    } else {
      const int64_t rest = std::max<int64_t>(0, options_.duration_ns - (now - measuring_since_ns_));
      left = absl::StrCat(", ", (rest + 999'999'999) / 1'000'000'000, " s left");
    }
  }
  std::fprintf(stderr, "\r\033[K%s: %s of %s connections open, %s%s", Name(progress.phase),
               report::FormatCount(progress.open).c_str(),
               report::FormatCount(options_.connections).c_str(), report::FormatRate(rate).c_str(),
               left.c_str());
  std::fflush(stderr);
}

void Live::Clear() {
  if (!shown_) return;
  std::fputs("\r\033[K", stderr);
  std::fflush(stderr);
}

}  // namespace cli
