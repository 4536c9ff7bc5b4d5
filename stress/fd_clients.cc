#include "stress/fd_clients.h"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <utility>

#include "io/errors.h"
#include "io/loops.h"
#include "io/threads.h"
#include "services/echo.h"

namespace stress {
namespace {

constexpr int64_t kGlanceMaxNs = 100'000'000;

int64_t NowNs() {
  return std::chrono::steady_clock::now().time_since_epoch() / std::chrono::nanoseconds(1);
}

}  // namespace

// The thread's end of it: a loop's handler.
template <class Backend>
class FdClients::Driver {
 public:
  using Loop = typename Backend::template Loop<Driver>;

  explicit Driver(FdClients& clients)
      : clients_(clients),
        options_(clients.options_),
        interval_ns_(std::max<int64_t>(1, std::llround(1e9 / clients.options_.rate))),
        echo_(EchoOf(clients.options_.message_bytes)),
        loop_(*this) {}

  absl::Status Open() {
    const absl::Status pinned = options_.cpu < 0 ? absl::OkStatus() : io::PinThread(options_.cpu);
    return pinned.ok() ? loop_.Open() : pinned;
  }

  void Wake() { loop_.Wake(); }

  absl::Status Run() {
    absl::Status status;
    while (status.ok() && TakeCommands()) {
      const int64_t wait = SendDue(NowNs());
      Publish();
      status = loop_.RunOnce(io::Nanos(wait));
    }
    Publish();
    stopping_ = true;
    loop_.Shutdown();
    return status;
  }

  void OnOpen(Loop&, io::Connection& c) noexcept {
    if (sessions_.size() <= c.index) sessions_.resize(c.index + 1);
    Session& session = sessions_[c.index];
    session = {.connection = &c, .group = GroupOf(c)};
    FdCounts& counts = view_.of(session.group);
    ++counts.connected;
    ++counts.open;
    ++counts.unanswered;
    echo_.OnOpen(session.echo, c.tag / kFdGroups);
    if (session.group == FdGroup::kExisting) {
      session.next_due_ns = pace_ ? NowNs() + interval_ns_ : 0;
    }
    Ask(session);
  }

  void OnReceive(Loop& loop, io::Connection& c, io::Bytes in) noexcept {
    Session& session = sessions_[c.index];
    const services::Received got = echo_.OnReceive(session.echo, in);
    view_.corrupt_bytes += got.corrupt_bytes;
    if (got.replies == 0) return;
    if (!session.owed || got.replies > 1) {  // more than was asked for: not an echo
      view_.corrupt_bytes += in.size();
      return loop.Abort(c);
    }
    Answered(session, NowNs());
  }

  void OnEnd(Loop& loop, io::Connection& c) noexcept {
    sessions_[c.index].fin = true;
    loop.Close(c);
  }

  void OnDrained(Loop&, io::Connection&) noexcept {}

  void OnClose(Loop&, io::Connection& c, int error) noexcept {
    if (stopping_) return;
    FdCounts& counts = view_.of(GroupOf(c));
    if (c.index >= sessions_.size() || sessions_[c.index].connection == nullptr) {
      return Unopened(counts, error);
    }
    const Session session = std::exchange(sessions_[c.index], {});
    --counts.open;
    if (session.owed) --counts.owed;
    if (!session.answered) --counts.unanswered;
    if (session.closing) {
      ++counts.closed;
    } else if (session.answered) {
      ++counts.lost;
    } else {
      ++(session.fin ? counts.dropped_fin : counts.dropped_reset);
    }
  }

 private:
  struct Session {
    io::Connection* connection = nullptr;  // nullptr: not open
    FdGroup group = FdGroup::kExisting;
    bool owed = false;                            // a request is under way
    bool answered = false;                        // ever
    bool closing = false;                         // by us
    bool fin = false;                             // of the server
    bool checking = false;                        // the request is Check()'s
    std::optional<FdPhase> phase = std::nullopt;  // the request is the pace's, of this phase
    std::array<bool, kFdPhases> asked_in = {}, heard_in = {};
    int64_t due_ns = 0, next_due_ns = 0;
    services::Echo::Client::Session echo = {};
  };

