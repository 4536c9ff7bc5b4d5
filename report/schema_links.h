#pragma once

#include <string>

#include <nlohmann/json_fwd.hpp>

// What of a result the shapes of report/schema.cc can't say, of values that have these shapes: that
// indices and names lead somewhere, lengths agree, and what is there goes together. Each is "", or
// the first place that is wrong and what is wanted there.
namespace report::schema {

std::string WrongInCompare(const nlohmann::ordered_json& compare);

// Of a run, or a class of a mix, without its *times* objects.
std::string WrongInLoad(const nlohmann::ordered_json& load);

// Where values were recorded, there are figures; and there are as many as the histogram has.
std::string WrongInTimes(const nlohmann::ordered_json& times);

// That it is a histogram; without a place.
std::string WrongInHdr(const std::string& text);

}  // namespace report::schema
