#pragma once

#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

// How reports of a comparison ("ringside.compare/2") put its figures and verdicts into words, so
// that each says the same.
namespace report {

// The arm with this index, and its name; null and "?" where there is none.
const nlohmann::ordered_json& ArmOf(const nlohmann::ordered_json& result,
                                    const nlohmann::ordered_json& index);
std::string ArmName(const nlohmann::ordered_json& result, const nlohmann::ordered_json& index);
// Whether the arm is the first one once more.
bool IsSelfCheck(const nlohmann::ordered_json& result, const nlohmann::ordered_json& index);

// A ratio as the difference in percent that it is, with its sign: 0.953 is "−4.7".
std::string DifferenceText(double ratio);

// "−4.7 %  (−6.2 to −3.1)" of an object with `ratio`, `ratio_low` and `ratio_high`; without an
// interval only the first; "" without a ratio.
std::string EstimateText(const nlohmann::ordered_json& estimate);

// A metric's value with its unit: "4.96 µs", "204,652", "0.136"; "–" where it isn't known.
std::string MetricText(const nlohmann::ordered_json& result, const std::string& key,
                       const nlohmann::ordered_json& value);

// What a metric is, in a scenario: "server CPU a request, at 100k/s", "p99 latency, full speed".
std::string MetricLabel(const nlohmann::ordered_json& result,
                        const nlohmann::ordered_json& scenario, const std::string& key);

// A comparison of the scenario in one sentence: "io_uring is faster than epoll: 6.2 % less server
// CPU a request at 100k/s (98.2 % interval −7.9 to −5.1 %, 10 pairs)."
std::string VerdictSentence(const nlohmann::ordered_json& result,
                            const nlohmann::ordered_json& scenario,
                            const nlohmann::ordered_json& comparison);

// The verdict's one word or two: "faster", "cannot tell", ...; also where none was reached.
std::string VerdictWord(const nlohmann::ordered_json& comparison);

// The metrics of a scenario that a table shows a reader, by name: the gating one first, of the
// others those that matter most.
std::vector<std::string> ShownMetrics(const nlohmann::ordered_json& scenario);

// "loopback TCP", "Unix streams".
std::string TransportText(const nlohmann::ordered_json& result);

// How many rounds of the scenario were void and why the last one was: "2 rounds were void: …"; ""
// without any.
std::string VoidText(const nlohmann::ordered_json& result, const nlohmann::ordered_json& scenario);

}  // namespace report
