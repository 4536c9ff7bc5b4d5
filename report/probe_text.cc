#include <algorithm>
#include <cctype>
#include <string>
#include <string_view>
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

using Cells = std::vector<std::string>;

// Columns as wide as their widest cell; the last one's are not filled up.
std::string Table(const std::vector<Cells>& rows) {
  std::vector<size_t> widths;
  // Characters, not bytes: "48 µs" has one byte more.
  const auto width = [](const std::string& cell) {
    return static_cast<size_t>(std::count_if(
        cell.begin(), cell.end(), [](char c) { return (static_cast<uint8_t>(c) & 0xc0) != 0x80; }));
  };
  for (const Cells& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], width(row[i]));
  }
  std::string text;
  for (const Cells& row : rows) {
    std::string line = " ";
    for (size_t i = 0; i < row.size(); ++i) {
      absl::StrAppend(&line, " ", row[i], std::string(widths[i] - width(row[i]) + 1, ' '));
    }
    line.erase(line.find_last_not_of(' ') + 1);
    absl::StrAppend(&text, line, "\n");
  }
  return text;
}

std::string TextOf(Reader value) { return value.is_string() ? value.get<std::string>() : ""; }

std::string TimeOf(Reader ns) { return ns.is_null() ? "" : TimeText(ns); }

// "nginx (pid 7, fd 6), nginx (pid 8, fd 6)", or why nobody is named.
std::string HoldersText(Reader listener) {
  constexpr size_t kMost = 3;
  if (listener["holders"].empty()) {
    return absl::StrCat("of user ", listener["uid"].get<uint64_t>(), ": ",
                        TextOf(listener["unseen"]));
  }
  std::vector<std::string> parts;
  for (const Reader holder : listener["holders"]) {
    if (parts.size() == kMost) {
      parts.push_back(
          absl::StrCat("and ", FormatCount(listener["holders"].size() - kMost), " more"));
      break;
    }
    parts.push_back(absl::StrCat(TextOf(holder["process"]), " (pid ", holder["pid"].get<int64_t>(),
                                 ", fd ", holder["fd"].get<int64_t>(), ")"));
  }
  return absl::StrJoin(parts, ", ");
}

std::string QueueText(Reader listener) {
  if (!listener.contains("queue")) {
    return absl::StrCat(FormatBytes(listener["unread_bytes"].get<uint64_t>()), " unread");
  }
  return absl::StrCat(FormatCount(listener["queue"].get<uint64_t>()), " of ",
                      FormatCount(listener["backlog"].get<uint64_t>()));
}

// "2", "2: 127.0.0.1:40000, 127.0.0.1:40002".
std::string ConnectedText(Reader listener) {
  std::string text = FormatCount(listener["connections"].get<uint64_t>());
  if (!listener.contains("peers")) return text;
  const auto peers = listener["peers"].get<std::vector<std::string>>();
  return absl::StrCat(text, ": ", absl::StrJoin(peers, ", "));
}

std::string LocalText(Reader listener) {
  std::string local = TextOf(listener["local"]);
  if (local.starts_with("[::]") && listener["v6_only"].get<bool>()) local += " (IPv6 only)";
  return local;
}

std::string OpenTable(Reader probe) {
  const bool here = probe["here"].get<bool>();
  std::vector<Cells> rows = {{"port", "service", "time"}};
  if (here) rows[0].insert(rows[0].end(), {"queue", "connected", "bound to", "process"});
  for (const Reader port : probe["open"]) {
    const Cells first = {std::to_string(port["port"].get<int>()), TextOf(port["service"]),
                         TimeOf(port["connect_ns"])};
    if (!port.contains("listeners") || port["listeners"].empty()) {
      rows.push_back(first);
      if (port.contains("unlisted")) {
        rows.back().insert(rows.back().end(), {"", "", "", TextOf(port["unlisted"])});
      }
      continue;
    }
    bool is_first = true;
    for (const Reader listener : port["listeners"]) {
      rows.push_back(is_first ? first : Cells(3));
      is_first = false;
      rows.back().insert(rows.back().end(), {QueueText(listener), ConnectedText(listener),
                                             LocalText(listener), HoldersText(listener)});
    }
  }
  return rows.size() > 1 ? Table(rows) + "\n" : "";
}

std::string ListenersText(Reader probe) {
  std::vector<Cells> rows = {{"socket", "bound to", "queue", "connected", "process"}};
  for (const Reader listener : probe["listeners"]) {
    rows.push_back({TextOf(listener["protocol"]), LocalText(listener), QueueText(listener),
                    ConnectedText(listener), HoldersText(listener)});
  }
  const size_t count = probe["listeners"].size();
  return absl::StrCat("\n", rows.size() > 1 ? Table(rows) + "\n" : "",
                      count == 1 ? "1 socket waits" : FormatCount(count) + " sockets wait",
                      " for peers in this network namespace.\n");
}

