#include "stress/fd_run.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "report/format.h"
#include "stats/cpu_clock.h"
#include "stats/socket_diag.h"
#include "stress/descriptors.h"

namespace stress {
namespace {

using FdTime = std::chrono::steady_clock::time_point;

constexpr int kFdGlanceMs = 2;
constexpr uint64_t kFdBatch = 256;  // connections that are opened at once; no backlog overflows
constexpr uint64_t kFdSpare = 32;   // descriptors that we need besides connections
constexpr int64_t kShortestShareNs = 1'000'000;
constexpr int64_t kBaselineMaxNs = 1'000'000'000;  // before the limit

FdTime FdNow() { return std::chrono::steady_clock::now(); }

std::string UseText(const FdUse& use) {
  return absl::StrCat(report::FormatCount(use.used), " of ", report::FormatCount(use.limit));
}

// All that waits in the listeners that a client of `at` meets.
void AddQueues(const std::vector<stats::SocketInfo>& sockets, const std::string& at, bool any,
               FdRow* row) {
  for (const stats::SocketInfo& socket : sockets) {
    if (!any && socket.local != at) continue;
    row->queue = std::max<int64_t>(0, row->queue) + socket.recv_queue;
    row->queue_max = std::max<int64_t>(0, row->queue_max) + socket.send_queue;
  }
}

}  // namespace

std::optional<bool> FdRow::spins() const {
  if (!idle_at_limit) return std::nullopt;
  return *idle_at_limit - idle_before.value_or(0) >= kSpinShare;
}

uint64_t FdRow::unanswered_in(FdPhase phase) const {
  const FdPhaseCounts& counts = end.phases[static_cast<size_t>(phase)];
  return counts.asked - counts.answered;
}

bool FdRun::Goes() const {
  return !limit_ && problem_.empty() && !context_.Interrupted() && clients_.status().ok();
}

// Waits until it holds of the view. False: it goes no further, or nothing has changed for as long
// as patience lasts.
template <class F>
bool FdRun::Await(F holds) {
  FdTime since = FdNow();
  uint64_t before = 0;
  while (Goes()) {
    const FdView view = clients_.View();
    if (holds(view)) return true;
    uint64_t progress = 0;
    for (const FdCounts& counts : view.groups) {
      progress += counts.connected + counts.failed + counts.answered + counts.dropped() +
                  counts.lost + counts.closed;
    }
    if (progress != before) since = FdNow();
    before = progress;
    if (FdNow() - since > std::chrono::nanoseconds(options_.patience_ns)) return false;
    (void)context_.Await(-1, kFdGlanceMs);
  }
  return false;
}

// So long, or until it goes no further; a server that is gone is not waited for.
void FdRun::Rest(int64_t ns) {
  const FdTime until = FdNow() + std::chrono::nanoseconds(ns);
  while (Goes() && FdNow() < until) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(until - FdNow()).count();
    (void)context_.Await(-1, static_cast<int>(std::clamp<int64_t>(left, 1, 100)));
    if (clients_.View().of(FdGroup::kExisting).open > 0) continue;
    problem_ = absl::StrCat("the server closed all of the ", options_.connections,
                            " connections that were there first; is it gone?");
  }
}

// The share of a CPU that the server uses for so long, or until it goes no further.
std::optional<double> FdRun::CpuShare(int64_t ns) {
  const auto before = stats::ProcessTreeCpuNanos(target_.pid());
  const FdTime began = FdNow();
  Rest(ns);
  const auto after = stats::ProcessTreeCpuNanos(target_.pid());
  const int64_t passed = std::chrono::nanoseconds(FdNow() - began).count();
  if (!before.ok() || !after.ok() || passed < kShortestShareNs) return std::nullopt;
  return static_cast<double>(*after - *before) / static_cast<double>(passed);
}

absl::Status FdRun::Run() {
  const absl::Status started = clients_.Start();
  if (!started.ok()) return started;
  const absl::Status ran = Phases();
  row_.end = clients_.View();
  const absl::Status stopped = clients_.Stop();
  for (size_t i = 0; i < kFdPhases; ++i) row_.latencies[i] = clients_.latency(FdPhase(i));
  if (row_.end.corrupt_bytes > 0 && problem_.empty()) {
    problem_ = absl::StrCat(report::FormatCount(row_.end.corrupt_bytes),
                            " bytes came that are not the echo of what was sent");
  }
  return ran.ok() ? stopped : ran;
}

