#include "cli/version.h"

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "io/backends.h"
#include "report/json_text.h"
#include "revision.h"

namespace cli {
namespace {

std::string Line(const std::string& name, const std::string& text) {
  return absl::StrFormat("%-10s %s\n", absl::StrCat(name, ":"), text);
}

std::string Compiler() {
#if defined(__clang__)
  return absl::StrCat("clang ", __clang_version__);
#else
  return absl::StrCat("g++ ", __VERSION__);
#endif
}

}  // namespace

std::string Revision() { return RINGSIDE_REVISION; }

std::string Version() { return std::string(RINGSIDE_VERSION) + " (" + Revision() + ")"; }

std::string VersionDetails() {
  std::string out =
      absl::StrCat(Line("compiler", Compiler()), Line("liburing", RINGSIDE_LIBURING_VERSION));
  for (const std::string& name : io::BackendNames()) {
    const auto features = io::BackendFeatures(name);
    if (!features.ok()) {
      absl::StrAppend(&out, Line(name, absl::StrCat("not available: ",
                                                    std::string(features.status().message()))));
      continue;
    }
    absl::StrAppend(
        &out, Line(name, absl::StrCat("available", features->empty() ? "" : ": ", *features)));
  }
  return out;
}

std::string VersionJson() {
  nlohmann::ordered_json backends = nlohmann::ordered_json::object();
  for (const std::string& name : io::BackendNames()) {
    const auto features = io::BackendFeatures(name);
    nlohmann::ordered_json& backend = backends[name];
    backend["available"] = features.ok();
    backend["features"] = features.ok() ? nlohmann::ordered_json(*features) : nullptr;
    backend["why_not"] = features.ok()
                             ? nlohmann::ordered_json()
                             : nlohmann::ordered_json(std::string(features.status().message()));
  }
  return report::JsonText({{"schema", "ringside.version/1"},
                           {"name", "ringside"},
                           {"version", RINGSIDE_VERSION},
                           {"revision", Revision()},
                           {"compiler", Compiler()},
                           {"liburing", RINGSIDE_LIBURING_VERSION},
                           {"backends", backends}},
                          2) +
         "\n";
}

}  // namespace cli
