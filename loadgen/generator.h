#pragma once

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <deque>
#include <string>
#include <type_traits>
#include <vector>

#include "absl/strings/str_cat.h"
#include "io/errors.h"
#include "io/event_loop.h"
#include "loadgen/arrivals.h"
#include "loadgen/connecting.h"
#include "loadgen/datagram_replies.h"
#include "loadgen/load.h"
#include "loadgen/meters.h"
#include "loadgen/pacer.h"
#include "loadgen/places.h"
#include "loadgen/recorder.h"
#include "loadgen/request_times.h"
#include "loadgen/shared.h"
#include "loadgen/sources.h"
#include "loadgen/text_client.h"
#include "loadgen/thoughts.h"
#include "services/service.h"
#include "services/splitmix.h"

namespace loadgen {

// One thread of load: a loop's handler that opens its share of the connections, sends requests on
// them, verifies the replies and measures.
//
// Its life: opening (each connection sends one request; it counts when that is answered) -> warm-up
// -> measuring -> draining (the last replies) -> closing (FIN, and nothing more may come) -> done.
// With a number of requests to send instead of a duration, there is neither opening nor warm-up.
//
// In closed loop each reply brings the next request, after a time to think. In open loop a schedule
// says when requests are due; each goes to the connection that has been free for longest, and waits
// where none is. Nothing is queued for that: the schedule is asked for its next request only when
// it can be sent, so a run that is overloaded needs no memory for what it is behind.
//
// A connection may be there for one request only (greet, and Workload::kConnect): then connecting
// is a part of the request, and a new connection takes the place of the old one. It may also be
// there for some of them (LoadOptions::requests_per_connection): when the last is answered it is
// closed, and another is opened, which is no part of any request.
//
// Where broken connections are opened again, a server may close one in order: by a FIN, when it has
// answered, and not in the midst of a reply. What was under way then has crossed the FIN, and the
// server hasn't read it; so it is sent again on another connection. In open loop its response time
// runs on from when it was due; in closed loop it begins with the new send.
//
// A connect that takes too long is given up, so that none hangs for as long as the kernel tries.
//
// A sink's request is complete, and counts as answered, when the kernel has all of it; that the
// server took them shows in the FIN with which it answers ours. A source is sent nothing: each
// message_bytes bytes of it are a reply, and a window that ends resets its connections. Neither has
// a latency.
//
// Where the transport keeps messages, a request is one. A request without a reply is given up when
// reply_timeout_ns has passed, or up to a quarter more: over datagrams the next one takes its
// place, and a connection that never had a reply is asked again until it is to be open; on a stream
// the connection is reset, for its replies couldn't be told apart any more. A datagram that is no
// reply to any request of its connection is corrupt, and answers none.
template <class Backend, class Service>
class Generator {
 public:
  using Loop = typename Backend::template Loop<Generator>;
  using Client = typename Service::Client;

  Generator(Load::Shared& shared, Load::Part& part, Load::Class& load, uint32_t thread,
            uint32_t wake)
      : options_(load.options),
        shared_(shared),
        part_(part),
        load_(load),
        thread_(thread),
        wake_(wake),
        out_(load.results[thread].result),
        recorder_(options_, out_, load.outboxes[thread]),
        connections_(Share(options_.connections)),
        budget_(Share(options_.requests)),
        open_loop_(options_.open_loop()),
        one_each_(kExchange == Exchange::kGreeting || options_.workload == Workload::kConnect),
        some_each_(options_.requests_per_connection.most > 0),
        ends_(one_each_ || some_each_),
        rationed_(options_.requests > 0 || some_each_),
        messages_(options_.at.keeps_messages()),
        datagrams_(options_.at.is_datagram()),
        varies_(options_.sizes.varies()),
        client_(MakeClient(options_)),
        times_(options_.depth),
        places_(one_each_ ? 0 : connections_),
        pacer_(options_, thread, out_.schedule),
        thoughts_(options_.think, options_.seed ^ (uint64_t{thread} << 48)),
        loop_(*this, options_.loop) {
    GrowTo(connections_);
  }

  absl::Status Open() {
    const absl::Status planned = sources_.Plan(options_, thread_, ends_, Now());
    return planned.ok() ? loop_.Open() : planned;
  }

  void Run() {
    {
      const std::lock_guard lock(shared_.mutex);
      shared_.wakes[wake_] = [this] { loop_.Wake(); };
    }
    opening_began_ = Now();
    connect_deadline_ = opening_began_ + options_.connect_timeout_ns;
    if (ByCount()) {
      out_.connections.requested = connections_;
      PlanWindow(opening_began_);
      Begin(opening_began_);
    }
    absl::Status& status = load_.results[thread_].status;
    while (status.ok() && phase_ != Phase::kDone) {
      const int64_t wait = Step(Now());
      status = loop_.RunOnce(io::Nanos(options_.spin ? 0 : wait));
      Publish();
    }
    if (recorder_.measuring()) Finish(Now());
    recorder_.Finish();
    phase_ = Phase::kDone;
    {
      const std::lock_guard lock(shared_.mutex);
      shared_.wakes[wake_] = [] {};
    }
    loop_.Shutdown();
    Conclude();
  }

  const typename Service::Tally& tally() const { return client_.tally; }

  // --- the loop's callbacks ---------------------------------------------------------------------

  void OnOpen(Loop&, io::Connection& c) noexcept {
    const int64_t now = Now();
    --connecting_;
    ++open_;
    ++out_.connections.opened;
    Session& session = sessions_[c.index];
    session.open = session.takes = true;
    session.connecting = false;
    connecting_list_.Remove(session.connect);
    out_.connect.Record(now - session.since_ns);
    client_.OnOpen(session.service, c.tag);
    if (one_each_) return OpenForOne(c, session);
    if constexpr (!kAsked) {
      session.in_flight = 1;  // a source's first reply
      ++in_flight_;
    } else {
      session.since_ns = 0;
      if (phase_ == Phase::kOpening) {
        Owe(session, 1);
      } else if (open_loop_) {
        Offer(c.index, session, now);
      } else {
        Owe(session, options_.depth);
      }
      TrySend(c, session);
    }
  }

