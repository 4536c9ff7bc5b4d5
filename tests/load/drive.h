#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "tests/cli/ringside.h"
#include "tests/serve/peers.h"
#include "tests/serve/plain_client.h"

// `ringside load` as its users run it, and what its JSON has to say.
namespace load_tests {

using cli_tests::Available;
using cli_tests::Ended;
using cli_tests::Json;
using cli_tests::LoadJson;
using cli_tests::Ringside;
using serve_tests::kSanitized;
using serve_tests::Scratch;
using serve_tests::Serving;

using Args = std::vector<std::string>;

inline Args operator+(Args left, const Args& right) {
  left.insert(left.end(), right.begin(), right.end());
  return left;
}

inline uint64_t Number(const Json& json) { return json.get<uint64_t>(); }

// Those that run here.
inline const std::vector<std::string>& Backends() {
  static const std::vector<std::string> backends = [] {
    std::vector<std::string> found = {"epoll"};
    if (Available("io_uring")) found.emplace_back("io_uring");
    return found;
  }();
  return backends;
}

// Every byte was right, and every connection had its share.
inline void ExpectVerified(const Json& json) {
  EXPECT_EQ(json["valid"], true) << json["errors"] << json["verdict"];
  EXPECT_EQ(json["bytes"]["corrupt"], 0);
  EXPECT_EQ(json["errors"]["total"], 0) << json["errors"];
  EXPECT_EQ(json["connections"]["silent"], 0);
  EXPECT_GT(Number(json["requests_total"]), 0u);
}

inline bool Accuses(const Json& json, const std::string& code) {
  const Json& all = json["accusations"];
  return std::any_of(all.begin(), all.end(), [&](const Json& one) { return one["code"] == code; });
}

// A run that goes on, whose output is kept.
inline bench::Process StartLoad(const Args& arguments) {
  return cli_tests::Start(Args{RINGSIDE_BINARY, "load"} + arguments);
}

}  // namespace load_tests
