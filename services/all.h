#pragma once

#include <string>
#include <vector>

#include "services/chargen.h"
#include "services/counter.h"
#include "services/delayed_echo.h"
#include "services/discard.h"
#include "services/echo.h"
#include "services/fixed_reply.h"
#include "services/greet.h"

namespace services {

template <class... Services>
struct List {
  // The list with others at its end.
  template <class... Others>
  using With = List<Services..., Others...>;

  static std::vector<std::string> Names() { return {std::string(Services::kName)...}; }

  // Calls f.template operator()<Service>() for the service of that name; false if there is none.
  template <class F>
  static bool Pick(std::string_view name, F&& f) {
    return ((name == Services::kName ? (f.template operator()<Services>(), true) : false) || ...);
  }
};

using All = List<Echo, Counter, Greet, FixedReply, Discard, Chargen, DelayedEcho>;

}  // namespace services
