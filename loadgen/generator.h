#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "io/errors.h"
#include "io/event_loop.h"
#include "loadgen/datagram_window.h"
#include "loadgen/load.h"
#include "loadgen/shared.h"
#include "services/service.h"
#include "stats/cpu_clock.h"

namespace loadgen {

// One thread of load: a loop's handler that opens its share of the connections, keeps `depth`
// requests in flight on each (or one a burst, when paced), verifies the replies and measures.
//
// Its life: opening (each connection sends one request; it counts when that is answered) -> warm-up
// -> measuring -> draining (the last replies) -> closing (FIN, and nothing more may come) -> done.
// With a number of requests to send instead of a duration, there is neither opening nor warm-up.
//
// A sink's request is complete, and counts as answered, when the kernel has all of it; that the
// server took them shows in the FIN with which it answers ours. A source is sent nothing: each
// message_bytes bytes of it are a reply, and a window that ends resets its connections. Neither has
// a latency.
//
// Where the transport keeps messages, a request is one. Over datagrams a request without a reply is
// given up when reply_timeout_ns has passed, or up to a quarter more, and the next one takes its
// place; a connection that never had a reply is asked again until it is to be open. A datagram that
// is no reply to any request of its connection is corrupt, and answers none.
template <class Backend, class Service>
class Generator {
 public:
  using Loop = typename Backend::template Loop<Generator>;
  using Client = typename Service::Client;

  Generator(const LoadOptions& options, Load::Shared& shared, uint32_t thread)
      : options_(options),
        shared_(shared),
        thread_(thread),
        out_(shared.results[thread].result),
        connections_(Share(options.connections)),
        budget_(Share(options.requests)),
        messages_(options.at.keeps_messages()),
        datagrams_(options.at.is_datagram()),
        client_({.message_bytes = options.message_bytes,
                 .text = options.reply_text,
                 .delay = options.delay}),
        loop_(*this, options.loop) {
    sessions_.resize(connections_);
    if (datagrams_) windows_.resize(connections_);
    if (!datagrams_) times_.resize(static_cast<size_t>(connections_) * options.depth);
  }

  absl::Status Open() { return loop_.Open(); }

  void Run() {
    {
      const std::lock_guard lock(shared_.mutex);
      shared_.wakes[thread_] = [this] { loop_.Wake(); };
    }
    connect_deadline_ = Now() + options_.connect_timeout_ns;
    if (ByCount()) {
      out_.connections.requested = connections_;
      Begin(Now());
      SetPhase(Phase::kMeasuring);
    }
    absl::Status& status = shared_.results[thread_].status;
    while (status.ok() && phase_ != Phase::kDone) {
      const int64_t wait = Step(Now());
      status = loop_.RunOnce(io::Nanos(wait));
      Publish();
    }
    if (measuring_) Finish(Now());
    phase_ = Phase::kDone;
    {
      const std::lock_guard lock(shared_.mutex);
      shared_.wakes[thread_] = [] {};
    }
    loop_.Shutdown();
    Conclude();
  }

  const typename Service::Tally& tally() const { return client_.tally; }

  // --- the loop's callbacks ---------------------------------------------------------------------

  void OnOpen(Loop&, io::Connection& c) noexcept {
    --connecting_;
    ++open_;
    ++out_.connections.opened;
    Session& session = sessions_[c.index];
    session.open = true;
    client_.OnOpen(session.service, c.tag);
    if constexpr (!kAsked) {
      session.in_flight = 1;  // the greeting; its time runs from the connect. Or a first reply
      ++in_flight_;
    } else {
      Owe(session, phase_ == Phase::kOpening ? 1 : options_.pace > 0 ? 0 : options_.depth);
      TrySend(c, session);
    }
  }

