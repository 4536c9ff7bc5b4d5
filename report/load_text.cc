#include <algorithm>
#include <array>
#include <cmath>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "report/escape.h"
#include "report/format.h"
#include "report/percentiles.h"
#include "report/reader.h"
#include "report/rows.h"
#include "report/text.h"

namespace report {
namespace {

// Every kind of error of a load run that occurred, in words.
std::vector<std::string> ErrorParts(Reader load) {
  const Reader errors = load["errors"];
  std::vector<std::string> parts;
  if (!errors["by_errno"].empty()) parts.push_back(ErrnoList(errors["by_errno"]));
  const auto add = [&](const char* key, const char* what) {
    const uint64_t count = errors[key].get<uint64_t>();
    if (count > 0) parts.push_back(absl::StrCat(FormatCount(count), " ", what));
  };
  add("connect_timed_out", "connections not open in time");
  add("closed_by_server", "connections closed by the server");
  add("timeouts", "requests timed out");
  add("unanswered", "requests unanswered at the end");
  add("surplus", "replies that nobody asked for");
  add("corrupt_connections", "connections with corrupt bytes");
  if (errors.contains("problem")) parts.push_back(errors["problem"].get<std::string>());
  if (load.contains("reconciliation")) {
    for (const Reader difference : load["reconciliation"]["differences"]) {
      parts.push_back(difference.get<std::string>());
    }
  }
  return parts;
}

std::string ShareText(double share) { return absl::StrFormat("%.3g %%", share * 100); }

// What became of the datagrams; "" where none were lost, late, out of order or doubled.
std::string DatagramsLine(Reader datagrams) {
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
  if (share > 0) absl::StrAppend(&line, "; ", ShareText(share), " of the requests lost or doubled");
  return line;
}

// What to do about connections that couldn't be opened, or broke before anything was answered.
std::string ConnectAdvice(Reader by_errno, const std::string& address) {
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

std::string ConnectionsLine(Reader connections) {
  const uint64_t opened = connections["opened"].get<uint64_t>();
  const uint64_t requested = connections["requested"].get<uint64_t>();
  const bool again = opened > requested;  // one after the other, or in place of broken ones
  std::string line =
      absl::StrCat(FormatCount(opened), again ? "" : " of " + FormatCount(requested), " opened, ",
                   FormatCount(connections["answered"].get<uint64_t>()), " answered, ",
                   FormatCount(connections["silent"].get<uint64_t>()), " silent");
  const auto add = [&](const char* key, const char* what) {
    const uint64_t count = connections[key].get<uint64_t>();  // results of before have none
    if (count > 0) absl::StrAppend(&line, ", ", FormatCount(count), " ", what);
  };
  add("closed_by_client", "closed after their requests");
  add("closed_by_server", "closed by the server between requests");
  add("retried_requests", "requests sent again");
  if (connections["requests_max"].get<uint64_t>() > 0) {
    absl::StrAppend(&line, "; ", FormatCount(connections["requests_min"].get<uint64_t>()), " to ",
                    FormatCount(connections["requests_max"].get<uint64_t>()), " requests each");
  }
  return line;
}

// A latency in one line, for those that a run is not mainly about.
std::string LatencyLine(Reader latency) {
  std::string line;
  for (const auto& [key, label] : std::vector<std::pair<const char*, const char*>>{
           {"p50", "p50"}, {"p90", "p90"}, {"p99", "p99"}, {"p99_9", "p99.9"}, {"max", "max"}}) {
    absl::StrAppend(&line, label, " ", TimeText(latency[key]), "   ");
  }
  while (line.ends_with(' ')) line.pop_back();
  return line;
}

bool Has(Reader load, const char* times) {
  return load.contains(times) && load[times]["count"].get<uint64_t>() > 0;
}

// The latency that the run is about: a line a percentile, with what is known of its error.
std::string LatencyRows(Reader load) {
  const Reader latency = load["latency_ns"];
  const bool open_loop = latency["kind"] == "response";
  std::string text =
      Row(open_loop ? "response" : "latency",
          absl::StrCat(open_loop                   ? "time from when a request was due to its reply"
                       : load["workload"] == "crr" ? "service time, from connect(2) to the reply"
                                                   : "service time, from the send to the reply",
                       "; brackets: 95 % confidence"));
  for (const std::string& line : PercentileLines(latency["intervals_95"].json()))
    text += Row("", line);
  text += Row(
      "", absl::StrCat("max    ", TimeText(latency["max"]), "   mean ", TimeText(latency["mean"])));
  const uint64_t censored = latency["censored"].get<uint64_t>();
  if (censored > 0) {
    text += Row("", absl::StrCat(Counted(censored, "request"),
                                 " in there without a reply, with the time waited in vain"));
  }
  return text;
}

std::string ScheduleLine(Reader pace) {
  std::string line = absl::StrCat(FormatRate(pace["achieved_rps"].get<double>()), " of ",
                                  FormatRate(pace["requested_rps"].get<double>()), " offered (",
                                  pace["arrivals"].get<std::string>(), ")");
  for (const auto& [key, words] :
       {std::pair("unsent", "not sent"), std::pair("shed", "shed as too late")}) {
    const uint64_t count = pace[key].get<uint64_t>();
    if (count > 0) absl::StrAppend(&line, ", ", FormatCount(count), " ", words);
  }
  return line;
}

std::string ThroughputLine(Reader bytes) {
  return absl::StrCat(FormatBytes(std::llround(bytes["sent_per_s"].get<double>())), "/s sent, ",
                      FormatBytes(std::llround(bytes["received_per_s"].get<double>())),
                      "/s received");
}

std::string FailureLine(Reader failure) {
  const auto count = [&](const char* key) { return failure[key].get<uint64_t>(); };
  const double at = failure["at_s"].get<double>();
  return absl::StrCat(
      "connection ", count("connection"), ": ",
      absl::StrReplaceAll(failure["kind"].get<std::string>(), {{"_", " "}}),
      failure["errno"].is_null() ? "" : " (" + failure["errno"].get<std::string>() + ")",
      at >= 0 ? absl::StrFormat(", %.3f s into the window", at) : ", before the window", ", ",
      Counted(count("requests"), "request"), " begun, ", count("in_flight"), " in flight");
}

// The first few; of those that could not connect only one, for they are alike.
std::string FailureRows(Reader failures) {
  constexpr int kShown = 4;
  std::string text;
  int shown = 0;
  bool refused = false;
  for (const Reader failure : failures) {
    const bool connect =
        failure["kind"] == "connect_failed" || failure["kind"] == "connect_timed_out";
    if (shown == kShown || (connect && refused)) continue;
    refused = refused || connect;
    ++shown;
    text += Row("", FailureLine(failure));
  }
  return text;
}

// What the kernel counted, and who else used the CPUs.
std::string KernelRows(Reader load) {
  std::string text;
  // What moves in any healthy run is for the JSON.
  constexpr std::array<std::string_view, 4> kUsual = {"TcpExtTW", "TcpExtTWRecycled",
                                                      "TcpExtDelayedACKs", "TcpOutRsts"};
  for (const Reader counter : load["kernel"]["counters"]) {
    const std::string name = counter["name"].get<std::string>();
    if (std::find(kUsual.begin(), kUsual.end(), name) != kUsual.end()) continue;
    text += Row(text.empty() ? "kernel" : "",
                absl::StrCat(FormatCount(counter["delta"].get<uint64_t>()), " × ", name, " (",
                             counter["meaning"].get<std::string>(), ")"));
  }
  return text;
}

// What both ends agree on, or don't.
std::string ReconciliationRows(Reader load) {
  if (!load.contains("reconciliation")) return "";
  const Reader found = load["reconciliation"];
  std::string text;
  const auto add = [&](const std::string& line) {
    text += Row(text.empty() ? "both ends" : "", line);
  };
  if (!found["checked"].empty() && found["differences"].empty()) {
    const auto checked = found["checked"].get<std::vector<std::string>>();
    add(absl::StrCat("counted the same ", absl::StrJoin(checked, ", ")));
  }
  if (load.contains("classes")) {  // else they are among the errors
    for (const Reader difference : found["differences"]) add(difference.get<std::string>());
  }
  for (const Reader unchecked : found["unchecked"]) {
    add(absl::StrCat("not compared: ", unchecked.get<std::string>()));
  }
  return text;
}

std::string VerdictRows(Reader load) {
  std::string text = Row("verdict", absl::StrCat(load["verdict"]["kind"].get<std::string>(), ": ",
                                                 load["verdict"]["reason"].get<std::string>()));
  if (!load.contains("accusations")) return text;
  for (const Reader accusation : load["accusations"]) {
    text += Row("but", absl::StrCat(accusation["text"].get<std::string>(), "; ",
                                    accusation["mend"].get<std::string>()));
  }
  return text;
}

std::string BytesLine(Reader bytes) {
  const uint64_t corrupt = bytes["corrupt"].get<uint64_t>();
  const uint64_t received = bytes["received"].get<uint64_t>();
  const std::string line = absl::StrCat(FormatBytes(bytes["sent"].get<uint64_t>()), " sent, ",
                                        FormatBytes(received), " received");
  if (received == 0) return line;  // there was nothing to verify
  if (corrupt == 0 && !bytes["verified"].get<bool>()) {
    return line + ", the ends of replies found, their bytes not verified (--reply-is)";
  }
  return absl::StrCat(line, corrupt == 0
                                ? ", every byte verified"
                                : absl::StrCat(", ", FormatCount(corrupt), " bytes corrupt"));
}

std::string CostLine(Reader side, bool syscalls) {
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

namespace {

std::string WorkloadWords(Reader load) {
  const std::string workload = load["workload"].get<std::string>();
  const std::string depth = absl::StrCat("depth ", load["depth"].get<int>());
  if (workload == "download") return "as fast as the server sends";
  if (workload == "upload") return "as fast as the server takes";
  if (workload == "crr")
    return load.contains("pace") ? "a connection each, open loop"
                                 : "a connection each, closed loop";
  if (workload == "hold") return "held open, with a heartbeat";
  return absl::StrCat(depth, load.contains("pace") ? ", open loop" : ", closed loop");
}

std::string SizeWords(Reader load) {
  if (!load.contains("sizes")) return FormatBytes(load["message_bytes"].get<uint64_t>());
  const Reader sizes = load["sizes"];
  return absl::StrCat(FormatBytes(sizes["min"].get<uint64_t>()), " to ",
                      FormatBytes(sizes["max"].get<uint64_t>()));
}

// All that is of one class.
std::string ClassText(Reader load) {
  std::string text =
      absl::StrFormat("\n%s%s on %s (client: %s), %s × %s, %s, %s%s\n\n",
                      load.contains("name") ? load["name"].get<std::string>() + ": " : "",
                      load["service"].get<std::string>(), load["address"].get<std::string>(),
                      load["backend"].get<std::string>(),
                      Counted(load["connections"]["requested"].get<uint64_t>(), "connection"),
                      SizeWords(load), WorkloadWords(load), SecondsText(load["duration_s"]),
                      load["interrupted"].get<bool>() ? ", interrupted" : "");
  text += Row("requests", absl::StrCat(FormatCount(load["requests"].get<uint64_t>()), "   ",
                                       FormatCount(static_cast<uint64_t>(
                                           std::llround(load["throughput_rps"].get<double>()))),
                                       "/s"));
  if (load.contains("pace")) text += Row("rate", ScheduleLine(load["pace"]));
  const std::string workload = load["workload"].get<std::string>();
  if (workload == "upload" || workload == "download" || workload == "duplex") {
    text += Row("throughput", ThroughputLine(load["bytes"]));
  }
  if (Has(load, "latency_ns")) text += LatencyRows(load);
  if (Has(load, "service_ns")) {
    text += Row("service",
                absl::StrCat(LatencyLine(load["service_ns"]),
                             workload == "crr" ? "   (from connect(2))" : "   (from the send)"));
  }
  if (workload == "crr" && Has(load, "connect_ns")) {
    text += Row("connect", LatencyLine(load["connect_ns"]));
    text += Row("first byte",
                Has(load, "first_byte_ns") ? LatencyLine(load["first_byte_ns"]) : "none came");
  }
  if (load["client"].contains("share_of_latency")) {
    text += Row("of it", absl::StrCat(ShareText(load["client"]["share_of_latency"].get<double>()),
                                      " is this client's: replies lay ",
                                      TimeText(load["client"]["wait_ns"]["p50"]),
                                      " (p50) in its kernel before it read them"));
  }
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
  for (const Reader c : load["errors"]["corruptions"]) {
    text += Row("", absl::StrFormat("connection %d, byte %d: 0x%02x instead of 0x%02x",
                                    c["connection"].get<uint64_t>(), c["offset"].get<uint64_t>(),
                                    c["got"].get<int>(), c["expected"].get<int>()));
  }
  text += FailureRows(load["errors"]["failures"]);
  return text;
}

}  // namespace

std::string LoadText(const Json& json) {
  const Json plain = PlainTexts(json);
  const Reader load = plain;
  return ClassText(load) + ReconciliationRows(load) + KernelRows(load) + VerdictRows(load);
}

std::string MixText(const Json& json) {
  const Json plain = PlainTexts(json);
  const Reader mix = plain;
  std::string text;
  for (const Reader load : mix["classes"]) text += ClassText(load) + VerdictRows(load);
  absl::StrAppend(&text, "\nall together\n\n");
  if (mix.contains("server")) text += Row("server", CostLine(mix["server"], false));
  return absl::StrCat(text, ReconciliationRows(mix), KernelRows(mix), VerdictRows(mix));
}

std::string LoadFailure(const Json& json) {
  const Reader load = json;
  if (load.contains("classes")) {
    for (const Reader one : load["classes"]) {
      if (!one["valid"].get<bool>())
        return one["name"].get<std::string>() + ": " + LoadFailure(one.json());
    }
    const auto differences = load["reconciliation"]["differences"].get<std::vector<std::string>>();
    return absl::StrCat("the run is not valid: ", absl::StrJoin(differences, "; "));
  }
  const Reader connections = load["connections"];
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
    const Reader datagrams = load["datagrams"];
    if (datagrams["loss_share"].get<double>() > datagrams["loss_max"].get<double>()) {
      faults.push_back(absl::StrCat(DatagramsLine(datagrams), ", and --loss-max is ",
                                    ShareText(datagrams["loss_max"].get<double>())));
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
