#include "report/fields.h"

#include <nlohmann/json.hpp>

namespace report::fields {

using Json = nlohmann::ordered_json;

namespace {
const Json kNull;
}

const Json& At(const Json& json, const char* key) {
  if (!json.is_object()) return kNull;
  const auto found = json.find(key);
  return found == json.end() ? kNull : *found;
}

double Number(const Json& json, double otherwise) {
  return json.is_number() ? json.get<double>() : otherwise;
}

std::string Text(const Json& json, const std::string& otherwise) {
  return json.is_string() ? json.get<std::string>() : otherwise;
}

}  // namespace report::fields
