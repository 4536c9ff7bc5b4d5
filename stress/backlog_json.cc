#include "stress/backlog_json.h"

#include <algorithm>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "loadgen/load_json.h"
#include "report/format.h"
#include "stats/histogram_json.h"
#include "stats/proc_file.h"

namespace stress {
namespace {

template <class T>
Json OrNull(const std::optional<T>& value) {
  return value ? Json(*value) : Json();
}

// The connects by how often the kernel had sent their SYN again when they were decided.
Json RetriesJson(const Connects::Summary& connects) {
  Json steps = Json::array();
  for (const auto& [retransmits, step] : connects.steps) {
    const std::vector<int64_t>& times = step.connect_ns;
    const auto time = [&](size_t i) { return times.empty() ? Json() : Json(times[i]); };
    steps.push_back({{"syn_retransmits", retransmits},
                     {"opened", step.opened},
                     {"timed_out", step.timed_out},
                     {"min_ns", time(0)},
                     {"p50_ns", time(times.size() / 2)},
                     {"max_ns", time(times.size() - 1)}});
  }
  return steps;
}

// Where somaxconn made the queue shorter than was asked for.
Json CappedBy(const BacklogRow& row, const BacklogSysctls& sysctls) {
  if (!sysctls.somaxconn || row.backlog <= static_cast<uint64_t>(*sysctls.somaxconn)) return Json();
  return {{"name", "net.core.somaxconn"},
          {"value", *sysctls.somaxconn},
          {"mend", absl::StrCat("sysctl -w net.core.somaxconn=", row.backlog)}};
}

std::string Counted(uint64_t count, const char* what) {
  return absl::StrCat(report::FormatCount(count), " ", what);
}

std::string Held(const BacklogRow& row, const BacklogSysctls& sysctls) {
  if (!row.held || !row.queue) {
    return absl::StrCat(report::FormatCount(row.connects.opened), " of ",
                        report::FormatCount(row.requested), " connects opened");
  }
  const std::string held = absl::StrCat("the accept queue held ", report::FormatCount(*row.held));
  if (*row.held != row.queue->limit) {
    return absl::StrCat(held, " of the ", report::FormatCount(row.queue->limit), " that it may");
  }
  const std::string queues =
      row.queue->listeners > 1
          ? absl::StrCat(row.queue->listeners, " × (", row.queue->backlog, "+1)")
      : row.backlog > 0 && sysctls.somaxconn
          ? absl::StrCat("min(", row.backlog, ", ", *sysctls.somaxconn, ")+1")
          : absl::StrCat(row.queue->backlog, "+1");
  return absl::StrCat(held, " = ", queues);
}

std::string Retried(const BacklogRow& row) {
  const Connects::Summary& connects = row.connects;
  std::string text = Counted(connects.retried, "connects were retried");
  if (!connects.syn_retries_s.empty()) {
    absl::StrAppend(&text, absl::StrFormat(" after %.3g s", connects.syn_retries_s.front()));
  }
  const uint64_t late = connects.opened - connects.at_once;
  if (late > 0) absl::StrAppend(&text, ", ", Counted(late, "of them opened"));
  if (connects.timed_out > 0) {
    absl::StrAppend(&text, ", ", report::FormatCount(connects.timed_out), " timed out after ",
                    report::FormatDuration(row.timeout_ns));
  }
  return text;
}

}  // namespace

BacklogSysctls BacklogSysctls::Read(const std::string& folder) {
  const auto read = [&](const char* name) -> std::optional<int64_t> {
    const auto text = stats::ReadProcFile(absl::StrCat(folder, "/", name));
    if (!text.ok()) return std::nullopt;
    const auto lines = stats::Lines(*text);
    return lines.size() == 1 ? stats::ParseNumber<int64_t>(lines[0]) : std::nullopt;
  };
  return {.somaxconn = read("core/somaxconn"),
          .syncookies = read("ipv4/tcp_syncookies"),
          .abort_on_overflow = read("ipv4/tcp_abort_on_overflow"),
          .max_syn_backlog = read("ipv4/tcp_max_syn_backlog"),
          .syn_retries = read("ipv4/tcp_syn_retries"),
          .syn_linear_timeouts = read("ipv4/tcp_syn_linear_timeouts")};
}

Json ToJson(const BacklogSysctls& sysctls) {
  return {{"net.core.somaxconn", OrNull(sysctls.somaxconn)},
          {"net.ipv4.tcp_syncookies", OrNull(sysctls.syncookies)},
          {"net.ipv4.tcp_abort_on_overflow", OrNull(sysctls.abort_on_overflow)},
          {"net.ipv4.tcp_max_syn_backlog", OrNull(sysctls.max_syn_backlog)},
          {"net.ipv4.tcp_syn_retries", OrNull(sysctls.syn_retries)},
          {"net.ipv4.tcp_syn_linear_timeouts", OrNull(sysctls.syn_linear_timeouts)}};
}

Json ConnectionsJson(const Connects::Summary& connects, uint64_t requested) {
  return {{"requested", requested},        {"opened", connects.opened},
          {"answered", connects.answered}, {"at_once", connects.at_once},
          {"retried", connects.retried},   {"timed_out", connects.timed_out},
          {"refused", connects.refused},   {"reset", connects.reset},
          {"no_room", connects.no_room},   {"failed", connects.failed},
          {"pending", connects.pending}};
}

Json ToJson(const BacklogRow& row, const BacklogSysctls& sysctls) {
  const auto& queue = row.queue;
  Json connections = ConnectionsJson(row.connects, row.requested);
  connections["ghosts"] = OrNull(row.ghosts);
  return {{"backlog", row.backlog > 0 ? Json(row.backlog) : Json()},
          {"capped_by", CappedBy(row, sysctls)},
          {"address", row.address},
          {"pid", row.pid > 0 ? Json(row.pid) : Json()},
          {"accept_queue",
           {{"held", OrNull(row.held)},
            {"limit", queue ? Json(queue->limit) : Json()},
            {"backlog", queue ? Json(queue->backlog) : Json()},
            {"listeners", queue ? Json(queue->listeners) : Json()},
            {"before", queue ? Json(queue->length) : Json()},
            {"accepted", OrNull(row.accepted)},
            {"series", row.series}}},
          {"connections", connections},
          {"connect_ns", stats::TimesJson(row.connects.connect)},
          {"retries", RetriesJson(row.connects)},
          {"syn_retries_s", row.connects.syn_retries_s},
          {"errors", row.connects.by_errno},
          {"kernel", loadgen::KernelJson(row.kernel)}};
}

std::string FindingOf(const BacklogRow& row, const BacklogSysctls& sysctls) {
  const Connects::Summary& connects = row.connects;
  std::vector<std::string> parts = {Held(row, sysctls)};
  if (connects.retried > 0) parts.push_back(Retried(row));
  if (row.ghosts.value_or(0) > 0) {
    parts.push_back(Counted(*row.ghosts, "were open for the client alone"));
  }
  if (connects.no_room > 0) parts.push_back(Counted(connects.no_room, "found it full (EAGAIN)"));
  if (connects.refused > 0) parts.push_back(Counted(connects.refused, "were refused"));
  if (connects.reset > 0) {
    parts.push_back(Counted(connects.reset, "were reset"));
    if (sysctls.abort_on_overflow == 1) {
      parts.back() += " (net.ipv4.tcp_abort_on_overflow is 1)";
    }
  }
  if (connects.failed > 0) parts.push_back(Counted(connects.failed, "failed otherwise"));
  return absl::StrJoin(parts, "; ");
}

}  // namespace stress