absl::Status FdRun::Phases() {
  absl::Status status = CheckReach();
  if (status.ok() && Goes()) OpenExisting();
  if (status.ok() && Goes()) status = Fill();
  if (!status.ok() || !row_.reached) return status;
  if (Goes()) Beyond();
  if (Goes()) Hold();
  row_.limited = clients_.View();
  if (row_.held && Goes()) Recover();
  return row_.recovered && Goes() ? GiveBack() : absl::OkStatus();
}

// Whether our own descriptors suffice to use up the server's.
absl::Status FdRun::CheckReach() {
  limit_ = guard_.Check();
  const auto server = ReadFdUse(target_.pid());
  if (!server.ok()) return server.status();
  row_.before = *server;
  row_.beyond = options_.beyond;
  const auto ours = ReadFdUse(getpid());
  if (!ours.ok()) return ours.status();
  const uint64_t needed = server->free() + options_.beyond + kFdSpare;
  if (limit_ || needed <= ours->free()) return absl::OkStatus();
  limit_ = {.name = "RLIMIT_NOFILE of ringside itself",
            .value = absl::StrCat(UseText(*ours), " in use, and ", report::FormatCount(needed),
                                  " more are needed to use up the server's"),
            .mend = absl::StrCat(RaiseDescriptors(ours->used + needed), ", or ",
                                 target_.ours() ? "a lower --server-nofile"
                                                : absl::StrCat("lower the server's: prlimit --pid ",
                                                               target_.pid(), " --nofile=256"))};
  return absl::OkStatus();
}

void FdRun::Connect(FdGroup group, uint64_t count) {
  asked_[static_cast<size_t>(group)] += count;
  clients_.Open(group, count);
}

// The pace goes to a phase, or rests: then what is under way is answered first, where it will be.
void FdRun::PaceTo(std::optional<FdPhase> phase) {
  clients_.Pace(phase);
  (void)Await([&](const FdView& view) {
    return phase ? view.paced : !view.paced && view.of(FdGroup::kExisting).owed == 0;
  });
}

void FdRun::OpenExisting() {
  context_.note("the first connections");
  Connect(FdGroup::kExisting, options_.connections);
  const bool answered = Await([&](const FdView& view) {
    const FdCounts& counts = view.of(FdGroup::kExisting);
    return counts.asked == options_.connections && counts.answered == counts.asked;
  });
  if (!Goes()) return;
  const FdView view = clients_.View();
  const FdCounts& counts = view.of(FdGroup::kExisting);
  if (!answered) {
    problem_ = absl::StrCat(
        counts.answered, " of the first ", options_.connections, " connections were answered",
        view.failure.empty() ? "" : ", one that failed to connect said " + view.failure,
        "; fewer of them (-c), or is it no server that echoes?");
    return;
  }
  const int64_t baseline_ns = std::min(options_.hold_ns / 4, kBaselineMaxNs);
  row_.idle_before = CpuShare(baseline_ns);
  PaceTo(FdPhase::kBefore);
  row_.load_before = CpuShare(baseline_ns);
}

// Opens connections until the server has no descriptor left.
absl::Status FdRun::Fill() {
  PaceTo(FdPhase::kFilling);
  bool answered = true;
  while (Goes()) {
    const auto use = ReadFdUse(target_.pid());
    if (!use.ok()) return use.status();
    row_.at_limit = *use;
    context_.note(absl::StrCat("filling: ", UseText(*use), " descriptors"));
    if (use->exhausted()) {
      row_.reached = true;
      break;
    }
    // The second: each of so many took less than a descriptor.
    if (!answered || asked_[static_cast<size_t>(FdGroup::kFilling)] > row_.before->free()) {
      StopFilling();
      break;
    }
    if ((limit_ = guard_.Check())) break;
    Connect(FdGroup::kFilling, std::min(kFdBatch, use->free()));
    answered = AwaitFilled();
  }
  if (Goes()) PaceTo(std::nullopt);
  return absl::OkStatus();
}

// Whether all that were opened to fill the limit were answered.
bool FdRun::AwaitFilled() {
  const uint64_t asked = asked_[static_cast<size_t>(FdGroup::kFilling)];
  return Await([&](const FdView& view) {
    const FdCounts& counts = view.of(FdGroup::kFilling);
    return counts.asked == asked && counts.answered == asked;
  });
}

