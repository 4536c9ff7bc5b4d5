#include "cli/screen.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "tests/unit/descriptors.h"

namespace cli {
namespace {

constexpr char kHide[] = "\033[?25l";
constexpr char kShow[] = "\033[?25h";

TEST(FrameBytes, DrawFromTheTopOfWhatIsThere) {
  EXPECT_EQ(FrameBytes({"one", "two"}, 80, {}, 80),
            std::string(kHide) + "\r\033[Kone\r\n\033[Ktwo\r");
  EXPECT_EQ(FrameBytes({"one", "two"}, 80, {3, 3}, 80),
            std::string(kHide) + "\r\033[1A\033[Kone\r\n\033[Ktwo\r");
  EXPECT_EQ(FrameBytes({"one", "two"}, 80, {80}, 80),
            std::string(kHide) + "\r\033[Kone\r\n\033[Ktwo\r");
}

TEST(FrameBytes, EraseWhatIsNoLongerThere) {
  EXPECT_EQ(FrameBytes({"one"}, 80, {3, 3, 3}, 80), std::string(kHide) + "\r\033[2A\033[Jone\r");
}

TEST(FrameBytes, FollowLinesThatTheTerminalHasWrapped) {
  // 80 and 41 columns are two rows of 40 each, 40 and none are one; the last line's don't matter.
  EXPECT_EQ(FrameBytes({"one"}, 40, {80, 41, 40, 0, 80}, 80),
            std::string(kHide) + "\r\033[6A\033[Jone\r");
}

// A terminal of which the test sees what is written.
class ScreenTest : public unit_tests::LeavesNothingOpen {
 protected:
  ScreenTest() : shown_(posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC)) {
    char name[64];
    if (grantpt(shown_) != 0 || unlockpt(shown_) != 0 ||
        ptsname_r(shown_, name, sizeof name) != 0) {
      ADD_FAILURE() << "no terminal";
    }
    fd_ = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
    termios raw = {};
    tcgetattr(fd_, &raw);
    cfmakeraw(&raw);
    tcsetattr(fd_, TCSANOW, &raw);
    Resize(80, 24);
  }
  ~ScreenTest() override {
    close(fd_);
    close(shown_);
  }

  void Resize(unsigned short columns, unsigned short rows) {
    const winsize size = {.ws_row = rows, .ws_col = columns, .ws_xpixel = 0, .ws_ypixel = 0};
    EXPECT_EQ(ioctl(shown_, TIOCSWINSZ, &size), 0);
  }

  // Everything written since the last call. A terminal passes on what is written some time later,
  // so a mark is sent after it.
  std::string Written() {
    constexpr char kMark = '\001';
    EXPECT_EQ(write(fd_, &kMark, 1), 1);
    std::string bytes;
    char byte = 0;
    while (read(shown_, &byte, 1) == 1 && byte != kMark) bytes += byte;
    return bytes;
  }

  int fd_ = -1;

