#include "probe/probe_json.h"

#include <algorithm>

#include <nlohmann/json.hpp>

#include "io/errors.h"
#include "probe/ports.h"
#include "stats/histogram.h"

namespace probe {
namespace {

using Json = nlohmann::ordered_json;

const char* NameOf(PortState state) {
  switch (state) {
    case PortState::kOpen:
      return "open";
    case PortState::kClosed:
      return "closed";
    case PortState::kFiltered:
      return "filtered";
    case PortState::kUnknown:
      return "unknown";
    case PortState::kUnasked:
      break;
  }
  return "unasked";
}

Json ListenerJson(const Listener& listener) {
  Json holders = Json::array();
  for (const Holder& holder : listener.holders) {
    holders.push_back({{"process", holder.process}, {"pid", holder.pid}, {"fd", holder.fd}});
  }
  const stats::SocketInfo& socket = listener.socket;
  Json json = {{"protocol", socket.protocol},
               {"local", socket.local},
               {"uid", socket.uid},
               {"holders", holders},
               {"unseen", nullptr}};
  if (!listener.unseen.empty()) json["unseen"] = listener.unseen;
  if (socket.state == "LISTEN") {
    json["queue"] = socket.recv_queue;
    json["backlog"] = socket.send_queue;
  } else {
    json["unread_bytes"] = socket.recv_queue;
  }
  json["drops"] = nullptr;
  if (socket.drops) json["drops"] = *socket.drops;
  if (socket.local.starts_with("[")) json["v6_only"] = socket.v6_only;
  json["connections"] = listener.connections;
  if (!listener.peers.empty()) json["peers"] = listener.peers;
  return json;
}

// Times of answers, as far as they are known.
Json TimesOf(const ScanResult& scan, PortState state) {
  stats::Histogram histogram;
  for (const PortResult& port : scan.ports) {
    if (port.state == state && port.answer_ns > 0) histogram.Record(port.answer_ns);
  }
  Json json = {{"count", histogram.count()}};
  const bool any = histogram.count() > 0;
  const auto put = [&](const char* name, int64_t ns) { json[name] = any ? Json(ns) : Json(); };
  put("min", histogram.min());
  put("p50", histogram.Percentile(50));
  put("p90", histogram.Percentile(90));
  put("p99", histogram.Percentile(99));
  put("max", histogram.max());
  return json;
}

Json CountsOf(const ScanResult& scan) {
  const auto count = [&](PortState state) {
    return std::count_if(scan.ports.begin(), scan.ports.end(),
                         [&](const PortResult& port) { return port.state == state; });
  };
  const int64_t unasked = count(PortState::kUnasked);
  Json json = {{"asked", static_cast<int64_t>(scan.ports.size()) - unasked}};
  for (const PortState state : {PortState::kOpen, PortState::kClosed, PortState::kFiltered,
                                PortState::kUnknown, PortState::kUnasked}) {
    json[NameOf(state)] = count(state);
  }
  return json;
}

std::string ReasonOf(const PortResult& port) {
  return port.error == 0 ? "no-answer" : io::ErrnoSymbol(port.error);
}

// Ports that are neither open nor closed: runs of neighbours for the same reason, which are
// neighbours in the list, too.
Json SilentRuns(const ScanResult& scan) {
  Json runs = Json::array();
  const PortResult* last = nullptr;
  for (const PortResult& port : scan.ports) {
    const bool silent = port.state == PortState::kFiltered || port.state == PortState::kUnknown;
    const bool joins = silent && last != nullptr && last->state == port.state &&
                       last->error == port.error && last->port + 1 == port.port;
    if (joins) runs.back()["last"] = port.port;
    if (silent && !joins) {
      runs.push_back({{"first", port.port},
                      {"last", port.port},
                      {"state", NameOf(port.state)},
                      {"reason", ReasonOf(port)}});
    }
    last = silent ? &port : nullptr;
  }
  return runs;
}

Json OpenPort(const PortResult& port, const Report& report) {
  Json json = {{"port", port.port}, {"service", nullptr}, {"connect_ns", nullptr}};
  const std::string service = ServiceName(port.port);
  if (!service.empty()) json["service"] = service;
  if (port.answer_ns > 0) json["connect_ns"] = port.answer_ns;
  if (!report.here || !report.listeners) return json;
  json["listeners"] = Json::array();
  const io::Endpoint at = report.options->at.WithPort(port.port);
  for (const Listener* listener : ListenersAt(at, *report.listeners)) {
    json["listeners"].push_back(ListenerJson(*listener));
  }
  if (json["listeners"].empty()) {
    json["unlisted"] =
        "it answered, and no socket of this network namespace listens there: another namespace's "
        "does, behind a packet filter that redirects, or it was closed meanwhile";
  }
  return json;
}

// "127.0.0.1", "::1".
std::string HostText(const io::Endpoint& at) {
  const std::string text = io::AddressText(at.address(), at.size());
  const size_t begin = text.front() == '[' ? 1 : 0;
  return text.substr(begin, text.rfind(':') - 2 * begin);
}

void AddScan(const Report& report, Json* json) {
  const ScanOptions& options = *report.options;
  (*json)["method"] = report.half_open ? "syn" : "connect";
  (*json)["backend"] = report.half_open ? Json() : Json(options.backend);
  (*json)["backend_fallback"] =
      options.backend_fallback.empty() ? Json() : Json(options.backend_fallback);
  (*json)["in_flight"] = options.in_flight;
  (*json)["timeout_s"] = static_cast<double>(options.timeout_ns) / 1e9;
  (*json)["retries"] = options.retries;
  (*json)["rate"] = options.rate > 0 ? Json(options.rate) : Json();
  (*json)["duration_s"] = static_cast<double>(report.scan.duration_ns) / 1e9;
  (*json)["met_ourselves"] = report.scan.met_ourselves;
  (*json)["ports"] = CountsOf(report.scan);
  (*json)["connect_ns"] = TimesOf(report.scan, PortState::kOpen);
  (*json)["refused_ns"] = TimesOf(report.scan, PortState::kClosed);
  Json& open = (*json)["open"] = Json::array();
  for (const PortResult& port : report.scan.ports) {
    if (port.state == PortState::kOpen) open.push_back(OpenPort(port, report));
  }
  (*json)["silent"] = SilentRuns(report.scan);
}

}  // namespace

Json ToJson(const Report& report) {
  Json json = {{"schema", "ringside.probe/1"},
               {"interrupted", report.scan.interrupted},
               {"host", report.host},
               {"address", nullptr},
               {"here", report.here}};
  if (report.options) {
    json["address"] = HostText(report.options->at);
    AddScan(report, &json);
  }
  if (!report.listeners_problem.empty()) json["listeners_problem"] = report.listeners_problem;
  if (!report.listeners) return json;
  json["more_connections"] = report.listeners->more_connections;
  if (report.options) return json;
  Json& listeners = json["listeners"] = Json::array();
  for (const Listener& listener : report.listeners->listeners) {
    listeners.push_back(ListenerJson(listener));
  }
  return json;
}

}  // namespace probe
