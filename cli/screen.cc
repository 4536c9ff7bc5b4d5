#include "cli/screen.h"

#include <poll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstddef>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "cli/panel.h"

namespace cli {
namespace {

// ECMA-48, and DEC's private mode 25.
constexpr char kHideCursor[] = "\033[?25l";
constexpr char kShowCursor[] = "\033[?25h";
constexpr char kEraseBelow[] = "\033[J";
constexpr char kEraseLine[] = "\033[K";

// What ends or stops the program without passing through main().
constexpr std::array<int, 8> kSignals = {SIGHUP,  SIGQUIT, SIGTSTP, SIGABRT,
                                         SIGSEGV, SIGBUS,  SIGILL,  SIGFPE};

// For the handler, which may run in any thread.
std::array<struct sigaction, kSignals.size()> actions_before;
std::atomic<int> hidden_on{-1};        // the descriptor of the terminal without a cursor; -1: none
std::atomic<bool> interrupted{false};  // the terminal was given back meanwhile

void SetHandler(size_t i);

// Gives the terminal back, then lets the signal do what it would have done: it is blocked here, so
// it comes when this returns. Only functions that signal-safety(7) allows.
void GiveBack(int signal) {
  const int error = errno;
  const int fd = hidden_on.exchange(-1);
  constexpr char kBelow[] = "\n\033[?25h";
  if (fd >= 0) {
    interrupted.store(true);
    [[maybe_unused]] const ssize_t n = write(fd, kBelow, sizeof(kBelow) - 1);
  }
  for (size_t i = 0; i < kSignals.size(); ++i) {
    if (kSignals[i] == signal) sigaction(signal, &actions_before[i], nullptr);
  }
  raise(signal);
  errno = error;
}

void SetHandler(size_t i) {
  struct sigaction action = {};
  action.sa_handler = &GiveBack;
  action.sa_flags = SA_RESTART;
  sigemptyset(&action.sa_mask);
  struct sigaction before = {};
  sigaction(kSignals[i], nullptr, &before);
  if (before.sa_handler == SIG_IGN || before.sa_handler == &GiveBack) return;
  actions_before[i] = before;
  sigaction(kSignals[i], &action, nullptr);
}

// How many rows lines of these widths take.
int Rows(const std::vector<int>& widths, size_t lines, int columns) {
  int rows = 0;
  for (size_t i = 0; i < lines; ++i) rows += std::max(1, (widths[i] + columns - 1) / columns);
  return rows;
}

// From the start of the last line to the start of the first.
std::string ToTop(const std::vector<int>& widths, int columns) {
  const int up = widths.empty() ? 0 : Rows(widths, widths.size() - 1, columns);
  return up > 0 ? absl::StrCat("\r\033[", up, "A") : "\r";
}

}  // namespace

std::string FrameBytes(const std::vector<std::string>& lines, int columns,
                       const std::vector<int>& widths_before, int columns_before) {
  std::string bytes = absl::StrCat(kHideCursor, ToTop(widths_before, columns));
  // Where it doesn't have to, nothing is erased but right before it is drawn: less flickers.
  const bool all = columns != columns_before || widths_before.size() > lines.size();
  if (all) bytes += kEraseBelow;
  for (size_t i = 0; i < lines.size(); ++i) {
    absl::StrAppend(&bytes, i > 0 ? "\r\n" : "", all ? "" : kEraseLine, lines[i]);
  }
  return bytes + "\r";
}

Screen::Screen(int fd, bool plain) : fd_(fd), stream_(fd), plain_(plain) {
  interrupted.store(false);
  for (size_t i = 0; i < kSignals.size() && !plain_; ++i) SetHandler(i);
}

Screen::~Screen() {
  Clear();
  for (size_t i = 0; i < kSignals.size() && !plain_; ++i) {
    struct sigaction now = {};
    sigaction(kSignals[i], nullptr, &now);
    if (now.sa_handler == &GiveBack) sigaction(kSignals[i], &actions_before[i], nullptr);
  }
}

Screen::Size Screen::size() const {
  winsize size = {};
  if (ioctl(fd_, TIOCGWINSZ, &size) != 0 || size.ws_col == 0 || size.ws_row == 0) return {80, 24};
  return {size.ws_col, size.ws_row};
}

void Screen::Draw(const std::string& text) {
  if (interrupted.exchange(false)) {  // and goes on: what is there now is no longer ours
    widths_.clear();
    for (size_t i = 0; i < kSignals.size(); ++i) SetHandler(i);
  }
  const std::vector<std::string> lines = absl::StrSplit(text, '\n');
  const int columns = size().columns;
  std::string bytes;
  if (plain_) {
    const int before = widths_.empty() ? 0 : widths_.front();
    bytes = absl::StrCat("\r", text, std::string(std::max(0, before - ColumnsOf(text)), ' '));
  } else {
    bytes = FrameBytes(lines, columns, widths_, columns_ == 0 ? columns : columns_);
    hidden_on.store(stream_.fd());  // for a handler, too, a stopped terminal is no wait
  }
  pollfd ready = {.fd = fd_, .events = POLLOUT, .revents = 0};
  if (poll(&ready, 1, 0) != 1) return;
  Write(bytes);
  columns_ = columns;
  widths_.clear();
  for (const std::string& line : lines) widths_.push_back(ColumnsOf(line));
}

void Screen::Clear() {
  if (!widths_.empty() && plain_)
    Write(absl::StrCat("\r", std::string(widths_.front(), ' '), "\r"));
  if (!widths_.empty() && !plain_ && !interrupted.load()) {
    Write(absl::StrCat(ToTop(widths_, size().columns), kEraseBelow));
  }
  if (hidden_on.exchange(-1) >= 0) Write(kShowCursor);
  widths_.clear();
}

void Screen::Write(const std::string& bytes) {
  for (size_t done = 0; done < bytes.size() && !gone_;) {
    const ssize_t n = stream_.Write(std::string_view(bytes).substr(done));
    if (n >= 0) {
      done += static_cast<size_t>(n);
    } else if (errno == EAGAIN) {  // full: the rest of the frame is left out
      return;
    } else if (errno != EINTR) {  // EIO: it hung up
      gone_ = true;
    }
  }
}

}  // namespace cli
