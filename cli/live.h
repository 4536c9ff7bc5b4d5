#pragma once

#include "loadgen/load.h"

namespace cli {

// One line on stderr that tells how far a run is; only on a terminal.
class Live {
 public:
  Live(const loadgen::LoadOptions& options, bool quiet);

  // How often Show() is due, as poll(2) takes it; -1 where nothing is shown.
  int interval_ms() const { return shown_ ? 200 : -1; }
  void Show(const loadgen::LoadProgress& progress);
  void Clear();

 private:
  const loadgen::LoadOptions& options_;
  const bool shown_;
  int64_t last_at_ns_ = 0;
  uint64_t last_requests_ = 0;
  int64_t measuring_since_ns_ = 0;
};

}  // namespace cli
