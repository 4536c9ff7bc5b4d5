#include "cli/common.h"

#include <iostream>

#include "cli/subcommands.h"
#include "io/backends.h"
#include "report/escape.h"

namespace cli {
namespace {

void SayFallback(const std::string& command, const std::string& backend, const std::string& since,
                 std::string* why) {
  std::cerr << "ringside " << command << ": using " << backend << ", since "
            << report::PlainText(since) << "\n";
  if (why != nullptr) *why = since;
}

}  // namespace

int Fail(const std::string& command, const std::string& what, int exit_code) {
  std::cerr << "ringside " << command << ": " << report::PlainText(what) << "\n";
  return exit_code;
}

int Fail(const std::string& command, const absl::Status& status, int exit_code) {
  return Fail(command, std::string(status.message()), exit_code);
}

int StartFailed(const absl::Status& status) {
  return io::IsBackendRefused(status) ? kExitSkipped : kExitFailed;
}

std::vector<std::string> BackendChoices() {
  std::vector<std::string> names = {"auto"};
  for (const std::string& name : io::BackendNames()) names.push_back(name);
  return names;
}

absl::Status UseBackend(const std::string& command, std::string* backend, std::string* why,
                        uint32_t loops) {
  std::string fallback;
  *backend = io::ChooseBackend(*backend, &fallback, loops);
  if (!fallback.empty()) SayFallback(command, *backend, fallback, why);
  return io::ProbeBackend(*backend, fallback.empty() ? loops : 0);
}

bool FallBack(const std::string& command, const absl::Status& started, std::string* backend,
              std::string* why) {
  if (!io::IsBackendRefused(started)) return false;
  const std::string next = io::NextBackend(*backend);
  if (next.empty()) return false;
  *backend = next;
  SayFallback(command, *backend, std::string(started.message()), why);
  return true;
}

}  // namespace cli
