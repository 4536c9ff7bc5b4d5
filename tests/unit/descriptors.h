#pragma once

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <iterator>
#include <string>

// What the tests of descriptors and processes share.
namespace unit_tests {

inline size_t OpenDescriptors() {
  namespace fs = std::filesystem;
  return std::distance(fs::directory_iterator("/proc/self/fd"), fs::directory_iterator());
}

// Each test has a folder of its own, and leaves no descriptor open.
class LeavesNothingOpen : public testing::Test {
 protected:
  LeavesNothingOpen() : open_(OpenDescriptors()), folder_(testing::TempDir() + "rsXXXXXX") {
    if (mkdtemp(folder_.data()) == nullptr) ADD_FAILURE() << "no folder " << folder_;
  }
  ~LeavesNothingOpen() override {
    std::filesystem::remove_all(folder_);
    EXPECT_EQ(OpenDescriptors(), open_);
  }
  std::string InFolder(const std::string& name) const { return folder_ + "/" + name; }

 private:
  size_t open_;
  std::string folder_;
};

// Runs `body` in a process of its own, which ends with the exit code that `body` returns.
template <class Body>
pid_t InChild(Body body) {
  const pid_t child = fork();
  if (child == 0) {
    alarm(60);  // ends a hung child
    _exit(body());
  }
  return child;
}

// Its exit code, or 128 + the signal that ended it.
inline int ExitCodeOf(pid_t child) {
  int status = 0;
  if (waitpid(child, &status, 0) != child) return -1;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

}  // namespace unit_tests
