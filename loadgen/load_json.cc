#include "loadgen/load_json.h"

#include <algorithm>
#include <cmath>

#include <nlohmann/json.hpp>

#include "io/errors.h"
#include "loadgen/source_ports.h"
#include "stats/histogram_json.h"

namespace loadgen {
namespace {

using Json = nlohmann::ordered_json;

const char* Name(Failure::Kind kind) {
  switch (kind) {
    case Failure::Kind::kConnect:
      return "connect_failed";
    case Failure::Kind::kConnectTimeout:
      return "connect_timed_out";
    case Failure::Kind::kBroken:
      return "broken";
    case Failure::Kind::kClosed:
      return "closed_by_server";
    case Failure::Kind::kTimeout:
      return "timeout";
    case Failure::Kind::kSurplus:
      return "surplus";
    case Failure::Kind::kCorrupt:
      return "corrupt";
  }
  return "";
}

const char* Name(Arrivals arrivals) {
  switch (arrivals) {
    case Arrivals::kConstant:
      return "constant";
    case Arrivals::kPoisson:
      return "poisson";
    case Arrivals::kBursts:
      return "bursts";
  }
  return "";
}

Json Failures(const LoadResult& result) {
  Json failures = Json::array();
  for (const Failure& failure : result.failures) {
    Json json = {{"kind", Name(failure.kind)},
                 {"connection", failure.connection},
                 {"errno", failure.error != 0 ? Json(io::ErrnoSymbol(failure.error)) : Json()},
                 {"at_s", failure.at_ns / 1e9},
                 {"requests", failure.requests},
                 {"in_flight", failure.in_flight}};
    failures.push_back(std::move(json));
  }
  return failures;
}

// What the run is about: response times in open loop, else service times.
Json Latency(const LoadOptions& options, const LoadResult& result) {
  const bool timed = services::HasLatency(ExchangeOf(options.service));
  Json json = {{"kind", !timed                ? Json()
                        : options.open_loop() ? Json("response")
                                              : Json("service")}};
  json.update(stats::TimesJson(result.latency));
  json["censored"] = result.censored;
  return json;
}

Json Plan(const RatePlan& plan) {
  Json segments = Json::array();
  for (const RateSegment& segment : plan.segments) {
    segments.push_back(
        {{"begin_rps", segment.begin_rate},
         {"end_rps", segment.end_rate},
         {"length_s", segment.length_ns == kNever ? Json() : Json(segment.length_ns / 1e9)}});
  }
  return segments;
}

Json Schedule(const LoadOptions& options, const LoadResult& result) {
  const ScheduleCounts& schedule = result.schedule;
  const double seconds = result.duration_s;
  return {{"requested_rps", seconds > 0 ? schedule.offered / seconds : 0.0},
          {"achieved_rps", result.throughput_rps},
          {"late_max_ns", result.lag.max()},
          {"arrivals", Name(options.arrivals)},
          {"plan", Plan(options.rate)},
          {"offered", schedule.offered},
          {"shed", schedule.shed},
          {"unsent", schedule.unsent},
          {"seed", options.seed}};
}

Json Series(const LoadOptions& options, const LoadResult& result) {
  Json rows = Json::array();
  for (const SeriesRow& row : result.series) {
    rows.push_back({row.begin_s, row.length_s, row.offered, row.requests, row.errors, row.p50_ns,
                    row.p90_ns, row.p99_ns, row.p99_9_ns, row.max_ns});
  }
  return {{"interval_s", options.interval_ns / 1e9},
          {"columns",
           {"begin_s", "length_s", "offered", "requests", "errors", "p50_ns", "p90_ns", "p99_ns",
            "p99_9_ns", "max_ns"}},
          {"rows", rows}};
}

Json SpreadJson(const stats::Spread& spread) {
  return {{"min", spread.min}, {"median", spread.median}, {"max", spread.max}};
}

Json Tcp(const stats::TcpSample& tcp) {
  const auto optional = [](const auto& value) { return value ? Json(*value) : Json(); };
  return {{"sockets", tcp.sockets},
          {"congestion_control", tcp.congestion_control},
          {"rtt_us", SpreadJson(tcp.rtt_us)},
          {"rtt_var_us", SpreadJson(tcp.rtt_var_us)},
          {"min_rtt_us", tcp.min_rtt_us ? SpreadJson(*tcp.min_rtt_us) : Json()},
          {"cwnd", SpreadJson(tcp.cwnd)},
          {"delivery_rate", tcp.delivery_rate ? SpreadJson(*tcp.delivery_rate) : Json()},
          {"retransmits", tcp.retransmits},
          {"reordering_events", optional(tcp.reordering_events)},
          {"rwnd_limited_share", tcp.rwnd_limited_share()},
          {"sndbuf_limited_share", tcp.sndbuf_limited_share()}};
}

// Whether it was known of each byte what it had to be.
bool Verified(const LoadOptions& options) {
  return options.service != kTextService || !options.text.is.empty();
}

double PerRequest(double amount, uint64_t requests) { return requests > 0 ? amount / requests : 0; }

Json Client(const LoadOptions& options, const LoadResult& result) {
  const auto& usage = result.usage;
  const double seconds = result.duration_s;
  Json json = {
      {"cpu_us_per_request", PerRequest(result.cpu_ns / 1e3, result.requests)},
      {"syscalls_per_request",
       PerRequest(static_cast<double>(result.system_calls), result.requests)},
      {"cpu_share", seconds > 0 ? result.cpu_ns / 1e9 / seconds / options.threads : 0},
      {"cpu_share_max", result.cpu_share_max},
      {"stopped_s", static_cast<double>(result.stopped_ns) / 1e9},
      {"context_switches_per_request",
       PerRequest(static_cast<double>(usage.voluntary_switches + usage.involuntary_switches),
                  result.requests)},
      {"involuntary_switches", usage.involuntary_switches},
      {"runnable_wait_s", usage.waited_ns >= 0 ? Json(usage.waited_ns / 1e9) : Json()},
      {"starved_receives", result.io.starved}};
  if (result.client_sample.count() > 0) {
    json["share_of_latency"] = result.client_wait.Mean() / result.client_sample.Mean();
    json["wait_ns"] = stats::TimesJson(result.client_wait);
  }
  return json;
}

Json Others(const Evidence& evidence) {
  if (!evidence.window) return Json();
  return {{"window_s", evidence.window_s},
          {"client_cpus", evidence.client_cpus},
          {"others_cpus", evidence.others_known ? Json(evidence.others_cpus) : Json()},
          {"others_error_cpus", evidence.others_error_cpus},
          {"steal_share", evidence.steal_share}};
}

// Where the server was asked.
void AddReconciliation(const Evidence& evidence, Json* json) {
  if (!evidence.reconciliation) return;
  const Reconciliation& found = *evidence.reconciliation;
  (*json)["reconciliation"] = {{"listener", found.listener.empty() ? Json() : Json(found.listener)},
                               {"checked", found.checked},
                               {"differences", found.differences},
                               {"unchecked", found.unchecked}};
}

Json Verdict(const RunVerdict& verdict) {
  return {{"kind", std::string(Name(verdict.kind))}, {"reason", verdict.reason}};
}

Json Accusations(const RunVerdict& verdict) {
  Json accusations = Json::array();
  for (const Accusation& one : verdict.accusations) {
    accusations.push_back(
        {{"code", std::string(one.code)}, {"text", one.text}, {"mend", one.mend}});
  }
  return accusations;
}

// What the server used, for so many requests.
Json Server(const LoadOptions& options, const LoadResult& result, uint64_t requests) {
  const double seconds = result.duration_s;
  const double busiest = result.server_thread_share_max;
  const bool by_metrics = result.server_cpu_by_metrics;
  return {{"source", by_metrics ? "metrics" : "pid"},
          {"pid", by_metrics ? Json() : Json(options.server_pid)},
          {"cpu_us_per_request", PerRequest(result.server_cpu_ns / 1e3, requests)},
          {"cpu_share", seconds > 0 ? result.server_cpu_ns / 1e9 / seconds : 0},
          {"thread_share_max", busiest >= 0 ? Json(busiest) : Json()}};
}

// With what explains them, where they don't by themselves.
Json ErrorsOf(const LoadOptions& options, const LoadResult& result) {
  Json errors = ErrorsJson(result);
  if (!result.out_of_ports || errors.contains("problem") || options.at.is_unix()) return errors;
  const auto ports = ReadLocalPorts();
  if (!ports.ok()) return errors;
  const bool each_once = options.workload == Workload::kConnect;
  errors["problem"] = OutOfPorts(*ports, options.sources.size(), each_once);
  return errors;
}

// What a run of one class has, and each class of a mix.
Json ClassJson(const LoadOptions& options, const LoadResult& result, const RunVerdict& verdict) {
  const auto& connections = result.connections;
  Json json = {
      {"schema", "ringside.load/1"},
      {"version", RINGSIDE_VERSION},
      {"valid", result.valid()},
      {"interrupted", result.interrupted},
      {"verdict", Verdict(verdict)},
      {"accusations", Accusations(verdict)},
      {"address", options.at.ToString()},
      {"backend", options.backend},
      {"backend_fallback",
       options.backend_fallback.empty() ? Json() : Json(options.backend_fallback)},
      {"service", options.service},
      {"workload", std::string(loadgen::Name(options.workload))},
      {"threads", options.threads},
      {"depth", options.depth},
      {"message_bytes", options.message_bytes},
      {"warmup_s", options.requests > 0 ? 0.0 : result.warmup_s},
      {"duration_s", result.duration_s},
      {"requests", result.requests},
      {"throughput_rps", result.throughput_rps},
      {"requests_total", result.requests_total},
      {"errors", ErrorsOf(options, result)},
      {"connections",
       {{"requested", connections.requested},
        {"opened", connections.opened},
        {"answered", connections.answered},
        {"silent", connections.silent},
        {"closed_by_client", connections.closed_by_client},
        {"closed_by_server", connections.closed_by_server},
        {"retried_requests", connections.retried_requests},
        {"requests_min", connections.requests_min},
        {"requests_median", connections.requests_median},
        {"requests_max", connections.requests_max},
        {"opening_s", result.opening_s}}},
      {"bytes",
       {{"sent", result.bytes.sent},
        {"received", result.bytes.received},
        {"corrupt", result.bytes.corrupt},
        {"verified", Verified(options)},
        {"sent_per_s", result.duration_s > 0 ? result.window_bytes.sent / result.duration_s : 0},
        {"received_per_s",
         result.duration_s > 0 ? result.window_bytes.received / result.duration_s : 0}}},
      {"latency_ns", Latency(options, result)}};
  if (!options.name.empty()) json["name"] = options.name;
  if (options.requests_per_connection.most > 0) {
    json["requests_per_connection"] = {{"min", options.requests_per_connection.least},
                                       {"max", options.requests_per_connection.most}};
  }
  if (options.sizes.varies()) {
    json["sizes"] = {
        {"min", options.sizes.Min()}, {"mean", options.sizes.Mean()}, {"max", options.sizes.Max()}};
  }
  if (options.open_loop()) {
    json["service_ns"] = stats::TimesJson(result.service);
    json["lag_ns"] = stats::TimesJson(result.lag);
    json["pace"] = Schedule(options, result);
  }
  json["connect_ns"] = stats::TimesJson(result.connect);
  json["first_byte_ns"] = stats::TimesJson(result.first_byte);
  json["loop_lag_ns"] = stats::TimesJson(result.loop_lag);
  json["client"] = Client(options, result);
  if (options.at.is_datagram()) {
    json["datagrams"] = {{"lost", result.datagrams.lost},
                         {"late", result.datagrams.late},
                         {"reordered", result.datagrams.reordered},
                         {"doubled", result.datagrams.doubled},
                         {"loss_share", result.LossShare()},
                         {"loss_max", options.loss_max},
                         {"timeout_s", options.reply_timeout_ns / 1e9}};
  }
  if (result.server_cpu_ns >= 0 && options.name.empty()) {  // of several classes it serves all
    json["server"] = Server(options, result, result.requests);
  }
  if (result.tcp.sockets > 0) json["tcp"] = Tcp(result.tcp);
  json["series"] = Series(options, result);
  return json;
}

}  // namespace

Json ErrorsJson(const LoadResult& result) {
  const LoadErrors& errors = result.errors;
  Json by_errno = Json::object();
  for (int error = 0; error < io::ErrorCounts::kErrnos; ++error) {
    if (errors.by_errno[error] > 0) by_errno[io::ErrnoSymbol(error)] = errors.by_errno[error];
  }
  Json json = {{"total", errors.total()},
               {"by_errno", by_errno},
               {"connect_failed", errors.connect_failed},
               {"connect_timed_out", errors.connect_timed_out},
               {"closed_by_server", errors.closed_by_server},
               {"timeouts", errors.timeouts},
               {"unanswered", errors.unanswered},
               {"surplus", errors.surplus},
               {"corrupt_connections", errors.corrupt_connections},
               {"service", errors.service},
               {"reconciliation", errors.reconciliation},
               {"lost_requests", result.lost_requests}};
  if (!result.problem.empty()) json["problem"] = result.problem;
  Json corruptions = Json::array();
  for (const Corruption& corruption : result.corruptions) {
    corruptions.push_back({{"connection", corruption.connection},
                           {"offset", corruption.offset},
                           {"expected", corruption.expected},
                           {"got", corruption.got}});
  }
  json["corruptions"] = corruptions;
  json["failures"] = Failures(result);
  return json;
}

Json KernelJson(const stats::KernelDifference& kernel) {
  Json counters = Json::array();
  for (const stats::CounterChange& change : kernel.changes) {
    counters.push_back(
        {{"name", change.name}, {"delta", change.delta}, {"meaning", change.meaning}});
  }
  const auto gauges = [](const stats::KernelGauges& g) -> Json {
    return {{"sockets", g.sockets},
            {"tcp_sockets", g.tcp_sockets},
            {"tcp_time_wait", g.tcp_time_wait},
            {"tcp_orphans", g.tcp_orphans},
            {"tcp_memory_pages", g.tcp_memory_pages},
            {"udp_sockets", g.udp_sockets},
            {"udp_memory_pages", g.udp_memory_pages}};
  };
  return {
      {"counters", counters}, {"before", gauges(kernel.before)}, {"after", gauges(kernel.after)}};
}

Json ToJson(const LoadOptions& options, const LoadResult& result, const Evidence& evidence) {
  Json json = ClassJson(options, result, Judge(options, result, evidence));
  json["machine"] = Others(evidence);
  json["kernel"] = KernelJson(evidence.kernel);
  AddReconciliation(evidence, &json);
  return json;
}

Json MixToJson(const std::vector<LoadOptions>& classes, const std::vector<LoadResult>& results,
               const Evidence& evidence) {
  Json rows = Json::array();
  RunVerdict whole;
  whole.kind = RunKind::kValid;
  whole.reason = std::all_of(results.begin(), results.end(), ServerKnown)
                     ? "no class was at a limit"
                     : "no class's client was at its limit; what the server had left is not known";
  bool valid = true, interrupted = false;
  uint64_t requests = 0;
  for (size_t i = 0; i < classes.size(); ++i) {
    LoadResult alone = results[i];  // what the server used can't be divided among classes
    alone.server_cpu_ns = -1;
    const RunVerdict verdict = Judge(classes[i], alone, evidence);
    requests += results[i].requests;
    valid = valid && results[i].valid();
    interrupted = interrupted || results[i].interrupted;
    if (verdict.kind < whole.kind) {  // the most serious of them
      whole.kind = verdict.kind;
      whole.reason = classes[i].name + ": " + verdict.reason;
    }
    rows.push_back(ClassJson(classes[i], results[i], verdict));
  }
  if (evidence.reconciliation && !evidence.reconciliation->differences.empty()) {
    valid = false;
    whole.kind = RunKind::kIncomplete;
    whole.reason = "the server counted otherwise";
  }
  Json json = {{"schema", "ringside.load_mix/1"},
               {"version", RINGSIDE_VERSION},
               {"valid", valid},
               {"interrupted", interrupted},
               {"verdict", Verdict(whole)},
               {"classes", rows},
               {"machine", Others(evidence)},
               {"kernel", KernelJson(evidence.kernel)}};
  const LoadResult& first = results.front();
  if (first.server_cpu_ns >= 0) json["server"] = Server(classes.front(), first, requests);
  AddReconciliation(evidence, &json);
  return json;
}

}  // namespace loadgen
