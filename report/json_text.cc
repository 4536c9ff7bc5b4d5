#include "report/json_text.h"

#include <algorithm>
#include <cstdint>
#include <string_view>

#include <nlohmann/json.hpp>

#include "absl/strings/str_format.h"

namespace report {
namespace {

using Json = nlohmann::ordered_json;

bool InRange(uint8_t byte, uint8_t low, uint8_t high) { return byte >= low && byte <= high; }

bool IsUtf8(std::string_view text) {
  while (!text.empty()) {
    const size_t size = Utf8CharacterBytes(text);
    if (size == 0) return false;
    text.remove_prefix(size);
  }
  return true;
}

bool IsValid(const Json& json) {
  if (json.is_string()) return IsUtf8(json.get_ref<const std::string&>());
  if (json.is_array()) return std::all_of(json.begin(), json.end(), IsValid);
  if (!json.is_object()) return true;
  return std::all_of(json.items().begin(), json.items().end(),
                     [](const auto& item) { return IsUtf8(item.key()) && IsValid(item.value()); });
}

Json Validated(const Json& json) {
  if (json.is_string()) return ValidUtf8(json.get_ref<const std::string&>());
  if (!json.is_structured()) return json;
  Json valid = json.is_array() ? Json::array() : Json::object();
  if (json.is_array()) {
    for (const Json& element : json) valid.push_back(Validated(element));
    return valid;
  }
  for (const auto& item : json.items()) valid[ValidUtf8(item.key())] = Validated(item.value());
  return valid;
}

std::string Dump(const Json& json, int indent) {
  return json.dump(indent, ' ', /*ensure_ascii=*/false, Json::error_handler_t::replace);
}

}  // namespace

size_t Utf8CharacterBytes(std::string_view text) {
  const auto at = [&](size_t i) { return i < text.size() ? static_cast<uint8_t>(text[i]) : 0; };
  const uint8_t first = at(0);
  if (first < 0x80) return 1;
  // The second byte excludes what is too long, surrogates, and what is beyond U+10FFFF.
  const uint8_t low = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
  const uint8_t high = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
  const size_t size = InRange(first, 0xc2, 0xdf)   ? 2
                      : InRange(first, 0xe0, 0xef) ? 3
                      : InRange(first, 0xf0, 0xf4) ? 4
                                                   : 0;
  if (size == 0 || !InRange(at(1), low, high)) return 0;
  for (size_t i = 2; i < size; ++i) {
    if (!InRange(at(i), 0x80, 0xbf)) return 0;
  }
  return size;
}

std::string ValidUtf8(const std::string& text) {
  std::string valid;
  for (std::string_view left = text; !left.empty();) {
    const size_t size = Utf8CharacterBytes(left);
    if (size == 0) absl::StrAppendFormat(&valid, "\\x%02x", static_cast<uint8_t>(left.front()));
    valid.append(left.substr(0, size));
    left.remove_prefix(std::max<size_t>(size, 1));
  }
  return valid;
}

std::string JsonText(const Json& json, int indent) {
  return IsValid(json) ? Dump(json, indent) : Dump(Validated(json), indent);
}

}  // namespace report
