#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "bench/process.h"

// What the programs of bench/outside/ share: they measure `ringside load` from outside, beside
// other clients, and write a result file each.
namespace bench {

using Json = nlohmann::ordered_json;
using Words = std::vector<std::string>;

// The server has one CPU and the client another.
inline const std::vector<int> kClientCpus = {0};
inline const std::vector<int> kServerCpus = {1};

// A TCP port of 127.0.0.1 that nobody listens on at the moment.
int FreePort();

// What stands for what in the words of a command: {"{port}", "4000"}.
using Places = std::vector<std::pair<std::string, std::string>>;
Words Filled(Words words, const Places& places);

// Moves this process, and what it starts from now on, into a new network that has only a loopback:
// without the ports that closed connections hold for a minute (TIME_WAIT). PermissionDenied where
// neither we nor a user namespace of ours may (network_namespaces(7), user_namespaces(7)).
absl::Status EnterNewNetwork();

// Starts a server on kServerCpus and waits until it accepts connections on the port. NotFound where
// there is no such program.
absl::StatusOr<Process> StartServer(const Words& argv, int port);

// A program that has ended.
struct Ran {
  int exit_code = 0;
  std::string output, errors;
  double cpu_us = 0;  // user and system, of the whole process: getrusage(2), from wait4
  // Of resident memory: ru_maxrss; where it is less than ours, VmHWM of proc(5), up to 20 ms before
  // its end.
  int64_t peak_bytes = 0;
};

// Runs a program to its end, on the CPUs given (none: on all). NotFound where there is no such
// program; DeadlineExceeded after five minutes.
absl::StatusOr<Ran> RunToEnd(const Words& argv, const std::vector<int>& cpus);

// What `ringside load --json -` wrote. Internal where it failed, or where its run isn't valid.
absl::StatusOr<Json> LoadResult(const Ran& ran);

// The sum of what the regular expression's first group finds, anywhere in the text. Internal where
// it finds nothing.
absl::StatusOr<double> SumOf(const std::string& regex, const std::string& text);

// One of several things that are measured by turns.
struct Contender {
  std::string name;
  // Measures once: figures by name.
  std::function<absl::StatusOr<std::map<std::string, double>>()> play;
};

// Plays all of them once a round, each round in another order (from `seed`). The first one is what
// the others are compared with: the ratio of each figure, other to first, is the Hodges-Lehmann
// estimate over the rounds with the interval of the signed-rank test. A contender that
// fails is played again, twice at most, and `void` says why it failed; after that it is out, as
// `failed`. One whose program isn't here is `skipped`.
Json Interleave(const std::vector<Contender>& contenders, int rounds, uint64_t seed);

// Says what goes on, on standard error.
void Say(const std::string& what);

// Whether a result can be written to that path, tried before anything is measured; says why not.
bool CanWrite(const std::string& path);

// Whether an Interleave() in it has a failed contender.
bool AnyFailed(const Json& json);

// Writes the result with what it depends on: version, revision, command, time and environment.
// Returns the program's exit code: 1 where that failed, or where `failed`.
int Finish(const std::string& schema, const std::string& command, const Json& figures, bool failed,
           const std::string& path);

}  // namespace bench
