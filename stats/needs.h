#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "stats/limits.h"

// What many connections need of a machine, held against what it allows. Pure: all that is known
// comes in, so `doctor` and the commands that reach a limit name the same figures and commands.
namespace stats {

// What somebody wants of this machine.
struct Wanted {
  uint64_t connections = 10'000;
  uint32_t ends = 2;        // of each connection on this machine: server and client, or one of them
  uint64_t threads = 1;     // at each end, which is a process
  uint64_t backlog = 4096;  // that the server listens with; 0: it isn't asked
  uint64_t sources = 1;     // addresses to connect from
  bool direct = false;      // connections take io_uring's direct descriptors, a table a thread
  bool can_direct = true;   // they could: io_uring runs here, and has what they need
  // What a thread's ring takes of RLIMIT_MEMLOCK, in bytes; 0: nothing is charged to it here.
  uint64_t ring_bytes = 0;
};

enum class Severity {
  kOk,       // enough
  kUnknown,  // what there is couldn't be read
  kNote,     // enough, but it will show
  kFlag,     // enough with the flag that `mend` names
  kStops,    // they don't fit
};

// "ok", "unknown", "note", "flag", "stops".
const char* SeverityName(Severity severity);

// One limit against what is wanted.
struct Finding {
  std::string limit;  // its name: "RLIMIT_NOFILE", "net.core.somaxconn", "memory"
  Known has, needs;   // in the limit's own unit; memory in bytes
  Severity severity = Severity::kOk;
  std::string text;  // what falls short, without a full stop; "" where nothing does
  std::string mend;  // the exact command or flag
};

// What one end, a process, has open for so many connections: a descriptor each, and some of its own
// (listeners, rings, wake-ups, files).
uint64_t DescriptorsOf(uint64_t connections, uint64_t threads);

// RLIMIT_NOFILE against `descriptors`, of one process; `wanted` says what they are for. Also what
// io::AllowDescriptors() failed for.
Finding DescriptorFinding(const MachineLimits& limits, const Wanted& wanted, uint64_t descriptors);

// net.core.somaxconn against wanted.backlog.
Finding BacklogFinding(const MachineLimits& limits, const Wanted& wanted);

// Every limit that matters to them, in the order of how near it is to a program.
std::vector<Finding> Assess(const MachineLimits& limits, const Wanted& wanted);

// Whether none of them stops.
bool Fits(const std::vector<Finding>& findings);

// The threads of one end, each of which has a ring, that so many connections need with direct
// descriptors; 0 where RLIMIT_NOFILE is unknown, or leaves no room.
//
// The tables of direct descriptors aren't counted against RLIMIT_NOFILE, but none may be larger, or
// than 1048576 (io_uring/rsrc.c, io_sqe_files_register: IORING_MAX_FIXED_FILES, Linux 6.17). A
// thread's table has a slot to spare.
uint64_t DirectThreads(const MachineLimits& limits, uint64_t connections);

// How a process gets so many descriptors: the command, or what whoever starts it has to write.
std::string RaiseDescriptors(const MachineLimits& limits, uint64_t to);

// The most that --threads takes.
inline constexpr uint64_t kThreadsMax = 1024;

// `finding` as one sentence: its text, and what to do.
std::string Sentence(const Finding& finding);

}  // namespace stats
