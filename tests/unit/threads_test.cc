#include "io/threads.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <regex>
#include <string>

namespace io {
namespace {

TEST(StartThread, RunsTheBody) {
  bool ran = false;
  std::thread thread;
  ASSERT_TRUE(StartThread(
                  "a test", [&ran] { ran = true; }, &thread)
                  .ok());
  thread.join();
  EXPECT_TRUE(ran);
}

// In a child, as a user of its own that may have one thread: a sentence, and no exception.
TEST(StartThread, SaysThatNoneIsLeft) {
  if (geteuid() != 0) GTEST_SKIP() << "only root can act as another user";
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    const auto uid = static_cast<uid_t>(1'000'000 + getpid());
    const rlimit one = {.rlim_cur = 1, .rlim_max = 1};
    if (setrlimit(RLIMIT_NPROC, &one) != 0 || setresuid(uid, uid, uid) != 0) _exit(77);
    std::thread thread;
    const absl::Status status = StartThread(
        "a test", [] {}, &thread);
    const std::string text(status.message());
    const bool right = absl::IsResourceExhausted(status) && !thread.joinable() &&
                       text.find("for a test: EAGAIN") != std::string::npos &&
                       text.find("ulimit -u") != std::string::npos;
    _exit(right ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFEXITED(status)) << "it was killed by signal " << WTERMSIG(status);
  if (WEXITSTATUS(status) == 77) GTEST_SKIP() << "no such user can be had here";
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

// std::thread's constructor throws where there is none left, and ends the process: nothing of ours
// calls it but StartThread().
TEST(StartThread, IsTheOnlyPlaceThatMakesThreads) {
  const std::regex makes(
      R"(std::jthread|std::async\b|\bpthread_create\(|\bthrd_create\(|std::thread\s*[({]|)"
      R"(std::thread \w+\s*[({]|\bthread\w*\s*[({]\s*\[|\bthreads?_?(\.|->)emplace)");
  for (const char* line : {"thread_ = std::thread([this] { Run(); });", "std::thread t(f);",
                           ": log_(log), thread_([this] { Run(); }) {}", "std::async(f);",
                           "threads.emplace_back([] {});", "thread_.emplace([this] {});"}) {
    ASSERT_TRUE(std::regex_search(line, makes)) << line;
  }
  int seen = 0;
  for (const char* folder : {"bench", "cli", "io", "loadgen", "probe", "report", "server",
                             "services", "stats", "stress"}) {
    const auto root = std::filesystem::path(RINGSIDE_SOURCE_DIR) / folder;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(root)) {
      const std::string name = entry.path().filename();
      if (!name.ends_with(".cc") && !name.ends_with(".h")) continue;
      const std::string path = entry.path().lexically_relative(RINGSIDE_SOURCE_DIR);
      if (path == "io/threads.cc" || path.starts_with("bench/reference/")) continue;
      ++seen;
      std::ifstream file(entry.path());
      std::string line;
      for (int number = 1; std::getline(file, line); ++number) {
        const std::string code = line.substr(0, line.find("//"));
        if (code.find("thr") == code.npos && code.find("async") == code.npos) continue;  // quick
        EXPECT_FALSE(std::regex_search(code, makes))
            << path << ":" << number << " makes a thread by itself: " << line;
      }
    }
  }
  EXPECT_GT(seen, 200);
}

}  // namespace
}  // namespace io