  static services::ServiceOptions EchoOf(uint64_t message_bytes) {
    services::ServiceOptions options;
    options.message_bytes = message_bytes;
    return options;
  }

  static FdGroup GroupOf(const io::Connection& c) {
    return static_cast<FdGroup>(c.tag % kFdGroups);
  }

  // A peer that nobody serves refuses (ECONNREFUSED); a reset is of one who had accepted, so early
  // that the loop saw it with the connection's begin.
  void Unopened(FdCounts& counts, int error) {
    if (error != ECONNRESET && error != EPIPE) return Failed(counts, io::ErrnoName(error));
    ++counts.connected;
    ++counts.dropped_reset;
  }

  void Failed(FdCounts& counts, const std::string& why) {
    ++counts.failed;
    if (view_.failure.empty()) view_.failure = why;
  }

  bool TakeCommands() {
    std::vector<Command> commands;
    {
      const std::lock_guard lock(clients_.mutex_);
      commands.swap(clients_.commands_);
    }
    for (const Command& command : commands) {
      switch (command.kind) {
        case Command::Kind::kOpen:
          Connect(command.group, command.count);
          break;
        case Command::Kind::kRelease:
          view_.released_ns = NowNs();
          [[fallthrough]];
        case Command::Kind::kClose:
          CloseSome(command.group, command.count);
          break;
        case Command::Kind::kPace:
          SetPace(command.phase);
          break;
        case Command::Kind::kCheck:
          CheckAll();
          break;
        case Command::Kind::kStop:
          return false;
      }
    }
    return true;
  }

  void Connect(FdGroup group, uint64_t count) {
    FdCounts& counts = view_.of(group);
    for (; count > 0; --count) {
      ++counts.asked;
      const uint64_t tag = next_number_++ * kFdGroups + static_cast<uint64_t>(group);
      const auto connection = loop_.Connect(options_.at, tag);
      if (!connection.ok()) Failed(counts, std::string(connection.status().message()));
    }
  }

  void CloseSome(FdGroup group, uint64_t count) {
    for (const bool answered : {true, false}) {
      for (Session& session : sessions_) {
        if (count == 0) return;
        if (session.connection == nullptr || session.group != group || session.closing ||
            session.answered != answered) {
          continue;
        }
        session.closing = true;
        loop_.Close(*session.connection);
        --count;
      }
    }
  }

  void SetPace(std::optional<FdPhase> phase) {
    const bool begins = phase && !pace_;
    pace_ = phase;
    view_.paced = phase.has_value();
    if (!begins) return;
    // Spread over the interval, so that they are no burst.
    const int64_t now = NowNs();
    const auto each = std::max<int64_t>(1, static_cast<int64_t>(view_.of(FdGroup::kExisting).open));
    int64_t place = 0;
    for (Session& session : sessions_) {
      if (session.connection == nullptr || session.group != FdGroup::kExisting) continue;
      session.next_due_ns = now + interval_ns_ * place++ / each;
    }
  }

  void CheckAll() {
    for (Session& session : sessions_) {
      if (session.connection == nullptr || session.closing || session.owed) continue;
      session.checking = true;
      ++view_.checked;
      Ask(session);
    }
  }

  void Ask(Session& session) {
    session.owed = true;
    ++view_.of(session.group).owed;
    loop_.Send(*session.connection, echo_.Next(session.echo, options_.message_bytes));
  }

  // Sends what is due; returns for how long nothing will be.
  int64_t SendDue(int64_t now) {
    int64_t wait = kGlanceMaxNs;
    if (!pace_) return wait;
    for (Session& session : sessions_) {
      // Whoever still waits for an answer asks late, and the delay is in the latency.
      if (session.connection == nullptr || session.group != FdGroup::kExisting || session.owed ||
          session.closing) {
        continue;
      }
      if (session.next_due_ns <= now) {
        session.phase = pace_;
        session.due_ns = session.next_due_ns;
        session.next_due_ns += interval_ns_;
        NoteAsked(session, static_cast<size_t>(*pace_));
        Ask(session);
      } else {
        wait = std::min(wait, session.next_due_ns - now);
      }
    }
    return wait;
  }