  void OnReceive(Loop& loop, io::Connection& c, io::Bytes in) noexcept {
    const int64_t now = Now();
    Session& session = sessions_[c.index];
    received_bytes_ += in.size();
    if constexpr (kMatched) {
      if (datagrams_) [[unlikely]]
        return OnReply(c, session, in, now);
    }
    const services::Received got = client_.OnReceive(session.service, in);
    if (got.corrupt_bytes != 0) [[unlikely]]
      NoteCorruption(c, session, got);
    uint32_t replies = got.replies;
    if constexpr (kExchange == Exchange::kSource) return Came(session, replies);
    if constexpr (kExchange == Exchange::kSink) {
      out_.errors.surplus += replies;
      loop.Abort(c);
      return;
    }
    if (replies > session.in_flight) [[unlikely]] {
      out_.errors.surplus += replies - session.in_flight;
      replies = session.in_flight;
      loop.Abort(c);
    }
    for (uint32_t i = 0; i < replies; ++i) Answered(c, session, now);
    if constexpr (kExchange == Exchange::kGreeting) return;
    if (replies == 0) return;
    if (Renewing()) Owe(session, replies);
    TrySend(c, session);  // paced: what a late reply held up
  }

  void OnEnd(Loop& loop, io::Connection& c) noexcept {
    Session& session = sessions_[c.index];
    const bool expected =
        phase_ == Phase::kClosing || (kExchange == Exchange::kGreeting && session.in_flight == 0);
    if (!expected && !session.failed) {
      ++out_.errors.closed_by_server;
      session.failed = true;
    }
    loop.Close(c);
  }

  void OnDrained(Loop&, io::Connection& c) noexcept {
    Session& session = sessions_[c.index];
    session.sending = false;
    if constexpr (kExchange == Exchange::kSink) {
      if (session.unsent == 0) Taken(session);
    }
    TrySend(c, session);
  }

  void OnClose(Loop&, io::Connection& c, int error) noexcept {
    Session& session = sessions_[c.index];
    session.open ? --open_ : --connecting_;
    if (error != 0 && phase_ != Phase::kDone) {
      out_.errors.by_errno.Add(error);
      if (!session.open) ++out_.errors.connect_failed;
    }
    if (!session.begun && unbegun_ > 0) --unbegun_;
    if (phase_ != Phase::kDone) out_.lost_requests += session.in_flight;
    in_flight_ -= session.in_flight;
    owed_ -= session.owed;
    requests_by_connection_.push_back(session.requests);
    const bool greeted = kExchange == Exchange::kGreeting && session.answered && error == 0;
    session = {};
    if (greeted && Now() < phase_end_) ++to_open_;
  }

 private:
  using Exchange = services::Exchange;
  static constexpr Exchange kExchange = Service::kExchange;
  // Whether the client's requests are what makes the server speak.
  static constexpr bool kAsked =
      kExchange == Exchange::kRequestReply || kExchange == Exchange::kSink;
  static constexpr bool kTimed = services::HasLatency(kExchange);
  // Whether datagrams that come are replies, of which each belongs to a request.
  static constexpr bool kMatched = kExchange == Exchange::kRequestReply;

  enum class Phase { kOpening, kWarmup, kMeasuring, kDraining, kClosing, kDone };

  struct Session {
    typename Client::Session service;
    uint64_t requests = 0;   // answered, in the window
    uint64_t unsent = 0;     // bytes of requests begun, that the loop has not been given
    uint32_t owed = 0;       // requests to begin
    uint32_t in_flight = 0;  // begun, not answered
    uint32_t oldest = 0;     // its place in the connection's times
    bool open = false, begun = false, answered = false;
    bool sending = false, failed = false, corrupt = false;
  };

  static constexpr uint32_t kConnectsInFlight =
      256;  // no more: a backlog is to fill, not to overflow
  static constexpr size_t kCorruptionsKept = 8;
  static constexpr int64_t kClosingNs = 1'000'000'000;
  static constexpr int64_t kGlanceNs = 1'000'000;  // while waiting for other threads
  static constexpr int kSweeps = 4;                // for overdue replies, in reply_timeout_ns

  bool ByCount() const { return options_.requests > 0; }

  template <class T>
  T Share(T all) const {
    return all / options_.threads + (thread_ < all % options_.threads ? 1 : 0);
  }

  void SetPhase(Phase phase) {
    phase_ = phase;
    const int shown = phase == Phase::kOpening     ? 0
                      : phase == Phase::kWarmup    ? 1
                      : phase == Phase::kMeasuring ? 2
                                                   : 3;
    shared_.progress[thread_].phase.store(shown, std::memory_order_relaxed);
  }

