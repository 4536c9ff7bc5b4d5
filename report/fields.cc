#include "report/fields.h"

#include <algorithm>
#include <limits>

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

uint64_t Count(const Json& json, uint64_t otherwise) {
  if (json.is_number_unsigned()) return json.get<uint64_t>();
  if (json.is_number_integer())
    return static_cast<uint64_t>(std::max<int64_t>(0, json.get<int64_t>()));
  if (!json.is_number()) return otherwise;
  const auto number = json.get<double>();
  constexpr double kEnd = 18446744073709551616.0;  // 2^64
  if (!(number > 0)) return 0;
  return number < kEnd ? static_cast<uint64_t>(number) : std::numeric_limits<uint64_t>::max();
}

int64_t Integer(const Json& json, int64_t otherwise) {
  constexpr int64_t kMin = std::numeric_limits<int64_t>::min(),
                    kMax = std::numeric_limits<int64_t>::max();
  if (json.is_number_unsigned()) {
    return static_cast<int64_t>(std::min<uint64_t>(json.get<uint64_t>(), kMax));
  }
  if (json.is_number_integer()) return json.get<int64_t>();
  if (!json.is_number()) return otherwise;
  const auto number = json.get<double>();
  constexpr double kEnd = 9223372036854775808.0;  // 2^63
  if (number >= kEnd) return kMax;
  return number >= -kEnd ? static_cast<int64_t>(number) : kMin;
}

std::string Text(const Json& json, const std::string& otherwise) {
  return json.is_string() ? json.get<std::string>() : otherwise;
}

}  // namespace report::fields