  void OnReceive(Loop&, io::Connection& c, io::Bytes in) noexcept {
    const int64_t now = Now();
    Session& session = sessions_[c.index];
    received_bytes_ += in.size();
    recorder_.Bytes(in.size());
    if (!session.heard) [[unlikely]]
      HearFirst(session, now);
    if (c.received_at_ns != 0) [[unlikely]]
      SampleWait(c, session, now);
    if constexpr (kMatched) {
      if (datagrams_) [[unlikely]]
        return OnReply(c, session, in, now);
    }
    const services::Received got = client_.OnReceive(session.service, in);
    if (got.corrupt_bytes != 0) [[unlikely]]
      NoteCorruption(c, session, got);
    uint32_t replies = got.replies;
    if constexpr (kExchange == Exchange::kSource) return Came(session, replies);
    if (replies > session.in_flight || (kExchange == Exchange::kSink && replies > 0)) [[unlikely]]
      return OnSurplus(c, session, replies, now);
    if constexpr (kExchange != Exchange::kSink) {
      for (uint32_t i = 0; i < replies; ++i) AnsweredOldest(c, session, now);
      if (replies > 0) GoOn(c, session, replies, now);
    }
  }

  void OnEnd(Loop& loop, io::Connection& c) noexcept {
    Session& session = sessions_[c.index];
    const bool expected =
        phase_ >= Phase::kClosing || session.spent || (one_each_ && session.in_flight == 0);
    if (!expected && !session.failed) EndedByServer(c, session);
    if (session.ending) out_.close.Record(Now() - session.since_ns);
    loop.Close(c);
  }

  void OnDrained(Loop&, io::Connection& c) noexcept {
    Session& session = sessions_[c.index];
    session.sending = false;
    if constexpr (kExchange == Exchange::kSink) {
      if (session.unsent == 0) {
        Taken(session);
        if (ends_ && Spent(session)) return EndSpent(c, session);
      }
    }
    if (open_loop_ && session.unsent == 0) Offer(c.index, session, 0);
    TrySend(c, session);
  }

