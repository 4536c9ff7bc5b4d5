#pragma once

#include <string>
#include <vector>

#include "cli/output_lines.h"

namespace cli {

// Some lines at the bottom of a terminal that are drawn again and again in the same place. The
// cursor is hidden from the first Draw() to Clear(); it is shown again also when SIGHUP, SIGQUIT,
// SIGTSTP or a crash interrupts the program, whose handlers are replaced while one of these lives.
// SIGINT and SIGTERM are not: see cli/signals.h. At most one Screen at a time; one thread.
class Screen {
 public:
  struct Size {
    int columns, rows;
  };

  // `fd` is a terminal's. `plain`: one that knows no escapes (TERM=dumb); then only single lines
  // may be drawn, shorter than the terminal.
  Screen(int fd, bool plain);
  ~Screen();
  Screen(const Screen&) = delete;
  Screen& operator=(const Screen&) = delete;

  // As it is now; 80 x 24 where the terminal doesn't tell. Source: TIOCGWINSZ, ioctl_tty(2).
  Size size() const;

  // Draws `text` over what was drawn before. Its lines, joined by '\n', have to fit. What a
  // terminal doesn't take at once (Ctrl-S) is left out; a terminal that has gone is left alone.
  void Draw(const std::string& text);

  // Removes what was drawn, and shows the cursor.
  void Clear();

 private:
  void Write(const std::string& bytes);

  const int fd_;
  const NonblockingStream stream_;  // fd_'s
  const bool plain_;
  bool gone_ = false;
  int columns_ = 0;          // when it was last drawn
  std::vector<int> widths_;  // of the lines that are there
};

// The bytes that draw `lines` on a terminal of `columns` over lines of these widths, which were
// drawn when it had `columns_before`. The cursor is at the start of the last line, before and
// after. A terminal that became narrower is taken to have wrapped what was there.
std::string FrameBytes(const std::vector<std::string>& lines, int columns,
                       const std::vector<int>& widths_before, int columns_before);

}  // namespace cli
