#pragma once

#include <string>
#include <utility>
#include <vector>

namespace stats {

// Some facts under a common heading: "machine", "system", "limits", "sysctls" or "build".
struct EnvironmentGroup {
  std::string name;
  std::vector<std::pair<std::string, std::string>> items;  // In the order to be shown.
};

// What a result depends on besides the program: without it two figures can't be compared.
struct Environment {
  // 16 hexadecimal digits that tell machines apart without naming them: a hash of
  // /etc/machine-id (else the host's name), the CPU's model and the kernel's release. So another
  // kernel makes another machine.
  std::string machine_id;

  std::vector<EnvironmentGroup> groups;

  // An item's value; "unknown" if there is no such item.
  std::string Get(const std::string& group, const std::string& item) const;
};

// Gathers the environment of this process. It never fails: what can't be read is "unknown", limits
// that are not set are "unlimited", sizes are in bytes. `root` stands in for / in all file names.
Environment CollectEnvironment(const std::string& root = "");

}  // namespace stats