// Something else bounds the server.
void FdRun::StopFilling() {
  const FdView view = clients_.View();
  const FdCounts& counts = view.of(FdGroup::kFilling);
  std::string mend;
  if (counts.answered == counts.asked) {
    mend = absl::StrCat(
        "name the process that holds its connections (--server-pid), or leave out "
        "direct descriptors: process ",
        target_.pid(), " has no descriptor for each of them");
  } else {
    mend = absl::StrCat("raise what bounds the server's connections, or its backlog: of ",
                        report::FormatCount(counts.asked), " it answered ",
                        report::FormatCount(counts.answered), " and closed ",
                        report::FormatCount(counts.dropped()),
                        view.failure.empty() ? "" : "; connecting failed with " + view.failure);
  }
  limit_ = {.name = "one of the server's own, below RLIMIT_NOFILE",
            .value = UseText(*row_.at_limit) + " descriptors in use",
            .mend = std::move(mend)};
}

// Connections that find no descriptor left. No more than took one: these will make room for them.
void FdRun::Beyond() {
  const FdCounts filling = clients_.View().of(FdGroup::kFilling);
  row_.beyond = std::min<uint64_t>(options_.beyond, filling.open);
  Connect(FdGroup::kWaiting, row_.beyond);
  (void)Await([&](const FdView& view) {
    const FdCounts& counts = view.of(FdGroup::kWaiting);
    return counts.asked == row_.beyond && counts.connecting() == 0;
  });
}

// As the kernel sees it; where it doesn't say, the row has none.
void FdRun::ReadQueue() {
  const io::Endpoint& at = target_.at();
  stats::SocketQuery query;
  const std::string text = io::AddressText(at.address(), at.size());
  if (at.is_unix()) {
    query.protocols = {stats::SocketProtocol::kUnix};
    query.unix_names = {text};
  } else {
    query.protocols = {stats::SocketProtocol::kTcp};
    query.ports = {at.port()};
  }
  const auto listeners = stats::Listeners(query);
  if (!listeners.ok()) return;
  AddQueues(listeners->sockets, text, /*any=*/false, &row_);
  if (row_.queue < 0) AddQueues(listeners->sockets, text, /*any=*/true, &row_);  // a wildcard
}

// Stays at the limit: first nobody asks, and all that the server does it does of itself.
void FdRun::Hold() {
  context_.note("at the limit");
  row_.idle_at_limit = CpuShare(options_.hold_ns / 2);
  ReadQueue();
  if (!Goes()) return;
  PaceTo(FdPhase::kAtLimit);
  row_.load_at_limit = CpuShare(options_.hold_ns / 2);
  if (Goes()) PaceTo(std::nullopt);
  row_.held = Goes();
}

// Makes room for all that wait.
void FdRun::Recover() {
  context_.note("closing some");
  PaceTo(FdPhase::kRecovery);
  row_.released = row_.beyond;
  clients_.Release(row_.released);
  (void)Await([&](const FdView& view) {
    const FdCounts& counts = view.of(FdGroup::kWaiting);
    return view.released_ns != 0 && counts.connecting() == 0 && counts.unanswered == 0;
  });
  if (Goes()) PaceTo(std::nullopt);
  row_.recovered = Goes();
}

// Whoever is connected is answered once more, and then goes.
absl::Status FdRun::GiveBack() {
  const uint64_t before = clients_.View().checked;
  clients_.Check();
  (void)Await([&](const FdView& view) {
    return view.checked > before && view.check_answered == view.checked;
  });
  for (size_t i = 0; i < kFdGroups; ++i) clients_.Close(FdGroup(i), asked_[i]);
  (void)Await([](const FdView& view) {
    return std::all_of(view.groups.begin(), view.groups.end(),
                       [](const FdCounts& counts) { return counts.open == 0; });
  });
  const FdTime began = FdNow();
  while (Goes()) {
    const auto use = ReadFdUse(target_.pid());
    if (!use.ok()) return use.status();
    row_.after = *use;
    if (use->used <= row_.before->used) break;
    if (FdNow() - began > std::chrono::nanoseconds(options_.patience_ns)) break;
    (void)context_.Await(-1, kFdGlanceMs);
  }
  return absl::OkStatus();
}

}  // namespace stress
