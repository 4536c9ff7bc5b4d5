#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "cli/flags.h"
#include "cli/loop_flags.h"
#include "cli/thresholds.h"
#include "loadgen/load.h"

namespace cli {

// What one class of connections does, as typed. With --mix each class has its own.
struct ClassFlags {
  std::string name;  // of the class; "" where there is only one
  std::string workload;
  std::string service;
  std::string reply_text = loadgen::LoadOptions().reply_text;
  std::string delay;
  std::string request, reply_until, reply_is, reply_prefix;
  uint64_t reply_bytes = 0, reply_count = 0;  // 0: not given, as below
  uint64_t connections = 64;
  uint64_t depth = 0;
  std::string requests_per_connection;
  uint64_t threads = 1;
  std::string size;
  std::string rate;
  std::string arrivals = "constant";
  std::string think;
  int64_t heartbeat_ns = 0;
  std::string backend = "auto";
  std::string cpus;
};

// The flags of `ringside load`.
struct LoadFlags {
  Flags* flags = nullptr;
  std::string address = "127.0.0.1:9999";
  ClassFlags all;  // what classes do that --mix says nothing else of
  std::vector<std::string> mix;
  uint64_t requests = 0;
  int64_t duration_ns = 10'000'000'000;
  std::string warmup = "1s";
  uint64_t seed = 1;
  int64_t connect_timeout_ns = 10'000'000'000;
  int64_t reply_timeout_ns = 0;
  int64_t deadline_ns = 0;
  int64_t reconnect_ns = 0;
  uint64_t errors_max = 0;
  double loss_max = loadgen::LoadOptions().loss_max;
  int64_t ramp_ns = 0;
  double connect_rate = 0;
  std::string sources;
  bool direct = false;
  LoopFlags loop;
  std::string timestamps = "64";
  uint64_t server_pid = 0;
  std::string server_metrics;
  bool owned = false;
  std::string json, timeseries, hgrm;
  int64_t interval_ns = 100'000'000;
  std::string live = "auto";
  std::vector<std::string> fail_if;
  bool strict = false;
  bool quiet = false;
};

void DeclareLoad(Flags& flags, LoadFlags& f);

// What the flags ask for, one entry a class. InvalidArgument: what is wrong, and what to write.
absl::StatusOr<std::vector<loadgen::LoadOptions>> LoadClasses(const LoadFlags& f);

}  // namespace cli
