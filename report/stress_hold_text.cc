#include <algorithm>
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

std::string Count(Reader number) { return FormatCount(number.get<uint64_t>()); }

std::string HeldHow(Reader hold) {
  std::vector<std::string> parts = {hold["descriptors"].get<std::string>() + " descriptors"};
  if (hold["processes"].get<uint64_t>() > 1)
    parts.push_back(Count(hold["processes"]) + " processes at each end");
  if (hold["threads"].get<uint64_t>() > 1)
    parts.push_back(Count(hold["threads"]) + " event loops each");
  if (hold["sources"].get<uint64_t>() > 1)
    parts.push_back(Count(hold["sources"]) + " source addresses");
  return absl::StrCat(Count(hold["held"]), ", with ", absl::StrJoin(parts, ", "));
}

std::string RampText(Reader ramp) {
  return absl::StrCat(SecondsText(ramp["duration_s"]), ", ",
                      FormatRate(ramp["connections_per_s"].get<double>()));
}

// "p50 48 µs, p99 120 µs, max 1.2 ms"; "" where there are none.
std::string Quantiles(Reader times) {
  if (times["count"] == 0) return "";
  const auto text = [&](const char* key) { return TimeText(times[key]); };
  return absl::StrCat("p50 ", text("p50"), ", p99 ", text("p99"), ", max ", text("max"));
}

std::string CpuEach(Reader ramp) {
  std::vector<std::string> parts;
  const auto add = [&](Reader us, const char* whose) {
    if (!us.is_null()) parts.push_back(absl::StrFormat("%.1f µs CPU %s", us.get<double>(), whose));
  };
  add(ramp["client_cpu_us_each"], "of the client a connection");
  add(ramp["server_cpu_us_each"], "of the server");
  return absl::StrJoin(parts, ", ");
}

std::string UserMemory(Reader memory) {
  std::vector<std::string> parts;
  const auto add = [&](Reader bytes, const char* whose) {
    if (bytes.is_null()) return;
    parts.push_back(absl::StrFormat("%.0f B of the %s", bytes.get<double>(), whose));
  };
  add(memory["server_bytes_each"], "server a connection");
  add(memory["client_bytes_each"], "client");
  return absl::StrJoin(parts, ", ");
}

std::string KernelMemoryText(Reader kernel) {
  if (kernel["bytes_each"].is_null()) return "";
  std::vector<std::string> caches;
  for (const Reader cache : kernel["caches"]) {
    if (caches.size() == 4) break;
    caches.push_back(absl::StrCat(cache["name"].get<std::string>(), " ",
                                  FormatBytes(cache["bytes"].get<uint64_t>())));
  }
  const double each = std::max(0.0, kernel["bytes_each"].get<double>());
  return absl::StrCat(FormatBytes(static_cast<uint64_t>(each)),
                      " a connection, both ends and the machine's other changes",
                      caches.empty() ? "" : ": ", absl::StrJoin(caches, ", "));
}

std::string HeartbeatText(Reader heartbeat) {
  const std::string times = Quantiles(heartbeat["response_ns"]);
  return times.empty() ? "none"
                       : absl::StrCat(Count(heartbeat["answered"]), " answered, ",
                                      FormatRate(heartbeat["rate"].get<double>()), ": ", times);
}

std::string CloseText(Reader close) {
  std::vector<std::string> parts;
  if (!close["duration_s"].is_null()) {
    parts.push_back(SecondsText(close["duration_s"]));
  }
  const auto left = [&](const char* key, const char* what) {
    const int64_t count = close[key].get<int64_t>();
    if (count > 0) parts.push_back(absl::StrCat(count, " ", what, " left"));
  };
  left("sockets_left", "sockets of the network namespace");
  left("server_descriptors_left", "descriptors of the server");
  left("client_descriptors_left", "descriptors of the client");
  if (parts.size() == 1 && !close["duration_s"].is_null()) parts.emplace_back("nothing is left");
  return absl::StrJoin(parts, ", ");
}

void AddRow(const char* name, const std::string& text, std::string* out) {
  if (!text.empty()) *out += Row(name, text);
}

}  // namespace

std::string HoldRows(const Json& json) {
  const Reader stress = json;
  const Reader hold = stress["hold"];
  std::string text;
  if (!hold["backend"].is_null()) AddRow("backend", hold["backend"].get<std::string>(), &text);
  AddRow("held", HeldHow(hold), &text);
  if (!hold.contains("ramp")) return text;
  AddRow("ramp", RampText(hold["ramp"]), &text);
  AddRow("connect", Quantiles(hold["ramp"]["connect_ns"]), &text);
  AddRow("first byte", Quantiles(hold["ramp"]["first_byte_ns"]), &text);
  AddRow("cost", CpuEach(hold["ramp"]), &text);
  AddRow("memory", UserMemory(hold["memory"]), &text);
  AddRow("in the kernel", KernelMemoryText(hold["memory"]["kernel"]), &text);
  AddRow("heartbeat", HeartbeatText(hold["heartbeat"]), &text);
  AddRow("close", CloseText(hold["close"]), &text);
  const Reader errors = hold["errors"];
  AddRow("errors",
         errors["total"] == 0
             ? "none"
             : absl::StrCat(Count(errors["total"]), " ", ErrnoList(errors["by_errno"])),
         &text);
  return text;
}

}  // namespace report