 private:
  int shown_;
};

TEST_F(ScreenTest, HidesTheCursorUntilItIsCleared) {
  Screen screen(fd_, false);
  EXPECT_EQ(Written(), "");
  screen.Draw("one\ntwo");
  EXPECT_EQ(Written(), FrameBytes({"one", "two"}, 80, {}, 80));
  screen.Draw("three\nfour");
  EXPECT_EQ(Written(), FrameBytes({"three", "four"}, 80, {3, 3}, 80));
  screen.Clear();
  EXPECT_EQ(Written(), std::string("\r\033[1A\033[J") + kShow);
  screen.Clear();
  EXPECT_EQ(Written(), "");
}

TEST_F(ScreenTest, ShowsTheCursorAtTheEndOfItsLife) {
  { Screen(fd_, false).Draw("one"); }
  EXPECT_TRUE(absl::EndsWith(Written(), std::string("\r\033[J") + kShow));
}

TEST_F(ScreenTest, AsksForTheSizeEachTime) {
  Screen screen(fd_, false);
  Resize(100, 30);
  EXPECT_EQ(screen.size().columns, 100);
  EXPECT_EQ(screen.size().rows, 30);
  screen.Draw(std::string(100, 'x') + "\ny");
  Resize(50, 30);
  Written();
  screen.Draw("z");
  EXPECT_EQ(Written(), FrameBytes({"z"}, 50, {100, 1}, 100));
  Resize(0, 0);
  EXPECT_EQ(screen.size().columns, 80);
  EXPECT_EQ(screen.size().rows, 24);
}

TEST_F(ScreenTest, WritesNoEscapesToAPlainTerminal) {
  Screen screen(fd_, true);
  screen.Draw("long line");
  screen.Draw("short");
  screen.Clear();
  EXPECT_EQ(Written(), "\rlong line\rshort    \r     \r");
}

TEST_F(ScreenTest, LeavesOutWhatATerminalThatStandsStillDoesNotTake) {
  Screen screen(fd_, false);
  EXPECT_EQ(tcflow(fd_, TCOOFF), 0);  // as Ctrl-S does
  screen.Draw("unseen");
  EXPECT_EQ(tcflow(fd_, TCOON), 0);
  EXPECT_EQ(Written(), "");
  screen.Draw("seen");
  EXPECT_EQ(Written(), FrameBytes({"seen"}, 80, {}, 80));
}

TEST_F(ScreenTest, ShowsTheCursorWhenASignalEndsTheProgram) {
  for (const int signal : {SIGHUP, SIGQUIT, SIGABRT}) {
    const pid_t child = unit_tests::InChild([&] {
      const rlimit no_core = {.rlim_cur = 0, .rlim_max = 0};
      setrlimit(RLIMIT_CORE, &no_core);
      Screen screen(fd_, false);
      screen.Draw("one");
      raise(signal);
      return 0;
    });
    EXPECT_EQ(unit_tests::ExitCodeOf(child), 128 + signal);
    EXPECT_EQ(Written(), FrameBytes({"one"}, 80, {}, 80) + "\n" + kShow) << signal;
  }
}

TEST_F(ScreenTest, LeavesIgnoredSignalsAlone) {
  const pid_t child = unit_tests::InChild([&] {
    std::signal(SIGHUP, SIG_IGN);  // as nohup(1) does
    Screen screen(fd_, false);
    screen.Draw("one");
    raise(SIGHUP);
    return 0;
  });
  EXPECT_EQ(unit_tests::ExitCodeOf(child), 0);
  EXPECT_EQ(Written(), FrameBytes({"one"}, 80, {}, 80) + "\r\033[J" + kShow);
}

// Where a process group is orphaned, SIGTSTP doesn't stop it, but the handler runs all the same.
TEST_F(ScreenTest, DrawsAnewAfterEachStop) {
  const pid_t child = unit_tests::InChild([&] {
    Screen screen(fd_, false);
    for (int i = 0; i < 2; ++i) {
      screen.Draw("one\ntwo");
      raise(SIGTSTP);
    }
    screen.Draw("three");
    screen.Clear();
    return 0;
  });
  int status = 0;
  while (waitpid(child, &status, WUNTRACED) == child && WIFSTOPPED(status)) kill(child, SIGCONT);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
  const std::string frame = FrameBytes({"one", "two"}, 80, {}, 80) + "\n" + kShow;
  EXPECT_EQ(Written(), frame + frame + FrameBytes({"three"}, 80, {}, 80) + "\r\033[J" + kShow);
}

TEST_F(ScreenTest, RestoresTheHandlers) {
  std::signal(SIGQUIT, SIG_DFL);
  { const Screen screen(fd_, false); }
  EXPECT_EQ(std::signal(SIGQUIT, SIG_DFL), SIG_DFL);
}

}  // namespace
}  // namespace cli
