// The program where a limit of its user leaves it too little: for rings, for threads.

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

#include "tests/cli/ringside.h"

namespace cli_tests {
namespace {

// The program as a user of this test's own, with a limit of prlimit(1) ("--nproc=2"). That user may
// not be able to reach the program by its path.
std::vector<std::string> Limited(const std::string& limit, std::vector<std::string> arguments) {
  const std::string user = std::to_string(1'000'000 + getpid());
  std::vector<std::string> command = {
      "sh", "-c",
      "exec 9<\"$1\"; shift; ASAN_OPTIONS=detect_leaks=0 exec setpriv --reuid=" + user +
          " --regid=" + user + " --clear-groups --inh-caps=-all prlimit " + limit +
          " /proc/self/fd/9 \"$@\"",
      "sh", RINGSIDE_BINARY};
  command.insert(command.end(), arguments.begin(), arguments.end());
  return command;
}

class UserLimits : public testing::Test {
 protected:
  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "only root can act as another user";
    if (RunToEnd(Limited("--nproc=100", {"--version"})).exit_code != 0) {
      GTEST_SKIP() << "no other user can run the program here";
    }
  }
};

class RingMemory : public UserLimits {
 protected:
  static constexpr const char* k64KiB = "--memlock=65536:65536";

  void SetUp() override {
    UserLimits::SetUp();
    if (IsSkipped()) return;
    const Json doctor =
        Json::parse(RunToEnd(Limited(k64KiB, {"doctor", "--json", "-"})).out, nullptr, false);
    ASSERT_TRUE(doctor.is_object());
    if (!doctor["io_uring"]["available"].get<bool>()) {
      GTEST_SKIP() << doctor["io_uring"]["why_not"];
    }
    for (const Json& finding : doctor["findings"]) {
      if (finding["limit"] == "RLIMIT_MEMLOCK") finding_ = finding;
    }
    if (finding_.is_null()) GTEST_SKIP() << "this kernel charges no rings to RLIMIT_MEMLOCK";
  }

  Json finding_;
};

TEST_F(RingMemory, DoctorFindsTheLimit) {
  EXPECT_EQ(finding_["severity"], "flag");
  EXPECT_EQ(finding_["has"], 65536);
  EXPECT_GT(finding_["needs"], 65536);
  EXPECT_NE(finding_["mend"].get<std::string>().find("ulimit -l"), std::string::npos);
}

// The smallest ring could be had, and those of all threads can't.
TEST_F(RingMemory, AutoTakesEpollAtBothEndsAndSaysSo) {
  Server server = Server::By(Limited(k64KiB, {"serve", "127.0.0.1:0", "--json", "--threads", "2"}));
  EXPECT_EQ(server.ready()["backend"], "epoll");
  const Ended load = RunToEnd(
      Limited(k64KiB, {"load", server.port(), "-t", "2", "-c", "2", "-n", "10", "--json", "-"}));
  EXPECT_EQ(load.exit_code, 0) << load.err;
  const Json result = Json::parse(load.out, nullptr, false);
  ASSERT_TRUE(result.is_object()) << load.out;
  EXPECT_EQ(result["backend"], "epoll");
  EXPECT_NE(load.err.find("ringside load: using epoll, since "), std::string::npos) << load.err;
  for (const Json& why : {server.ready()["backend_fallback"], result["backend_fallback"]}) {
    ASSERT_TRUE(why.is_string());
    EXPECT_NE(why.get<std::string>().find("RLIMIT_MEMLOCK"), std::string::npos) << why;
    EXPECT_NE(why.get<std::string>().find("64 KiB"), std::string::npos) << why;
  }
  EXPECT_EQ(server.Stop()["backend"], "epoll");
}

TEST_F(RingMemory, WhoInsistsOnRingsIsToldWhatTheyNeed) {
  for (const std::vector<std::string>& command :
       {std::vector<std::string>{"serve", "-t", "8", "0"}, {"load", "-t", "8", "-c", "8", "9"}}) {
    std::vector<std::string> words = command;
    words.insert(words.end(), {"--backend", "io_uring"});
    const Ended ended = RunToEnd(Limited(k64KiB, words));
    EXPECT_EQ(ended.exit_code, 77) << ended.err;
    EXPECT_EQ(ended.err.find("ringside " + command[0] + ": io_uring_"), 0u) << ended.err;
    EXPECT_NE(ended.err.find("lock 64 KiB"), std::string::npos) << ended.err;
    EXPECT_NE(ended.err.find("8 threads need 1728 KiB"), std::string::npos) << ended.err;
  }
}

// Each of the threads that it starts may be the one that there is no more of.
TEST_F(UserLimits, WhereNoThreadIsLeftOneSentenceSaysSo) {
  const std::string path =
      testing::TempDir() + "ringside-no-thread-" + std::to_string(getpid()) + ".sock";
  const struct {
    int threads;
    std::vector<std::string> arguments;
    std::string what;
  } cases[] = {
      {1, {"serve", "-b", "epoll", "unix:" + path}, "the server (1 of 1)"},
      {3, {"serve", "-b", "epoll", "-t", "8", "0"}, "the server (3 of 8)"},
      {1, {"serve", "-b", "epoll", "--log-connections", "0"}, "the connection log"},
      {2, {"serve", "-b", "epoll", "--metrics", "unix:" + path, "0"}, "the admin address"},
      {3, {"load", "-b", "epoll", "-t", "8", "-c", "8", "9"}, "the load (3 of 8)"},
  };
  for (const auto& [threads, arguments, what] : cases) {
    SCOPED_TRACE(what);
    const Ended ended = RunToEnd(Limited("--nproc=" + std::to_string(threads), arguments));
    EXPECT_EQ(ended.exit_code, 1) << ended.err;
    EXPECT_EQ(ended.out, "");
    EXPECT_EQ(ended.err.find("ringside " + arguments[0] + ": no thread can be started for " + what +
                             ": EAGAIN"),
              0u)
        << ended.err;
    EXPECT_EQ(std::count(ended.err.begin(), ended.err.end(), '\n'), 1) << ended.err;
    EXPECT_FALSE(std::filesystem::exists(path));
  }
}

}  // namespace
}  // namespace cli_tests
