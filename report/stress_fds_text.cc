#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "report/format.h"
#include "report/reader.h"
#include "report/rows.h"
#include "report/stress_text.h"

namespace report {
namespace {

std::string FdNumber(Reader number) {
  return number.is_null() ? "unknown" : FormatCount(number.get<uint64_t>());
}

std::string Descriptors(Reader row) {
  const Reader of = row["descriptors"];
  std::string text = absl::StrCat(FdNumber(of["before"]), " before, ", FdNumber(of["at_limit"]),
                                  " of ", FdNumber(of["limit"]), " at most");
  if (!of["after"].is_null()) absl::StrAppend(&text, ", ", FdNumber(of["after"]), " afterwards");
  return text;
}

const char* PhaseLabel(Reader phase) {
  const std::string name = phase["name"].get<std::string>();
  if (name == "before") return "before";
  if (name == "filling") return "filling";
  return name == "at_limit" ? "at the limit" : "recovering";
}

// Of the existing connections in a phase; "" where none asked.
std::string Phase(Reader phase) {
  const Reader times = phase["latency_ns"];
  if (phase["requests"] == 0) return "";
  std::string text = absl::StrCat(FdNumber(phase["replies"]), " of ", FdNumber(phase["requests"]),
                                  " requests answered, on ",
                                  FdNumber(phase["connections_answered"]), " connections");
  if (times["count"] == 0) return text;
  for (const char* key : {"p50", "p99", "max"}) {
    absl::StrAppend(&text, ", ", key, " ", TimeText(times[key]));
  }
  return text;
}

std::string FdCpu(Reader shares) {
  std::vector<std::string> parts;
  const auto add = [&](const char* key, const char* what) {
    if (shares[key].is_null()) return;
    parts.push_back(absl::StrFormat("%.2g %% %s", shares[key].get<double>() * 100, what));
  };
  add("idle_before", "idle");
  add("load_before", "with requests");
  add("idle_at_limit", "idle at the limit");
  add("load_at_limit", "with requests there");
  return absl::StrJoin(parts, ", ");
}

std::string Waiting(Reader row) {
  const Reader waiting = row["waiting"];
  std::vector<std::string> parts = {FdNumber(waiting["connected"]) + " connected"};
  const auto add = [&](Reader count, const char* what) {
    if (!count.is_null() && count != 0) parts.push_back(FdNumber(count) + " " + what);
  };
  add(waiting["failed"], "could not connect");
  add(row["accept_queue"]["length"], "in the accept queue");
  add(row["answered_at_limit"], "answered at the limit");
  add(waiting["closed_by_fin"], "accepted and closed");
  add(waiting["closed_by_reset"], "accepted and reset");
  add(waiting["answered"], "answered in the end");
  return absl::StrJoin(parts, ", ");
}

std::string Recovery(Reader recovery) {
  const std::string closed = FdNumber(recovery["closed"]) + " connections closed; ";
  if (recovery["answered"] == 0) return closed + "nobody who waited was answered";
  return absl::StrCat(closed, "of who waited, the first was answered after ",
                      TimeText(recovery["first_ns"]), ", the last (of ",
                      FdNumber(recovery["answered"]), ") after ", TimeText(recovery["last_ns"]));
}

}  // namespace

std::string FdsRows(const Json& json) {
  const Reader stress = json;
  std::string text;
  const auto add = [&](const char* name, const std::string& what) {
    if (!what.empty()) text += Row(name, what);
  };
  for (const Reader row : stress["fds"]["rows"]) {
    if (!row["backend"].is_null()) add("backend", row["backend"].get<std::string>());
    add("descriptors", Descriptors(row));
    for (const Reader phase : row["existing"]["phases"]) add(PhaseLabel(phase), Phase(phase));
    add("server CPU", FdCpu(row["cpu_share"]));
    if (row["waiting"]["asked"] != 0) add("waiting", Waiting(row));
    if (!row["recovery"].is_null()) add("recovery", Recovery(row["recovery"]));
    if (row["bytes_corrupt"] != 0) add("corrupt", FdNumber(row["bytes_corrupt"]) + " bytes");
  }
  return text;
}

}  // namespace report
