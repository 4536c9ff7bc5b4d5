#include "cli/output_lines.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <pty.h>
#include <pwd.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <sstream>
#include <string>

#include "tests/unit/descriptors.h"

namespace cli {
namespace {

constexpr io::Nanos kHang = std::chrono::seconds(60);  // ends a hung test
constexpr size_t kKept = 4096;
constexpr int kLines = 2000;

std::string LineOf(int number) { return std::to_string(number) + std::string(100, 'x') + "\n"; }

// Both ends of something that somebody reads, or doesn't.
struct Ends {
  int read = -1, write = -1;
  ~Ends() {
    for (const int fd : {read, write}) {
      if (fd >= 0) close(fd);
    }
  }
};

class OutputTest : public unit_tests::LeavesNothingOpen {
 protected:
  void SetUp() override { signal(SIGPIPE, SIG_IGN); }  // as the program has it
};

// All that is there now.
std::string Read(int fd) {
  const int flags = fcntl(fd, F_GETFL);
  fcntl(fd, F_SETFL, flags | O_NONBLOCK);
  std::string text;
  char part[65536];
  for (ssize_t n; (n = read(fd, part, sizeof(part))) > 0;) text.append(part, n);
  fcntl(fd, F_SETFL, flags);
  return text;
}

// Writes to the end that nobody reads, more than it holds, then reads: each line is there, whole
// and in its order, or was told to be lost.
void ExpectNeverWaits(const Ends& ends) {
  const int flags = fcntl(ends.write, F_GETFL);
  OutputLines output(ends.write, "it", kKept);
  for (int i = 0; i < kLines; ++i) output.Write(LineOf(i));  // this would hang
  EXPECT_GT(output.lost(), 0u);
  EXPECT_TRUE(absl::IsDeadlineExceeded(output.Flush(io::Nanos::zero())));
  EXPECT_EQ(output.Awaited().events, POLLOUT);

  std::string text;
  for (std::string some; !(some = Read(ends.read)).empty();) {
    text += some;
    output.Resume();
  }
  EXPECT_TRUE(output.Flush(kHang).ok());
  EXPECT_EQ(output.Awaited().events, POLLIN);
  std::erase(text, '\r');  // a terminal's
  std::istringstream lines(text);
  std::string line;
  int next = 0;
  for (; std::getline(lines, line);) {
    if (line.starts_with("it: ")) {
      next += std::stoi(line.substr(4));
      EXPECT_TRUE(line.ends_with(" lines lost here: nobody read them in time")) << line;
    } else {
      EXPECT_EQ(line + "\n", LineOf(next++));
    }
  }
  EXPECT_EQ(next, kLines);
  EXPECT_EQ(fcntl(ends.write, F_GETFL), flags) << "those are everybody's who has it";
}

TEST_F(OutputTest, NeverWaitsForAPipe) {
  Ends ends;
  ASSERT_EQ(pipe2(&ends.read, O_CLOEXEC), 0);
  ExpectNeverWaits(ends);
}

TEST_F(OutputTest, NeverWaitsForASocket) {
  Ends ends;
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, &ends.read), 0);
  const int bytes = 4096;
  setsockopt(ends.write, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
  ExpectNeverWaits(ends);
}

TEST_F(OutputTest, NeverWaitsForATerminal) {
  Ends ends;
  if (openpty(&ends.read, &ends.write, nullptr, nullptr, nullptr) != 0) {
    GTEST_SKIP() << "there are no terminals here";
  }
  ExpectNeverWaits(ends);
}

TEST_F(OutputTest, NeverWaitsForAnotherUsersPipe) {
  const passwd* nobody = getpwnam("nobody");
  if (geteuid() != 0 || nobody == nullptr) GTEST_SKIP() << "only root can become another user";
  Ends ends;
  ASSERT_EQ(pipe2(&ends.read, O_CLOEXEC), 0);
  const pid_t child = unit_tests::InChild([&] {
    if (setuid(nobody->pw_uid) != 0) return 2;
    ExpectNeverWaits(ends);
    return testing::Test::HasFailure() ? 1 : 0;
  });
  EXPECT_EQ(unit_tests::ExitCodeOf(child), 0);
}

TEST_F(OutputTest, IsQuietWhenTheReaderHasGone) {
  Ends ends;
  ASSERT_EQ(pipe2(&ends.read, O_CLOEXEC), 0);
  close(std::exchange(ends.read, -1));
  OutputLines output(ends.write, "it");
  output.Write("1\n2\n");
  output.Write("3\n");
  EXPECT_TRUE(output.Flush(kHang).ok());
  EXPECT_EQ(output.lost(), 3u);
}

TEST_F(OutputTest, SaysThatADiskIsFull) {
  Ends ends;
  ends.write = open("/dev/full", O_WRONLY | O_CLOEXEC);
  ASSERT_GE(ends.write, 0);
  OutputLines output(ends.write, "it");
  output.Write("1\n");
  const absl::Status flushed = output.Flush(kHang);
  EXPECT_TRUE(absl::IsInternal(flushed));
  EXPECT_NE(flushed.message().find("ENOSPC"), absl::string_view::npos) << flushed;
  EXPECT_TRUE(output.Flush(kHang).ok());
  EXPECT_EQ(output.lost(), 1u);
}

TEST_F(OutputTest, AWaitEndsAtASignal) {
  Ends ends, signal;
  ASSERT_EQ(pipe2(&ends.read, O_CLOEXEC), 0);
  ASSERT_EQ(pipe2(&signal.read, O_CLOEXEC), 0);
  ASSERT_EQ(write(signal.write, "x", 1), 1);
  OutputLines output(ends.write, "it", 1 << 20);
  for (int i = 0; i < kLines; ++i) output.Write(LineOf(i));
  EXPECT_TRUE(absl::IsCancelled(output.Flush(kHang, signal.read)));
}

}  // namespace
}  // namespace cli
