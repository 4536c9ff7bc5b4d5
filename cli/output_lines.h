#pragma once

#include <poll.h>
#include <sys/types.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "io/event_loop.h"
#include "server/unique_fd.h"

namespace cli {

// A stream of ours, such as stderr, written to without waiting for whoever reads it. The flags of
// the stream itself stay as they are: others have it too (a shell, the programs beside us in a
// pipeline), and O_NONBLOCK would be theirs as well. So a pipe and a terminal are opened anew, a
// socket is written to with MSG_DONTWAIT, and a pipe that may not be opened (another user's) gets
// RWF_NOWAIT, or before Linux 6.4 no more than poll(2) says there is room for. Files don't wait.
class NonblockingStream {
 public:
  explicit NonblockingStream(int fd);

  // As write(2), also of a part; EAGAIN where there is no room now. Never SIGPIPE of a socket.
  ssize_t Write(std::string_view bytes) const;
  // For poll(2).
  int fd() const { return own_ ? own_.get() : fd_; }

 private:
  enum class Way { kWrite, kSend, kNoWait };

  int fd_;
  server::UniqueFd own_;  // fd_ opened anew, where that is needed and possible
  Way way_ = Way::kWrite;
};

// Lines on their way to a stream. Who has lines never waits: what the stream has no room for is
// kept, up to a bound; beyond that lines are left out, and counted, and a line in their place says
// how many they were. Any thread.
class OutputLines {
 public:
  // `name`: what the line about lost lines begins with.
  OutputLines(int fd, std::string name, size_t bytes_max = 256 * 1024);
  OutputLines(const OutputLines&) = delete;
  OutputLines& operator=(const OutputLines&) = delete;

  // Takes whole lines.
  void Write(std::string_view lines);

  // To be polled: when it has an event, Resume() is due.
  pollfd Awaited() const;
  // Writes of what is kept as much as there is room for.
  void Resume();

  // Writes what is kept, waiting for room; gives up when there was none for `patience`, or when
  // interrupt_fd (-1: none) is readable. Errors: DeadlineExceeded, Cancelled, and Internal with
  // what write(2) said since the last Flush(), such as ENOSPC: those lines are lost. That the
  // reader has gone (EPIPE) is no error: nobody wants it.
  absl::Status Flush(io::Nanos patience, int interrupt_fd = -1);

  // Lines that were left out, or that the stream refused.
  uint64_t lost() const { return lost_.load(std::memory_order_relaxed); }

 private:
  void WriteSome();
  void Lose(std::string_view lines);
  void TellLosses();

  NonblockingStream stream_;
  const std::string name_;
  const size_t bytes_max_;
  server::UniqueFd waits_;  // an eventfd(2), readable while something is kept
  mutable std::mutex mutex_;
  std::string kept_;
  bool gone_ = false;  // the reader has
  int error_ = 0;      // since the last Flush()
  std::atomic<uint64_t> lost_{0};
  uint64_t told_ = 0;
};

}  // namespace cli
