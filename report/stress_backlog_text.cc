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

uint64_t CountAt(Reader json, const char* key) { return json[key].get<uint64_t>(); }

std::string Queue(Reader row) {
  const Reader queue = row["accept_queue"];
  if (queue["limit"].is_null()) return "can't be seen from here";
  std::string text = absl::StrCat(FormatCount(CountAt(queue, "held")), " held, of ",
                                  FormatCount(CountAt(queue, "limit")));
  if (CountAt(queue, "listeners") > 1) {
    absl::StrAppend(&text, " in ", CountAt(queue, "listeners"), " listeners");
  }
  if (CountAt(queue, "before") > 0) {
    absl::StrAppend(&text, ", ", FormatCount(CountAt(queue, "before")), " waited before");
  }
  if (CountAt(queue, "accepted") > 0) {
    absl::StrAppend(&text, "; ", FormatCount(CountAt(queue, "accepted")), " accepted meanwhile");
  }
  return text;
}

// What became of the connects.
std::string Fates(Reader connections) {
  struct Fate {
    const char *key, *text;
  };
  constexpr Fate kFates[] = {{"opened", "opened"},
                             {"ghosts", "of these open for the client alone"},
                             {"timed_out", "timed out"},
                             {"refused", "refused"},
                             {"reset", "reset"},
                             {"no_room", "found no room (EAGAIN)"},
                             {"failed", "failed otherwise"},
                             {"pending", "undecided"}};
  std::vector<std::string> parts;
  for (const Fate& fate : kFates) {
    const uint64_t count = CountAt(connections, fate.key);
    if (count > 0) parts.push_back(absl::StrCat(FormatCount(count), " ", fate.text));
  }
  return absl::StrCat(FormatCount(CountAt(connections, "requested")), ": ",
                      absl::StrJoin(parts, ", "));
}

std::string Step(Reader step) {
  const uint64_t opened = CountAt(step, "opened"), timed_out = CountAt(step, "timed_out");
  std::string text = absl::StrCat(Counted(CountAt(step, "syn_retransmits"), "SYN"), " again: ");
  if (opened > 0) {
    absl::StrAppend(&text, FormatCount(opened), " opened, in ", TimeText(step["min_ns"]), " to ",
                    TimeText(step["max_ns"]), " (p50 ", TimeText(step["p50_ns"]), ")");
  }
  if (timed_out > 0) {
    absl::StrAppend(&text, opened > 0 ? ", " : "", FormatCount(timed_out), " timed out");
  }
  return text;
}

std::string RowText(Reader row) {
  std::string text;
  if (!row["backlog"].is_null()) text += Row("backlog", FormatCount(CountAt(row, "backlog")));
  text += Row("accept queue", Queue(row));
  if (!row["capped_by"].is_null()) {
    text += Row("capped by", absl::StrCat(row["capped_by"]["name"].get<std::string>(), "; ",
                                          row["capped_by"]["mend"].get<std::string>()));
  }
  text += Row("connects", Fates(row["connections"]));
  for (const Reader step : row["retries"]) text += Row("retries", Step(step));
  std::vector<std::string> times;
  for (const Reader at : row["syn_retries_s"]) {
    times.push_back(absl::StrFormat("%.2f", at.get<double>()));
  }
  if (!times.empty()) text += Row("SYN again", absl::StrJoin(times, ", ") + " s after the first");
  if (!row["errors"].empty()) text += Row("errors", ErrnoList(row["errors"]));
  return text;
}

std::string BurstText(Reader server) {
  std::string text;
  if (!server["backend"].is_null()) {
    text += Row("server", absl::StrCat(server["backend"].get<std::string>(), ", ",
                                       Counted(CountAt(server, "threads"), "thread"), ", backlog ",
                                       FormatCount(CountAt(server, "backlog"))));
  }
  std::string absorbed = FormatCount(CountAt(server, "absorbed")) + " connects at once";
  if (!server["lost_from"].is_null()) {
    absl::StrAppend(&absorbed, "; of ", FormatCount(CountAt(server, "lost_from")),
                    " some were lost or late");
  }
  text += Row("absorbed", absorbed);
  if (server["bursts"].empty()) return text;
  const Reader last = server["bursts"].back();
  const Reader times = last["connect_ns"];
  std::string steep = absl::StrCat(FormatCount(CountAt(last["connections"], "requested")), " in ",
                                   TimeText(last["opening_ns"]));
  if (CountAt(times, "count") > 0) {
    absl::StrAppend(&steep, ", open after p50 ", TimeText(times["p50"]), ", max ",
                    TimeText(times["max"]));
  }
  text += Row("last burst", steep);
  text += Row("connects", Fates(last["connections"]));
  if (!last["errors"].empty()) text += Row("errors", ErrnoList(last["errors"]));
  return text;
}

}  // namespace

std::string BacklogRows(const Json& json) {
  const Reader stress = json;
  const Reader own = stress["backlog"];
  std::string text;
  if (own.contains("rows")) {
    for (const Reader row : own["rows"]) text += RowText(row);
  }
  if (own.contains("bursts")) {
    for (const Reader server : own["bursts"]) text += BurstText(server);
  }
  return text;
}

}  // namespace report
