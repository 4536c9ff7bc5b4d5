#include "cli/loop_flags.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "cli/settings.h"
#include "io/backends.h"
#include "io/event_loop.h"

namespace cli {
namespace {

absl::Status OtherBackends(const std::string& flag, const std::string& whose,
                           const std::string& backend) {
  return absl::InvalidArgumentError(absl::StrCat(flag, " is about ", whose, ", and the backend is ",
                                                 backend, "; leave one of the two out"));
}

std::vector<std::string> NamesIn(const std::vector<std::string>& lists) {
  std::vector<std::string> names;
  for (const std::string& list : lists) {
    for (const absl::string_view name : absl::StrSplit(list, ',')) names.emplace_back(name);
  }
  return names;
}

absl::Status SwitchAll(const char* flag, const std::vector<std::string>& lists, bool on,
                       const std::string& backend, io::LoopOptions* loop) {
  for (const std::string& name : NamesIn(lists)) {
    const std::string whose = io::BackendOfSwitch(name);
    if (whose.empty()) {
      const auto known = io::SwitchNames(backend);
      return absl::InvalidArgumentError(
          absl::StrCat(flag, ": there is no feature '", name, "'",
                       Hint(name, io::SwitchNames("auto"),
                            absl::StrCat("it is one of ", absl::StrJoin(known, ", ")))));
    }
    if (backend != "auto" && whose != backend) {
      return OtherBackends(absl::StrCat(flag, " ", name), whose, backend);
    }
    const absl::Status switched = io::SwitchFeature(name, on, loop);
    if (!switched.ok()) {
      return absl::InvalidArgumentError(absl::StrCat(flag, ": ", std::string(switched.message())));
    }
  }
  return absl::OkStatus();
}

}  // namespace

void DeclareLoopFlags(Flags& flags, LoopFlags& f) {
  f.flags = &flags;
  flags.Group("Event loops")
      .Repeated("--without FEATURE,...", &f.without,
                absl::StrCat("do without these: ", absl::StrJoin(io::SwitchNames("auto"), ", ")))
      .Repeated("--with FEATURE,...", &f.with,
                "use these, also where they aren't by default; where the kernel lacks one, fail")
      .Count("--recv-buffers", &f.recv_buffers, {1, 32768},
             "io_uring: receive buffers of a thread (epoll has one); without the flag fewer where "
             "more than 8 threads, or those with --direct, share out memory")
      .Count("--batch", &f.batch, {1, 4096}, "epoll: events that one wait takes at most")
      .Duration("--min-wait", &f.min_wait_ns, {0, 1'000'000'000},
                "io_uring (Linux 6.12): gather completions for so long; 0s: take the first")
      .Switch("--busy-poll", &f.busy_poll,
              "never sleep: exact to the microsecond, at a CPU a thread");
}

absl::Status SetLoop(const LoopFlags& f, const std::string& backend, io::LoopOptions* loop) {
  if (f.flags->Given("batch") && backend == "io_uring") {
    return OtherBackends("--batch", "epoll", backend);
  }
  for (const char* flag : {"min-wait", "recv-buffers"}) {
    if (!f.flags->Given(flag) || backend != "epoll") continue;
    return OtherBackends(absl::StrCat("--", flag), "io_uring", backend);
  }
  loop->min_wait_us = static_cast<uint32_t>((f.min_wait_ns + 999) / 1000);
  loop->events_max = static_cast<uint32_t>(f.batch);
  if (f.flags->Given("recv-buffers")) loop->recv_buffers = static_cast<uint32_t>(f.recv_buffers);
  const absl::Status status = SwitchAll("--without", f.without, false, backend, loop);
  return status.ok() ? SwitchAll("--with", f.with, true, backend, loop) : status;
}

absl::Status CheckLoopAvailable(const LoopFlags& f, const std::string& backend) {
  std::vector<std::string> names = NamesIn(f.with);
  if (f.min_wait_ns > 0) names.emplace_back("min-wait");
  for (const std::string& name : names) {
    const absl::Status available = io::FeatureAvailable(backend, name);
    if (!available.ok()) return available;
  }
  return absl::OkStatus();
}

}  // namespace cli
