#include "server/server_json.h"

#include <unistd.h>

#include <nlohmann/json.hpp>

#include "io/errors.h"
#include "server/kernel_view.h"

namespace server {
namespace {

using Json = nlohmann::ordered_json;

double PerRequest(double amount, uint64_t requests) { return requests > 0 ? amount / requests : 0; }

Json ListenersJson(const Server& server) {
  Json listeners = Json::array();
  for (const OpenedListener& listener : server.listeners()) {
    listeners.push_back({{"service", listener.service},
                         {"address", listener.at.ToString()},
                         {"port", listener.at.port()},
                         {"request_unit", listener.request_unit},
                         {"inherited", listener.inherited}});
  }
  return listeners;
}

Json Fallback(const ServerOptions& options) {
  return options.backend_fallback.empty() ? Json() : Json(options.backend_fallback);
}

Json ReportJson(const ServerOptions& options, const Server& server, const ServerSummary& summary,
                const char* event) {
  const io::Counters& io = summary.io;
  const Refusals& refusals = summary.refusals;
  const uint64_t requests = summary.requests_total();
  Json by_errno = Json::object();
  for (int error = 0; error < io::ErrorCounts::kErrnos; ++error) {
    if (io.errors[error] > 0) by_errno[io::ErrnoSymbol(error)] = io.errors[error];
  }
  Json listeners = ListenersJson(server);
  for (size_t i = 0; i < listeners.size(); ++i) {
    listeners[i]["requests"] = i < summary.requests.size() ? summary.requests[i] : 0;
  }
  const OpenedListener& first = server.listeners().front();
  return {{"schema", "ringside.serve/1"},
          {"event", event},
          {"version", RINGSIDE_VERSION},
          {"address", first.at.ToString()},
          {"backend", options.backend},
          {"backend_fallback", Fallback(options)},
          {"features", summary.features},
          {"service", first.service},
          {"threads", options.threads},
          {"duration_s", summary.elapsed_ns / 1e9},
          {"requests", requests},
          {"request_unit", first.request_unit},
          {"listeners", std::move(listeners)},
          {"connections",
           {{"accepted", io.accepted},
            {"open", summary.open},
            {"closed", io.closed},
            {"refused", io.refused + io.not_welcome},
            {"reset_at_deadline", summary.aborted_at_deadline}}},
          {"bytes", {{"received", io.received_bytes}, {"sent", io.sent_bytes}}},
          {"datagrams",
           {{"received", io.datagrams_received},
            {"sent", io.datagrams_sent},
            {"dropped", io.datagrams_dropped},
            {"refused", refusals.datagrams_refused},
            {"amplifying", refusals.datagrams_amplified}}},
          {"limits",
           {{"denied", refusals.denied},
            {"over_source_limit", refusals.over_source_limit},
            {"idle_closed", refusals.idle},
            {"stalled_closed", refusals.stalled},
            {"protocol_violations", refusals.violations},
            {"truncated_messages", io.truncated},
            {"over_delayed_limit", refusals.over_delayed_limit},
            {"no_memory", refusals.no_memory},
            {"delayed_replies", summary.delayed},
            {"delayed_bytes", summary.delayed_bytes}}},
          {"errors", {{"total", io.errors.total()}, {"by_errno", by_errno}}},
          {"cpu_us_per_request", PerRequest(summary.cpu_ns / 1e3, requests)},
          {"syscalls_per_request", PerRequest(static_cast<double>(io.system_calls), requests)},
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
            {"datagram_pauses", io.datagram_pauses},
            {"lost_completions", io.lost_completions},
            {"stale_completions", io.stale_completions}}}};
}

Json ConnectionJson(const stats::SocketInfo& socket) {
  Json json = {{"protocol", socket.protocol},     {"state", socket.state},
               {"local", socket.local},           {"remote", socket.remote},
               {"recv_queue", socket.recv_queue}, {"send_queue", socket.send_queue}};
  if (socket.tcp) {
    json["rtt_us"] = socket.tcp->rtt_us;
    json["retransmits"] = socket.tcp->retransmits;
  }
  return json;
}

}  // namespace

Json ReadyJson(const ServerOptions& options, const Server& server) {
  const OpenedListener& first = server.listeners().front();
  return {{"schema", "ringside.serve/1"},
          {"event", "ready"},
          {"address", first.at.ToString()},
          {"port", first.at.port()},
          {"backend", options.backend},
          {"backend_fallback", Fallback(options)},
          {"service", first.service},
          {"listeners", ListenersJson(server)},
          {"threads", options.threads},
          {"backlog", options.backlog},
          {"pid", getpid()}};
}

Json SummaryJson(const ServerOptions& options, const Server& server, const ServerSummary& summary) {
  return ReportJson(options, server, summary, "summary");
}

Json StatusJson(const ServerOptions& options, Server& server, ConnectionsView& view) {
  Json json = ReportJson(options, server, server.Snapshot(), "status");
  Json& kernel = json["kernel"] = Json::object();
  const auto queues = ListenerQueues(server);
  const auto busiest = view.Busiest(server);
  if (!queues.ok() || !busiest.ok()) {
    kernel["problem"] = std::string((queues.ok() ? busiest.status() : queues.status()).message());
    return json;
  }
  for (size_t i = 0; i < queues->size(); ++i) {
    Json& listener = json["listeners"][i];
    listener["queue"] = (*queues)[i].length;
    listener["queue_limit"] = (*queues)[i].limit;
    listener["drops"] = (*queues)[i].drops;
  }
  kernel["connections"] = Json::array();
  for (const stats::SocketInfo& socket : busiest->connections) {
    kernel["connections"].push_back(ConnectionJson(socket));
  }
  kernel["more_connections"] = busiest->more;
  return json;
}

}  // namespace server
