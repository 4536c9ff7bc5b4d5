#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "report/escape.h"
#include "report/format.h"
#include "report/reader.h"
#include "report/rows.h"
#include "report/text.h"

namespace report {
namespace {

// The counts of `json` that aren't 0, in words; "" where all are.
std::string NonZero(Reader json,
                    const std::vector<std::pair<const char*, const char*>>& keys_and_words) {
  std::vector<std::string> parts;
  for (const auto& [key, words] : keys_and_words) {
    const uint64_t count = json[key].get<uint64_t>();  // an older one's has fewer
    if (count > 0) parts.push_back(absl::StrCat(FormatCount(count), " ", words));
  }
  return absl::StrJoin(parts, ", ");
}

}  // namespace

std::string ReadyText(const Json& json) {
  const Json plain = PlainTexts(json);
  const Reader ready = plain;
  const std::string how = absl::StrCat(ready["backend"].get<std::string>(), ", ",
                                       Counted(ready["threads"].get<uint64_t>(), "thread"));
  std::string text;
  for (const Reader listener : ready["listeners"]) {
    absl::StrAppend(&text, "ringside: ", listener["service"].get<std::string>(), " on ",
                    listener["address"].get<std::string>(), " (", how,
                    listener["inherited"].get<bool>() ? ", taken over" : "", ")\n");
  }
  return text;
}

std::string ServeText(const Json& json) {
  const Json plain = PlainTexts(json);
  const Reader summary = plain;
  const Reader connections = summary["connections"];
  const Reader loop = summary["loop"];
  std::vector<std::string> where;
  for (const Reader listener : summary["listeners"]) {
    where.push_back(absl::StrCat(listener["service"].get<std::string>(), " on ",
                                 listener["address"].get<std::string>()));
  }
  std::string text =
      absl::StrFormat("\n%s (%s), %s\n\n", absl::StrJoin(where, ", "),
                      summary["backend"].get<std::string>(), SecondsText(summary["duration_s"]));
  const bool ended = summary["event"] == "summary";
  std::string line = absl::StrCat(FormatCount(connections["accepted"].get<uint64_t>()),
                                  " accepted, ", FormatCount(connections["open"].get<uint64_t>()),
                                  ended ? " open at the end" : " open now");
  const uint64_t reset = connections["reset_at_deadline"].get<uint64_t>();
  if (reset > 0) absl::StrAppend(&line, ", ", FormatCount(reset), " reset at the drain deadline");
  text += Row("connections", line);
  for (const Reader listener : summary["listeners"]) {
    text +=
        Row("requests",
            absl::StrCat(
                FormatCount(listener["requests"].get<uint64_t>()),
                " (one is: ", listener["request_unit"].get<std::string>(), ")",
                where.size() > 1 ? absl::StrCat(" ", listener["service"].get<std::string>()) : ""));
  }
  text += Row("bytes",
              absl::StrCat(FormatBytes(summary["bytes"]["received"].get<uint64_t>()), " received, ",
                           FormatBytes(summary["bytes"]["sent"].get<uint64_t>()), " sent"));
  text += Row("cost", absl::StrFormat("%.2f µs CPU and %.3f system calls a request",
                                      summary["cpu_us_per_request"].get<double>(),
                                      summary["syscalls_per_request"].get<double>()));
  const std::string datagrams =
      NonZero(summary["datagrams"], {{"dropped", "dropped"},
                                     {"refused", "refused (from a server's port)"},
                                     {"amplifying", "unanswered (the answer would be longer)"}});
  if (!datagrams.empty()) text += Row("datagrams", datagrams);
  const std::string bounds = NonZero(loop, {{"starved_receives", "receives waited for a buffer"},
                                            {"receive_pauses", "receives waited for a slow reader"},
                                            {"accept_pauses", "times accepting paused"},
                                            {"datagram_pauses", "times datagrams paused"},
                                            {"lost_completions", "times completions were lost"}});
  if (!bounds.empty()) text += Row("bounds", bounds);
  const std::string limits =
      NonZero(summary["limits"], {{"denied", "denied"},
                                  {"over_source_limit", "over the limit of their source"},
                                  {"idle_closed", "closed because idle"},
                                  {"stalled_closed", "reset because they read nothing"},
                                  {"protocol_violations", "broke the protocol"},
                                  {"over_delayed_limit", "over the bound of delayed replies"},
                                  {"no_memory", "ended for want of memory"},
                                  {"truncated_messages", "messages too long"}});
  if (!limits.empty()) text += Row("limits", limits);
  const uint64_t errors = summary["errors"]["total"].get<uint64_t>();
  text += Row("errors", errors == 0 ? "none" : ErrnoList(summary["errors"]["by_errno"]));
  return text;
}

std::string StatusText(const Json& json) {
  const Json plain = PlainTexts(json);
  const Reader status = plain;
  std::string text = ServeText(json);
  const Reader kernel = status["kernel"];
  if (kernel.contains("problem")) {
    return text + Row("kernel", kernel["problem"].get<std::string>());
  }
  for (const Reader listener : status["listeners"]) {
    const uint64_t limit = listener["queue_limit"].get<uint64_t>();
    text += Row("queue", absl::StrCat(listener["address"].get<std::string>(), "  ",
                                      FormatCount(listener["queue"].get<uint64_t>()),
                                      limit > 0 ? " of " + FormatCount(limit) : " bytes", ", ",
                                      FormatCount(listener["drops"].get<uint64_t>()), " dropped"));
  }
  if (kernel["connections"].empty()) return text;
  absl::StrAppendFormat(&text, "\n  %-12s %9s %9s %9s %7s  %s\n", "state", "recv-q", "send-q",
                        "rtt", "retrans", "peer");
  for (const Reader c : kernel["connections"]) {
    const bool tcp = c.contains("rtt_us");
    absl::StrAppendFormat(&text, "  %-12s %9d %9d %9s %7s  %s\n", c["state"].get<std::string>(),
                          c["recv_queue"].get<uint64_t>(), c["send_queue"].get<uint64_t>(),
                          tcp ? FormatDuration(c["rtt_us"].get<int64_t>() * 1000) : "",
                          tcp ? std::to_string(c["retransmits"].get<uint64_t>()) : "",
                          c["remote"].get<std::string>());
  }
  if (kernel["more_connections"].get<bool>()) text += "  ... and more\n";
  return text;
}

}  // namespace report
