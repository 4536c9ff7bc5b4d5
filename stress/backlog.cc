#include "stress/backlog.h"

#include <unistd.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "loadgen/load_json.h"
#include "report/format.h"
#include "stats/server_finder.h"
#include "stress/accept_queue.h"
#include "stress/backlog_burst.h"
#include "stress/backlog_json.h"
#include "stress/connects.h"
#include "stress/kernel_memory.h"
#include "stress/plain_listener.h"
#include "stress/stopped_process.h"

namespace stress {
namespace {

// When nothing changed for a quarter of a second, no acknowledgment is under way any more.
constexpr int kGhostLookMs = 25, kLooksAlike = 10;

// Whom one row is made with. What is stopped is continued before the server is ended.
struct Waiter {
  io::Endpoint at;
  std::unique_ptr<PlainListener> listener;
  std::optional<Target> target;
  std::vector<StoppedProcess> stopped;
  uint64_t backlog = 0;  // asked for; 0: that is somebody's
};

const char* Name(Waiting waiting) {
  switch (waiting) {
    case Waiting::kListener:
      return "listener";
    case Waiting::kStoppedServe:
      return "stopped serve";
    case Waiting::kSomebody:
      return "somebody";
    case Waiting::kStopped:
      return "stopped";
  }
  return "";
}

// All processes that may accept from the socket, unless one was named.
absl::StatusOr<std::vector<pid_t>> WhomToStop(const TargetOptions& target) {
  if (target.server_pid != 0) return std::vector<pid_t>{target.server_pid};
  const io::Endpoint& at = *target.at;
  auto pids = stats::FindListeners(at.address(), at.size(), at.type());
  if (!pids.ok()) return pids.status();
  if (!pids->empty()) return pids;
  return absl::InvalidArgumentError(
      absl::StrCat("--stop-server: no process of this machine listens at ", at.ToString(),
                   "; start it, or name it by --server-pid"));
}

absl::Status StartListener(const BacklogOptions& options, uint64_t backlog, Waiter* waiter) {
  const auto at = io::Resolve(options.target.address);
  if (!at.ok()) return at.status();
  auto listener = PlainListener::Start(*at, static_cast<int>(backlog), options.accepts_per_s);
  if (!listener.ok()) return listener.status();
  waiter->at = (*listener)->at();
  waiter->listener = *std::move(listener);
  return absl::OkStatus();
}

absl::Status StartStopped(const BacklogOptions& options, uint64_t backlog, const Context& context,
                          Waiter* waiter) {
  TargetOptions asked = options.target;
  std::vector<pid_t> pids;
  if (options.waiting == Waiting::kStoppedServe) {
    asked.flags.insert(asked.flags.begin(), {"--backlog", absl::StrCat(backlog)});
  } else {
    auto found = WhomToStop(asked);
    if (!found.ok()) return found.status();
    pids = *std::move(found);
  }
  auto target = Target::Start(asked, context);
  if (!target.ok()) return target.status();
  waiter->at = target->at();
  if (target->ours()) pids = {target->pid()};
  waiter->target = *std::move(target);
  for (const pid_t pid : pids) {
    auto stopped = StoppedProcess::Stop(pid);
    if (!stopped.ok()) return stopped.status();
    waiter->stopped.push_back(*std::move(stopped));
  }
  return absl::OkStatus();
}

absl::StatusOr<Waiter> StartWaiter(const BacklogOptions& options, uint64_t backlog,
                                   const Context& context) {
  Waiter waiter = {.backlog = backlog};
  absl::Status status;
  switch (options.waiting) {
    case Waiting::kListener:
      status = StartListener(options, backlog, &waiter);
      break;
    case Waiting::kStoppedServe:
    case Waiting::kStopped:
      status = StartStopped(options, backlog, context, &waiter);
      break;
    case Waiting::kSomebody:
      waiter.at = *options.target.at;
      break;
  }
  if (!status.ok()) return status;
  return waiter;
}

// How many to connect.
absl::StatusOr<uint64_t> CountOf(const BacklogOptions& options,
                                 const absl::StatusOr<AcceptQueue>& queue) {
  if (options.connections > 0) return options.connections;
  if (queue.ok()) return queue->limit + options.beyond;
  return absl::InvalidArgumentError(absl::StrCat(std::string(queue.status().message()),
                                                 "; say by -c how many connections to try"));
}

// What was seen of one queue.
struct Seen {
  BacklogRow row;
  std::optional<Limit> limit;
  bool interrupted = false;
};

// Those that the client sees open and the server doesn't. The last acknowledgments may still be
// under way, so it looks until nothing changes any more.
std::optional<uint64_t> Ghosts(const AcceptQueueReader& reader, const Context& context,
                               Connects* connects) {
  std::set<uint16_t> ports;
  uint64_t open = 0;
  for (int looks_alike = 0; looks_alike < kLooksAlike; ++looks_alike) {
    connects->Look();
    ports = connects->OpenPorts();
    const auto now = reader.CountOpen(ports);
    if (!now.ok()) return std::nullopt;
    if (*now != open) looks_alike = 0;
    open = *now;
    if (open >= ports.size()) return 0;
    if (context.Interrupted()) break;
    context.Await(-1, kGhostLookMs);
  }
  return ports.size() - open;
}

absl::StatusOr<Seen> Fill(const BacklogOptions& options, const Waiter& waiter,
                          const Context& context) {
  Seen seen;
  BacklogRow& row = seen.row;
  const auto reader = AcceptQueueReader::Find(waiter.at);
  const auto queue = reader.ok() ? reader->Read() : reader.status();
  if (!reader.ok() && waiter.backlog > 0) return reader.status();  // our own can be seen, if any
  const auto count = CountOf(options, queue);
  if (!count.ok()) return count.status();
  auto connects = Connects::Make({.at = waiter.at,
                                  .count = *count,
                                  .timeout_ns = options.timeout_ns,
                                  .memory_floor_bytes = options.memory_floor_bytes});
  if (!connects.ok()) return connects.status();
  const KernelWatch kernel;
  std::optional<AcceptQueueSeries> series;
  if (reader.ok()) {
    series.emplace(*reader);
    const absl::Status started = series->Start();
    if (!started.ok()) return started;
  }
  connects->Run(context);
  if (!waiter.at.is_unix() && reader.ok()) row.ghosts = Ghosts(*reader, context, &*connects);
  if (series) {
    row.held = series->End();
    row.series = series->ToJson();
    row.problem = series->problem();
  }
  row.kernel = kernel.End();
  row.requested = *count;
  row.connects = connects->Summarize();
  if (queue.ok()) row.queue = *queue;
  if (waiter.listener) row.accepted = waiter.listener->accepted();
  seen.limit = connects->limit();
  seen.interrupted = context.Interrupted();
  return seen;
}

void Sum(const BacklogRow& row, Result* result) {
  result->connections.requested += row.requested;
  result->connections.opened += row.connects.opened;
  result->connections.answered += row.connects.answered;
}

// What went wrong that is no full queue's doing; "" where nothing did.
std::string ProblemOf(const BacklogRow& row) {
  const Connects::Summary& connects = row.connects;
  if (connects.begun == 0 || connects.refused + connects.failed < connects.begun) {
    return row.problem;
  }
  std::vector<std::string> errors;
  for (const auto& [name, count] : connects.by_errno) {
    errors.push_back(absl::StrCat(report::FormatCount(count), " × ", name));
  }
  return absl::StrCat("no connect was opened (", absl::StrJoin(errors, ", "), ")");
}

// One queue, from its server's start to its end.
absl::StatusOr<BacklogRow> FillOne(const BacklogOptions& options, uint64_t backlog,
                                   const Context& context, Result* result) {
  context.note(backlog > 0 ? absl::StrCat("backlog ", backlog) : "connecting");
  auto waiter = StartWaiter(options, backlog, context);
  if (!waiter.ok()) return waiter.status();
  auto seen = Fill(options, *waiter, context);
  if (!seen.ok()) return seen.status();
  BacklogRow& row = seen->row;
  row.backlog = backlog;
  row.timeout_ns = options.timeout_ns;
  row.address = waiter->at.ToString();
  row.pid = waiter->target ? waiter->target->pid() : waiter->listener ? getpid() : 0;
  waiter->stopped.clear();
  if (waiter->target) {
    const auto summary = waiter->target->Stop();
    if (!summary.ok()) result->problem = std::string(summary.status().message());
  }
  if (result->problem.empty()) result->problem = ProblemOf(row);
  result->limit = seen->limit;
  result->interrupted = seen->interrupted;
  Sum(row, result);
  return row;
}

Json Asked(const BacklogOptions& options, const BacklogSysctls& sysctls) {
  return {{"server", options.burst > 0 ? "accepting" : Name(options.waiting)},
          {"backend",
           options.waiting == Waiting::kStoppedServe ? Json(options.target.backend) : Json()},
          {"accepts_per_s",
           options.waiting == Waiting::kListener ? Json(options.accepts_per_s) : Json()},
          {"timeout_s", options.timeout_ns / 1e9},
          {"sysctls", ToJson(sysctls)}};
}

absl::Status FillAll(const BacklogOptions& options, const BacklogSysctls& sysctls,
                     const Context& context, Result* result) {
  const bool somebodys = options.target.at.has_value();
  const std::vector<uint64_t> backlogs = somebodys ? std::vector<uint64_t>{0} : options.backlogs;
  std::vector<std::string> findings;
  result->own["rows"] = Json::array();
  for (const uint64_t backlog : backlogs) {
    if (result->limit || result->interrupted || !result->problem.empty()) break;
    const auto row = FillOne(options, backlog, context, result);
    if (!row.ok()) return row.status();
    findings.push_back(absl::StrCat(
        backlogs.size() > 1 ? absl::StrCat("backlog ", report::FormatCount(backlog), ": ") : "",
        FindingOf(*row, sysctls)));
    result->own["rows"].push_back(ToJson(*row, sysctls));
  }
  result->finding = absl::StrJoin(findings, "; ");
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Result> Backlog(const BacklogOptions& options, const Context& context) {
  Result result = {.experiment = "backlog"};
  const KernelWatch kernel;
  const BacklogSysctls sysctls = BacklogSysctls::Read();
  result.own = Asked(options, sysctls);
  result.limit = MemoryGuard(options.memory_floor_bytes).Check();
  if (!result.limit) {
    const absl::Status ran = options.burst > 0 ? Bursts(options, context, &result)
                                               : FillAll(options, sysctls, context, &result);
    if (!ran.ok()) return ran;
  }
  result.kernel = kernel.End();
  if (result.finding.empty()) result.finding = "nothing was measured";
  return result;
}

}  // namespace stress
