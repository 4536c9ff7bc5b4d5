#include "stress/backlog_burst.h"

#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "loadgen/load_json.h"
#include "report/format.h"
#include "stats/histogram_json.h"
#include "stress/accept_queue.h"
#include "stress/backlog_json.h"
#include "stress/connects.h"
#include "stress/kernel_memory.h"

namespace stress {
namespace {

constexpr size_t kMessageBytes = 64;

// A server that bursts are sent to.
struct Accepting {
  TargetOptions target;
  uint64_t threads = 0, backlog = 0;  // 0: somebody's
};

std::vector<Accepting> AllOf(const BacklogOptions& options) {
  if (options.target.at) return {{.target = options.target}};
  std::vector<Accepting> all;
  for (const std::string& backend : options.burst_backends) {
    for (const uint64_t threads : options.burst_threads) {
      for (const uint64_t backlog : options.backlogs) {
        Accepting one = {.target = options.target, .threads = threads, .backlog = backlog};
        one.target.backend = backend;
        one.target.flags.insert(
            one.target.flags.begin(),
            {"--threads", absl::StrCat(threads), "--backlog", absl::StrCat(backlog), "--size",
             absl::StrCat(kMessageBytes, "B")});
        all.push_back(std::move(one));
      }
    }
  }
  return all;
}

// Bytes that show where they belong.
std::string Message() {
  std::string message;
  for (size_t i = 0; i < kMessageBytes; ++i) message.push_back(static_cast<char>('!' + i));
  return message;
}

// What one server took.
struct Taken {
  uint64_t absorbed = 0;              // the largest burst without a loss
  std::optional<uint64_t> lost_from;  // the burst that had one; nothing: none had
  Json bursts = Json::array();
};

Json BurstJson(uint64_t size, const Connects::Summary& connects, std::optional<uint64_t> held,
               const stats::KernelDifference& kernel) {
  return {{"connections", ConnectionsJson(connects, size)},
          {"opening_ns", connects.begin_ns},
          {"held", held ? Json(*held) : Json()},
          {"connect_ns", stats::TimesJson(connects.connect)},
          {"unanswered", connects.unanswered},
          {"corrupt", connects.corrupt},
          {"errors", connects.by_errno},
          {"kernel", loadgen::KernelJson(kernel)}};
}

// One burst. Returns whether it was absorbed.
absl::StatusOr<bool> Burst(const BacklogOptions& options, const Target& target, uint64_t size,
                           const std::optional<AcceptQueueReader>& reader, const Context& context,
                           Taken* taken, Result* result) {
  auto connects = Connects::Make({.at = target.at(),
                                  .count = size,
                                  .timeout_ns = options.timeout_ns,
                                  .message = target.ours() ? Message() : "",
                                  .memory_floor_bytes = options.memory_floor_bytes});
  if (!connects.ok()) return connects.status();
  const KernelWatch kernel;
  std::optional<AcceptQueueSeries> series;
  if (reader) {
    series.emplace(*reader);
    const absl::Status started = series->Start();
    if (!started.ok()) return started;
  }
  connects->Run(context);
  const std::optional<uint64_t> held = series ? series->End() : std::nullopt;
  const Connects::Summary summary = connects->Summarize();
  taken->bursts.push_back(BurstJson(size, summary, held, kernel.End()));
  result->connections.requested += size;
  result->connections.opened += summary.opened;
  result->connections.answered += summary.answered;
  result->limit = connects->limit();
  result->interrupted = context.Interrupted();
  if (summary.corrupt > 0) {
    result->problem =
        absl::StrCat(report::FormatCount(summary.corrupt), " echoes were not as sent");
  }
  return summary.begun == size && summary.Clean();
}

absl::StatusOr<Taken> Search(const BacklogOptions& options, const Target& target,
                             const std::optional<AcceptQueueReader>& reader, const Context& context,
                             Result* result) {
  Taken taken;
  for (uint64_t size = 1;; size = std::min(2 * size, options.burst)) {
    context.note(absl::StrCat("a burst of ", report::FormatCount(size)));
    const auto absorbed = Burst(options, target, size, reader, context, &taken, result);
    if (!absorbed.ok()) return absorbed.status();
    if (result->limit || result->interrupted || !result->problem.empty()) return taken;
    if (!*absorbed) {
      taken.lost_from = size;
      return taken;
    }
    taken.absorbed = size;
    if (size >= options.burst) return taken;
  }
}

std::string FindingOf(const Accepting& one, const Taken& taken) {
  const std::string who = one.backlog == 0 ? "the server"
                                           : absl::StrCat(one.target.backend, ", ", one.threads,
                                                          one.threads == 1 ? " thread" : " threads",
                                                          ", backlog ", one.backlog);
  return absl::StrCat(
      who, ": a burst of ", report::FormatCount(taken.absorbed), " was absorbed",
      taken.lost_from ? absl::StrCat(", one of ", report::FormatCount(*taken.lost_from), " was not")
                      : "");
}

Json ToJson(const Accepting& one, const Taken& taken, const std::optional<AcceptQueue>& queue) {
  const bool ours = one.backlog > 0;
  return {{"backend", ours ? Json(one.target.backend) : Json()},
          {"threads", ours ? Json(one.threads) : Json()},
          {"backlog", ours ? Json(one.backlog) : Json()},
          {"accept_queue",
           {{"limit", queue ? Json(queue->limit) : Json()},
            {"listeners", queue ? Json(queue->listeners) : Json()}}},
          {"absorbed", taken.absorbed},
          {"lost_from", taken.lost_from ? Json(*taken.lost_from) : Json()},
          {"bursts", taken.bursts}};
}

absl::StatusOr<Json> BurstsAt(const BacklogOptions& options, const Accepting& one,
                              const Context& context, std::string* finding, Result* result) {
  auto target = Target::Start(one.target, context);
  if (!target.ok()) return target.status();
  std::optional<AcceptQueueReader> reader;
  std::optional<AcceptQueue> queue;
  if (auto found = AcceptQueueReader::Find(target->at()); found.ok()) {
    reader = *std::move(found);
    if (const auto now = reader->Read(); now.ok()) queue = *now;
  }
  const auto taken = Search(options, *target, reader, context, result);
  if (!taken.ok()) return taken.status();
  const auto summary = target->Stop();
  if (!summary.ok()) result->problem = std::string(summary.status().message());
  *finding = FindingOf(one, *taken);
  return ToJson(one, *taken, queue);
}

}  // namespace

absl::Status Bursts(const BacklogOptions& options, const Context& context, Result* result) {
  std::vector<std::string> findings;
  result->own["bursts"] = Json::array();
  for (const Accepting& one : AllOf(options)) {
    if (result->limit || result->interrupted || !result->problem.empty()) break;
    std::string finding;
    auto row = BurstsAt(options, one, context, &finding, result);
    if (!row.ok()) return row.status();
    result->own["bursts"].push_back(*std::move(row));
    findings.push_back(std::move(finding));
  }
  result->finding = absl::StrJoin(findings, "; ");
  return absl::OkStatus();
}

}  // namespace stress
