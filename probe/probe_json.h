#pragma once

#include <optional>
#include <string>

#include <nlohmann/json_fwd.hpp>

#include "probe/listeners.h"
#include "probe/scan.h"

namespace probe {

// What `ringside probe` found: "ringside.probe/1" of results/SCHEMA.md, without `version`.
struct Report {
  std::string host;                    // as it was asked for
  std::optional<ScanOptions> options;  // nothing: no port was asked
  bool half_open = false;              // by SynScan()
  bool here = false;                   // the host is this machine
  ScanResult scan;
  std::optional<ListenerList> listeners;  // nothing: not looked for, or they could not be read
  std::string listeners_problem;          // why they could not be read
};

nlohmann::ordered_json ToJson(const Report& report);

}  // namespace probe
