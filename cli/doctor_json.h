#pragma once

#include <cstdint>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "absl/status/status.h"
#include "io/backends.h"
#include "io/kernel_features.h"
#include "stats/environment.h"
#include "stats/limits.h"
#include "stats/steal.h"

namespace cli {

// What `doctor` found, before it is judged.
struct Examination {
  stats::MachineLimits limits;
  stats::Environment environment;
  stats::CpuTimes cpu_times;
  absl::Status io_uring;  // whether it runs here; if not, why
  io::RingMemory rings;
  std::vector<io::KernelFeature> io_uring_features, epoll_features;
};

// Whether so many connections fit, and all that was found: "ringside.doctor/1" of
// results/SCHEMA.md.
nlohmann::ordered_json DoctorJson(const Examination& found, uint64_t connections);

}  // namespace cli