  void Publish() {
    ThreadProgress& progress = shared_.progress[thread_];
    progress.requests.store(out_.requests_total, std::memory_order_relaxed);
    progress.open.store(open_, std::memory_order_relaxed);
  }

  // --- time -------------------------------------------------------------------------------------

  // Does what is due; returns how long the loop may wait.
  int64_t Step(int64_t now) {
    if (!opened_first_) OpenFirst();
    if (shared_.interrupted.load(std::memory_order_relaxed) && phase_ < Phase::kDraining) {
      out_.interrupted = true;
      EndWindow(now);
    }
    if (to_open_ > 0 && phase_ < Phase::kDraining) OpenMore();
    if (now >= NextSweep()) Sweep(now);
    const Phase before = phase_;
    int64_t wait = 0;
    switch (phase_) {
      case Phase::kOpening:
        wait = StepOpening(now);
        break;
      case Phase::kWarmup:
        StepWarmup(now);
        break;
      case Phase::kMeasuring:
        StepMeasuring(now);
        break;
      case Phase::kDraining:
        if ((in_flight_ == 0 && owed_ == 0) || now >= drain_deadline_ || Idle()) StartClosing(now);
        break;
      case Phase::kClosing:
        StepClosing(now);
        break;
      case Phase::kDone:
        break;
    }
    if (phase_ != before) return 0;  // the next phase has its say before the loop sleeps
    if (phase_ == Phase::kOpening) return std::clamp<int64_t>(NextSweep() - now, 0, wait);
    if (options_.pace > 0 && phase_ < Phase::kDraining) Burst(now);
    return std::max<int64_t>(0, std::min(NextDeadline(), NextSweep()) - Now());
  }

  void StepWarmup(int64_t now) {
    if (Idle()) return EndWindow(now);  // every connection is gone
    if (now < window_begin_) return;
    Begin(now);
    SetPhase(Phase::kMeasuring);
  }

  void StepMeasuring(int64_t now) {
    if (now >= phase_end_ || AllDone() || Idle()) EndWindow(now);
  }

  bool Idle() const { return open_ == 0 && connecting_ == 0 && to_open_ == 0; }

  // By count: nothing is left to begin, and nothing under way.
  bool AllDone() const {
    if constexpr (kExchange == Exchange::kSource) return ByCount() && budget_ == 0;
    const bool renews = options_.pace > 0 || kExchange == Exchange::kGreeting;  // by itself
    if (!ByCount() || (budget_ > 0 && renews)) return false;
    return owed_ == 0 && in_flight_ == 0 && connecting_ == 0 && to_open_ == 0;
  }

  int64_t NextDeadline() const {
    switch (phase_) {
      case Phase::kWarmup:
        return std::min(window_begin_, NextBurst());
      case Phase::kMeasuring:
        return std::min(phase_end_, NextBurst());
      case Phase::kDraining:
        return drain_deadline_;
      case Phase::kClosing:
        return closing_deadline_;
      default:
        return INT64_MAX / 2;
    }
  }

  void OpenFirst() {
    opened_first_ = true;
    if (!ByCount()) out_.connections.requested = connections_;
    to_open_ = unbegun_ = connections_;
  }

  int64_t StepOpening(int64_t now) {
    if (!waiting_) {
      const bool all = to_open_ == 0 && connecting_ == 0 && in_flight_ == 0 && owed_ == 0;
      if (!all && now < connect_deadline_)
        return std::min(kGlanceNs * 100, connect_deadline_ - now);
      if (now >= connect_deadline_) {
        out_.errors.connect_timed_out += connecting_ + to_open_;
        to_open_ = 0;
      }
      waiting_ = true;
      shared_.Opened();
    }
    const int64_t start = shared_.start_at.load(std::memory_order_acquire);
    if (start == 0) return kGlanceNs;
    PlanWindow(start, start + options_.warmup_ns);
    SetPhase(Phase::kWarmup);
    if (options_.pace == 0 && kAsked) {
      loop_.ForEachConnection([this](io::Connection& c) {
        Session& session = sessions_[c.index];
        if (!session.open || session.in_flight > 0) return;
        Owe(session, options_.depth);
        TrySend(c, session);
      });
    }
    return 0;
  }

