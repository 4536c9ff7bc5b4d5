#include "cli/output_lines.h"

#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <climits>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"

namespace cli {
namespace {

using Clock = std::chrono::steady_clock;

// As poll(2) takes it.
int Millis(Clock::duration time) {
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(time).count();
  return static_cast<int>(std::clamp<int64_t>(left, 0, 3'600'000));
}

// As many bytes as a pipe takes whole or not at all (pipe(7)), and of these whole lines where one
// ends there, so that lines of several writers are not torn.
std::string_view Piece(std::string_view bytes) {
  if (bytes.size() <= PIPE_BUF) return bytes;
  const size_t end = bytes.rfind('\n', PIPE_BUF - 1);
  return bytes.substr(0, end == std::string_view::npos ? size_t{PIPE_BUF} : end + 1);
}

}  // namespace

NonblockingStream::NonblockingStream(int fd) : fd_(fd) {
  struct stat file = {};
  if (fstat(fd, &file) != 0) return;  // closed: write(2) will say so
  if (S_ISSOCK(file.st_mode)) {
    way_ = Way::kSend;
  } else if (S_ISFIFO(file.st_mode) || (S_ISCHR(file.st_mode) && isatty(fd) != 0)) {
    const std::string path = absl::StrCat("/proc/self/fd/", fd);
    own_.Reset(open(path.c_str(), O_WRONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY));
    if (!own_) way_ = Way::kNoWait;
  }
}

ssize_t NonblockingStream::Write(std::string_view bytes) const {
  switch (way_) {
    case Way::kWrite:
      return write(fd(), bytes.data(), bytes.size());
    case Way::kSend:
      return send(fd_, bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    case Way::kNoWait:
      break;
  }
  const iovec piece = {.iov_base = const_cast<char*>(bytes.data()),
                       .iov_len = std::min<size_t>(bytes.size(), PIPE_BUF)};
  const ssize_t written = pwritev2(fd_, &piece, 1, -1, RWF_NOWAIT);
  if (written >= 0 || (errno != EOPNOTSUPP && errno != ENOSYS)) return written;
  pollfd room = {.fd = fd_, .events = POLLOUT, .revents = 0};
  if (poll(&room, 1, 0) != 1) {
    errno = EAGAIN;
    return -1;
  }
  return write(fd_, piece.iov_base, piece.iov_len);
}

OutputLines::OutputLines(int fd, std::string name, size_t bytes_max)
    : stream_(fd),
      name_(std::move(name)),
      bytes_max_(bytes_max),
      waits_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}

void OutputLines::Lose(std::string_view lines) {
  lost_.fetch_add(static_cast<uint64_t>(std::count(lines.begin(), lines.end(), '\n')),
                  std::memory_order_relaxed);
}

void OutputLines::TellLosses() {
  const uint64_t now = lost();
  if (now == told_) return;
  absl::StrAppend(&kept_, name_, ": ", now - told_, " lines lost here: nobody read them in time\n");
  told_ = now;
}

void OutputLines::Write(std::string_view lines) {
  if (lines.empty()) return;
  const std::lock_guard lock(mutex_);
  if (gone_ || (!kept_.empty() && kept_.size() + lines.size() > bytes_max_)) return Lose(lines);
  TellLosses();
  kept_ += lines;
  WriteSome();
}

void OutputLines::WriteSome() {
  while (!kept_.empty()) {
    const ssize_t n = stream_.Write(Piece(kept_));
    if (n >= 0) {
      kept_.erase(0, static_cast<size_t>(n));
      continue;
    }
    switch (const int error = errno) {
      case EINTR:
        continue;
      case EAGAIN:
        if (waits_) eventfd_write(waits_.get(), 1);
        return;
      case EPIPE:  // the reader has gone
      case ECONNRESET:
      case ENOTCONN:
      case EIO:  // of a terminal that hung up; of a disk, too
        gone_ = true;
        [[fallthrough]];
      default:  // ENOSPC, EDQUOT, EFBIG, EBADF: for the next lines there may be room
        if (error_ == 0) error_ = error;
        Lose(kept_);
        told_ = lost();  // Flush() tells of these
        kept_.clear();
    }
  }
  eventfd_t count;
  if (waits_) eventfd_read(waits_.get(), &count);
}

pollfd OutputLines::Awaited() const {
  const std::lock_guard lock(mutex_);
  if (kept_.empty()) return {.fd = waits_.get(), .events = POLLIN, .revents = 0};
  return {.fd = stream_.fd(), .events = POLLOUT, .revents = 0};
}

void OutputLines::Resume() {
  const std::lock_guard lock(mutex_);
  WriteSome();
  if (!kept_.empty() || gone_ || lost() == told_) return;
  TellLosses();  // the flood is over
  WriteSome();
}

absl::Status OutputLines::Flush(io::Nanos patience, int interrupt_fd) {
  size_t left = SIZE_MAX;
  auto give_up = Clock::now() + patience;
  while (true) {
    Resume();
    {
      const std::lock_guard lock(mutex_);
      if (kept_.empty()) break;
      if (kept_.size() < left) give_up = Clock::now() + patience;
      left = kept_.size();
    }
    const auto now = Clock::now();
    if (now >= give_up) {
      return absl::DeadlineExceededError(
          absl::StrCat("nobody reads the output: ", left, " bytes of it are not written"));
    }
    pollfd fds[2] = {{.fd = stream_.fd(), .events = POLLOUT, .revents = 0},
                     {.fd = interrupt_fd, .events = POLLIN, .revents = 0}};
    poll(fds, 2, Millis(give_up - now));
    if (fds[1].revents != 0) return absl::CancelledError("interrupted");
  }
  const std::lock_guard lock(mutex_);
  const int error = std::exchange(error_, 0);
  if (error == 0 || error == EPIPE || error == ECONNRESET || error == ENOTCONN) {
    return absl::OkStatus();
  }
  const char* name = strerrorname_np(error);
  return absl::InternalError(absl::StrCat(
      "the output can't be written: ", name != nullptr ? name : "?", " (", strerror(error), ")"));
}

}  // namespace cli
