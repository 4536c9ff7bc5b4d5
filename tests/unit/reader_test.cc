#include "report/reader.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <functional>
#include <limits>
#include <set>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "loadgen/load_json.h"
#include "report/formats.h"
#include "report/stress_text.h"
#include "report/text.h"
#include "tests/tier.h"

// A result may lack what it usually has: a text is printed of whatever is there.
namespace report {
namespace {

TEST(Reader, ReadsWhatIsMissingAsNothing) {
  const Json json = {{"null", nullptr}, {"text", "x"}, {"list", {1, "two"}}, {"big", 1e300}};
  const Reader reader = json;
  EXPECT_FALSE(reader.contains("null") || reader.contains("absent"));
  EXPECT_EQ(reader["absent"]["deeper"][3]["still"].get<uint64_t>(), 0u);
  EXPECT_EQ(reader["text"].get<int>(), 0);
  EXPECT_EQ(reader["list"].get<std::string>(), "");
  EXPECT_EQ(reader["list"].get<std::vector<std::string>>(), (std::vector<std::string>{"", "two"}));
  EXPECT_EQ(reader["big"].get<int64_t>(), std::numeric_limits<int64_t>::max());
  EXPECT_TRUE(reader["text"].empty() && reader["null"].empty() &&
              reader["absent"].back().is_null());
  EXPECT_TRUE(reader["text"] == "x" && !(reader["absent"] == "x") && !(reader["absent"] == 0));
  for (const Reader element : reader["text"]) ADD_FAILURE() << element.json();
}

// Calls `print` with `json` as it is and without each of its values in turn: null, absent, and of
// another type.
void WithoutEach(const Json& json, const std::function<void(const Json&)>& print) {
  print(json);
  const Json flat = json.flatten();
  std::set<std::string> seen;
  for (const auto& item : flat.items()) {
    std::string path = item.key();
    while (!path.empty() && seen.insert(path).second) {
      const Json::json_pointer pointer(path);
      for (const Json& other : {Json(), Json("text"), Json::array({-1.5})}) {
        Json changed = json;
        changed[pointer] = other;
        EXPECT_NO_THROW(print(changed)) << path << " is " << other;
      }
      const Json::json_pointer parent = pointer.parent_pointer();
      if (json[parent].is_object()) {
        Json changed = json;
        changed[parent].erase(pointer.back());
        EXPECT_NO_THROW(print(changed)) << path << " is absent";
      }
      path = parent.to_string();
    }
  }
}

Json AnsweredLoad() {
  loadgen::LoadOptions options;
  options.workload = loadgen::Workload::kConnect;
  loadgen::LoadResult result;
  result.requests = 3;
  for (auto* times : {&result.latency, &result.service, &result.connect, &result.first_byte}) {
    times->Record(1000, 3);
  }
  return loadgen::ToJson(options, result, {});
}

TEST(Texts, AreOfWhateverALoadHas) {
  LEFT_TO_ALL();
  WithoutEach(AnsweredLoad(), [](const Json& json) {
    LoadText(json);
    LoadFailure(json);
    LoadFigures(json);
    LoadName(json);
    MixText({{"classes", {json}}, {"server", json}});
  });
}

TEST(Texts, ClaimNoTimeThatWasNotMeasured) {
  Json json = AnsweredLoad();
  json["first_byte_ns"] = nullptr;
  EXPECT_NE(LoadText(json).find("first byte   none came\n"), std::string::npos) << LoadText(json);
  json["latency_ns"]["max"] = nullptr;
  EXPECT_NE(LoadText(json).find("max    unknown"), std::string::npos) << LoadText(json);
}

// Rows of each experiment, at their longest; and an empty one.
TEST(Texts, AreOfWhateverAnExperimentHas) {
  const Json times = {{"count", 1}, {"p50", 1}, {"p99", 1}, {"max", 1}};
  const Json errors = {{"total", 1}, {"by_errno", {{"EPIPE", 1}}}};
  const Json row = {{"backend", "epoll"},
                    {"connections_per_s", 1.5},
                    {"connect_ns", times},
                    {"first_byte_ns", times},
                    {"close_ns", times},
                    {"errors", errors},
                    {"time_wait", {{{"sockets", 1}}}},
                    {"ports", {{"ports", 1}, {"rate_max", 1.0}, {"held_s", 60.0}}},
                    {"recovery", {{"answered", 1}, {"first_ns", 1}, {"last_ns", 2}}},
                    {"existing", {{"phases", {{{"name", "before"}, {"requests", 1}}}}}},
                    {"capped_by", {{"name", "x"}, {"mend", "y"}}},
                    {"retries", {{{"opened", 1}, {"min_ns", 1}, {"max_ns", 1}, {"p50_ns", 1}}}},
                    {"good", {{"without", {{"throughput_rps", 1.0}, {"latency_ns", times}}}}},
                    {"peers", {{"opened", 1}}},
                    {"kind", "trickle"}};
  const Json results[] = {{{"rows", {row}}},
                          {{"rows", {row}}, {"bursts", {{{"bursts", {row}}}}}},
                          {{"ramp", row}, {"close", {{"duration_s", 1.0}}}}};
  const struct {
    const char* name;
    std::string (*rows)(const Json&);
    const Json& result;
  } experiments[] = {{"churn", &ChurnRows, results[0]},
                     {"fds", &FdsRows, results[0]},
                     {"slow", &SlowRows, results[0]},
                     {"backlog", &BacklogRows, results[1]},
                     {"hold", &HoldRows, results[2]}};
  for (const auto& [name, rows, result] : experiments) {
    const Json stress = {{"experiment", name}, {"connections", {{"requested", 1}}}, {name, result}};
    WithoutEach(stress, [rows = rows](const Json& json) { StressText(json, rows(json)); });
  }
}

TEST(Texts, AreOfNothing) {
  const Json nothing;
  for (auto* rows : {&ChurnRows, &FdsRows, &SlowRows, &BacklogRows, &HoldRows}) {
    StressText(nothing, rows(nothing));
  }
  for (auto* text : {&ReadyText, &ServeText, &StatusText, &DoctorText, &ProbeText}) text(nothing);
}

}  // namespace
}  // namespace report
