#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "io/epoll_loop.h"
#include "io/uring_loop.h"

namespace io {

// The loops that talk to a kernel, as templates over their handler. A new backend is one file and
// one line here. (NullLoop has no sockets; tests and micro-benchmarks name it themselves.)
struct Uring {
  template <class H>
  using Loop = UringLoop<H>;
};
struct Epoll {
  template <class H>
  using Loop = EpollLoop<H>;
};

struct NoHandler;  // for what a loop can tell without one: its name, and Probe()

template <class... Backends>
struct LoopList {
  static std::vector<std::string> Names() {
    return {std::string(Backends::template Loop<NoHandler>::kName)...};
  }

  // Calls f.template operator()<Backend>() for the backend of that name; false if there is none.
  template <class F>
  static bool Pick(std::string_view name, F&& f) {
    return ((name == Backends::template Loop<NoHandler>::kName
                 ? (f.template operator()<Backends>(), true)
                 : false) ||
            ...);
  }
};

using Loops = LoopList<Uring, Epoll>;

}  // namespace io
