#include "report/environment_json.h"

#include <nlohmann/json.hpp>

namespace report {

nlohmann::ordered_json EnvironmentJson(const stats::Environment& environment) {
  nlohmann::ordered_json json = {{"machine_id", environment.machine_id}};
  for (const stats::EnvironmentGroup& group : environment.groups) {
    for (const auto& [name, value] : group.items) json[group.name][name] = value;
  }
  return json;
}

}  // namespace report
