#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "cli/flags.h"

namespace cli {

// What the arms are compared under, as typed: flags of `compare`, and keys of a matrix's
// [[scenario]].
struct ScenarioFlags {
  std::string name;
  std::string workload = "rr";
  std::string service;
  uint64_t connections = 64;
  std::string size;
  uint64_t depth = 1;
  uint64_t threads = 0;  // 0: as the server's flags say
  std::string load;
  double pace = 0, rate = 0;  // 0: not given
  std::string arrivals;
  std::string objective;
  std::string metric;
  double margin = 0.05;
};

// The flags of `ringside compare`.
struct CompareFlags {
  Flags* flags = nullptr;
  std::vector<std::string> arms, arm_loads;
  bool cross = false, self_check = false;
  std::string ablate;
  std::string matrix, init;
  std::string transport = "tcp";
  ScenarioFlags scenario;
  std::string sweep;
  int64_t budget_ns = 300'000'000'000;
  uint64_t pairs = 80;
  std::string inconclusive = "fail";
  double steal_max = 0.10, others_max = 0.10;
  int64_t warmup_ns = 150'000'000, window_ns = 400'000'000;
  std::string client_backend = "auto";
  std::string server_cpus, client_cpus;
  uint64_t seed = 0;
  std::string output;
  std::vector<std::string> exports;
  bool quiet = false;
};

void DeclareCompare(Flags& flags, CompareFlags& f);

// Those of a scenario alone; a matrix's have a name, too.
void DeclareScenario(Flags& flags, ScenarioFlags& f);

}  // namespace cli