  // When bursts and the window begin and end. The window of a paced run holds whole bursts: half of
  // one more or less would be an error of its own in the rate.
  void PlanWindow(int64_t start, int64_t earliest_begin) {
    window_begin_ = earliest_begin;
    int64_t length = options_.duration_ns;
    if (options_.pace > 0) {
      burst_interval_ = options_.connections / options_.pace * 1e9;
      burst_first_ = start + burst_interval_ * thread_ / options_.threads;
      const double first =
          std::max(0.0, std::ceil((earliest_begin - burst_first_) / burst_interval_));
      window_begin_ = burst_first_ + static_cast<int64_t>(first * burst_interval_);
      const double bursts = std::max(1.0, std::round(length / burst_interval_));
      length = static_cast<int64_t>(bursts * burst_interval_);
    }
    phase_end_ = window_begin_ + length;
  }

  void Begin(int64_t now) {
    measuring_ = true;
    begun_at_ = now;
    if (ByCount()) PlanWindow(now, now);
    cpu_before_ = stats::ThreadCpuNanos();
    calls_before_ = loop_.counters().system_calls;
    if (thread_ == 0 && options_.server_pid > 0) server_cpu_before_ = ServerCpu();
  }

  void Finish(int64_t now) {
    measuring_ = false;
    out_.duration_s = (now - begun_at_) / 1e9;
    out_.throughput_rps = out_.duration_s > 0 ? out_.requests / out_.duration_s : 0;
    out_.cpu_ns = stats::ThreadCpuNanos() - cpu_before_;
    out_.system_calls = loop_.counters().system_calls - calls_before_;
    if (server_cpu_before_ >= 0) {
      const int64_t after = ServerCpu();
      if (after >= 0) out_.server_cpu_ns = after - server_cpu_before_;
    }
  }

  int64_t ServerCpu() const {
    const auto cpu = stats::ProcessTreeCpuNanos(options_.server_pid);
    return cpu.ok() ? *cpu : -1;
  }

  void EndWindow(int64_t now) {
    if (measuring_) Finish(now);
    to_open_ = 0;
    loop_.ForEachConnection([this](io::Connection& c) {
      owed_ -= sessions_[c.index].owed;
      sessions_[c.index].owed = 0;
    });
    SetPhase(Phase::kDraining);
    drain_deadline_ = now + options_.drain_timeout_ns;
    if (datagrams_) drain_deadline_ += 2 * options_.reply_timeout_ns;  // all are answered, or lost
  }

  void StartClosing(int64_t now) {
    out_.errors.unanswered += in_flight_;
    SetPhase(Phase::kClosing);
    closing_deadline_ = now + kClosingNs;
    if constexpr (kExchange == Exchange::kSink) {  // whose FIN stands for an answer
      closing_deadline_ = std::max(closing_deadline_, drain_deadline_);
    }
    loop_.ForEachConnection([this](io::Connection& c) {
      const bool ends = sessions_[c.index].open && kExchange != Exchange::kSource && !datagrams_;
      ends ? loop_.End(c) : loop_.Abort(c);  // datagrams have no end that could be told
    });
  }

  void StepClosing(int64_t now) {
    if (!Idle() && now < closing_deadline_) return;
    if constexpr (kExchange == Exchange::kSink) {  // those without a FIN, not counted for more yet
      loop_.ForEachConnection([this](io::Connection& c) {
        const Session& session = sessions_[c.index];
        const bool fin_due = session.open && !datagrams_;
        if (fin_due && session.in_flight == 0) ++out_.errors.unanswered;
      });
    }
    phase_ = Phase::kDone;
  }

