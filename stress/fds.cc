#include "stress/fds.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "report/format.h"
#include "stress/fd_run.h"
#include "stress/kernel_memory.h"

namespace stress {
namespace {

// Ends the server, and takes what it said of itself.
void FdStop(Target* target, FdRow* row, Result* result) {
  const auto summary = target->Stop();
  if (!summary.ok()) {
    if (result->problem.empty()) result->problem = std::string(summary.status().message());
  } else if (!summary->is_null()) {
    row->accept_pauses = (*summary)["loop"]["accept_pauses"].get<int64_t>();
  }
}

void FdAdd(const FdRow& row, Result* result) {
  for (const FdCounts& counts : row.end.groups) {
    result->connections.requested += counts.asked;
    result->connections.opened += counts.connected;
    result->connections.answered += counts.answered;
  }
}

// One server, from its start to its end.
absl::Status FdsOne(const FdsOptions& options, TargetOptions asked, const Context& context,
                    Result* result, Json* rows, std::vector<std::string>* findings) {
  asked.service = "echo";
  if (!asked.at) asked.nofile = options.server_nofile;
  auto target = Target::Start(asked, context);
  if (absl::IsInvalidArgument(target.status()) && !asked.at) {
    return absl::InvalidArgumentError(absl::StrCat("--server-nofile: ", target.status().message()));
  }
  if (!target.ok()) return target.status();
  if (target->pid() == 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("the process at ", target->at().ToString(),
                     " isn't known, and so neither is its limit of descriptors; name it with "
                     "--server-pid PID"));
  }
  FdRow row;
  row.existing = options.connections;
  if (target->ours()) row.backend = asked.backend;
  const TargetUse before = target->Use();
  FdRun run(options, *target, context, &row);
  const absl::Status ran = run.Run();
  const TargetUse after = target->Use();
  result->interrupted = context.Interrupted();
  result->limit = run.limit();
  result->problem = run.problem();
  FdStop(&*target, &row, result);
  // A server that died under it is the problem, not the file of /proc that went with it.
  if (!ran.ok() && result->problem.empty()) {
    if (!row.before) return ran;
    result->problem = std::string(ran.message());
  }
  FdAdd(row, result);
  findings->push_back(FindingOf(row));
  Json json = ToJson(row);
  json["server"] = ToJson(*target, before, after);
  rows->push_back(std::move(json));
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Result> Fds(const FdsOptions& options, const Context& context) {
  Result result = {.experiment = "fds"};
  Json rows = Json::array();
  std::vector<std::string> findings;
  const KernelWatch kernel;
  result.limit = MemoryGuard(options.memory_floor_bytes).Check();
  for (const TargetOptions& target : options.targets) {
    if (result.limit || result.interrupted || !result.problem.empty()) break;
    const absl::Status ran = FdsOne(options, target, context, &result, &rows, &findings);
    if (!ran.ok() && rows.empty()) return ran;
    if (!ran.ok()) result.problem = std::string(ran.message());
  }
  result.kernel = kernel.End();
  result.finding = findings.empty() ? "nothing was measured" : absl::StrJoin(findings, "; ");
  result.own = {{"connections", options.connections},
                {"rate", options.rate},
                {"message_bytes", options.message_bytes},
                {"beyond", options.beyond},
                {"hold_s", options.hold_ns / 1e9},
                {"patience_s", options.patience_ns / 1e9},
                {"rows", rows}};
  return result;
}

}  // namespace stress
