#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include <nlohmann/json_fwd.hpp>

namespace report {

// `json` as text, in lines where `indent` isn't negative. The one way from JSON to text in this
// program: text from outside (a process's name, what an arm wrote, a path) may be any bytes, and
// must never cost a result. What is no UTF-8 is told byte by byte as \xfc, in keys, too, so that
// two names stay two. Numbers that JSON doesn't have are null. Doesn't fail but for memory.
std::string JsonText(const nlohmann::ordered_json& json, int indent = -1);

// `text` where it is UTF-8 (Unicode 15, table 3-7), else the same with \xfc for each byte that
// isn't part of a character.
std::string ValidUtf8(const std::string& text);

// How many bytes the character at the front of `text` has, which isn't empty; 0 where it is none.
size_t Utf8CharacterBytes(std::string_view text);

}  // namespace report
