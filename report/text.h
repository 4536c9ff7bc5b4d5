#pragma once

#include <string>

#include <nlohmann/json_fwd.hpp>

namespace report {

using Json = nlohmann::ordered_json;

// Results as a person reads them in a terminal. The arguments are what results/SCHEMA.md describes.

std::string ReadyText(const Json& ready);    // "ringside.serve/1", event "ready": a line a listener
std::string ServeText(const Json& summary);  // "ringside.serve/1", event "summary"
std::string StatusText(const Json& status);  // "ringside.serve/1", event "status"
std::string LoadText(const Json& load);      // "ringside.load/1"
std::string MixText(const Json& mix);        // "ringside.load_mix/1"
std::string LoadFailure(const Json& load);   // one sentence on why such a run isn't valid
std::string CompareText(const Json& compare);  // "ringside.compare/2"
std::string DoctorText(const Json& doctor);    // "ringside.doctor/1"
std::string ProbeText(const Json& probe);      // "ringside.probe/1"

}  // namespace report