  void OnClose(Loop&, io::Connection& c, int error) noexcept {
    Session& session = sessions_[c.index];
    session.open ? --open_ : --connecting_;
    if (session.connecting) connecting_list_.Remove(session.connect);
    if (error == EPIPE && phase_ < Phase::kClosing && !session.failed && !session.left &&
        MayEnd(session)) {
      EndedByServer(c, session);  // its FIN came first, or it would be a reset (tcp_reset())
    }
    if (session.left && (error == EPIPE || error == ECONNRESET)) error = 0;  // what crossed it
    if (GiveBackSource(c, session, error)) return;
    if (error == EADDRNOTAVAIL && !session.open) NoteNoPort();
    if (error != 0 && phase_ != Phase::kDone) {
      out_.errors.by_errno.Add(error);
      if (!session.open) ++out_.errors.connect_failed;
      NoteFailure(session.open ? Failure::Kind::kBroken : Failure::Kind::kConnect, error, c,
                  session);
      session.failed = true;
    }
    if (!session.begun && unbegun_ > 0) {
      --unbegun_;
      if (open_loop_ && ByCount()) OfferAll();  // what was kept for it is the others' now
    }
    if (phase_ < Phase::kClosing && !session.left) {
      out_.lost_requests += session.in_flight;
      CensorAll(c.index, session, Now());
    }
    if (session.left) SendAgain(c.index, session);
    if (session.left || session.spent) --leaving_;
    in_flight_ -= session.in_flight;
    owed_ -= session.owed;
    if (kAsked && session.open && session.number == 0) ++unasked_;
    if (!one_each_) places_.Return(session.place, session.requests);
    const Gone gone = GoneHow(session);
    session = {};
    Replace(gone);
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

  // How a connection went.
  enum class Gone {
    kFailed,
    kLeft,   // the server closed it in order
    kSpent,  // it has had its requests, of which a connection may have some
    kClosed,
  };

  struct Session {
    typename Client::Session service;
    uint64_t requests = 0;          // answered, in the window
    uint64_t number = 0;            // requests begun
    uint64_t unsent = 0;            // bytes of requests begun, that the loop has not been given
    uint64_t quota = ~uint64_t{0};  // requests that it may still be given
    int64_t since_ns = 0;           // when connecting began; later, when the first request was sent
    int64_t due_ns = 0;             // one_each_: when its request was due
    uint32_t generation = 0;
    uint32_t owed = 0;       // requests to begin
    uint32_t in_flight = 0;  // begun, not answered
    uint32_t oldest = 0;     // its place in the connection's times
    uint32_t place = 0;      // of places_
    uint32_t connect = 0;    // its place in connecting_list_, while connecting
    bool connecting = false, open = false, begun = false, answered = false, heard = false;
    bool takes = false;  // it is open, and may be given more requests
    bool spent = false;  // it was closed by us, after its last request
    bool left = false;   // it was closed by the server, in order
    bool sending = false, failed = false, corrupt = false;
    bool listed = false;  // among the free ones of pacer_
    bool ending = false;  // our FIN is sent, at since_ns
  };

  // No more: a backlog is to fill, not to overflow. All threads together have half of the 4096 that
  // net.core.somaxconn usually allows.
  static constexpr uint32_t kConnectsInFlight = 256, kConnectsInFlightOfAll = 2048;
  static constexpr size_t kCorruptionsKept = 8, kFailuresKept = 8;
  static constexpr int64_t kClosingNs = 1'000'000'000, kClosingEachNs = 100'000;
  static constexpr int64_t kGlanceNs = 1'000'000;         // while waiting for other threads
  static constexpr int64_t kReplaceAfterNs = 10'000'000;  // one_each_: what failed
  static constexpr int kSweeps = 4;  // for overdue replies, in reply_timeout_ns
  static constexpr size_t kTcpSampled = 64;

  static Client MakeClient(const LoadOptions& options) {
    if constexpr (std::is_constructible_v<Client, const TextOptions&>) {
      return Client(options.text);
    } else {
      return Client({.message_bytes = options.message_bytes,
                     .sizes = options.sizes,
                     .text = options.reply_text,
                     .delay = options.delay});
    }
  }

  bool ByCount() const { return options_.requests > 0; }

  template <class T>
  T Share(T all) const {
    return all / options_.threads + (thread_ < all % options_.threads ? 1 : 0);
  }

  void GrowTo(size_t slots) {
    if (slots <= sessions_.size()) return;
    sessions_.resize(slots);
    if (datagrams_) windows_.resize(slots);
    if (!datagrams_) times_.Resize(slots);
  }

  // The only way out of the opening, but for the end of the thread: nobody waits for it longer.
  void SetPhase(Phase phase) {
    phase_ = phase;
    if (phase != Phase::kOpening) part_.Arrive();
    const int shown = phase == Phase::kOpening     ? 0
                      : phase == Phase::kWarmup    ? 1
                      : phase == Phase::kMeasuring ? 2
                                                   : 3;
    load_.progress[thread_].phase.store(shown, std::memory_order_relaxed);
  }

  void Publish() {
    ThreadProgress& progress = load_.progress[thread_];
    progress.requests.store(out_.requests_total, std::memory_order_relaxed);
    progress.open.store(open_, std::memory_order_relaxed);
  }

  // --- time -------------------------------------------------------------------------------------

  // Does what is due; returns how long the loop may wait.
  int64_t Step(int64_t now) {
    recorder_.Tick(now, open_, loop_.counters().sent_bytes);
    if (!opened_first_) OpenFirst();
    if (phase_ == Phase::kOpening) CheckOpening(now);
    if (phase_ < Phase::kDraining) CheckStop(now);
    if (phase_ < Phase::kClosing) OpenMore(now);
    if (phase_ < Phase::kClosing && now >= NextSweep()) Sweep(now);
    const Phase before = phase_;
    int64_t wait = 0;
    switch (phase_) {
      case Phase::kOpening:
        wait = StepOpening(now);
        break;
      case Phase::kWarmup:
        wait = StepWarmup(now);
        break;
      case Phase::kMeasuring:
        if (now >= phase_end_ || AllDone() || Idle()) EndWindow(now);
        break;
      case Phase::kDraining:
        if (Drained(now) || now >= drain_deadline_ || Idle()) StartClosing(now);
        break;
      case Phase::kClosing:
        StepClosing(now);
        break;
      case Phase::kDone:
        break;
    }
    if (phase_ != before) return 0;  // the next phase has its say before the loop sleeps
    int64_t next = std::min({NextSweep(), NextConnect(now), recorder_.NextTick()});
    if (phase_ == Phase::kOpening) return std::clamp<int64_t>(next - now, 0, wait);
    if (phase_ < Phase::kClosing) {
      ThinkOver(now);
      Dispatch(now);
      next = std::min(next, thoughts_.Next());
      if (CanTake() && now < sends_end_) next = std::min(next, NextDue());
    }
    return std::clamp<int64_t>(std::min(next, NextDeadline()) - Now(), 0, wait > 0 ? wait : kNever);
  }

  void CheckStop(int64_t now) {
    const bool interrupted = shared_.interrupted.load(std::memory_order_relaxed);
    if (options_.errors_max > 0 &&
        load_.errors.load(std::memory_order_relaxed) > options_.errors_max) {
      shared_.too_many_errors.store(true, std::memory_order_relaxed);
    }
    const bool too_many = shared_.too_many_errors.load(std::memory_order_relaxed);
    const bool no_port =
        options_.stop_without_ports && load_.out_of_ports.load(std::memory_order_relaxed);
    if (!interrupted && !too_many && !no_port) return;
    out_.interrupted = interrupted;
    out_.too_many_errors = too_many;
    pacer_.EndAt(now);
    EndWindow(now);
  }

  // Whether no more are to be opened: then those under way have a last time limit.
  void CheckOpening(int64_t now) {
    if (stopped_opening_ || !shared_.stop_opening.load(std::memory_order_relaxed)) return;
    stopped_opening_ = true;
    to_open_ = 0;
    reopen_.clear();
    connect_deadline_ = std::min(connect_deadline_, now + options_.drain_timeout_ns);
  }

  int64_t StepWarmup(int64_t now) {
    if (Idle()) {  // every connection is gone
      EndWindow(now);
      return 0;
    }
    if (window_begin_ == 0) {
      const int64_t begin = shared_.WindowBegin(now);
      if (begin == 0) return kGlanceNs * 10;
      PlanWindow(begin);
    }
    if (now >= window_begin_) Begin(now);
    return 0;
  }

  bool Idle() const {
    const bool more = phase_ == Phase::kWarmup || NextDue() != kNever;
    if (pacer_.vacant() > 0 && more) return false;
    return open_ == 0 && connecting_ == 0 && to_open_ == 0 && reopen_.empty();
  }

  // By count: nothing is left to begin, and nothing under way.
  bool AllDone() const {
    if (!again_.empty()) return false;
    if (budget_ > 0 && leaving_ > 0) return false;  // another comes in its place
    if (!ByCount())
      return open_loop_ && NextDue() == kNever && in_flight_ == 0 && phase_end_ == kNever;
    if constexpr (kExchange == Exchange::kSource) return budget_ == 0;
    const bool goes_on = open_loop_ || one_each_ || !thoughts_.empty() || !reopen_.empty();
    if (budget_ > 0 && goes_on) return false;
    return owed_ == 0 && in_flight_ == 0 && connecting_ == 0 && (budget_ == 0 || to_open_ == 0);
  }

  bool Drained(int64_t now) const {
    if (one_each_ && connecting_ > 0) return false;
    return in_flight_ == 0 && owed_ == 0 && !Sends(now);
  }

  // Open loop: whether something is still to be sent, and may be.
  bool Sends(int64_t now) const {
    return open_loop_ && now < sends_end_ && (NextDue() != kNever || !again_.empty());
  }

  int64_t NextDeadline() const {
    switch (phase_) {
      case Phase::kWarmup:
        return window_begin_ == 0 ? kNever : window_begin_;
      case Phase::kMeasuring:
        return phase_end_;
      case Phase::kDraining:
        return drain_deadline_;
      case Phase::kClosing:
        return closing_deadline_;
      default:
        return kNever;
    }
  }

  void OpenFirst() {
    opened_first_ = true;
    if (!ByCount()) out_.connections.requested = connections_;
    to_open_ = unbegun_ = connections_;
    if (one_each_ && open_loop_ && ByCount()) {
      pacer_.AddVacant(std::exchange(to_open_, 0), Now());
    }
  }

  int64_t StepOpening(int64_t now) {
    if (!waiting_) {
      const bool all =
          to_open_ == 0 && connecting_ == 0 && in_flight_ == 0 && owed_ == 0 && reopen_.empty();
      if (!all && now < connect_deadline_) {
        return std::min(kGlanceNs * 100, connect_deadline_ - now);
      }
      if (now >= connect_deadline_) {
        const uint64_t late = to_open_ + reopen_.size();
        out_.errors.connect_timed_out += late;
        CountErrors(late);
        to_open_ = 0;
        reopen_.clear();
        GiveUpConnects(now);
      }
      waiting_ = true;
      out_.opening_s = (now - opening_began_) / 1e9;
      part_.Arrive();
    }
    const int64_t start = shared_.start_at.load(std::memory_order_acquire);
    if (start == 0) return kGlanceNs * (1 + options_.threads / 8);  // many would only keep it busy
    StartWarmup(start);
    return 0;
  }

  void StartWarmup(int64_t start) {
    warmup_began_ = start;
    SetPhase(Phase::kWarmup);
    const int64_t begin = shared_.WindowBegin(start);
    if (begin != 0) PlanWindow(begin);
    if (one_each_ && open_loop_) {
      pacer_.AddVacant(resting_, start);
    } else {
      to_open_ += resting_;
    }
    resting_ = 0;
    if (options_.workload == Workload::kHold) pacer_.Shuffle(options_.seed + thread_);
    if (open_loop_) {
      pacer_.StartWarmup(start, window_begin_ != 0 ? window_begin_ : kNever);
    } else if (kAsked && !one_each_) {
      loop_.ForEachConnection([this](io::Connection& c) {
        Session& session = sessions_[c.index];
        if (!session.takes || session.in_flight > 0) return;
        Owe(session, options_.depth);
        TrySend(c, session);
      });
    }
  }

  // The window of bursts holds whole ones: half of one more or less would be an error of its own in
  // the rate.
  void PlanWindow(int64_t begin) {
    window_begin_ = begin;
    pacer_.EndWarmupAt(begin);
    int64_t length = options_.duration_ns;
    if (open_loop_ && options_.arrivals == Arrivals::kBursts) {
      const double interval =
          options_.connections / options_.rate.segments.front().begin_rate * 1e9;
      length = static_cast<int64_t>(std::max(1.0, std::round(length / interval)) * interval);
    }
    phase_end_ = window_begin_ + length;
  }

  void Begin(int64_t now) {
    recorder_.Begin(window_begin_, phase_end_, now);
    begun_at_ = now;
    if (warmup_began_ > 0) out_.warmup_s = (now - warmup_began_) / 1e9;
    if (open_loop_) pacer_.StartWindow(window_begin_, phase_end_);
    meters_.Begin(loop_.counters(), received_bytes_, thread_ == 0 ? options_.server_pid : 0);
    SetPhase(Phase::kMeasuring);
  }

  void Finish(int64_t now) {
    recorder_.End(now);
    out_.duration_s = (now - begun_at_) / 1e9;
    out_.throughput_rps = out_.duration_s > 0 ? out_.requests / out_.duration_s : 0;
    meters_.End(loop_.counters(), received_bytes_, &out_);
    if (thread_ == 0 && options_.at.transport() == io::Transport::kTcp) SampleTcp();
  }

  void SampleTcp() {
    std::vector<int> fds;
    const uint32_t step = std::max<uint32_t>(1, open_ / kTcpSampled);
    uint32_t place = 0;
    loop_.ForEachConnection([&](io::Connection& c) {
      if (!sessions_[c.index].open || place++ % step != 0 || fds.size() >= kTcpSampled) return;
      const int fd = loop_.fd(c);
      if (fd >= 0) fds.push_back(fd);
    });
    out_.tcp = stats::SampleTcp(fds);
  }

  void EndWindow(int64_t now) {
    if (recorder_.measuring()) Finish(now);
    to_open_ = 0;
    reopen_.clear();
    thoughts_.Clear();
    pacer_.EndAt(ByCount() ? 0 : now);
    loop_.ForEachConnection([this](io::Connection& c) {
      owed_ -= sessions_[c.index].owed;
      sessions_[c.index].owed = 0;
    });
    SetPhase(Phase::kDraining);
    drain_deadline_ = now + options_.drain_timeout_ns;
    sends_end_ = now + options_.drain_timeout_ns / 2;  // what went out later had no time to answer
    if (datagrams_) drain_deadline_ += 2 * options_.reply_timeout_ns;  // all are answered, or lost
  }

  void StartClosing(int64_t now) {
    const uint64_t unanswered =
        in_flight_ + (one_each_ ? connecting_list_.waiting() : 0) + again_.size();
    out_.errors.unanswered += unanswered;
    CountErrors(unanswered);
    for (uint32_t i = 0; unanswered > 0 && i < sessions_.size(); ++i) {
      CensorAll(i, sessions_[i], now);
    }
    for (const int64_t due : again_) recorder_.Censored({due, due}, now);
    again_.clear();
    if (open_loop_) pacer_.CountUnsent(now, recorder_);
    SetPhase(Phase::kClosing);
    closing_deadline_ = now + kClosingNs + kClosingEachNs * open_ * options_.threads;
    if constexpr (kExchange == Exchange::kSink) {  // whose FIN stands for an answer
      closing_deadline_ = std::max(closing_deadline_, drain_deadline_);
    }
    loop_.ForEachConnection([this](io::Connection& c) {
      const bool ends = sessions_[c.index].open && kExchange != Exchange::kSource && !datagrams_;
      ends ? loop_.End(c) : loop_.Abort(c);  // datagrams have no end that could be told
    });
  }

  void StepClosing(int64_t now) {
    if (!(open_ == 0 && connecting_ == 0) && now < closing_deadline_) return;
    if constexpr (kExchange == Exchange::kSink) {  // those without a FIN, not counted for more yet
      loop_.ForEachConnection([this](io::Connection& c) {
        const Session& session = sessions_[c.index];
        const bool fin_due = session.open && !datagrams_;
        if (fin_due && session.in_flight == 0) {
          ++out_.errors.unanswered;
          CountErrors(1);
        }
      });
    }
    phase_ = Phase::kDone;
  }

  void Conclude() {
    out_.connections.silent = out_.connections.opened - out_.connections.answered - unasked_;
    out_.io = loop_.counters();
    out_.bytes.sent = out_.io.sent_bytes;
    out_.bytes.received = received_bytes_;
    if constexpr (requires { client_.OnLost(uint64_t{}); }) {
      client_.OnLost(out_.datagrams.lost - out_.datagrams.late);
    }
    load_.results[thread_].requests_by_place = places_.Requests();
  }

  // --- connections ------------------------------------------------------------------------------

  int64_t NextConnect(int64_t now) const {
    if (phase_ >= Phase::kClosing) return kNever;
    int64_t next = reopen_.empty() ? kNever : reopen_.front();
    if (to_open_ > 0 && connecting_ < connects_max_) {
      next = std::min(next, std::max(now, ConnectDue()));
    }
    return next;
  }

  // When the next connection may be opened.
  int64_t ConnectDue() const {
    if (options_.connect_rate <= 0 || one_each_) return 0;
    if (phase_ != Phase::kOpening && !ByCount()) return 0;  // in place of others
    const double each = 1e9 * options_.threads / options_.connect_rate;
    return opening_began_ + static_cast<int64_t>(each * connects_);
  }

  void OpenMore(int64_t now) {
    for (; !reopen_.empty() && reopen_.front() <= now; reopen_.pop_front()) ++to_open_;
    for (; to_open_ > 0 && connecting_ < connects_max_ && ConnectDue() <= now; --to_open_) {
      if (ends_ && ByCount() && budget_ == 0) {  // it would have nothing to do
        to_open_ = 0;
        return;
      }
      if (one_each_ && ByCount()) --budget_;  // the connection is the request
      if (!OpenOne(0)) return;
    }
  }

  // Starts to connect; `due_ns` is when the request that it is for was due, 0: now.
  bool OpenOne(int64_t due_ns) {
    const uint64_t number = static_cast<uint64_t>(next_number_++) * options_.threads + thread_;
    const uint32_t every = options_.timestamp_every;
    const int64_t now = Now();
    const auto connection = sources_.Connect(
        loop_, options_.at, number,
        {.receive_timestamps = kTimed && every > 0 && (number / options_.threads) % every == 0});
    if (!connection.ok()) {
      if (sources_.exhausted()) NoteNoPort();
      out_.problem = std::string(connection.status().message());
      ++out_.errors.service;
      CountErrors(1);
      to_open_ = 0;
      return false;
    }
    ++connecting_;
    ++connects_;
    const uint32_t index = (*connection)->index;
    GrowTo(index + 1);
    Session& session = sessions_[index];
    session = {};
    session.generation = (*connection)->generation;
    session.connecting = true;
    session.connect = connecting_list_.Add(**connection, now);
    if (!one_each_) session.place = places_.Take();
    if (some_each_) session.quota = Quota(number);
    session.since_ns = now;
    session.due_ns = due_ns == 0 ? now : due_ns;
    if (datagrams_) windows_[index].Reset(options_.depth);
    return true;
  }

  // The connection is gone. Returns whether it never was, because its source was taken: then
  // another is tried.
  bool GiveBackSource(const io::Connection& c, Session& session, int error) {
    const bool taken =
        sources_.chosen() && error == EADDRNOTAVAIL && !session.open && phase_ < Phase::kDraining;
    sources_.Return(c.index, taken);
    if (!taken) return false;
    if (!one_each_) places_.Return(session.place, 0);
    session = {};
    ++to_open_;
    return true;
  }

  // It is open, for one request.
  void OpenForOne(io::Connection& c, Session& session) {
    if constexpr (kTimed) {
      session.in_flight = 1;
      ++in_flight_;
      times_.At(c.index, 0, 0) = {session.due_ns, session.since_ns};
      if constexpr (kExchange == Exchange::kRequestReply) {
        session.begun = true;
        session.unsent = NextBytes(c, session);
        TrySend(c, session);
      }
    }
  }

  void NoteNoPort() {
    out_.out_of_ports = true;
    load_.out_of_ports.store(true, std::memory_order_relaxed);
  }

  // How many requests a connection has, of which it may have some.
  uint64_t Quota(uint64_t number) const {
    const auto [least, most] = options_.requests_per_connection;
    return least + services::SplitMix64(options_.seed ^ number) % (most - least + 1);
  }

  Gone GoneHow(const Session& session) const {
    if (session.failed || (one_each_ && !session.answered)) return Gone::kFailed;
    if (session.left) return Gone::kLeft;
    return session.spent ? Gone::kSpent : Gone::kClosed;
  }

  // A connection is gone: what takes its place?
  void Replace(Gone gone) {
    const int64_t now = Now();
    if (!one_each_) return Reopen(gone, now);
    if (phase_ >= Phase::kDraining) return;
    if (phase_ == Phase::kOpening) {
      ++resting_;
    } else if (open_loop_) {
      pacer_.AddVacant(1, now);
    } else if (gone == Gone::kFailed) {
      reopen_.push_back(now + std::max(kReplaceAfterNs, options_.reconnect_ns));
    } else if (now < phase_end_) {
      ++to_open_;
    }
  }

  // The same where a connection has many requests.
  void Reopen(Gone gone, int64_t now) {
    const bool in_order = gone == Gone::kLeft || gone == Gone::kSpent;
    if (phase_ >= Phase::kDraining && !(in_order && phase_ == Phase::kDraining && Sends(now))) {
      return;
    }
    if (in_order && phase_ == Phase::kOpening) {
      ++resting_;
    } else if (gone == Gone::kSpent) {
      ++to_open_;
    } else if (gone != Gone::kClosed && options_.reconnect_ns >= 0) {
      reopen_.push_back(now + options_.reconnect_ns);
    }
  }

  // --- requests ---------------------------------------------------------------------------------

  // The connection has `count` more requests to send, as far as the budget goes: of which one is
  // kept for each connection that is not open yet.
  void Owe(Session& session, uint64_t count) {
    if (rationed_) count = TakeBudget(session, count);
    session.owed += count;
    owed_ += count;
  }

  uint64_t TakeBudget(Session& session, uint64_t count) {
    if (!session.begun && unbegun_ > 0) --unbegun_;
    session.begun = true;
    count = std::min(count, session.quota);
    if (ByCount()) {
      count = std::min(count, budget_ - std::min<uint64_t>(budget_, unbegun_));
      budget_ -= count;
    }
    session.quota -= count;
    if (session.quota == 0) session.takes = false;
    return count;
  }

  // Whether the connection has had all its requests, and their answers.
  bool Spent(const Session& session) const {
    return session.quota == 0 && session.in_flight == 0 && session.owed == 0;
  }

  // Whether an answer brings the next request.
  bool Renewing() const {
    return !open_loop_ && !one_each_ && (phase_ == Phase::kWarmup || phase_ == Phase::kMeasuring);
  }

  // Replies came: now the connection can take more requests.
  void GoOn(io::Connection& c, Session& session, uint32_t replies, int64_t now) {
    if (ends_) [[unlikely]] {
      if (one_each_) {
        if (kExchange != Exchange::kGreeting && session.in_flight == 0) EndOne(c, session, now);
        return;
      }
      if (Spent(session)) return EndSpent(c, session);
    }
    if (open_loop_) {
      Offer(c.index, session, now);
      if (NextDue() <= now) Dispatch(now);  // it waited for a connection
    } else if (thoughts_.any()) {
      for (uint32_t i = 0; i < replies; ++i) thoughts_.Begin(c.index, c.generation, now);
    } else if (Renewing()) {
      Owe(session, replies);
    }
    TrySend(c, session);
  }

  // A connection has had all the requests that it is to have.
  void EndSpent(io::Connection& c, Session& session) {
    ++out_.connections.closed_by_client;
    ++leaving_;
    session.spent = true;
    if constexpr (kExchange == Exchange::kSink) return loop_.End(c);  // whose FIN is the answer
    loop_.Close(c);
  }

  // The one request of the connection is answered.
  void EndOne(io::Connection& c, Session& session, int64_t now) {
    switch (options_.ending) {
      case Ending::kClose:
        return loop_.Close(c);
      case Ending::kFin:
        session.ending = true;
        session.since_ns = now;
        return loop_.End(c);
      case Ending::kReset:
        return loop_.Abort(c);
    }
  }

  void TrySend(io::Connection& c, Session& session) {
    if (session.sending || !session.open) return;
    if (session.unsent == 0 && !BeginRequests(c, session)) return;
    const io::Bytes out = client_.Next(session.service, session.unsent);
    session.unsent -= out.size();
    session.sending = true;
    loop_.SendStable(c, out);
  }

  // The size of the next request of a connection.
  uint64_t NextBytes(const io::Connection& c, Session& session) {
    const uint64_t number = session.number++;
    return varies_ ? options_.sizes.At(c.tag, number) : options_.message_bytes;
  }

  // Begins as many of the owed requests as may be in flight, and go out in one send.
  bool BeginRequests(io::Connection& c, Session& session) {
    constexpr uint64_t kSendBytesMax = 1 << 20;
    uint64_t count = std::min(session.owed, options_.depth - session.in_flight);
    if (count == 0) return false;
    if (messages_ || varies_) {
      count = 1;
    } else if (count > 1) {
      count = std::min(count, std::max<uint64_t>(1, kSendBytesMax / options_.message_bytes));
    }
    const int64_t now = kTimed || session.since_ns == 0 ? Now() : 0;
    for (uint64_t i = 0; i < count; ++i) NoteSent(c, session, {now, now});
    session.owed -= count;
    owed_ -= count;
    session.unsent = NextBytes(c, session);
    session.unsent *= count;
    session.number += count - 1;
    return true;
  }

  void NoteSent(io::Connection& c, Session& session, RequestTimes times) {
    if (session.since_ns == 0) session.since_ns = times.sent_ns;
    if (kMatched && datagrams_) {
      windows_[c.index].Sent(times);
    } else if constexpr (kTimed) {
      times_.At(c.index, session.oldest, session.in_flight) = times;
    }
    ++session.in_flight;
    ++in_flight_;
  }

  void AnsweredOldest(io::Connection& c, Session& session, int64_t now) {
    const RequestTimes times = times_.At(c.index, session.oldest, 0);
    if (++session.oldest == options_.depth) session.oldest = 0;
    Answered(session, times, now);
  }

  // The oldest request on the connection, or any over datagrams, was answered.
  void Answered(Session& session, const RequestTimes& times, int64_t now) {
    --session.in_flight;
    --in_flight_;
    ++out_.requests_total;
    NoteAnswer(session);
    if (phase_ == Phase::kClosing) return;  // it was censored as unanswered
    if constexpr (requires { client_.OnLatency(int64_t{}); }) {
      client_.OnLatency(now - times.sent_ns);
    }
    if (recorder_.measuring()) ++session.requests;
    recorder_.Answered(times, now);
  }

  void NoteAnswer(Session& session) {
    if (session.answered) return;
    session.answered = true;
    ++out_.connections.answered;
  }

  void HearFirst(Session& session, int64_t now) {
    session.heard = true;
    if (kExchange != Exchange::kSink) out_.first_byte.Record(now - session.since_ns);
  }

  // How long the newest byte lay in our kernel, and how long the request took that it answers.
  void SampleWait(io::Connection& c, Session& session, int64_t now) {
    if (!recorder_.measuring() || session.in_flight == 0 || datagrams_) return;
    timespec wall;
    clock_gettime(CLOCK_REALTIME, &wall);
    const int64_t waited = wall.tv_sec * 1'000'000'000 + wall.tv_nsec - c.received_at_ns;
    const int64_t service = now - times_.At(c.index, session.oldest, 0).sent_ns;
    if (waited < 0 || waited > service) return;  // the wall clock was set meanwhile
    out_.client_wait.Record(waited);
    out_.client_sample.Record(service);
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
    recorder_.Count(count);
    if (recorder_.measuring()) session.requests += count;
  }

  // --- connections that the server ends ---------------------------------------------------------

  // Whether a server may end the connection now, in order.
  bool MayEnd(const Session& session) const {
    if constexpr (kMatched) {
      return options_.reconnect_ns >= 0 && !one_each_ && session.answered &&
             !client_.InReply(session.service);
    }
    return false;
  }

  void EndedByServer(io::Connection& c, Session& session) {
    if (MayEnd(session)) {
      ++out_.connections.closed_by_server;
      ++leaving_;
      session.left = true;
      session.takes = false;
      return;
    }
    ++out_.errors.closed_by_server;
    NoteFailure(Failure::Kind::kClosed, 0, c, session);
    Fail(session);
  }

  // What is under way on a connection that the server has left goes to others.
  void SendAgain(uint32_t index, const Session& session) {
    if (phase_ >= Phase::kClosing) return;
    out_.connections.retried_requests += session.in_flight;
    if (ByCount()) budget_ += session.in_flight + session.owed;
    for (uint32_t i = 0; open_loop_ && kTimed && i < session.in_flight; ++i) {
      again_.push_back(times_.At(index, session.oldest, i).scheduled_ns);
    }
  }

  // --- errors -----------------------------------------------------------------------------------

  // No more requests begin on the connection, which is to be aborted, or is gone.
  void Fail(Session& session) {
    session.failed = true;
    session.takes = false;
    owed_ -= session.owed;
    session.owed = 0;
  }

  // More replies came than were asked for, so none that follow could be told apart.
  void OnSurplus(io::Connection& c, Session& session, uint32_t replies, int64_t now) {
    const uint32_t expected = kExchange == Exchange::kSink ? 0 : session.in_flight;
    out_.errors.surplus += replies - expected;
    NoteFailure(Failure::Kind::kSurplus, 0, c, session, replies - expected);
    if constexpr (kExchange != Exchange::kSink) {
      for (uint32_t i = 0; i < expected; ++i) AnsweredOldest(c, session, now);
    }
    Fail(session);
    loop_.Abort(c);
  }

  void CountErrors(uint64_t count) {
    recorder_.Error(count);
    load_.errors.fetch_add(count, std::memory_order_relaxed);
  }

  void NoteFailure(Failure::Kind kind, int error, const io::Connection& c, const Session& session,
                   uint64_t count = 1) {
    CountErrors(count);
    if (out_.failures.size() >= kFailuresKept) return;
    const int64_t begin = recorder_.begin_ns() != 0 ? recorder_.begin_ns() : window_begin_;
    const int64_t now = Now();
    out_.failures.push_back({.kind = kind,
                             .error = error,
                             .connection = c.tag,
                             .at_ns = begin != 0 ? now - begin : -1,
                             .requests = session.number,
                             .in_flight = session.in_flight});
  }

  void NoteCorruption(io::Connection& c, Session& session, const services::Received& got) {
    out_.bytes.corrupt += got.corrupt_bytes;
    if (!session.corrupt) {
      ++out_.errors.corrupt_connections;
      NoteFailure(Failure::Kind::kCorrupt, 0, c, session);
    }
    session.corrupt = true;
    if (out_.corruptions.size() < kCorruptionsKept) {
      out_.corruptions.push_back({c.tag, got.corrupt_offset, got.expected, got.got});
    }
  }

  int64_t NextSweep() const {
    const bool waiting = kTimed && options_.reply_timeout_ns > 0 && in_flight_ > 0;
    return std::min(waiting ? next_sweep_ : kNever, connecting_ > 0 ? next_connect_sweep_ : kNever);
  }

  // Gives up what is overdue, so that no connection waits for a reply that doesn't come, or to be
  // open.
  void Sweep(int64_t now) {
    if (now >= next_connect_sweep_) {
      next_connect_sweep_ = now + each_connect_ns_ / kSweeps;
      GiveUpConnects(now - each_connect_ns_);
    }
    if (!kTimed || options_.reply_timeout_ns <= 0 || now < next_sweep_) return;
    next_sweep_ = now + options_.reply_timeout_ns / kSweeps;
    loop_.ForEachConnection([&](io::Connection& c) {
      Session& session = sessions_[c.index];
      if (!session.open || session.in_flight == 0) return;
      datagrams_ ? GiveUpLost(c, session, now) : GiveUpOverdue(c, session, now);
    });
  }

  void GiveUpLost(io::Connection& c, Session& session, int64_t now) {
    const uint32_t lost = windows_[c.index].GiveUp(
        now - options_.reply_timeout_ns,
        [&](const RequestTimes& times) { recorder_.Censored(times, now); });
    if (lost == 0) return;
    session.in_flight -= lost;
    in_flight_ -= lost;
    out_.datagrams.lost += lost;
    if (Renewing()) Owe(session, lost);
    if (phase_ == Phase::kOpening && !session.answered) Owe(session, 1);
    if (open_loop_) Offer(c.index, session, now);
    TrySend(c, session);
  }

  void GiveUpOverdue(io::Connection& c, Session& session, int64_t now) {
    if (now - times_.At(c.index, session.oldest, 0).sent_ns < options_.reply_timeout_ns) return;
    out_.errors.timeouts += session.in_flight;
    NoteFailure(Failure::Kind::kTimeout, 0, c, session, session.in_flight);
    CensorAll(c.index, session, now);
    in_flight_ -= session.in_flight;
    session.in_flight = 0;
    Fail(session);
    loop_.Abort(c);
  }

  // Those that began at `since_ns` or before, and aren't open yet.
  void GiveUpConnects(int64_t since_ns) {
    connecting_list_.GiveUp(since_ns, [this](io::Connection& c) {
      Session& session = sessions_[c.index];
      ++out_.errors.connect_timed_out;
      NoteFailure(Failure::Kind::kConnectTimeout, 0, c, session);
      Fail(session);
      loop_.Abort(c);
    });
  }

  // What the connection waits for won't come.
  void CensorAll(uint32_t index, const Session& session, int64_t now) {
    if constexpr (kTimed) {
      if (one_each_ && session.connecting) {
        recorder_.Censored({session.due_ns, session.since_ns}, now);
      } else if (datagrams_) {
        windows_[index].ForEachWaiting(
            [&](const RequestTimes& times) { recorder_.Censored(times, now); });
      } else {
        for (uint32_t i = 0; i < session.in_flight; ++i) {
          recorder_.Censored(times_.At(index, session.oldest, i), now);
        }
      }
    }
  }

  // A datagram came: whose reply is it?
  void OnReply(io::Connection& c, Session& session, io::Bytes in, int64_t now) {
    using Kind = DatagramWindow::Kind;
    const DatagramVerdict verdict = JudgeDatagram(client_, c.tag, windows_[c.index], in);
    if (verdict.corrupt.corrupt_bytes != 0) [[unlikely]]
      return NoteCorruption(c, session, verdict.corrupt);
    if (verdict.surplus) [[unlikely]] {
      ++out_.errors.surplus;
      return NoteFailure(Failure::Kind::kSurplus, 0, c, session);
    }
    switch (verdict.match.kind) {
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
    Answered(session, verdict.match.times, now);
    GoOn(c, session, 1, now);
  }

  // --- thinking ---------------------------------------------------------------------------------

  void ThinkOver(int64_t now) {
    thoughts_.PopDue(now, [this](uint32_t index, uint32_t generation) {
      io::Connection* c = loop_.Find(index, generation);
      if (c == nullptr || !Renewing() || !sessions_[index].takes) return;
      Owe(sessions_[index], 1);
      TrySend(*c, sessions_[index]);
    });
  }

  // --- open loop --------------------------------------------------------------------------------

  // When the next request is due; kNever: none will be.
  int64_t NextDue() const {
    return open_loop_ && (!ByCount() || budget_ > 0) ? pacer_.NextDue() : kNever;
  }

  // Whether a request could go out now.
  bool CanTake() const { return one_each_ ? pacer_.vacant() > 0 : pacer_.HasFree(); }

  // The connection can take a request, if it has room.
  void Offer(uint32_t index, Session& session, int64_t now) {
    if (session.listed || !session.takes || one_each_) return;
    if (session.sending || session.unsent > 0 || session.in_flight >= options_.depth) return;
    session.listed = true;
    pacer_.AddFree(index, now != 0 ? now : Now());
  }

  void OfferAll() {
    loop_.ForEachConnection([this](io::Connection& c) { Offer(c.index, sessions_[c.index], 0); });
  }

  // Sends what is due, as far as connections are free.
  void Dispatch(int64_t now) {
    if (phase_ < Phase::kWarmup || phase_ > Phase::kDraining || now >= sends_end_) return;
    while (!again_.empty()) {  // what was sent before goes first
      if (!SendFor(again_.front(), /*again=*/true)) return pacer_.Behind(true);
      again_.pop_front();
    }
    pacer_.Behind(!SendAllDue(now));
  }

  // Whether all that is due is sent, or given up.
  bool SendAllDue(int64_t now) {
    for (int64_t due = NextDue(); due <= now; due = NextDue()) {
      if (options_.deadline_ns > 0 && now - due > options_.deadline_ns) {
        pacer_.Shed();
        continue;
      }
      if (!CanTake()) return false;
      if (!(one_each_ ? ConnectFor(due) : SendFor(due))) return false;
    }
    return true;
  }

  bool ConnectFor(int64_t due) {
    if (connecting_ >= connects_max_) return false;
    if (ByCount()) --budget_;
    pacer_.Take();
    const int64_t now = Now();
    if (pacer_.in_window()) out_.lag.Record(pacer_.Lag(due, now));
    pacer_.TakeVacant(now);
    return OpenOne(due);
  }

  // Sends a request on the connection that is next. Returns false where none could.
  bool SendFor(int64_t due, bool again = false) {
    while (pacer_.HasFree()) {
      const int64_t now = Now();
      const uint32_t index = pacer_.NextFree();
      pacer_.PopFree(now);
      Session& session = sessions_[index];
      if (!session.listed) continue;  // of a connection that is gone
      session.listed = false;
      io::Connection* c = loop_.Find(index, session.generation);
      if (c == nullptr || (rationed_ && TakeBudget(session, 1) == 0)) continue;
      if (!again) {
        pacer_.Take();
        if (pacer_.in_window()) out_.lag.Record(pacer_.Lag(due, now));
      }
      NoteSent(*c, session, {due, now});
      session.unsent = NextBytes(*c, session);
      TrySend(*c, session);
      Offer(index, session, now);
      return true;
    }
    return false;
  }

  const LoadOptions& options_;
  Load::Shared& shared_;
  Load::Part& part_;
  Load::Class& load_;
  const uint32_t thread_, wake_;
  LoadResult& out_;
  Recorder recorder_;
  const uint32_t connections_;
  uint64_t budget_;  // requests that may still be begun, by count
  const bool open_loop_;
  const uint32_t connects_max_ =
      std::clamp(kConnectsInFlightOfAll / options_.threads, 1u, kConnectsInFlight);
  const bool one_each_;   // a connection is there for one request,
  const bool some_each_;  // or for some,
  const bool ends_;       // or for either: we end it
  const bool rationed_;   // not all that could be begun may be
  const bool messages_;   // the transport keeps them: each request is one
  const bool datagrams_;  // and may lose them
  const bool varies_;     // the sizes of requests do
  Client client_;
  std::vector<Session> sessions_;        // by slot
  TimesTable times_;                     // of requests in flight. Or, over datagrams,
  std::vector<DatagramWindow> windows_;  // by slot
  Places places_;                        // but for one_each_
  Connecting connecting_list_;
  Pacer pacer_;        // open loop
  Thoughts thoughts_;  // closed loop
  Sources sources_;
  Meters meters_;
  Loop loop_;
  Phase phase_ = Phase::kOpening;
  bool opened_first_ = false, stopped_opening_ = false, waiting_ = false;
  uint32_t to_open_ = 0, connecting_ = 0, open_ = 0, next_number_ = 0;
  uint32_t resting_ = 0;  // connections that have had their turn in the opening, and ended
  uint32_t leaving_ = 0;  // connections that are spent, or left, and not gone yet
  uint64_t unasked_ = 0;  // connections that were open, and had no request
  uint32_t unbegun_ = 0;  // connections that have had no request yet
  uint64_t in_flight_ = 0, owed_ = 0, received_bytes_ = 0, connects_ = 0;
  int64_t opening_began_ = 0, connect_deadline_ = 0, warmup_began_ = 0, window_begin_ = 0;
  int64_t phase_end_ = kNever, begun_at_ = 0, drain_deadline_ = 0, closing_deadline_ = 0;
  int64_t sends_end_ = kNever;  // open loop: what is due isn't sent any more
  int64_t next_sweep_ = 0, next_connect_sweep_ = 0;
  // That a connect may take.
  const int64_t each_connect_ns_ = one_each_ && options_.reply_timeout_ns > 0
                                       ? std::min(options_.reply_timeout_ns,
                                                  options_.connect_timeout_ns)
                                       : options_.connect_timeout_ns;
  std::deque<int64_t> again_;   // open loop: when requests were due that are to be sent again
  std::deque<int64_t> reopen_;  // when connections may be opened again
};

}  // namespace loadgen
