#pragma once

#include <array>
#include <cstdint>

namespace io {

// Errors by errno. An errno beyond the table is counted in its last place.
class ErrorCounts {
 public:
  static constexpr int kErrnos = 160;
  void Add(int error, uint64_t times = 1) noexcept {
    counts_[error > 0 && error < kErrnos ? error : 0] += times;
  }
  uint64_t operator[](int error) const { return counts_[error]; }
  uint64_t total() const {
    uint64_t sum = 0;
    for (uint64_t count : counts_) sum += count;
    return sum;
  }
  void Merge(const ErrorCounts& other) {
    for (int i = 0; i < kErrnos; ++i) counts_[i] += other.counts_[i];
  }

 private:
  std::array<uint64_t, kErrnos> counts_ = {};
};

// What one loop did since it was opened. Written by the loop's thread alone; read it there, or
// after the thread ended.
struct Counters {
  uint64_t accepted = 0;           // connections that a listener gave us
  uint64_t connected = 0;          // connections that we opened
  uint64_t closed = 0;             // OnClose calls
  uint64_t refused = 0;            // waited at connections_max until the listener closed (io_uring)
  uint64_t received_bytes = 0;     // handed to OnReceive
  uint64_t receives = 0;           // OnReceive calls
  uint64_t sent_bytes = 0;         // taken by the kernel
  uint64_t sends = 0;              // send calls, or send completions
  uint64_t system_calls = 0;       // by the loop, all kinds
  uint64_t turns = 0;              // RunOnce calls that entered the kernel
  uint64_t starved = 0;            // receives that ended for want of a buffer (io_uring)
  uint64_t receive_rearms = 0;     // receives armed anew, for whatever reason (io_uring)
  uint64_t replies_copied = 0;     // lent bytes that had to be copied to be sent
  uint64_t receive_pauses = 0;     // pending_bytes_max was reached: receiving stopped
  uint64_t accept_pauses = 0;      // no file descriptor or memory: accepting stopped
  uint64_t stale_completions = 0;  // for a slot that was freed: 0, or a bug of ours
  uint64_t not_welcome = 0;        // accepted, and reset because OnAccept said no
  uint64_t datagrams_received = 0;  // OnDatagram calls; also in receives
  uint64_t datagrams_sent = 0;      // also in sends
  uint64_t datagrams_dropped = 0;   // to be sent, and not taken by the kernel
  uint64_t datagram_pauses = 0;     // receiving datagrams failed again at once: it pauses
  uint64_t no_memory = 0;           // connections ended or not accepted, datagrams dropped: ENOMEM
  uint64_t lost_completions = 0;    // times that the kernel said so: EBADR (io_uring)
  uint64_t truncated = 0;           // messages longer than a receive buffer: dropped
  ErrorCounts errors;               // operations that failed, by errno

  void Merge(const Counters& other) {
    accepted += other.accepted;
    connected += other.connected;
    closed += other.closed;
    refused += other.refused;
    received_bytes += other.received_bytes;
    receives += other.receives;
    sent_bytes += other.sent_bytes;
    sends += other.sends;
    system_calls += other.system_calls;
    turns += other.turns;
    starved += other.starved;
    receive_rearms += other.receive_rearms;
    replies_copied += other.replies_copied;
    receive_pauses += other.receive_pauses;
    accept_pauses += other.accept_pauses;
    stale_completions += other.stale_completions;
    not_welcome += other.not_welcome;
    datagrams_received += other.datagrams_received;
    datagrams_sent += other.datagrams_sent;
    datagrams_dropped += other.datagrams_dropped;
    datagram_pauses += other.datagram_pauses;
    no_memory += other.no_memory;
    lost_completions += other.lost_completions;
    truncated += other.truncated;
    errors.Merge(other.errors);
  }
};

}  // namespace io
