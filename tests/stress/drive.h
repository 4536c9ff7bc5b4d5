#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "tests/cli/ringside.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define RINGSIDE_STRESS_SANITIZED true
#else
#define RINGSIDE_STRESS_SANITIZED false
#endif

// `ringside stress` as its users run it, and what its JSON has to say.
namespace stress_tests {

using cli_tests::EachBackend;
using cli_tests::Ended;
using cli_tests::Json;
using cli_tests::Ringside;
using cli_tests::Server;

using Args = std::vector<std::string>;

inline constexpr bool kSanitized = RINGSIDE_STRESS_SANITIZED;  // memory isn't the server's alone

inline Args operator+(Args left, const Args& right) {
  left.insert(left.end(), right.begin(), right.end());
  return left;
}

inline uint64_t Number(const Json& json) { return json.get<uint64_t>(); }

// What all results have.
inline void ExpectWhole(const Json& json, const std::string& experiment) {
  ASSERT_TRUE(json.is_object());
  EXPECT_EQ(json["schema"], "ringside.stress/1");
  EXPECT_EQ(json["experiment"], experiment);
  EXPECT_FALSE(json["finding"].get<std::string>().empty());
  for (const char* part : {"limit", "interrupted", "problem", "version", "revision", "arguments",
                           "time_utc", "environment", "kernel"}) {
    EXPECT_TRUE(json.contains(part)) << part;
  }
  EXPECT_TRUE(json["kernel"].contains("counters"));
  EXPECT_FALSE(json[experiment].empty());
}

// The result of `ringside stress ... --json -`.
inline Json StressJson(const Args& arguments, int exit_code = 0) {
  const Ended ended = Ringside(Args{"stress"} + arguments + Args{"--json", "-"});
  EXPECT_EQ(ended.exit_code, exit_code) << ended.err << ended.out;
  Json json = Json::parse(ended.out, nullptr, false);
  ExpectWhole(json, arguments.front());
  return json;
}

// `ringside stress` in a network of its own (unshare(1), root), with these lines of shell before.
inline Args Alone(const std::string& setup) {
  return {
      "unshare",       "-n",    "sh", "-ec", "ip link set lo up; " + setup + "exec \"$@\"", "sh",
      RINGSIDE_BINARY, "stress"};
}

// The same in such a network.
inline Json StressJsonAlone(const std::string& setup, const Args& arguments, int exit_code = 0) {
  const Ended ended = cli_tests::RunToEnd(Alone(setup) + arguments + Args{"--json", "-"});
  EXPECT_EQ(ended.exit_code, exit_code) << ended.err << ended.out;
  Json json = Json::parse(ended.out, nullptr, false);
  ExpectWhole(json, arguments.front());
  return json;
}

// Runs it for a short while, by the flags that it is given; for longer where the machine was too
// busy for a single answer in that.
inline Ended Briefly(const std::function<Ended(const Args&)>& run) {
  Ended ended;
  for (const char* duration : {"300ms", "3s", "30s"}) {
    ended = run({"-d", duration});
    if (ended.err.find("no connection was answered") == std::string::npos) break;
  }
  return ended;
}

// The result of such a run.
inline Json BriefJson(const Args& command, const Args& arguments) {
  const Ended ended = Briefly([&](const Args& duration) {
    return cli_tests::RunToEnd(command + arguments + duration + Args{"--json", "-"});
  });
  EXPECT_EQ(ended.exit_code, 0) << ended.err << ended.out;
  Json json = Json::parse(ended.out, nullptr, false);
  ExpectWhole(json, arguments.front());
  return json;
}
inline Json BriefJson(const Args& arguments) {
  return BriefJson({RINGSIDE_BINARY, "stress"}, arguments);
}

// Whether this user may have a network of their own.
inline bool MayUnshare() {
  return geteuid() == 0 && cli_tests::RunToEnd({"unshare", "-n", "ip", "link"}).exit_code == 0;
}

inline std::string BackendName(const testing::TestParamInfo<std::string>& info) {
  return info.param;
}

}  // namespace stress_tests
