#include "stress/load_process.h"

#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "io/errors.h"
#include "loadgen/load_json.h"
#include "report/json_text.h"
#include "stats/hdr_codec.h"
#include "stats/histogram_json.h"
#include "stress/descriptors.h"

namespace stress {

// In memory of both processes: what one writes, the other only reads.
struct LoadProcess::Shared {
  std::atomic<bool> begin{false}, stop_opening{false}, go{false}, interrupt{false};  // the parent's
  std::atomic<uint64_t> open{0}, answered{0};                                        // the child's
  std::atomic<bool> opened{false}, closing{false};
};
static_assert(std::atomic<uint64_t>::is_always_lock_free && std::atomic<bool>::is_always_lock_free);

namespace {

constexpr int kTellMs = 10;

Json OutcomeJson(const loadgen::LoadResult& result, int64_t before, int64_t after) {
  const Json errors = loadgen::ErrorsJson(result);
  return {{"opened", result.connections.opened},
          {"answered", result.connections.answered},
          {"opening_s", result.opening_s},
          {"heartbeats", result.latency.count() - result.censored},
          {"offered", result.schedule.offered},
          {"corrupt_bytes", result.bytes.corrupt},
          {"errors", result.errors.total()},
          {"unanswered", result.errors.unanswered},
          {"problem", result.problem},
          {"out_of_ports", result.out_of_ports},
          {"by_errno", errors["by_errno"]},
          {"connect", stats::HistogramJson(result.connect)["hdr"]},
          {"first_byte", stats::HistogramJson(result.first_byte)["hdr"]},
          {"heartbeat", stats::HistogramJson(result.latency)["hdr"]},
          {"service", stats::HistogramJson(result.service)["hdr"]},
          {"descriptors_before", before},
          {"descriptors_after", after}};
}

absl::StatusOr<stats::Histogram> Times(const Json& json, const char* name) {
  return stats::DecodeHdr(json[name].get<std::string>());
}

absl::StatusOr<LoadOutcome> ParseOutcome(const Json& json) {
  LoadOutcome outcome = {.opened = json["opened"],
                         .answered = json["answered"],
                         .opening_s = json["opening_s"],
                         .heartbeats = json["heartbeats"],
                         .offered = json["offered"],
                         .corrupt_bytes = json["corrupt_bytes"],
                         .errors = json["errors"],
                         .problem = json["problem"],
                         .out_of_ports = json["out_of_ports"],
                         .by_errno = json["by_errno"],
                         .unanswered = json["unanswered"],
                         .descriptors_before = json["descriptors_before"],
                         .descriptors_after = json["descriptors_after"]};
  for (auto [name, into] :
       {std::pair("connect", &outcome.connect), std::pair("first_byte", &outcome.first_byte),
        std::pair("heartbeat", &outcome.heartbeat), std::pair("service", &outcome.service)}) {
    auto times = Times(json, name);
    if (!times.ok()) return times.status();
    *into = *std::move(times);
  }
  return outcome;
}

void WriteAll(int fd, const std::string& text) {
  for (size_t at = 0; at < text.size();) {
    const ssize_t n = write(fd, text.data() + at, text.size() - at);
    if (n <= 0) return;  // no memory: the parent finds no whole result, and says so
    at += static_cast<size_t>(n);
  }
}

std::string ReadAll(int fd) {
  std::string text;
  char part[65'536];
  while (true) {
    const ssize_t n = pread(fd, part, sizeof(part), static_cast<off_t>(text.size()));
    if (n <= 0) return text;
    text.append(part, static_cast<size_t>(n));
  }
}

void Pause() { poll(nullptr, 0, kTellMs); }

}  // namespace

// The child's life.
Json LoadProcess::Run(const loadgen::LoadOptions& options, Shared& shared) {
  const int64_t before = OpenDescriptors(getpid());
  while (!shared.begin && !shared.interrupt) Pause();
  std::vector<loadgen::LoadResult> results;
  {
    loadgen::Load load({options});
    load.WaitWhenOpen();
    const absl::Status started = load.Start();
    if (!started.ok()) return {{"failed", std::string(started.message())}};
    pollfd ended = {.fd = load.ended_fd(), .events = POLLIN, .revents = 0};
    while (poll(&ended, 1, kTellMs) == 0) {
      load.Collect();
      const bool opened = load.Opened();  // first: what comes after that is no connection's first
      const loadgen::LoadProgress progress = load.Progress();
      shared.open = progress.open;
      if (!shared.opened) shared.answered = progress.requests;
      shared.opened = opened;
      shared.closing = progress.phase == loadgen::LoadProgress::Phase::kDraining;
      if (shared.stop_opening) load.StopOpening();
      if (shared.go) load.Go();
      if (shared.interrupt) load.Interrupt();
    }
    const absl::Status ran = load.Wait(&results);
    if (!ran.ok()) return {{"failed", std::string(ran.message())}};
  }
  return OutcomeJson(results.front(), before, OpenDescriptors(getpid()));
}

void LoadOutcome::Merge(const LoadOutcome& other) {
  opened += other.opened;
  answered += other.answered;
  opening_s = std::max(opening_s, other.opening_s);
  heartbeats += other.heartbeats;
  offered += other.offered;
  corrupt_bytes += other.corrupt_bytes;
  errors += other.errors;
  unanswered += other.unanswered;
  if (problem.empty()) problem = other.problem;
  out_of_ports |= other.out_of_ports;
  for (const auto& [name, count] : other.by_errno.items()) {
    by_errno[name] = by_errno.value(name, uint64_t{0}) + count.get<uint64_t>();
  }
  connect.Merge(other.connect);
  first_byte.Merge(other.first_byte);
  heartbeat.Merge(other.heartbeat);
  service.Merge(other.service);
  const auto add = [](int64_t from, int64_t* into) {
    if (from >= 0) *into = std::max<int64_t>(0, *into) + from;
  };
  add(other.descriptors_before, &descriptors_before);
  add(other.descriptors_after, &descriptors_after);
}

absl::StatusOr<LoadProcess> LoadProcess::Start(const loadgen::LoadOptions& options) {
  LoadProcess process;
  void* memory =
      mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) {
    return absl::ResourceExhaustedError(
        absl::StrCat("no memory to share with a load process: ", io::ErrnoName(errno)));
  }
  process.shared_ = new (memory) Shared;
  process.result_fd_ = memfd_create("result", MFD_CLOEXEC);
  if (process.result_fd_ < 0) {
    return absl::ResourceExhaustedError(
        absl::StrCat("no descriptor for a load process's result: ", io::ErrnoName(errno)));
  }
  const pid_t parent = getpid();
  process.pid_ = fork();
  if (process.pid_ < 0) {
    return absl::ResourceExhaustedError(
        absl::StrCat("no load process can be started: ", io::ErrnoName(errno),
                     "; see: ulimit -u, and the cgroup's pids.max"));
  }
  if (process.pid_ > 0) return process;
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(1);  // the parent died before the line above
  setpgid(0, 0);                      // Ctrl-C is for the parent, which ends us in order
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  WriteAll(process.result_fd_, report::JsonText(Run(options, *process.shared_)));
  _exit(0);
}

LoadProcess::LoadProcess(LoadProcess&& other) noexcept
    : pid_(std::exchange(other.pid_, -1)),
      result_fd_(std::exchange(other.result_fd_, -1)),
      status_(other.status_),
      shared_(std::exchange(other.shared_, nullptr)) {}

LoadProcess::~LoadProcess() {
  if (pid_ > 0) {
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }
  if (result_fd_ >= 0) close(result_fd_);
  if (shared_ != nullptr) munmap(shared_, sizeof(Shared));
}

LoadProcess::Progress LoadProcess::Look() {
  if (pid_ > 0 && waitpid(pid_, &status_, WNOHANG) == pid_) pid_ = -1;
  const bool ended = pid_ < 0;
  return {.open = ended ? 0 : shared_->open.load(),
          .answered = shared_->answered,
          .opened = shared_->opened || ended,
          .closing = shared_->closing || ended,
          .ended = ended};
}

void LoadProcess::Begin() { shared_->begin = true; }
void LoadProcess::StopOpening() { shared_->stop_opening = true; }
void LoadProcess::Go() { shared_->go = true; }
void LoadProcess::Interrupt() { shared_->interrupt = true; }

absl::StatusOr<LoadOutcome> LoadProcess::Wait() {
  while (pid_ > 0) {
    const pid_t ended = waitpid(pid_, &status_, 0);
    if (ended == pid_ || errno != EINTR) pid_ = -1;
  }
  if (WIFSIGNALED(status_)) {
    const int signal = WTERMSIG(status_);
    return absl::InternalError(
        absl::StrCat("a load process was ended by signal ", signal, " (", sigdescr_np(signal), ")",
                     signal == SIGKILL ? "; if the kernel did it, memory ran out: see dmesg" : ""));
  }
  const Json json = Json::parse(ReadAll(result_fd_), nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return absl::InternalError("a load process ended without a result");
  if (json.contains("failed")) return absl::InternalError(json["failed"].get<std::string>());
  return ParseOutcome(json);
}

}  // namespace stress
