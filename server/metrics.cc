#include "server/metrics.h"

#include <algorithm>
#include <set>
#include <vector>

#include "absl/strings/str_cat.h"
#include "io/errors.h"
#include "server/kernel_view.h"
#include "server/prometheus.h"

namespace server {
namespace {

// A counter that each thread has.
struct ThreadCounter {
  const char *name, *help;
  uint64_t (*of)(const ServerSummary&);
};

constexpr ThreadCounter kThreadCounters[] = {
    {"ringside_connections_accepted_total", "Connections that a listener gave us.",
     [](const ServerSummary& s) { return s.io.accepted; }},
    {"ringside_connections_closed_total", "Connections that were served and are closed.",
     [](const ServerSummary& s) { return s.io.closed; }},
    {"ringside_received_bytes_total", "Bytes received from peers.",
     [](const ServerSummary& s) { return s.io.received_bytes; }},
    {"ringside_sent_bytes_total", "Bytes that the kernel took to send.",
     [](const ServerSummary& s) { return s.io.sent_bytes; }},
    {"ringside_receives_total", "Receives that brought bytes.",
     [](const ServerSummary& s) { return s.io.receives; }},
    {"ringside_sends_total", "Sends that the kernel took.",
     [](const ServerSummary& s) { return s.io.sends; }},
    {"ringside_system_calls_total", "System calls of the event loop.",
     [](const ServerSummary& s) { return s.io.system_calls; }},
    {"ringside_turns_total", "Turns of the event loop.",
     [](const ServerSummary& s) { return s.io.turns; }},
    {"ringside_starved_receives_total", "Receives that ended for want of a buffer.",
     [](const ServerSummary& s) { return s.io.starved; }},
    {"ringside_receive_pauses_total", "Times that a peer which reads too slowly was paused.",
     [](const ServerSummary& s) { return s.io.receive_pauses; }},
    {"ringside_accept_pauses_total", "Times that no descriptor, memory or slot was left to accept.",
     [](const ServerSummary& s) { return s.io.accept_pauses; }},
    {"ringside_datagram_pauses_total",
     "Times that a socket of datagrams failed again and again, and was left alone for a moment.",
     [](const ServerSummary& s) { return s.io.datagram_pauses; }},
    {"ringside_lost_completions_total",
     "Times that the kernel lost completions of io_uring, and all that was under way was reset.",
     [](const ServerSummary& s) { return s.io.lost_completions; }},
    {"ringside_truncated_messages_total", "Messages longer than a receive buffer, dropped.",
     [](const ServerSummary& s) { return s.io.truncated; }},
    {"ringside_datagrams_received_total", "Datagrams received.",
     [](const ServerSummary& s) { return s.io.datagrams_received; }},
    {"ringside_datagrams_sent_total", "Datagrams that the kernel took to send.",
     [](const ServerSummary& s) { return s.io.datagrams_sent; }},
    {"ringside_datagrams_dropped_total", "Datagrams that the kernel did not take.",
     [](const ServerSummary& s) { return s.io.datagrams_dropped; }},
};

struct Refusal {
  const char* reason;
  uint64_t Refusals::*count;
};

constexpr Refusal kRefusals[] = {
    {"denied", &Refusals::denied},
    {"over_source_limit", &Refusals::over_source_limit},
    {"idle", &Refusals::idle},
    {"stalled", &Refusals::stalled},
    {"protocol_violation", &Refusals::violations},
    {"datagram_loop", &Refusals::datagrams_refused},
    {"datagram_amplification", &Refusals::datagrams_amplified},
    {"over_delayed_limit", &Refusals::over_delayed_limit},
    {"no_memory", &Refusals::no_memory},
};

}  // namespace

std::vector<std::string> ListenerNames(const std::vector<OpenedListener>& listeners) {
  std::vector<std::string> names;
  std::set<std::string> taken;
  for (const OpenedListener& listener : listeners) {
    const std::string at = listener.at.ToString();
    names.push_back(at);
    for (int i = 2; !taken.insert(LabelText(names.back())).second; ++i) {
      names.back() = absl::StrCat(at, "#", i);
    }
  }
  return names;
}

absl::StatusOr<std::string> MetricsPage(const ServerOptions& options, Server& server,
                                        uint64_t log_lines_lost) {
  const std::vector<std::string> names = ListenerNames(server.listeners());
  std::vector<ServerSummary> threads;
  const ServerSummary all = server.Snapshot(&threads);
  PrometheusPage page;
  const auto thread_label = [](size_t i) { return MetricLabels{{"thread", std::to_string(i)}}; };

  page.Gauge("ringside_info", "What runs: always 1.");
  page.Sample(
      1, {{"version", RINGSIDE_VERSION}, {"backend", options.backend}, {"features", all.features}});
  page.Gauge("ringside_uptime_seconds", "Time since all threads serve.");
  page.Sample(all.elapsed_ns / 1e9);
  page.Counter("ringside_requests_total", "Requests that were answered.");
  for (size_t i = 0; i < server.listeners().size(); ++i) {
    const OpenedListener& listener = server.listeners()[i];
    page.Sample(i < all.requests.size() ? all.requests[i] : 0,
                {{"listener", names[i]}, {"service", listener.service}});
  }
  page.Gauge("ringside_listener_info", "What a listener counts as a request: always 1.");
  for (size_t i = 0; i < server.listeners().size(); ++i) {
    const OpenedListener& listener = server.listeners()[i];
    page.Sample(
        1,
        {{"listener", names[i]}, {"service", listener.service}, {"unit", listener.request_unit}});
  }
  page.Gauge("ringside_connections", "Connections that are open now.");
  for (size_t i = 0; i < threads.size(); ++i) page.Sample(threads[i].open, thread_label(i));
  page.Counter("ringside_cpu_seconds_total", "CPU time of the worker threads.");
  for (size_t i = 0; i < threads.size(); ++i) page.Sample(threads[i].cpu_ns / 1e9, thread_label(i));
  page.Gauge("ringside_delayed_replies", "Replies that wait for their time.");
  for (size_t i = 0; i < threads.size(); ++i) page.Sample(threads[i].delayed, thread_label(i));
  page.Gauge("ringside_delayed_bytes", "Memory that the replies hold that wait for their time.");
  for (size_t i = 0; i < threads.size(); ++i) {
    page.Sample(threads[i].delayed_bytes, thread_label(i));
  }
  for (const ThreadCounter& counter : kThreadCounters) {
    page.Counter(counter.name, counter.help);
    for (size_t i = 0; i < threads.size(); ++i) {
      page.Sample(counter.of(threads[i]), thread_label(i));
    }
  }
  page.Counter("ringside_refusals_total", "Peers and datagrams that were not served, or cut off.");
  for (const Refusal& refusal : kRefusals) {
    page.Sample(all.refusals.*refusal.count, {{"reason", refusal.reason}});
  }
  page.Counter("ringside_errors_total", "Operations that failed, by errno.");
  for (int error = 0; error < io::ErrorCounts::kErrnos; ++error) {
    if (all.io.errors[error] > 0) {
      page.Sample(all.io.errors[error], {{"errno", io::ErrnoSymbol(error)}});
    }
  }
  page.Counter("ringside_log_lines_lost_total", "Lines for stderr that nobody read in time.");
  page.Sample(log_lines_lost);
  const auto queues = ListenerQueues(server);
  if (queues.ok()) {
    const auto sample_all = [&](uint64_t ListenerQueue::*what) {
      for (size_t i = 0; i < queues->size(); ++i) {
        page.Sample((*queues)[i].*what, {{"listener", names[i]}});
      }
    };
    page.Gauge("ringside_accept_queue_length",
               "Connections that wait to be accepted; for datagrams, bytes that wait.");
    sample_all(&ListenerQueue::length);
    page.Gauge("ringside_accept_queue_limit", "How many may wait to be accepted.");
    sample_all(&ListenerQueue::limit);
    page.Counter("ringside_accept_queue_drops_total",
                 "Lost to a full queue, as the kernel counts.");
    sample_all(&ListenerQueue::drops);
  }
  return page.Finish();
}

}  // namespace server
