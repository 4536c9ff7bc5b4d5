#include "cli/shortfalls.h"

#include "absl/strings/str_cat.h"
#include "io/backends.h"
#include "io/threads.h"
#include "stats/limits.h"

namespace cli {

absl::Status AllowDescriptors(stats::Wanted wanted, uint64_t descriptors) {
  const absl::Status allowed = io::AllowDescriptors(descriptors);
  if (allowed.ok()) return allowed;
  wanted.can_direct = io::ProbeBackend("io_uring").ok();
  const stats::Finding finding =
      stats::DescriptorFinding(stats::ReadMachineLimits(), wanted, descriptors);
  if (finding.text.empty()) return allowed;  // /proc can't be read
  return absl::ResourceExhaustedError(
      absl::StrCat(stats::Sentence(finding), ", or ask for fewer connections"));
}

std::vector<std::string> ServeShortfalls(uint64_t connections, uint64_t threads, uint64_t backlog) {
  (void)io::AllowDescriptors(~0u);  // fewer is no error: clients wait in the backlog
  std::vector<std::string> shortfalls;
  const stats::MachineLimits limits = stats::ReadMachineLimits();
  const auto add = [&](const char* flag, uint64_t value, const stats::Finding& finding) {
    if (finding.text.empty()) return;
    shortfalls.push_back(absl::StrCat(flag, " ", value, ": ", stats::Sentence(finding)));
  };
  const stats::Wanted wanted = {.connections = connections,
                                .threads = threads,
                                .can_direct = io::ProbeBackend("io_uring").ok()};
  add("--connections-max", connections,
      stats::DescriptorFinding(limits, wanted, stats::DescriptorsOf(connections, threads)));
  add("--backlog", backlog,
      stats::BacklogFinding(limits, {.connections = backlog, .backlog = backlog}));
  return shortfalls;
}

}  // namespace cli
