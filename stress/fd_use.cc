#include "stress/fd_use.h"

#include <filesystem>
#include <limits>
#include <string>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "stats/proc_file.h"

namespace stress {
namespace {

absl::Status FolderError(pid_t pid, const std::error_code& error) {
  const std::string text = absl::StrCat("the descriptors of process ", pid, ": ", error.message());
  if (error == std::errc::permission_denied || error == std::errc::operation_not_permitted) {
    return absl::PermissionDeniedError(text + "; run this as its user, or as root");
  }
  if (error == std::errc::no_such_file_or_directory || error == std::errc::no_such_process) {
    return absl::NotFoundError(text + ": it is gone");
  }
  return absl::ResourceExhaustedError(text);  // EMFILE, ENFILE, ENOMEM
}

}  // namespace

namespace internal {

uint64_t ParseOpenFiles(std::string_view text) {
  constexpr size_t kSoft = 3, kWords = 6;  // Max open files SOFT HARD files
  for (const std::string_view line : stats::Lines(text)) {
    const auto words = stats::Words(line);
    if (words.size() != kWords || !line.starts_with("Max open files")) continue;
    if (words[kSoft] == "unlimited") return std::numeric_limits<uint64_t>::max();
    return stats::ParseNumber<uint64_t>(words[kSoft]).value_or(0);
  }
  return 0;
}

}  // namespace internal

absl::StatusOr<FdUse> ReadFdUse(pid_t pid) {
  const auto limits = stats::ReadProcFile(absl::StrCat("/proc/", pid, "/limits"));
  if (!limits.ok()) return limits.status();
  FdUse use = {.limit = internal::ParseOpenFiles(*limits)};
  if (use.limit == 0) {
    return absl::NotFoundError(absl::StrCat("/proc/", pid, "/limits names no limit of open files"));
  }
  std::error_code error;
  std::filesystem::directory_iterator entries(absl::StrCat("/proc/", pid, "/fd"), error);
  while (!error && entries != std::filesystem::directory_iterator()) {
    const std::string name = entries->path().filename().string();
    if (const auto number = stats::ParseNumber<uint64_t>(name); number && *number < use.limit) {
      ++use.used;
    }
    entries.increment(error);
  }
  if (error) return FolderError(pid, error);
  return use;
}

}  // namespace stress
