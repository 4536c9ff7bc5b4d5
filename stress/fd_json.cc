#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "report/format.h"
#include "stats/histogram_json.h"
#include "stress/fd_run.h"

namespace stress {
namespace {

constexpr const char* kFdPhaseNames[kFdPhases] = {"before", "filling", "at_limit", "recovery"};

Json FdKnown(int64_t number) { return number < 0 ? Json() : Json(number); }

template <class T>
Json FdKnown(const std::optional<T>& value) {
  return value ? Json(*value) : Json();
}

Json UsedJson(const std::optional<FdUse>& use) { return use ? Json(use->used) : Json(); }

Json ExistingJson(const FdRow& row) {
  const FdCounts& counts = row.end.of(FdGroup::kExisting);
  Json phases = Json::array();
  for (size_t i = 0; i < kFdPhases; ++i) {
    const FdPhaseCounts& phase = row.end.phases[i];
    phases.push_back({{"name", kFdPhaseNames[i]},
                      {"requests", phase.requests},
                      {"replies", phase.replies},
                      {"connections_asking", phase.asked},
                      {"connections_answered", phase.answered},
                      {"latency_ns", stats::TimesJson(row.latencies[i])}});
  }
  return {{"connections", counts.connected}, {"lost", counts.lost}, {"phases", phases}};
}

Json GroupJson(const FdCounts& counts) {
  return {{"asked", counts.asked},
          {"connected", counts.connected},
          {"failed", counts.failed},
          {"answered", counts.answered},
          {"closed_by_fin", counts.dropped_fin},
          {"closed_by_reset", counts.dropped_reset},
          {"lost", counts.lost}};
}

Json RecoveryJson(const FdRow& row) {
  if (row.released == 0) return Json();
  const FdView& end = row.end;
  const bool any = end.answers_since > 0;
  return {{"closed", row.released},
          {"answered", end.answers_since},
          {"first_ns", any ? Json(end.first_answer_ns - end.released_ns) : Json()},
          {"last_ns", any ? Json(end.last_answer_ns - end.released_ns) : Json()}};
}

std::string Percent(double share) { return absl::StrFormat("%.2g %% of a CPU", share * 100); }

std::string ExistingFinding(const FdRow& row) {
  const size_t place = static_cast<size_t>(FdPhase::kAtLimit);
  const uint64_t lost = row.end.of(FdGroup::kExisting).lost;
  const uint64_t unanswered = row.unanswered_in(FdPhase::kAtLimit);
  if (lost > 0) return absl::StrCat("closed ", lost, " of ", row.existing, " existing connections");
  if (unanswered > 0) {
    return absl::StrCat("left ", unanswered, " of ", row.existing,
                        " existing connections without an answer");
  }
  const stats::Histogram& times = row.latencies[place];
  if (times.count() == 0) return "";
  constexpr uint64_t kEnough = 100;  // for a 99th percentile
  return absl::StrCat(
      "answered all ", row.existing, " existing connections (",
      times.count() < kEnough ? "at most " : "p99 ",
      report::FormatDuration(times.count() < kEnough ? times.max() : times.Percentile(99)), ")");
}

std::string CpuFinding(const FdRow& row) {
  const auto spins = row.spins();
  if (!spins) return "";
  const std::string used = "used " + Percent(*row.idle_at_limit);
  return *spins ? absl::StrCat("spun (", used, " with nothing to do)") : used;
}

std::string WaitingFinding(const FdRow& row) {
  const FdCounts& waiting = row.end.of(FdGroup::kWaiting);
  if (waiting.connected == 0) return "";
  const std::string of =
      absl::StrCat(" of ", report::FormatCount(waiting.connected), " that waited");
  if (row.dropped() == 0) return "dropped none" + of;
  return absl::StrCat("accepted and dropped ", report::FormatCount(row.dropped()), of);
}

std::string RecoveryFinding(const FdRow& row) {
  const FdView& end = row.end;
  if (!row.recovered) return "";
  const uint64_t left =
      end.of(FdGroup::kWaiting).asked - end.of(FdGroup::kWaiting).answered - row.dropped();
  if (end.answers_since > 0) {
    return absl::StrCat(
        "took the first of them ", report::FormatDuration(end.first_answer_ns - end.released_ns),
        " after a descriptor was free",
        left > 0 ? absl::StrCat(" but never ", report::FormatCount(left), " others") : "");
  }
  return left > 0 ? "took none of them when descriptors were free" : "";
}

std::string Leak(const FdRow& row) {
  if (!row.after || row.after->used <= row.before->used) return "";
  return absl::StrCat("kept ", row.after->used - row.before->used,
                      " descriptors when all were gone");
}

}  // namespace

Json ToJson(const FdRow& row) {
  const auto& limit = row.at_limit ? row.at_limit : row.before;
  Json json = {
      {"backend", row.backend.empty() ? Json() : Json(row.backend)},
      {"descriptors",
       {{"limit", limit ? Json(limit->limit) : Json()},
        {"before", UsedJson(row.before)},
        {"at_limit", UsedJson(row.at_limit)},
        {"after", UsedJson(row.after)}}},
      {"reached", row.reached},
      {"existing", ExistingJson(row)},
      {"filling", GroupJson(row.end.of(FdGroup::kFilling))},
      {"waiting", GroupJson(row.end.of(FdGroup::kWaiting))},
      {"accept_queue", {{"length", FdKnown(row.queue)}, {"limit", FdKnown(row.queue_max)}}},
      {"answered_at_limit", row.limited.of(FdGroup::kWaiting).answered},
      {"accepted_and_dropped", row.dropped()},
      {"cpu_share",
       {{"idle_before", FdKnown(row.idle_before)},
        {"load_before", FdKnown(row.load_before)},
        {"idle_at_limit", FdKnown(row.idle_at_limit)},
        {"load_at_limit", FdKnown(row.load_at_limit)}}},
      {"spins", FdKnown(row.spins())},
      {"accept_pauses", FdKnown(row.accept_pauses)},
      {"recovery", RecoveryJson(row)},
      {"afterwards", {{"asked", row.end.checked}, {"answered", row.end.check_answered}}},
      {"bytes_corrupt", row.end.corrupt_bytes}};
  return json;
}

std::string FindingOf(const FdRow& row) {
  const std::string who = row.backend.empty() ? "" : row.backend + ": ";
  const auto& use = row.at_limit ? row.at_limit : row.before;
  if (!use) return who + "nothing was measured";
  if (!row.reached) {
    return absl::StrCat(who, "its limit of ", report::FormatCount(use->limit),
                        " descriptors was not reached, ", report::FormatCount(use->used),
                        " were in use");
  }
  std::vector<std::string> parts;
  for (std::string part : {ExistingFinding(row), CpuFinding(row), WaitingFinding(row),
                           RecoveryFinding(row), Leak(row)}) {
    if (!part.empty()) parts.push_back(std::move(part));
  }
  const std::string last = parts.empty() ? "did nothing that was measured" : parts.back();
  if (!parts.empty()) parts.pop_back();
  return absl::StrCat(who, "at its ", report::FormatCount(use->limit), " descriptors it ",
                      absl::StrJoin(parts, ", "), parts.empty() ? "" : ", and ", last);
}

}  // namespace stress
