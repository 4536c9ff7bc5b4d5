#include <unistd.h>

#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "cli/common.h"
#include "cli/serve_flags.h"
#include "cli/stress_common.h"
#include "cli/subcommands.h"
#include "cli/values.h"
#include "io/backends.h"
#include "report/stress_text.h"
#include "stress/backlog.h"

namespace cli {
namespace {

constexpr uint64_t kBacklogMax = 1 << 30;

struct BacklogFlags {
  StressFlags all;
  std::string backlogs = "1,8,128,4096", threads = "1,2";
  double accepts_per_s = 0;
  bool stopped = false, stop_server = false, unix_socket = false;
  uint64_t connections = 0, beyond = 64, burst = 0;
  int64_t timeout_ns = 10'000'000'000;
};

void Declare(Flags& flags, BacklogFlags& f) {
  DeclareTarget(flags, f.all);
  flags.Group("Backlog")
      .Text("--backlogs LIST", &f.backlogs, "of our own server, one after the other")
      .Rate("--accepts-per-s RATE", &f.accepts_per_s, {0.01, 1e6},
            "our listener accepts so many connections a second; without it, none")
      .Switch("--stopped", &f.stopped,
              "ours is `ringside serve`, stopped by SIGSTOP; without it, a socket of this process "
              "that listens and doesn't accept")
      .Switch("--unix", &f.unix_socket, "ours is at a Unix address")
      .Switch("--stop-server", &f.stop_server,
              "stop the processes that listen at ADDRESS (SIGSTOP), and continue them in the end: "
              "they serve nobody meanwhile")
      .Count("-c,--connections", &f.connections, {1, 1'000'000},
             "connects to each; without it, what its queue holds, and --beyond more")
      .Count("--beyond", &f.beyond, {0, 1'000'000}, "connects more than a queue holds")
      .Duration("--timeout TIME", &f.timeout_ns, {10'000'000, 3'600'000'000'000},
                "give a connect up after so long: each backlog takes that, where it fills up")
      .Group("Burst")
      .Count("--burst", &f.burst, {1, 1'000'000},
             "instead: how large a burst of connects does an accepting server take without losing "
             "one, of 1, 2, 4, ... up to so many? Ours on each backend (--backend: one of them)")
      .Text("-t,--threads LIST", &f.threads,
            "of our accepting server, one after the other: each thread has a SO_REUSEPORT socket, "
            "and so a queue");
  DeclareLimits(flags, f.all);
  flags
      .Example("ringside stress backlog --timeout 3s",
               "how many connections wait, and when are the others tried again?")
      .Example("ringside stress backlog --backlogs 16 --accepts-per-s 20",
               "a server that is too slow to accept")
      .Example("ringside stress backlog 8080 --stop-server",
               "the accept queue of a server at port 8080 of this machine")
      .Example("ringside stress backlog --burst 4096 --backlogs 128,4096",
               "bursts of connects that io_uring and epoll absorb");
}

absl::StatusOr<std::vector<uint64_t>> ParseCounts(const char* flag, const std::string& text,
                                                  uint64_t max) {
  std::vector<uint64_t> counts;
  for (const absl::string_view part : absl::StrSplit(text, ',')) {
    const auto count = ParseCount(std::string(part));
    if (!count.ok()) return Named(flag, count.status());
    if (*count < 1 || *count > max) {
      return absl::InvalidArgumentError(
          absl::StrCat(flag, ": ", part, " is out of range; give numbers from 1 to ", max));
    }
    counts.push_back(*count);
  }
  return counts;
}

// The first of `names` that was given where it has no meaning.
absl::Status Refuse(const BacklogFlags& f, const std::vector<const char*>& names,
                    const std::string& why) {
  for (const char* name : names) {
    if (f.all.flags->Given(name)) {
      return absl::InvalidArgumentError(absl::StrCat("--", name, ": ", why));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckFlags(const BacklogFlags& f, const stress::TargetOptions& target) {
  absl::Status status =
      Refuse(f, {"client-backend"}, "this experiment connects by connect(2) alone; leave it out");
  if (!status.ok()) return status;
  if (target.at) {
    status = Refuse(f, {"backlogs", "accepts-per-s", "stopped", "unix", "threads"},
                    "is about our own server, and ADDRESS is somebody's; leave out one of the two");
    if (status.ok() && target.at->is_datagram()) {
      status = absl::InvalidArgumentError(
          "ADDRESS is one of datagrams, which nobody accepts; give one of streams");
    }
  } else {
    status = Refuse(f, {"stop-server"}, "needs the ADDRESS of somebody's; ours: --stopped");
  }
  if (!status.ok()) return status;
  if (f.burst > 0) {
    return Refuse(f, {"accepts-per-s", "stopped", "stop-server", "connections", "beyond"},
                  "is about a server that doesn't accept; leave out --burst");
  }
  status = Refuse(f, {"threads"}, "is of the server that a --burst is sent to");
  if (status.ok() && f.stopped) {
    status =
        Refuse(f, {"accepts-per-s"}, "a stopped server accepts none; leave out one of the two");
  }
  if (!status.ok() || f.stopped || target.at) return status;
  return Refuse(f, {"backend", "serve-flags"},
                "a socket that only listens has none; add --stopped or --burst");
}

absl::StatusOr<stress::BacklogOptions> Options(const BacklogFlags& f,
                                               const stress::TargetOptions& target) {
  const absl::Status consistent = CheckFlags(f, target);
  if (!consistent.ok()) return consistent;
  const auto backlogs = ParseCounts("--backlogs", f.backlogs, kBacklogMax);
  if (!backlogs.ok()) return backlogs.status();
  const auto threads = ParseCounts("--threads", f.threads, 1024);
  if (!threads.ok()) return threads.status();
  stress::BacklogOptions options = {.target = target,
                                    .backlogs = *backlogs,
                                    .accepts_per_s = f.accepts_per_s,
                                    .connections = f.connections,
                                    .beyond = f.beyond,
                                    .timeout_ns = f.timeout_ns,
                                    .memory_floor_bytes = f.all.memory_floor_bytes,
                                    .burst = f.burst,
                                    .burst_threads = *threads};
  if (f.unix_socket) options.target.address = absl::StrCat("unix:@ringside-backlog-", getpid());
  if (target.at) {
    options.waiting = f.stop_server ? stress::Waiting::kStopped : stress::Waiting::kSomebody;
  } else if (f.stopped) {
    options.waiting = stress::Waiting::kStoppedServe;
  }
  if (f.all.flags->Given("backend")) {
    options.burst_backends = {target.backend};
    return options;
  }
  for (const std::string& backend : io::BackendNames()) {
    if (io::ProbeBackend(backend).ok()) options.burst_backends.push_back(backend);
  }
  return options;
}

int Run(const BacklogFlags& f) {
  return RunExperiment(
      f.all, {.name = "backlog",
              .run = [&f](const stress::TargetOptions& target, const std::string&,
                          const stress::Context& context) -> absl::StatusOr<stress::Result> {
                const auto options = Options(f, target);
                if (!options.ok()) return options.status();
                return stress::Backlog(*options, context);
              },
              .rows = &report::BacklogRows});
}

}  // namespace

Subcommand StressBacklogCommand() {
  auto f = std::make_shared<BacklogFlags>();
  return {.name = "stress backlog",
          .summary = "a server that doesn't accept: how many connections wait, what others meet",
          .declare = [f](Flags& flags) { Declare(flags, *f); },
          .run = [f] { return Run(*f); }};
}

}  // namespace cli