  void Conclude() {
    out_.connections.silent = out_.connections.opened - out_.connections.answered;
    out_.io = loop_.counters();
    out_.bytes.sent = out_.io.sent_bytes;
    out_.bytes.received = received_bytes_;
    if constexpr (requires { client_.OnLost(uint64_t{}); }) {
      client_.OnLost(out_.datagrams.lost - out_.datagrams.late);
    }
    shared_.results[thread_].requests_by_connection = std::move(requests_by_connection_);
  }

  // --- connections ------------------------------------------------------------------------------

  void OpenMore() {
    for (; to_open_ > 0 && connecting_ < kConnectsInFlight; --to_open_) {
      if (kExchange == Exchange::kGreeting && ByCount()) {  // the connection is the request
        if (budget_ == 0) {
          to_open_ = 0;
          return;
        }
        --budget_;
      }
      const uint64_t number = static_cast<uint64_t>(next_number_++) * options_.threads + thread_;
      const auto connection = loop_.Connect(options_.at, number);
      if (!connection.ok()) {
        out_.problem = std::string(connection.status().message());
        ++out_.errors.service;
        to_open_ = 0;
        return;
      }
      ++connecting_;
      const uint32_t index = (*connection)->index;
      if (index >= sessions_.size()) {
        sessions_.resize(index + 1);
        if (datagrams_) windows_.resize(index + 1);
        if (!datagrams_) times_.resize(static_cast<size_t>(index + 1) * options_.depth);
      }
      sessions_[index] = {};
      if (datagrams_) {
        windows_[index].Reset(options_.depth);
      } else {
        times_[static_cast<size_t>(index) * options_.depth] = Now();
      }
    }
  }

  // --- requests ---------------------------------------------------------------------------------

  // The connection has `count` more requests to send, as far as the budget goes: of which one is
  // kept for each connection that is not open yet.
  void Owe(Session& session, uint64_t count) {
    if (ByCount()) count = TakeBudget(session, count);
    session.owed += count;
    owed_ += count;
  }

  uint64_t TakeBudget(Session& session, uint64_t count) {
    if (!session.begun) --unbegun_;
    session.begun = true;
    count = std::min(count, budget_ - std::min<uint64_t>(budget_, unbegun_));
    budget_ -= count;
    return count;
  }

  // Whether an answer brings the next request.
  bool Renewing() const {
    return (phase_ == Phase::kWarmup || phase_ == Phase::kMeasuring) && options_.pace <= 0;
  }

  void TrySend(io::Connection& c, Session& session) {
    if (session.sending || !session.open) return;
    if (session.unsent == 0 && !BeginRequests(c, session)) return;
    const io::Bytes out = client_.Next(session.service, session.unsent);
    session.unsent -= out.size();
    session.sending = true;
    loop_.SendStable(c, out);
  }

  // Begins as many of the owed requests as may be in flight, and go out in one send.
  bool BeginRequests(io::Connection& c, Session& session) {
    constexpr uint64_t kSendBytesMax = 1 << 20;
    uint64_t count = std::min(session.owed, options_.depth - session.in_flight);
    if (count == 0) return false;
    if (messages_) {
      count = 1;
    } else if (count > 1) {
      count = std::min(count, std::max<uint64_t>(1, kSendBytesMax / options_.message_bytes));
    }
    if (kMatched && datagrams_) {
      windows_[c.index].Sent(Now());
      ++session.in_flight;
    } else if constexpr (kTimed) {
      const int64_t now = Now();
      int64_t* times = &times_[static_cast<size_t>(c.index) * options_.depth];
      for (uint64_t i = 0; i < count; ++i) {
        const uint32_t at = session.oldest + session.in_flight++;
        times[at < options_.depth ? at : at - options_.depth] = now;
      }
    } else {
      session.in_flight += count;
    }
    in_flight_ += count;
    session.owed -= count;
    owed_ -= count;
    session.unsent = count * options_.message_bytes;
    return true;
  }

  void Answered(io::Connection& c, Session& session, int64_t now) {
    const int64_t sent = times_[static_cast<size_t>(c.index) * options_.depth + session.oldest];
    if (++session.oldest == options_.depth) session.oldest = 0;
    Answered(session, now - sent);
  }

