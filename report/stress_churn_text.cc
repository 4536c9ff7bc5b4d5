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

// "p50 48 µs, p99 120 µs, max 1.2 ms"; "" where there are none.
std::string Percentiles(Reader times) {
  if (times["count"].get<uint64_t>() == 0) return "";
  const auto text = [&](const char* key) { return TimeText(times[key]); };
  return absl::StrCat("p50 ", text("p50"), ", p99 ", text("p99"), ", max ", text("max"));
}

std::string Cost(Reader row) {
  std::vector<std::string> parts;
  const auto add = [&](Reader number, const char* what, int digits) {
    if (number.is_null()) return;
    parts.push_back(absl::StrFormat("%.*f %s", digits, number.get<double>(), what));
  };
  add(row["client"]["cpu_us_each"], "µs CPU of the client a connection", 1);
  add(row["server"]["cpu_us_each"], "µs of the server", 1);
  add(row["server"]["system_calls_each"], "system calls of the server", 2);
  return absl::StrJoin(parts, ", ");
}

std::string Ports(Reader ports) {
  std::string text = absl::StrCat(FormatCount(ports["ports"].get<uint64_t>()), " to connect from");
  if (ports["rate_max"].is_null()) return text + "; none stays behind";
  absl::StrAppend(&text, ", each held for ", SecondsText(ports["held_s"]), ": they last at up to ",
                  FormatRate(ports["rate_max"].get<double>()));
  if (ports["used_up_after_s"].is_null()) return text;
  return absl::StrCat(
      text, absl::StrFormat("; at this rate, for %.3g s", ports["used_up_after_s"].get<double>()));
}

std::string TimeWait(Reader looks) {
  int64_t peak = 0;
  for (const Reader look : looks) peak = std::max(peak, look["sockets"].get<int64_t>());
  return absl::StrCat(FormatCount(static_cast<uint64_t>(peak)), " sockets at most, ",
                      FormatCount(looks.back()["sockets"].get<uint64_t>()), " at the end");
}

void Append(const char* name, const std::string& text, std::string* out) {
  if (!text.empty()) *out += Row(name, text);
}

}  // namespace

std::string ChurnRows(const Json& json) {
  const Reader stress = json;
  std::string text;
  for (const Reader row : stress["churn"]["rows"]) {
    if (!row["backend"].is_null()) Append("backend", row["backend"].get<std::string>(), &text);
    Append("rate", FormatRate(row["connections_per_s"].get<double>()) + " connections", &text);
    Append("connect", Percentiles(row["connect_ns"]), &text);
    Append("first byte", Percentiles(row["first_byte_ns"]), &text);
    Append("close", Percentiles(row["close_ns"]), &text);
    Append("cost", Cost(row), &text);
    if (!row["time_wait"].empty()) Append("TIME_WAIT", TimeWait(row["time_wait"]), &text);
    if (!row["ports"].is_null()) Append("ports", Ports(row["ports"]), &text);
    const Reader errors = row["errors"];
    Append("errors", errors["total"] == 0 ? "none" : ErrnoList(errors["by_errno"]), &text);
  }
  return text;
}

}  // namespace report
