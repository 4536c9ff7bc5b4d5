#include "cli/common.h"

#include <iostream>

#include "cli/subcommands.h"
#include "io/backends.h"
#include "report/escape.h"

namespace cli {

int Fail(const std::string& command, const std::string& what, int exit_code) {
  std::cerr << "ringside " << command << ": " << report::PlainText(what) << "\n";
  return exit_code;
}

int Fail(const std::string& command, const absl::Status& status, int exit_code) {
  return Fail(command, std::string(status.message()), exit_code);
}

int StartFailed(const absl::Status& status) {
  return absl::IsUnimplemented(status) ? kExitSkipped : kExitFailed;
}

std::vector<std::string> BackendChoices() {
  std::vector<std::string> names = {"auto"};
  for (const std::string& name : io::BackendNames()) names.push_back(name);
  return names;
}

absl::Status UseBackend(const std::string& command, std::string* backend) {
  std::string fallback;
  *backend = io::ChooseBackend(*backend, &fallback);
  if (!fallback.empty()) {
    std::cerr << "ringside " << command << ": using " << *backend << ", since " << fallback << "\n";
  }
  return io::ProbeBackend(*backend);
}

}  // namespace cli