  void NoteAsked(Session& session, size_t phase) {
    ++view_.phases[phase].requests;
    if (!std::exchange(session.asked_in[phase], true)) ++view_.phases[phase].asked;
  }

  void Answered(Session& session, int64_t now) {
    FdCounts& counts = view_.of(session.group);
    session.owed = false;
    --counts.owed;
    if (!session.answered) {
      session.answered = true;
      ++counts.answered;
      --counts.unanswered;
      if (session.group == FdGroup::kWaiting && view_.released_ns != 0) {
        if (view_.answers_since++ == 0) view_.first_answer_ns = now;
        view_.last_answer_ns = now;
      }
    }
    if (std::exchange(session.checking, false)) ++view_.check_answered;
    if (const auto phase = std::exchange(session.phase, std::nullopt)) {
      const auto place = static_cast<size_t>(*phase);
      FdPhaseCounts& of_phase = view_.phases[place];
      ++of_phase.replies;
      clients_.latencies_[place].Record(now - session.due_ns);
      if (!std::exchange(session.heard_in[place], true)) ++of_phase.answered;
    }
  }

  void Publish() {
    const std::lock_guard lock(clients_.mutex_);
    clients_.view_ = view_;
  }

  FdClients& clients_;
  const FdClientOptions& options_;
  const int64_t interval_ns_;
  services::Echo::Client echo_;
  std::vector<Session> sessions_;  // by slot
  FdView view_;
  std::optional<FdPhase> pace_;
  uint64_t next_number_ = 0;
  bool stopping_ = false;
  Loop loop_;
};

absl::Status FdClients::Start() {
  std::promise<absl::Status> ready;
  auto opened = ready.get_future();
  const absl::Status started = io::StartThread(
      "the clients",
      [this, ready = std::move(ready)]() mutable {
        const std::string& backend = options_.backend;
        const bool known =
            io::Loops::Pick(backend, [&]<class Backend>() { Run<Backend>(std::move(ready)); });
        if (!known) ready.set_value(absl::InvalidArgumentError("no such backend: " + backend));
      },
      &thread_);
  return started.ok() ? opened.get() : started;
}

template <class Backend>
void FdClients::Run(std::promise<absl::Status> ready) {
  Driver<Backend> driver(*this);
  const absl::Status opened = driver.Open();
  if (opened.ok()) {
    const std::lock_guard lock(mutex_);
    wake_ = [&driver] { driver.Wake(); };
  }
  ready.set_value(opened);
  if (!opened.ok()) return;
  absl::Status status = driver.Run();
  const std::lock_guard lock(mutex_);
  wake_ = [] {};
  status_ = std::move(status);
}

void FdClients::Post(const Command& command) {
  const std::lock_guard lock(mutex_);
  commands_.push_back(command);
  wake_();
}

void FdClients::Open(FdGroup group, uint64_t count) {
  Post({.kind = Command::Kind::kOpen, .group = group, .count = count});
}

void FdClients::Close(FdGroup group, uint64_t count) {
  Post({.kind = Command::Kind::kClose, .group = group, .count = count});
}

void FdClients::Release(uint64_t count) {
  Post({.kind = Command::Kind::kRelease, .group = FdGroup::kFilling, .count = count});
}

void FdClients::Pace(std::optional<FdPhase> phase) {
  Post({.kind = Command::Kind::kPace, .phase = phase});
}

void FdClients::Check() { Post({.kind = Command::Kind::kCheck}); }

FdView FdClients::View() const {
  const std::lock_guard lock(mutex_);
  return view_;
}

absl::Status FdClients::status() const {
  const std::lock_guard lock(mutex_);
  return status_;
}

absl::Status FdClients::Stop() {
  if (thread_.joinable()) {
    Post({.kind = Command::Kind::kStop});
    thread_.join();
  }
  return status();
}

}  // namespace stress
