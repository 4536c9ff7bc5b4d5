#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "cli/flags.h"

namespace io {
struct LoopOptions;  // io/event_loop.h
}

namespace cli {

// How the event loops work, of serve and of load.
struct LoopFlags {
  const Flags* flags = nullptr;  // to ask what was given
  std::vector<std::string> with, without;
  uint64_t batch = 512, recv_buffers = 1024;
  int64_t min_wait_ns = 0;
  bool busy_poll = false;
};

// The flags, under their own title.
void DeclareLoopFlags(Flags& flags, LoopFlags& f);

// Sets what was asked for, of loops on this backend; of "auto", as far as it can be wrong on any.
// After io::ShareMemory(): a number that was given is each loop's.
// InvalidArgument: an unknown feature, or the other backend's.
absl::Status SetLoop(const LoopFlags& f, const std::string& backend, io::LoopOptions* loop);

// Whether this kernel has what --with and --min-wait ask for: Unimplemented where not, with the
// name and the Linux that has it. REQUIRES: a backend that runs here, on which SetLoop() found no
// fault.
absl::Status CheckLoopAvailable(const LoopFlags& f, const std::string& backend);

}  // namespace cli
