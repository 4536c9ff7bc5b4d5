#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include <nlohmann/json.hpp>

#include "stats/kernel_counters.h"

// What all experiments have in common: how they are told to end, and what they say in the end.
namespace stress {

using Json = nlohmann::ordered_json;

// What stopped an experiment before its own end.
struct Limit {
  std::string name;   // "memory floor", "net.ipv4.ip_local_port_range"
  std::string value;  // as it is: "2 GiB", "32768 60999"
  std::string mend;   // the command that raises it, or what else helps
};

// What an experiment found; "ringside.stress/1" in results/SCHEMA.md.
struct Result {
  std::string experiment;  // "churn"
  std::string finding;     // one sentence that states the result in words and numbers
  std::optional<Limit> limit;
  struct {
    uint64_t requested = 0, opened = 0, answered = 0;
  } connections;
  bool interrupted = false;   // the user wanted an end: the rest is of the time until then
  std::string problem;        // why it failed; "" where it did not
  Json own = Json::object();  // the experiment's own part, under its name
  stats::KernelDifference kernel;
};

// All of it but what is the program's to say (version, arguments, environment).
Json ToJson(const Result& result);

// How an experiment is told to end, and tells how far it is.
struct Context {
  int interrupt_fd = -1;  // becomes readable when the user wants an end; never read here
  std::function<void(const std::string&)> note = [](const std::string&) {};  // a line of progress

  bool Interrupted() const;
  // Waits until `fd` (-1: none) is readable, the user wants an end, or timeout_ms have passed.
  // Returns whether `fd` is readable.
  bool Await(int fd, int timeout_ms) const;
};

}  // namespace stress
