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

// The counts of `json` that aren't 0, in words; "" where all are.
std::string NonZero(const Json& json,
                    const std::vector<std::pair<const char*, const char*>>& keys_and_words) {
  std::vector<std::string> parts;
  for (const auto& [key, words] : keys_and_words) {
    const uint64_t count = json[key].get<uint64_t>();
    if (count > 0) parts.push_back(absl::StrCat(FormatCount(count), " ", words));
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

std::string Percent(double share) { return absl::StrFormat("%.3g %%", share * 100); }

// What became of the datagrams; "" where none were lost, late, out of order or doubled.
std::string DatagramsLine(const Json& datagrams) {
  const auto count = [&](const char* key) { return datagrams[key].get<uint64_t>(); };
  std::vector<std::string> parts;
  if (count("lost") > 0) {
    std::string lost = absl::StrCat(Counted(count("lost"), "request"), " lost");
    if (count("late") > 0) {
      absl::StrAppend(&lost, " (of these, ", FormatCount(count("late")), " answered too late)");
    }
    parts.push_back(lost);
  }
  if (count("reordered") > 0) {
    parts.push_back(absl::StrCat(FormatCount(count("reordered")), " answered out of order"));
  }
  if (count("doubled") > 0) {
    parts.push_back(absl::StrCat(FormatCount(count("doubled")), " answered twice"));
  }
  std::string line = absl::StrJoin(parts, ", ");
  const double share = datagrams["loss_share"].get<double>();
  if (share > 0) absl::StrAppend(&line, "; ", Percent(share), " of the requests lost or doubled");
  return line;
}

// What to do about connections that couldn't be opened, or broke before anything was answered.
std::string ConnectAdvice(const Json& by_errno, const std::string& address) {
  const std::string start = absl::StrCat("start a server (ringside serve ", address, ")");
  if (by_errno.contains("ECONNREFUSED")) {
    return absl::StrCat("; nothing listens there: ", start);
  }
  if (by_errno.contains("ENOENT")) {
    return absl::StrCat("; there is no such path: ", start, ", or correct the path");
  }
  if (by_errno.contains("ENOTDIR")) return "; a part of the path is no directory: correct the path";
  if (by_errno.contains("EACCES")) {
    return "; this user may not write to the socket, or not enter its directory: see ls -l";
  }
  if (by_errno.contains("EPROTOTYPE")) {
    return "; a socket of another type is there: try unix:, unix-seqpacket: or unix-dgram:";
  }
  if (by_errno.contains("ENETUNREACH") || by_errno.contains("EHOSTUNREACH")) {
    return "; no route leads there: see ip route";
  }
  return "";
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
  const std::string how = absl::StrCat(ready["backend"].get<std::string>(), ", ",
                                       Counted(ready["threads"].get<uint64_t>(), "thread"));
  std::string text;
  for (const Json& listener : ready["listeners"]) {
    absl::StrAppend(&text, "ringside: ", listener["service"].get<std::string>(), " on ",
                    listener["address"].get<std::string>(), " (", how,
                    listener["inherited"].get<bool>() ? ", taken over" : "", ")\n");
  }
  return text;
}

std::string ServeText(const Json& summary) {
  const Json& connections = summary["connections"];
  const Json& loop = summary["loop"];
  std::vector<std::string> where;
  for (const Json& listener : summary["listeners"]) {
    where.push_back(absl::StrCat(listener["service"].get<std::string>(), " on ",
                                 listener["address"].get<std::string>()));
  }
  std::string text = absl::StrFormat(
      "\n%s (%s), %s\n\n", absl::StrJoin(where, ", "), summary["backend"].get<std::string>(),
      FormatDuration(static_cast<int64_t>(summary["duration_s"].get<double>() * 1e9)));
  const bool ended = summary["event"] == "summary";
  std::string line = absl::StrCat(FormatCount(connections["accepted"].get<uint64_t>()),
                                  " accepted, ", FormatCount(connections["open"].get<uint64_t>()),
                                  ended ? " open at the end" : " open now");
  const uint64_t reset = connections["reset_at_deadline"].get<uint64_t>();
  if (reset > 0) absl::StrAppend(&line, ", ", FormatCount(reset), " reset at the drain deadline");
  text += Row("connections", line);
  for (const Json& listener : summary["listeners"]) {
    text += Row("requests",
                absl::StrCat(FormatCount(listener["requests"].get<uint64_t>()),
                             " (one is: ", listener["request_unit"].get<std::string>(), ")",
                             where.size() > 1 ? " " + listener["service"].get<std::string>() : ""));
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
                                            {"accept_pauses", "times accepting paused"}});
  if (!bounds.empty()) text += Row("bounds", bounds);
  const std::string limits =
      NonZero(summary["limits"], {{"denied", "denied"},
                                  {"over_source_limit", "over the limit of their source"},
                                  {"idle_closed", "closed because idle"},
                                  {"stalled_closed", "reset because they read nothing"},
                                  {"protocol_violations", "broke the protocol"},
                                  {"truncated_messages", "messages too long"}});
  if (!limits.empty()) text += Row("limits", limits);
  const uint64_t errors = summary["errors"]["total"].get<uint64_t>();
  text += Row("errors", errors == 0 ? "none" : ErrnoList(summary["errors"]["by_errno"]));
  return text;
}

std::string StatusText(const Json& status) {
  std::string text = ServeText(status);
  const Json& kernel = status["kernel"];
  if (kernel.contains("problem")) {
    return text + Row("kernel", kernel["problem"].get<std::string>());
  }
  for (const Json& listener : status["listeners"]) {
    const uint64_t limit = listener["queue_limit"].get<uint64_t>();
    text += Row("queue", absl::StrCat(listener["address"].get<std::string>(), "  ",
                                      FormatCount(listener["queue"].get<uint64_t>()),
                                      limit > 0 ? " of " + FormatCount(limit) : " bytes", ", ",
                                      FormatCount(listener["drops"].get<uint64_t>()), " dropped"));
  }
  if (kernel["connections"].empty()) return text;
  absl::StrAppendFormat(&text, "\n  %-12s %9s %9s %9s %7s  %s\n", "state", "recv-q", "send-q",
                        "rtt", "retrans", "peer");
  for (const Json& c : kernel["connections"]) {
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
  if (load.contains("datagrams")) {
    const std::string line = DatagramsLine(load["datagrams"]);
    text += Row("datagrams", line.empty() ? "none lost, late, out of order or doubled" : line);
  }
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
    return absl::StrCat("no connection to ", address,
                        " could be opened: ", absl::StrJoin(errors, "; "),
                        ConnectAdvice(load["errors"]["by_errno"], address));
  }
  if (connections["answered"].get<uint64_t>() == 0 &&
      load["errors"]["by_errno"].contains(
          "ECONNREFUSED")) {  // over UDP the first datagram shows it
    return absl::StrCat("no request to ", address, " was answered: ", absl::StrJoin(errors, "; "),
                        ConnectAdvice(load["errors"]["by_errno"], address));
  }
  const uint64_t silent = connections["silent"].get<uint64_t>();
  std::vector<std::string> faults = errors;
  if (load.contains("datagrams")) {
    const Json& datagrams = load["datagrams"];
    if (datagrams["loss_share"].get<double>() > datagrams["loss_max"].get<double>()) {
      faults.push_back(absl::StrCat(DatagramsLine(datagrams), ", and --loss-max is ",
                                    Percent(datagrams["loss_max"].get<double>())));
    }
  }
  std::string text = absl::StrCat("the run is not valid: ", absl::StrJoin(faults, "; "));
  if (load["errors"]["by_errno"].contains("EMSGSIZE")) {
    absl::StrAppend(&text, "; the kernel takes no message of ",
                    FormatBytes(load["message_bytes"].get<uint64_t>()),
                    " there: choose a smaller --size");
  }
  if (silent > 0) {
    absl::StrAppend(&text, faults.empty() ? "" : "; ", FormatCount(silent),
                    " connections never got a reply; does the server speak ",
                    load["service"].get<std::string>(), "?");
  }
  if (faults.empty() && silent == 0) absl::StrAppend(&text, "no request was answered");
  const uint64_t lost = load["errors"]["lost_requests"].get<uint64_t>();
  if (lost > 0)
    absl::StrAppend(&text, "; ", FormatCount(lost),
                    " requests were under way on broken connections");
  return text;
}

}  // namespace report