std::string TimesText(Reader times) {
  return absl::StrCat("p50 ", TimeOf(times["p50"]), ", p90 ", TimeOf(times["p90"]), ", p99 ",
                      TimeOf(times["p99"]), ", max ", TimeOf(times["max"]), " (",
                      FormatCount(times["count"].get<uint64_t>()), ")");
}

uint64_t PortsOf(Reader probe, const char* state) { return probe["ports"][state].get<uint64_t>(); }

std::string CountsText(Reader probe) {
  std::vector<std::string> parts;
  for (const char* state : {"open", "closed", "filtered", "unknown", "unasked"}) {
    const uint64_t count = PortsOf(probe, state);
    const bool always = std::string_view(state) == "open" || std::string_view(state) == "closed";
    if (count > 0 || always) parts.push_back(absl::StrCat(FormatCount(count), " ", state));
  }
  return absl::StrJoin(parts, ", ");
}

// "23, 80-90: EHOSTUNREACH".
std::vector<std::string> SilentLines(Reader probe) {
  constexpr size_t kMost = 8;
  std::vector<std::string> lines;
  for (const Reader run : probe["silent"]) {
    if (lines.size() == kMost) {
      lines.push_back(absl::StrCat("and ", FormatCount(probe["silent"].size() - kMost),
                                   " more runs of ports (--json has all)"));
      break;
    }
    const int first = run["first"].get<int>(), last = run["last"].get<int>();
    const std::string reason = TextOf(run["reason"]);
    lines.push_back(absl::StrCat(first, first == last ? "" : absl::StrCat("-", last), ": ",
                                 reason == "no-answer" ? "no answer in time" : reason));
  }
  return lines;
}

// What it comes to, as one sentence.
std::string Finding(Reader probe) {
  const uint64_t asked = PortsOf(probe, "asked"), open = PortsOf(probe, "open");
  const uint64_t filtered = PortsOf(probe, "filtered"), unknown = PortsOf(probe, "unknown");
  std::string text =
      probe["interrupted"].get<bool>() ? "Interrupted: of the ports asked so far, " : "";
  if (asked > 0 && filtered == asked) {
    return "No port gave an answer: the host is down or out of reach, or a packet filter drops "
           "what it is asked.";
  }
  absl::StrAppend(&text, open == 0 ? "none" : FormatCount(open), " of ", Counted(asked, "port"),
                  open <= 1 ? " is open" : " are open");
  if (filtered > 0) {
    absl::StrAppend(&text, "; ", FormatCount(filtered),
                    " gave no answer, as where a packet filter drops what it is asked");
  }
  if (unknown > 0) {
    absl::StrAppend(&text, "; ", FormatCount(unknown), " could not be asked from this machine");
  }
  text[0] = static_cast<char>(std::toupper(static_cast<unsigned char>(text[0])));
  return text + ".";
}

std::string Heading(Reader probe) {
  const std::string host = TextOf(probe["host"]), address = TextOf(probe["address"]);
  const std::string how =
      probe["method"] == "syn" ? "half-open" : absl::StrCat("connect, ", TextOf(probe["backend"]));
  return absl::StrCat(address, host == address ? "" : absl::StrCat(" (", host, ")"),
                      probe["here"].get<bool>() ? ", this machine" : "", ": ",
                      Counted(PortsOf(probe, "asked"), "TCP port"), " asked in ",
                      SecondsText(probe["duration_s"]), " (", how, ")\n\n");
}

}  // namespace

std::string ProbeText(const Json& json) {
  const Json plain = PlainTexts(json);
  const Reader probe = plain;
  if (!probe.contains("method")) return ListenersText(probe);
  std::string text = absl::StrCat("\n", Heading(probe), OpenTable(probe));
  text += Row("ports", CountsText(probe));
  for (const std::string& line : SilentLines(probe)) text += Row("", line);
  if (probe["connect_ns"]["count"].get<uint64_t>() > 0)
    text += Row("connect", TimesText(probe["connect_ns"]));
  if (probe["refused_ns"]["count"].get<uint64_t>() > 0)
    text += Row("refused", TimesText(probe["refused_ns"]));
  if (probe.contains("listeners_problem")) {
    text += Row("processes", TextOf(probe["listeners_problem"]));
  }
  return absl::StrCat(text, "\n", Finding(probe), "\n");
}

}  // namespace report