  // The oldest request on the connection, or any over datagrams, was answered after so long.
  void Answered(Session& session, int64_t latency_ns) {
    --session.in_flight;
    --in_flight_;
    ++out_.requests_total;
    NoteAnswer(session);
    if constexpr (requires { client_.OnLatency(latency_ns); }) client_.OnLatency(latency_ns);
    if (!measuring_) return;
    ++out_.requests;
    ++session.requests;
    out_.latency.Record(latency_ns);
  }

  void NoteAnswer(Session& session) {
    if (session.answered) return;
    session.answered = true;
    ++out_.connections.answered;
  }

  // The kernel has all that the sink was sent.
  void Taken(Session& session) {
    const uint32_t count = session.in_flight;
    if (count == 0) return;
    session.in_flight = 0;
    in_flight_ -= count;
    Count(session, count);
    if (Renewing()) Owe(session, count);
  }

  // So many replies of a source are complete.
  void Came(Session& session, uint64_t count) {
    if (count == 0) return;
    in_flight_ -= session.in_flight;  // the first
    session.in_flight = 0;
    Count(session, ByCount() ? TakeBudget(session, count) : count);
  }

  // Requests that have no latency are done.
  void Count(Session& session, uint64_t count) {
    out_.requests_total += count;
    NoteAnswer(session);
    if (!measuring_) return;
    out_.requests += count;
    session.requests += count;
  }

  void NoteCorruption(io::Connection& c, Session& session, const services::Received& got) {
    out_.bytes.corrupt += got.corrupt_bytes;
    if (!session.corrupt) ++out_.errors.corrupt_connections;
    session.corrupt = true;
    if (out_.corruptions.size() < kCorruptionsKept) {
      out_.corruptions.push_back({c.tag, got.corrupt_offset, got.expected, got.got});
    }
  }

  // --- datagrams --------------------------------------------------------------------------------

  // A datagram came: whose reply is it?
  void OnReply(io::Connection& c, Session& session, io::Bytes in, int64_t now) {
    using Kind = DatagramWindow::Kind;
    const DatagramWindow::Match match = MatchReply(c, session, in);
    switch (match.kind) {
      case Kind::kUnknown:
        return;
      case Kind::kDoubled:
        ++out_.datagrams.doubled;
        return;
      case Kind::kLate:
        ++out_.datagrams.late;
        NoteAnswer(session);
        return;
      case Kind::kReordered:
        ++out_.datagrams.reordered;
        break;
      case Kind::kReply:
        break;
    }
    Answered(session, now - match.sent_ns);
    if (Renewing()) Owe(session, 1);
    TrySend(c, session);
  }

  // What is of no request is counted here.
  DatagramWindow::Match MatchReply(io::Connection& c, Session& session, io::Bytes in) {
    DatagramWindow& window = windows_[c.index];
    if constexpr (requires { client_.Reply(c.tag, uint64_t{}); }) {
      const DatagramWindow::Match match = window.Take([&](uint64_t number) {
        const io::Bytes reply = client_.Reply(c.tag, number);
        return in.size() == reply.size() && std::memcmp(in.data(), reply.data(), in.size()) == 0;
      });
      if (match.kind == DatagramWindow::Kind::kUnknown) [[unlikely]]
        NoteCorruption(c, session, Nearest(c, in));
      return match;
    } else {
      using Kind = DatagramWindow::Kind;
      const services::Received got = client_.OnDatagram(in);
      if (got.corrupt_bytes != 0) [[unlikely]] {
        NoteCorruption(c, session, got);
        return {};
      }
      if (got.replies == 0) return {.kind = Kind::kDoubled};
      const DatagramWindow::Match match = window.Take([](uint64_t) { return true; });
      if (match.kind == Kind::kDoubled || match.kind == Kind::kUnknown) {  // a new one, unasked for
        ++out_.errors.surplus;
        return {};
      }
      return match;
    }
  }

