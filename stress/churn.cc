#include "stress/churn.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "loadgen/load_json.h"
#include "report/format.h"
#include "report/json_text.h"
#include "stats/histogram_json.h"
#include "stress/kernel_memory.h"
#include "stress/memory_guard.h"
#include "stress/run_load.h"
#include "stress/time_wait.h"

namespace stress {
namespace {

// What one server was put through.
struct Row {
  loadgen::LoadResult load;
  TimeWaitSeries time_wait;
  std::optional<PortBudget> ports;
  std::optional<Limit> limit;
  Json json;
};

// Whether the ports that are used stay behind in TIME_WAIT on our side.
bool HoldsPorts(const ChurnOptions& options) {
  return !options.server_closes && options.ending != loadgen::Ending::kReset;
}

const char* Closing(const ChurnOptions& options) {
  if (options.server_closes) return "the server closes first";
  return options.ending == loadgen::Ending::kReset ? "the client resets"
                                                   : "the client closes first";
}

loadgen::LoadOptions LoadOf(const ChurnOptions& options, const Target& target) {
  loadgen::LoadOptions load;
  load.at = target.at();
  load.backend = options.client_backend;
  load.workload = loadgen::Workload::kConnect;
  load.service = options.server_closes ? "greet" : "echo";
  load.connections = options.connections;
  load.threads = options.threads;
  if (options.threads == 1) load.cpus = target.client_cpus();
  load.message_bytes = options.message_bytes;
  load.duration_ns = options.duration_ns;
  load.warmup_ns = 0;  // the ports that it would use up belong to the measurement
  if (options.rate > 0) load.rate.segments = {{options.rate, options.rate, loadgen::kNever}};
  load.ending = options.ending;
  load.stop_without_ports = true;
  load.sources = options.sources;
  load.server_pid = target.pid();
  return load;
}

Json RowJson(const ChurnOptions& options, const TargetOptions& asked, const Target& target,
             const TargetUse& before, const TargetUse& after, const Json& summary, const Row& row) {
  const loadgen::LoadResult& load = row.load;
  const auto each_us = [&](int64_t ns) -> Json {
    return ns < 0 || load.requests == 0 ? Json() : Json(ns / 1e3 / load.requests);
  };
  Json server = ToJson(target, before, after);
  server["cpu_us_each"] = each_us(load.server_cpu_ns);
  server["system_calls_each"] = nullptr;
  if (!summary.is_null()) {
    server["accepted"] = summary["connections"]["accepted"];
    server["requests"] = summary["requests"];
    if (summary["requests"] > 0) {
      server["system_calls_each"] = summary["syscalls_per_request"];
    }
  }
  Json json = {{"backend", target.ours() ? Json(asked.backend) : Json()},
               {"duration_s", load.duration_s},
               {"connections_per_s", load.throughput_rps},
               {"connections",
                {{"opened", load.connections.opened},
                 {"answered", load.connections.answered},
                 {"closed_by_fin", load.close.count()}}},
               {"connect_ns", stats::TimesJson(load.connect)},
               {"first_byte_ns", stats::TimesJson(load.first_byte)},
               {"close_ns", stats::TimesJson(load.close)},
               {"errors", loadgen::ErrorsJson(load)},
               {"bytes_corrupt", load.bytes.corrupt},
               {"client", {{"cpu_us_each", each_us(load.cpu_ns)}}},
               {"server", server},
               {"time_wait", row.time_wait.ToJson()},
               {"ports", nullptr}};
  if (row.ports) json["ports"] = ToJson(*row.ports, load.throughput_rps, HoldsPorts(options));
  return json;
}

// One server, from its start to its end.
absl::StatusOr<Row> ChurnOne(const ChurnOptions& options, TargetOptions asked,
                             const Context& context, Result* result) {
  asked.service = options.server_closes ? "greet" : "echo";
  if (asked.service == "echo") {
    asked.flags.insert(asked.flags.begin(), {"--size", absl::StrCat(options.message_bytes, "B")});
  }
  auto target = Target::Start(asked, context);
  if (!target.ok()) return target.status();
  Row row;
  if (!target->at().is_unix()) {
    const auto ports = ReadPortBudget(options.sources.size(), target->at().is_loopback());
    if (ports.ok()) row.ports = *ports;
  }
  const TargetUse before = target->Use();
  MemoryGuard guard(options.memory_floor_bytes);
  auto run = RunLoad(LoadOf(options, *target), guard, context,
                     [&](double at_s, const loadgen::Load& load) {
                       row.time_wait.Sample(at_s);
                       context.note(absl::StrFormat("%.0f s, %s connections answered", at_s,
                                                    report::FormatCount(load.Progress().requests)));
                     });
  if (!run.ok()) return run.status();
  result->interrupted = run->interrupted;
  row.limit = run->limit;
  row.load = std::move(run->result);
  const TargetUse after = target->Use();
  const auto summary = target->Stop();
  if (!summary.ok()) result->problem = std::string(summary.status().message());
  if (row.load.out_of_ports && row.ports) row.limit = PortLimit(*row.ports);
  row.json = RowJson(options, asked, *target, before, after, summary.ok() ? *summary : Json(), row);
  return row;
}

// What went wrong that is no limit's doing; "" where nothing did.
std::string ProblemOf(const Row& row, bool interrupted) {
  const loadgen::LoadResult& load = row.load;
  if (row.limit || interrupted) return "";  // what was under way then had no time to end
  if (load.errors.total() == 0) return load.requests > 0 ? "" : "no connection was answered";
  const std::string errors = report::JsonText(loadgen::ErrorsJson(load)["by_errno"]);
  return absl::StrCat(report::FormatCount(load.errors.total()), " connections failed (", errors,
                      load.problem.empty() ? "" : absl::StrCat("; ", load.problem), ")");
}

std::string FindingOf(const ChurnOptions& options, const Row& row) {
  const std::string who =
      row.json["backend"].is_null() ? "" : row.json["backend"].get<std::string>() + ": ";
  std::string finding = absl::StrCat(who, report::FormatRate(row.load.throughput_rps),
                                     " connections, ", Closing(options));
  if (!row.ports || !HoldsPorts(options)) return finding;
  if (row.load.out_of_ports) {
    return absl::StrCat(finding, "; all ", report::FormatCount(row.ports->ports),
                        " ports were used up after ",
                        report::FormatCount(row.load.connections.opened), " connections");
  }
  const auto after = row.ports->UsedUpAfter(row.load.throughput_rps);
  if (!after) return finding;
  return absl::StrCat(finding, absl::StrFormat("; at this rate the %s ports are used up in %.3g s",
                                               report::FormatCount(row.ports->ports), *after));
}

void Add(const Row& row, Result* result) {
  const loadgen::LoadResult& load = row.load;
  result->connections.opened += load.connections.opened;
  result->connections.answered += load.connections.answered;
  result->connections.requested +=
      load.connections.opened + load.errors.connect_failed + load.errors.connect_timed_out;
}

}  // namespace

absl::StatusOr<Result> Churn(const ChurnOptions& options, const Context& context) {
  Result result = {.experiment = "churn"};
  Json rows = Json::array();
  std::vector<std::string> findings;
  const KernelWatch kernel;
  result.limit = MemoryGuard(options.memory_floor_bytes).Check();
  for (const TargetOptions& target : options.targets) {
    if (result.limit || result.interrupted || !result.problem.empty()) break;
    auto row = ChurnOne(options, target, context, &result);
    if (!row.ok()) return row.status();
    Add(*row, &result);
    if (result.problem.empty()) result.problem = ProblemOf(*row, result.interrupted);
    result.limit = row->limit;
    findings.push_back(FindingOf(options, *row));
    rows.push_back(std::move(row->json));
  }
  result.kernel = kernel.End();
  result.finding = findings.empty() ? "nothing was measured" : absl::StrJoin(findings, "; ");
  result.own = {{"connections", options.connections},
                {"threads", options.threads},
                {"rate", options.rate > 0 ? Json(options.rate) : Json()},
                {"message_bytes", options.message_bytes},
                {"closes", options.server_closes ? "server" : "client"},
                {"reset", options.ending == loadgen::Ending::kReset},
                {"rows", rows}};
  return result;
}

}  // namespace stress
