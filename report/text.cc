#include "report/text.h"

#include <cmath>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "report/format.h"

namespace report {
namespace {

std::string Row(const char* name, const std::string& text) {
  return absl::StrFormat("  %-12s %s\n", name, text);
}

std::string Counted(uint64_t count, const char* one) {
  return absl::StrCat(FormatCount(count), " ", one, count == 1 ? "" : "s");
}

std::string ErrnoList(const Json& by_errno) {
  std::vector<std::string> parts;
  for (const auto& [name, count] : by_errno.items()) {
    parts.push_back(absl::StrCat(FormatCount(count.get<uint64_t>()), " × ", name));
  }
  return absl::StrJoin(parts, ", ");
}

// Every kind of error of a load run that occurred, in words.
std::vector<std::string> ErrorParts(const Json& load) {
  const Json& errors = load["errors"];
  std::vector<std::string> parts;
  if (!errors["by_errno"].empty()) parts.push_back(ErrnoList(errors["by_errno"]));
  const auto add = [&](const char* key, const char* what) {
    const uint64_t count = errors[key].get<uint64_t>();
    if (count > 0) parts.push_back(absl::StrCat(FormatCount(count), " ", what));
  };
  add("connect_timed_out", "connections not open in time");
  add("closed_by_server", "connections closed by the server");
  add("unanswered", "requests unanswered at the end");
  add("surplus", "replies that nobody asked for");
  add("corrupt_connections", "connections with corrupt bytes");
  if (errors.contains("problem")) parts.push_back(errors["problem"].get<std::string>());
  return parts;
}

std::string ConnectionsLine(const Json& connections) {
  std::string line =
      absl::StrCat(FormatCount(connections["opened"].get<uint64_t>()), " of ",
                   FormatCount(connections["requested"].get<uint64_t>()), " opened, ",
                   FormatCount(connections["answered"].get<uint64_t>()), " answered, ",
                   FormatCount(connections["silent"].get<uint64_t>()), " silent");
  if (connections["requests_max"].get<uint64_t>() > 0) {
    absl::StrAppend(&line, "; ", FormatCount(connections["requests_min"].get<uint64_t>()), " to ",
                    FormatCount(connections["requests_max"].get<uint64_t>()), " requests each");
  }
  return line;
}

std::string LatencyLine(const Json& latency) {
  std::string line;
  for (const auto& [key, label] : std::vector<std::pair<const char*, const char*>>{
           {"p50", "p50"}, {"p90", "p90"}, {"p99", "p99"}, {"p99_9", "p99.9"}, {"max", "max"}}) {
    absl::StrAppend(&line, label, " ", FormatDuration(latency[key].get<int64_t>()), "   ");
  }
  return absl::StrCat(line, "(service time: from send to reply)");
}

std::string BytesLine(const Json& bytes) {
  const uint64_t corrupt = bytes["corrupt"].get<uint64_t>();
  const uint64_t received = bytes["received"].get<uint64_t>();
  const std::string line = absl::StrCat(FormatBytes(bytes["sent"].get<uint64_t>()), " sent, ",
                                        FormatBytes(received), " received");
  if (received == 0) return line;  // there was nothing to verify
  return absl::StrCat(line, corrupt == 0
                                ? ", every byte verified"
                                : absl::StrCat(", ", FormatCount(corrupt), " bytes corrupt"));
}

std::string CostLine(const Json& side, bool syscalls) {
  std::string line = absl::StrFormat("%.2f µs CPU", side["cpu_us_per_request"].get<double>());
  if (syscalls) {
    absl::StrAppendFormat(&line, " and %.3f system calls",
                          side["syscalls_per_request"].get<double>());
  }
  return absl::StrCat(line, " a request; ",
                      absl::StrFormat("%.0f", side["cpu_share"].get<double>() * 100),
                      " % of its CPU time");
}

}  // namespace

std::string ReadyText(const Json& ready) {
  return absl::StrCat("ringside: ", ready["service"].get<std::string>(), " on ",
                      ready["address"].get<std::string>(), " (",
                      ready["backend"].get<std::string>(), ", ",
                      Counted(ready["threads"].get<uint64_t>(), "thread"), ")\n");
}

std::string ServeText(const Json& summary) {
  const Json& connections = summary["connections"];
  const Json& loop = summary["loop"];
  std::string text = absl::StrFormat(
      "\n%s on %s (%s), %s\n\n", summary["service"].get<std::string>(),
      summary["address"].get<std::string>(), summary["backend"].get<std::string>(),
      FormatDuration(static_cast<int64_t>(summary["duration_s"].get<double>() * 1e9)));
  std::string line =
      absl::StrCat(FormatCount(connections["accepted"].get<uint64_t>()), " accepted, ",
                   FormatCount(connections["open"].get<uint64_t>()), " open at the end");
  const uint64_t reset = connections["reset_at_deadline"].get<uint64_t>();
  if (reset > 0) absl::StrAppend(&line, ", ", FormatCount(reset), " reset at the drain deadline");
  text += Row("connections", line);
  text +=
      Row("requests", absl::StrCat(FormatCount(summary["requests"].get<uint64_t>()),
                                   " (one is: ", summary["request_unit"].get<std::string>(), ")"));
  text += Row("bytes",
              absl::StrCat(FormatBytes(summary["bytes"]["received"].get<uint64_t>()), " received, ",
                           FormatBytes(summary["bytes"]["sent"].get<uint64_t>()), " sent"));
  text += Row("cost", absl::StrFormat("%.2f µs CPU and %.3f system calls a request",
                                      summary["cpu_us_per_request"].get<double>(),
                                      summary["syscalls_per_request"].get<double>()));
  const uint64_t starved = loop["starved_receives"].get<uint64_t>();
  const uint64_t pauses = loop["accept_pauses"].get<uint64_t>();
  const uint64_t paused = loop["receive_pauses"].get<uint64_t>();
  if (starved + pauses + paused > 0) {
    text += Row("bounds", absl::StrCat(FormatCount(starved), " receives waited for a buffer, ",
                                       FormatCount(paused), " for a slow reader; accepting paused ",
                                       FormatCount(pauses), " times"));
  }
  const uint64_t errors = summary["errors"]["total"].get<uint64_t>();
  text += Row("errors", errors == 0 ? "none" : ErrnoList(summary["errors"]["by_errno"]));
  return text;
}

std::string LoadText(const Json& load) {
  std::string workload = "as fast as the server sends";
  if (load["workload"] != "source") {
    workload =
        absl::StrCat("depth ", load["depth"].get<int>(), ", ",
                     load.contains("pace")
                         ? "paced at " + FormatRate(load["pace"]["requested_rps"].get<double>())
                         : "closed loop");
  }
  std::string text = absl::StrFormat(
      "\n%s on %s (client: %s), %s × %s, %s, %s%s\n\n", load["service"].get<std::string>(),
      load["address"].get<std::string>(), load["backend"].get<std::string>(),
      Counted(load["connections"]["requested"].get<uint64_t>(), "connection"),
      FormatBytes(load["message_bytes"].get<uint64_t>()), workload,
      FormatDuration(static_cast<int64_t>(load["duration_s"].get<double>() * 1e9)),
      load["interrupted"].get<bool>() ? ", interrupted" : "");
  text += Row("requests", absl::StrCat(FormatCount(load["requests"].get<uint64_t>()), "   ",
                                       FormatCount(static_cast<uint64_t>(
                                           std::llround(load["throughput_rps"].get<double>()))),
                                       "/s"));
  if (load["latency_ns"]["count"].get<uint64_t>() > 0)
    text += Row("latency", LatencyLine(load["latency_ns"]));
  text += Row("connections", ConnectionsLine(load["connections"]));
  text += Row("bytes", BytesLine(load["bytes"]));
  text += Row("client", CostLine(load["client"], true));
  if (load.contains("server")) text += Row("server", CostLine(load["server"], false));
  const std::vector<std::string> errors = ErrorParts(load);
  text += Row("errors", errors.empty() ? "none" : absl::StrJoin(errors, "; "));
  for (const Json& c : load["errors"]["corruptions"]) {
    text += Row("", absl::StrFormat("connection %d, byte %d: 0x%02x instead of 0x%02x",
                                    c["connection"].get<uint64_t>(), c["offset"].get<uint64_t>(),
                                    c["got"].get<int>(), c["expected"].get<int>()));
  }
  return text;
}

std::string LoadFailure(const Json& load) {
  const Json& connections = load["connections"];
  const std::vector<std::string> errors = ErrorParts(load);
  const std::string address = load["address"].get<std::string>();
  if (connections["opened"].get<uint64_t>() == 0) {
    const bool refused = load["errors"]["by_errno"].contains("ECONNREFUSED");
    return absl::StrCat("no connection to ", address,
                        " could be opened: ", absl::StrJoin(errors, "; "),
                        refused ? "; nothing listens there: start a server (ringside serve " : "",
                        refused ? address + ")" : "");
  }
  const uint64_t silent = connections["silent"].get<uint64_t>();
  std::string text = absl::StrCat("the run is not valid: ", absl::StrJoin(errors, "; "));
  if (silent > 0) {
    absl::StrAppend(&text, errors.empty() ? "" : "; ", FormatCount(silent),
                    " connections never got a reply; does the server speak ",
                    load["service"].get<std::string>(), "?");
  }
  if (errors.empty() && silent == 0) absl::StrAppend(&text, "no request was answered");
  const uint64_t lost = load["errors"]["lost_requests"].get<uint64_t>();
  if (lost > 0)
    absl::StrAppend(&text, "; ", FormatCount(lost),
                    " requests were under way on broken connections");
  return text;
}

}  // namespace report
