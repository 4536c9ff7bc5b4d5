#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace io {

struct LoopOptions;  // io/event_loop.h

// The backends that talk to a kernel, best first: "io_uring", "epoll".
std::vector<std::string> BackendNames();

// Whether the backend of that name runs on this machine; if not, why. With `loops` != 0, whether
// so many run at once, of the usual size, in one process.
absl::Status ProbeBackend(const std::string& name, uint32_t loops = 0);

// What the loops of io_uring have of RLIMIT_MEMLOCK (io/uring_memory.h).
struct RingMemory {
  bool charged = false;     // this process' rings are
  uint64_t loop_bytes = 0;  // of one of the usual size
};
// REQUIRES: this process has no other thread.
RingMemory AskRingMemory();

// Marks an error of a loop's Open() as one of its backend's: the kernel refuses what that one is
// made of, or has no memory for it, so another backend may run all the same. For those who open.
absl::Status BackendRefused(absl::Status status);
// Whether an error is so marked, or of a feature that this kernel lacks.
bool IsBackendRefused(const absl::Status& status);

// What of the kernel that backend runs with on this machine, in words ("DEFER_TASKRUN, registered
// ring"; "" for one that has no options); where it doesn't run, why.
absl::StatusOr<std::string> BackendFeatures(const std::string& name);

// A way in which our loops can work otherwise, as `ringside serve` is told of it.
struct LoopFeature {
  std::string name;  // "multishot-receive"
  bool on_by_default;
  std::string description;         // one line
  std::vector<std::string> flags;  // of serve, that flip it: {"--without", "multishot-receive"}
};

// All of that backend, and beside its own those sizes and habits that change what it costs. Those
// with which --with and --without do it come first.
std::vector<LoopFeature> FeaturesOf(const std::string& backend);

// Whether this kernel has it, in either state: where not, Unimplemented, with the Linux that has.
// NotFound where that backend has no such feature.
absl::Status FeatureAvailable(const std::string& backend, const std::string& name);

// What --with and --without can name: of one backend, or ("auto") of all.
std::vector<std::string> SwitchNames(const std::string& backend);
// Whose feature that is; "" for none.
std::string BackendOfSwitch(const std::string& name);
// Switches it, for the loops of `loop`. InvalidArgument where it was switched the other way
// already, or can't be had together with what else was. REQUIRES: one of SwitchNames("auto").
absl::Status SwitchFeature(const std::string& name, bool on, LoopOptions* loop);

// "auto" becomes the first backend that a small loop runs on; other names stay. `why` tells, where
// that is not the best one, what stood against it. Whether many large loops have the memory that
// they need, only their Open() knows.
std::string ChooseBackend(const std::string& name, std::string* why, uint32_t loops = 0);

// The backend to try after that one; "" after the last.
std::string NextBackend(const std::string& name);

// Submission rings and receive buffers of a size that suits the number of threads: from more than
// eight on, all of them together get what eight have, for few connections of so many threads are
// busy at once. With direct descriptors, which are for many connections that rest, all together
// have the receive buffers of one. Sets LoopOptions::loops, too. The completion rings stay: by
// their size the kernel makes the table in which it looks for what is to be cancelled.
void ShareMemory(uint32_t threads, LoopOptions* loop);

// How many of a ring's direct descriptors the accepts of all but one listener keep armed: for
// connections of one listener there are so many fewer.
uint64_t DirectAcceptsElsewhere(uint64_t listeners);

}  // namespace io
