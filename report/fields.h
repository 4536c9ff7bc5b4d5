#pragma once

#include <cstdint>
#include <string>

#include <nlohmann/json_fwd.hpp>

// What a result has, where it may lack it: one that was cut off, or is older than a field.
namespace report::fields {

// The value of a key; null where there is none, or `json` is no object.
const nlohmann::ordered_json& At(const nlohmann::ordered_json& json, const char* key);

// A number, and a string, or what stands for one that is something else.
double Number(const nlohmann::ordered_json& json, double otherwise = 0);
// A number as an integer: what is beyond its ends is at them.
uint64_t Count(const nlohmann::ordered_json& json, uint64_t otherwise = 0);
int64_t Integer(const nlohmann::ordered_json& json, int64_t otherwise = 0);
std::string Text(const nlohmann::ordered_json& json, const std::string& otherwise = "");

}  // namespace report::fields
