#pragma once

#include <cerrno>
#include <chrono>
#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "io/endpoint.h"
#include "io/event_loop.h"
#include "probe/scan.h"
#include "probe/schedule.h"

namespace probe {

// Whether a TCP socket is connected, or was until its peer reset it.
//
// Asked of what "connected", since io_uring (seen on Linux 6.18) completes with success a connect
// that an ICMP error ended. The error itself is lost then.
bool WasEstablished(int fd);

// ConnectScan() on one backend: the handler of its own loop. Connection::tag is a port's index, and
// above it the attempt, so that the end of an earlier attempt is known as such.
template <class Backend>
class ConnectScanner {
 public:
  using Loop = typename Backend::template Loop<ConnectScanner>;

  explicit ConnectScanner(const ScanOptions& options)
      : options_(options),
        schedule_(options),
        connections_(options.ports.size()),
        met_(options.ports.size()),
        lost_error_(options.ports.size()),
        loop_(*this, LoopOptionsFor(options)) {}

  absl::StatusOr<ScanResult> Run() {
    const absl::Status opened = loop_.Open();
    if (!opened.ok()) return opened;
    const int64_t begin = Now();
    ScanResult result;
    absl::Status status;
    while (!schedule_.finished() && status.ok()) {
      result.interrupted = options_.stop && options_.stop();
      if (result.interrupted) break;
      status = Turn();
    }
    result.duration_ns = Now() - begin;
    result.ports = schedule_.results();  // before: who is closed by a shutdown has not answered
    loop_.Shutdown();
    if (!status.ok()) return status;
    result.met_ourselves = met_ourselves_;
    return result;
  }

  void OnOpen(Loop& loop, io::Connection& c) noexcept {
    const int64_t now = Now();
    const uint32_t index = IndexOf(c);
    if (Current(c)) {
      if (!WasEstablished(loop.fd(c))) {
        lost_error_[index] = true;
      } else if (!MetOurselves(loop, c, index)) {
        schedule_.Answered(index, PortState::kOpen, 0, now);
      }
    }
    loop.Abort(c);
  }
  void OnReceive(Loop&, io::Connection&, io::Bytes) noexcept {}
  void OnEnd(Loop&, io::Connection&) noexcept {}
  void OnDrained(Loop&, io::Connection&) noexcept {}
  void OnClose(Loop&, io::Connection& c, int error) noexcept {
    const uint32_t index = IndexOf(c);
    if (connections_[index] == &c) connections_[index] = nullptr;
    if (!Current(c)) return;
    if (met_[index]) return AskAgain(index);
    if (lost_error_[index]) return schedule_.Answered(index, PortState::kFiltered, ENOTCONN, Now());
    schedule_.Answered(index, StateOf(error), error, Now());
  }

 private:
  // What is asked between two looks at what came: the answers of all wait for the last of them, so
  // few, or the times are those of our own work.
  static constexpr int kAsksPerTurn = 4;
  static constexpr uint32_t kAttemptsAtOurselves = 4;
  static constexpr int64_t kClosingNs = 1'000'000;  // until a connection is closed, or looked again

  static io::LoopOptions LoopOptionsFor(const ScanOptions& options) {
    // What a server sends before the reset reaches it is not looked at.
    return {.recv_buffer_bytes = 2048,
            .recv_buffers = 64,
            .connections_max = options.in_flight + kAsksPerTurn,
            .submission_entries = 256,
            .completion_entries = 4096};
  }

  static int64_t Now() {
    return std::chrono::steady_clock::now().time_since_epoch() / std::chrono::nanoseconds(1);
  }
  static uint32_t IndexOf(const io::Connection& c) { return static_cast<uint32_t>(c.tag); }
  // Whether the port is still waited for, by this connection.
  bool Current(const io::Connection& c) const {
    return schedule_.waits(IndexOf(c)) && schedule_.attempt(IndexOf(c)) == c.tag >> 32;
  }

  absl::Status Turn() {
    const absl::Status asked = Ask();
    if (!asked.ok()) return asked;
    const absl::Status turned = loop_.RunOnce(io::Nanos(WaitNs()));
    if (!turned.ok()) return turned;
    while (const auto index = schedule_.Expire(Now())) {
      if (connections_[*index] != nullptr) loop_.Abort(*connections_[*index]);
    }
    return absl::OkStatus();
  }

  int64_t WaitNs() const {
    const bool closing = loop_.connections() >= options_.in_flight &&
                         schedule_.waiting() < options_.in_flight;  // io_uring closes later
    return closing || starved_ ? kClosingNs : schedule_.WaitNs(Now());
  }

  absl::Status Ask() {
    starved_ = false;
    for (int i = 0; i < kAsksPerTurn && loop_.connections() < options_.in_flight; ++i) {
      const auto index = schedule_.Next(Now());
      if (!index) break;
      const uint64_t tag = static_cast<uint64_t>(schedule_.attempt(*index)) << 32 | *index;
      const auto c = loop_.Connect(options_.at.WithPort(options_.ports[*index]), tag);
      if (c.ok()) {
        connections_[*index] = *c;
        continue;
      }
      // Descriptors and memory come back when earlier connections are closed.
      if (!absl::IsResourceExhausted(c.status()) || loop_.connections() == 0) return c.status();
      schedule_.PutBack(*index);
      starved_ = true;
      break;
    }
    return absl::OkStatus();
  }

  uint16_t LocalPort(Loop& loop, const io::Connection& c) const {
    const auto local = io::LocalEndpoint(loop.fd(c));
    return local.ok() ? local->port() : 0;
  }

  // Whether what accepted us is a socket of this scan: this one itself, or one that asks for the
  // port which this one was given.
  bool MetOurselves(Loop& loop, const io::Connection& c, uint32_t index) {
    const io::Endpoint asked = options_.at.WithPort(options_.ports[index]);
    const auto local = io::LocalEndpoint(loop.fd(c));
    if (!local.ok()) return false;
    const auto text = [](const io::Endpoint& at) {
      return io::AddressText(at.address(), at.size());
    };
    if (text(*local) == text(asked)) return met_[index] = true;
    const auto other = schedule_.IndexOf(local->port());
    if (!other || !schedule_.waits(*other) || connections_[*other] == nullptr) return false;
    if (LocalPort(loop, *connections_[*other]) != asked.port()) return false;
    if (text(local->WithPort(0)) != text(asked.WithPort(0))) return false;
    loop.Abort(*connections_[*other]);
    return met_[index] = met_[*other] = true;
  }

  // Of a port that met the scan, when that connection is closed and its source port is free: the
  // kernel picks another. Where it has hardly any, it can only be the same again:
  // but it takes none that somebody is bound to, so nobody listens there.
  void AskAgain(uint32_t index) {
    ++met_ourselves_;
    met_[index] = false;
    if (schedule_.attempt(index) < kAttemptsAtOurselves) return schedule_.Again(index);
    schedule_.Answered(index, PortState::kClosed, 0, Now());
  }

  const ScanOptions& options_;
  Schedule schedule_;
  std::vector<io::Connection*> connections_;  // of each port; nullptr: none
  std::vector<bool> met_;                     // it met the scan itself, and is to be asked again
  std::vector<bool> lost_error_;              // it "connected", and never was
  uint64_t met_ourselves_ = 0;
  bool starved_ = false;  // of descriptors or memory, until some connections are closed
  Loop loop_;
};

}  // namespace probe