  // How a corrupt datagram differs from the reply that it is most like.
  services::Received Nearest(io::Connection& c, io::Bytes in) {
    constexpr int kTriesMax = 64;
    services::Received nearest;
    int tries = 0;
    const auto compare = [&](uint64_t number) {
      if (++tries > kTriesMax) return;
      const io::Bytes reply = client_.Reply(c.tag, number);
      const size_t common = std::min(in.size(), reply.size());
      const size_t rest = std::max(in.size(), reply.size()) - common;
      services::Received got;
      got.Compare(in.first(common), reply.first(common), number * reply.size());
      if (got.corrupt_bytes == 0) {  // only its length is wrong
        got.corrupt_offset = number * reply.size() + common;
        if (common < reply.size()) got.expected = std::to_integer<uint8_t>(reply[common]);
        if (common < in.size()) got.got = std::to_integer<uint8_t>(in[common]);
      }
      got.corrupt_bytes += rest;
      if (nearest.corrupt_bytes == 0 || got.corrupt_bytes < nearest.corrupt_bytes) nearest = got;
    };
    windows_[c.index].ForEachOpen(compare);
    if (tries == 0) compare(windows_[c.index].next());  // nothing is expected
    if (nearest.corrupt_bytes == 0) nearest.corrupt_bytes = in.size();
    return nearest;
  }

  int64_t NextSweep() const {
    return kMatched && datagrams_ && in_flight_ > 0 ? next_sweep_ : INT64_MAX / 2;
  }

  // Gives up what is overdue, so that no connection waits for a reply that was lost.
  void Sweep(int64_t now) {
    next_sweep_ = now + options_.reply_timeout_ns / kSweeps;
    loop_.ForEachConnection([&](io::Connection& c) {
      Session& session = sessions_[c.index];
      if (!session.open || session.in_flight == 0) return;
      const uint32_t lost = windows_[c.index].GiveUp(now - options_.reply_timeout_ns);
      if (lost == 0) return;
      session.in_flight -= lost;
      in_flight_ -= lost;
      out_.datagrams.lost += lost;
      if (Renewing()) Owe(session, lost);
      if (phase_ == Phase::kOpening && !session.answered) Owe(session, 1);
      TrySend(c, session);
    });
  }

  // --- pacing -----------------------------------------------------------------------------------

  int64_t NextBurst() const {
    if (options_.pace <= 0) return INT64_MAX;
    return burst_first_ + static_cast<int64_t>(burst_interval_ * bursts_);
  }

  // One request on each connection, for each burst that is due. A late one is sent all the same.
  void Burst(int64_t now) {
    if (now < NextBurst()) return;
    if (measuring_) out_.pace_late_max_ns = std::max(out_.pace_late_max_ns, now - NextBurst());
    ++bursts_;
    loop_.ForEachConnection([this](io::Connection& c) {
      Session& session = sessions_[c.index];
      if (!session.open) return;
      Owe(session, 1);
      TrySend(c, session);
    });
  }

  const LoadOptions& options_;
  Load::Shared& shared_;
  const uint32_t thread_;
  LoadResult& out_;
  const uint32_t connections_;
  uint64_t budget_;       // requests that may still be begun, by count
  const bool messages_;   // the transport keeps them: each request is one
  const bool datagrams_;  // and may lose them
  Client client_;
  std::vector<Session> sessions_;  // by slot
  std::vector<int64_t> times_;     // depth a slot: when each request in flight was sent. Or, over
  std::vector<DatagramWindow> windows_;  // datagrams, a slot
  std::vector<uint64_t> requests_by_connection_;
  Loop loop_;
  Phase phase_ = Phase::kOpening;
  bool opened_first_ = false, waiting_ = false, measuring_ = false;
  uint32_t to_open_ = 0, connecting_ = 0, open_ = 0, next_number_ = 0;
  uint32_t unbegun_ = 0;  // connections that have had no request yet
  uint64_t in_flight_ = 0, owed_ = 0, received_bytes_ = 0, bursts_ = 0;
  int64_t connect_deadline_ = 0, window_begin_ = 0, phase_end_ = INT64_MAX, begun_at_ = 0;
  int64_t drain_deadline_ = 0, closing_deadline_ = 0, burst_first_ = 0, next_sweep_ = 0;
  double burst_interval_ = 0;
  int64_t cpu_before_ = 0, server_cpu_before_ = -1;
  uint64_t calls_before_ = 0;
};

}  // namespace loadgen
