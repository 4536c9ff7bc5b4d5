#include "loadgen/load_json.h"

#include <nlohmann/json.hpp>

#include "io/errors.h"

namespace loadgen {
namespace {

using Json = nlohmann::ordered_json;

Json Errors(const LoadResult& result) {
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
               {"unanswered", errors.unanswered},
               {"surplus", errors.surplus},
               {"corrupt_connections", errors.corrupt_connections},
               {"service", errors.service},
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
  return json;
}

// Without a single latency, its figures are null: 0 ns would be a claim.
Json Latency(const stats::Histogram& latency, services::Exchange exchange) {
  const Json kind = services::HasLatency(exchange) ? Json("service") : Json();
  if (latency.count() == 0) {
    return {{"kind", kind},      {"count", 0},     {"min", nullptr}, {"mean", nullptr},
            {"p50", nullptr},    {"p90", nullptr}, {"p99", nullptr}, {"p99_9", nullptr},
            {"p99_99", nullptr}, {"max", nullptr}};
  }
  return {{"kind", kind},
          {"count", latency.count()},
          {"min", latency.min()},
          {"mean", latency.Mean()},
          {"p50", latency.Percentile(50)},
          {"p90", latency.Percentile(90)},
          {"p99", latency.Percentile(99)},
          {"p99_9", latency.Percentile(99.9)},
          {"p99_99", latency.Percentile(99.99)},
          {"max", latency.max()}};
}

// What brings the next request.
const char* Workload(const LoadOptions& options, services::Exchange exchange) {
  if (exchange == services::Exchange::kSource) return "source";
  return options.pace > 0 ? "paced" : "closed";
}

double PerRequest(double amount, uint64_t requests) { return requests > 0 ? amount / requests : 0; }

}  // namespace

Json ToJson(const LoadOptions& options, const LoadResult& result) {
  const auto& connections = result.connections;
  const services::Exchange exchange = ExchangeOf(options.service);
  Json json = {
      {"schema", "ringside.load/1"},
      {"version", RINGSIDE_VERSION},
      {"valid", result.valid()},
      {"interrupted", result.interrupted},
      {"address", options.at.ToString()},
      {"backend", options.backend},
      {"service", options.service},
      {"workload", Workload(options, exchange)},
      {"threads", options.threads},
      {"depth", options.depth},
      {"message_bytes", options.message_bytes},
      {"warmup_s", options.requests > 0 ? 0.0 : options.warmup_ns / 1e9},
      {"duration_s", result.duration_s},
      {"requests", result.requests},
      {"throughput_rps", result.throughput_rps},
      {"requests_total", result.requests_total},
      {"errors", Errors(result)},
      {"connections",
       {{"requested", connections.requested},
        {"opened", connections.opened},
        {"answered", connections.answered},
        {"silent", connections.silent},
        {"requests_min", connections.requests_min},
        {"requests_median", connections.requests_median},
        {"requests_max", connections.requests_max}}},
      {"bytes",
       {{"sent", result.bytes.sent},
        {"received", result.bytes.received},
        {"corrupt", result.bytes.corrupt}}},
      {"latency_ns", Latency(result.latency, exchange)},
      {"client",
       {{"cpu_us_per_request", PerRequest(result.cpu_ns / 1e3, result.requests)},
        {"syscalls_per_request",
         PerRequest(static_cast<double>(result.system_calls), result.requests)},
        {"cpu_share",
         result.duration_s > 0 ? result.cpu_ns / 1e9 / result.duration_s / options.threads : 0},
        {"starved_receives", result.io.starved}}},
  };
  if (options.at.is_datagram()) {
    json["datagrams"] = {{"lost", result.datagrams.lost},
                         {"late", result.datagrams.late},
                         {"reordered", result.datagrams.reordered},
                         {"doubled", result.datagrams.doubled},
                         {"loss_share", result.LossShare()},
                         {"loss_max", options.loss_max},
                         {"timeout_s", options.reply_timeout_ns / 1e9}};
  }
  if (options.pace > 0) {
    json["pace"] = {{"requested_rps", options.pace},
                    {"achieved_rps", result.throughput_rps},
                    {"late_max_ns", result.pace_late_max_ns}};
  }
  if (result.server_cpu_ns >= 0) {
    json["server"] = {
        {"pid", options.server_pid},
        {"cpu_us_per_request", PerRequest(result.server_cpu_ns / 1e3, result.requests)},
        {"cpu_share", result.duration_s > 0 ? result.server_cpu_ns / 1e9 / result.duration_s : 0}};
  }
  return json;
}

}  // namespace loadgen
