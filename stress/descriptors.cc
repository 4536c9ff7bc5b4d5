#include "stress/descriptors.h"

#include <sys/resource.h>
#include <sys/stat.h>

#include <filesystem>
#include <string>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "stats/limits.h"
#include "stats/needs.h"

namespace stress {

int64_t OpenDescriptors(pid_t pid) {
  if (pid <= 0) return -1;
  const std::string folder = absl::StrCat("/proc/", pid, "/fd");
  struct stat about = {};
  if (stat(folder.c_str(), &about) == 0 && about.st_size > 0) return about.st_size;
  std::error_code error;
  std::filesystem::directory_iterator entries(folder, error);
  if (error) return -1;
  int64_t count = 0;
  for (; entries != std::filesystem::directory_iterator(); entries.increment(error)) {
    if (error) return -1;
    ++count;
  }
  return count;
}

int64_t DescriptorLimit(pid_t pid) {
  rlimit limit = {};
  if (pid <= 0 || prlimit(pid, RLIMIT_NOFILE, nullptr, &limit) != 0) return -1;
  return static_cast<int64_t>(limit.rlim_cur);
}

std::string RaiseDescriptors(uint64_t to) {
  return stats::RaiseDescriptors(stats::ReadMachineLimits(), to);
}

}  // namespace stress
