#pragma once

#include <string>
#include <vector>

namespace io {

// Something of the kernel that an event loop of ours uses, or could use.
struct KernelFeature {
  std::string name;   // "multishot accept"
  std::string since;  // the first Linux that has it, unless a distribution brought it back: "5.19"
  bool used = false;  // by a loop of ours, where it is there and nothing else is asked for
  bool available = false;
};

// What this kernel's io_uring has, each of it tried: an operation by io_uring_register_probe(2), a
// flag or a registration on a ring of its own. Empty where no ring can be made (ProbeBackend() says
// why). It takes some milliseconds, and up to eight descriptors at a time.
std::vector<KernelFeature> ListUringFeatures();

// The same of epoll.
std::vector<KernelFeature> ListEpollFeatures();

}  // namespace io
