#include "server/server_json.h"

#include <unistd.h>

#include <nlohmann/json.hpp>

#include "io/errors.h"

namespace server {
namespace {

using Json = nlohmann::ordered_json;

double PerRequest(double amount, uint64_t requests) { return requests > 0 ? amount / requests : 0; }

}  // namespace

Json ReadyJson(const ServerOptions& options, const Server& server) {
  return {{"schema", "ringside.serve/1"},
          {"event", "ready"},
          {"address", server.address().ToString()},
          {"port", server.address().port()},
          {"backend", options.backend},
          {"service", options.service},
          {"threads", options.threads},
          {"backlog", options.backlog},
          {"pid", getpid()}};
}

Json SummaryJson(const ServerOptions& options, const Server& server, const ServerSummary& summary) {
  const io::Counters& io = summary.io;
  Json by_errno = Json::object();
  for (int error = 0; error < io::ErrorCounts::kErrnos; ++error) {
    if (io.errors[error] > 0) by_errno[io::ErrnoSymbol(error)] = io.errors[error];
  }
  return {
      {"schema", "ringside.serve/1"},
      {"event", "summary"},
      {"version", RINGSIDE_VERSION},
      {"address", server.address().ToString()},
      {"backend", options.backend},
      {"features", summary.features},
      {"service", options.service},
      {"threads", options.threads},
      {"duration_s", summary.elapsed_ns / 1e9},
      {"requests", summary.requests},
      {"request_unit", server.request_unit()},
      {"connections",
       {{"accepted", io.accepted},
        {"open", summary.open_at_drain},
        {"closed", io.closed},
        {"refused", io.refused},
        {"reset_at_deadline", summary.aborted_at_deadline}}},
      {"bytes", {{"received", io.received_bytes}, {"sent", io.sent_bytes}}},
      {"errors", {{"total", io.errors.total()}, {"by_errno", by_errno}}},
      {"cpu_us_per_request", PerRequest(summary.cpu_ns / 1e3, summary.requests)},
      {"syscalls_per_request", PerRequest(static_cast<double>(io.system_calls), summary.requests)},
      {"loop",
       {{"turns", io.turns},
        {"system_calls", io.system_calls},
        {"receives", io.receives},
        {"sends", io.sends},
        {"receive_arms", io.receive_rearms},
        {"starved_receives", io.starved},
        {"replies_copied", io.replies_copied},
        {"receive_pauses", io.receive_pauses},
        {"accept_pauses", io.accept_pauses},
        {"stale_completions", io.stale_completions}}}};
}

}  // namespace server
