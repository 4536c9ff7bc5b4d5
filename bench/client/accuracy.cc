// Whether the latencies that `ringside load` reports are true: against a server that answers after
// known times and logs when it received and when it sent.
//
//   accuracy BUILD_DIRECTORY RESULT_FILE [SECONDS]
//
// Each percentile is held against two truths. `server`: of send minus receive in the server's log,
// over the requests that the client measured; what remains is the way there and back, and the
// client. `analytic`: of the distribution that the server was given, and of stalls, the time from
// each moment at which a request was due to the end of the logged stall that it fell into.
#include <signal.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "bench/client/harness.h"

namespace bench {
namespace {

constexpr struct {
  const char* key;
  double share;
} kPercentiles[] = {{"p50", .5}, {"p90", .9}, {"p99", .99}, {"p99_9", .999}};
constexpr double kWithinShare = 0.01, kWithinNs = 20'000;  // the larger of the two
constexpr double kRateWithin = 0.001;
constexpr int64_t kDelayNs = 1'000'000, kStallNs = 100'000'000, kPeriodNs = 1'000'000'000;

// As bench/reference/delaying_server.cc has it.
struct Record {
  enum Kind : int64_t { kAnswered, kUnstamped, kStalled };
  int64_t kind, begin_ns, end_ns;
};

struct Case {
  std::string server;  // constant, exponential, stall
  int rate;            // 0: closed loop
  int connections;     // so many that one is always free, and of a stall, nearly always
};

constexpr const char* kBackends[] = {"epoll", "io_uring"};

std::vector<Case> Cases() {
  std::vector<Case> cases;
  for (const int rate : {10'000, 100'000}) {
    for (const char* server : {"constant", "exponential"}) cases.push_back({server, rate, 1'000});
    cases.push_back({"stall", rate, rate / 10 + rate / 50});
  }
  cases.push_back({"stall", 0, 64});
  return cases;
}

Words ServerCommand(const Case& one, const std::string& build, int port) {
  Words words = {build + "/bench/reference/delaying_server", absl::StrCat(port),
                 one.server == "exponential" ? "exponential" : "constant",
                 absl::StrCat(one.server == "stall" ? 0 : kDelayNs)};
  if (one.server == "stall") {
    words.insert(words.end(), {absl::StrCat(kStallNs), absl::StrCat(kPeriodNs)});
  }
  return words;
}

Words ClientCommand(const Case& one, const std::string& backend, const std::string& seconds,
                    int port) {
  Words words = {"load",        absl::StrCat(port),
                 "-b",          backend,
                 "-c",          absl::StrCat(one.connections),
                 "--cpus",      "0",
                 "--busy-poll", "-d",
                 seconds + "s", "--quiet",
                 "--json",      "-"};
  if (one.rate > 0) words.insert(words.end(), {"--rate", absl::StrCat(one.rate)});
  return words;
}

std::vector<Record> ReadRecords(const std::string& bytes) {
  std::vector<Record> records(bytes.size() / sizeof(Record));
  std::memcpy(records.data(), bytes.data(), records.size() * sizeof(Record));
  return records;
}

// The value of rank ceil(share * count), as the client's histogram gives it.
double Percentile(std::vector<double>& values, double share) {
  if (values.empty()) return 0;
  const double rank = std::ceil(share * static_cast<double>(values.size()));
  const auto at = values.begin() + static_cast<long>(std::max(rank, 1.0)) - 1;
  std::nth_element(values.begin(), at, values.end());
  return *at;
}

// The client's window by the server's clock: its last request left at the window's end.
struct Window {
  int64_t begin_ns = 0, end_ns = 0;

  Window(const std::vector<Record>& records, double seconds) {
    for (const Record& record : records) {
      if (record.kind != Record::kStalled) end_ns = std::max(end_ns, record.begin_ns);
    }
    begin_ns = end_ns - static_cast<int64_t>(seconds * 1e9);
  }
  bool Has(const Record& record) const { return record.begin_ns > begin_ns; }
};

std::vector<double> ServerTimes(const std::vector<Record>& records, const Window& window) {
  std::vector<double> times;
  for (const Record& record : records) {
    if (record.kind == Record::kAnswered && window.Has(record)) {
      times.push_back(static_cast<double>(record.end_ns - record.begin_ns));
    }
  }
  return times;
}

// Response times at constant arrivals to a server that takes no time but for its stalls.
std::vector<double> StalledTimes(const std::vector<Record>& records, const Window& window,
                                 int rate) {
  std::vector<Record> stalls;
  for (const Record& record : records) {
    if (record.kind == Record::kStalled) stalls.push_back(record);
  }
  std::vector<double> times;
  size_t next = 0;  // the first stall that isn't over
  for (int64_t due = window.begin_ns; due < window.end_ns; due += 1'000'000'000 / rate) {
    while (next < stalls.size() && stalls[next].end_ns <= due) ++next;
    const bool stalled = next < stalls.size() && stalls[next].begin_ns <= due;
    times.push_back(stalled ? static_cast<double>(stalls[next].end_ns - due) : 0);
  }
  return times;
}

Json Held(double client_ns, double truth_ns) {
  const double difference = client_ns - truth_ns;
  const bool met = std::abs(difference) <= std::max(kWithinNs, kWithinShare * truth_ns);
  return {{"truth_ns", truth_ns}, {"difference_ns", difference}, {"met", met}};
}

Json Figures(const Case& one, const Json& load, const std::vector<Record>& records) {
  const Window window(records, load["duration_s"]);
  std::vector<double> server = ServerTimes(records, window), stalled;
  if (one.server == "stall" && one.rate > 0) stalled = StalledTimes(records, window, one.rate);
  Json rows = Json::array();
  for (const auto& [key, share] : kPercentiles) {
    const double client = load["latency_ns"][key];
    Json row = {{"percentile", key}, {"client_ns", client}};
    row["server"] = Held(client, Percentile(server, share));
    if (one.server == "constant") row["analytic"] = Held(client, kDelayNs);
    if (one.server == "exponential") row["analytic"] = Held(client, -kDelayNs * std::log1p(-share));
    if (!stalled.empty()) row["analytic"] = Held(client, Percentile(stalled, share));
    rows.push_back(std::move(row));
  }
  const auto unstamped = [&](const Record& r) {
    return r.kind == Record::kUnstamped && window.Has(r);
  };
  return {{"server_requests", server.size()},
          {"server_unstamped", std::count_if(records.begin(), records.end(), unstamped)},
          {"percentiles", rows}};
}

Json RateJson(const Case& one, const Json& load) {
  const double achieved = load["pace"]["achieved_rps"];
  return {{"requested_rps", one.rate},
          {"achieved_rps", achieved},
          {"met", std::abs(achieved / one.rate - 1) <= kRateWithin},
          {"lag_ns", {{"p50", load["lag_ns"]["p50"]}, {"p99_9", load["lag_ns"]["p99_9"]}}}};
}

absl::StatusOr<Json> Play(const Case& one, const std::string& backend, const std::string& build,
                          const std::string& seconds) {
  const int port = FreePort();
  auto server = StartServer(ServerCommand(one, build, port), port);
  if (!server.ok()) return server.status();
  const Words command = ClientCommand(one, backend, seconds, port);
  Words argv = command;
  argv.insert(argv.begin(), build + "/ringside");
  const auto ran = RunToEnd(argv, {});  // its threads pin themselves: --cpus
  if (!ran.ok()) return ran.status();
  const auto load = LoadResult(*ran);
  if (!load.ok()) return load.status();
  server->Signal(SIGTERM);
  if (server->Wait(60'000'000'000, -1) != Process::Waited::kEnded) {
    return absl::DeadlineExceededError("the delaying server did not end");
  }
  Json json = {{"server", one.server},
               {"backend", backend},
               {"workload", (*load)["workload"]},
               {"connections", one.connections},
               {"requests", (*load)["requests"]},
               {"verdict", (*load)["verdict"]},
               {"accusations", (*load)["accusations"]}};
  if (one.rate > 0) json["rate"] = RateJson(one, *load);
  json.update(Figures(one, *load, ReadRecords(server->Output())));
  return json;
}

// What a user would have waited at a stalling server, and what closed loop says of it: while the
// server stalls, closed loop asks nothing, so it misses nearly all that would have waited
// (coordinated omission).
Json Omission(const Json& cases) {
  Json rows = Json::array();
  for (const Json& one : cases) {
    if (one["server"] != "stall" || one.contains("failed")) continue;
    Json row = {{"backend", one["backend"]}, {"workload", one["workload"]}};
    if (one.contains("rate")) row["requested_rps"] = one["rate"]["requested_rps"];
    for (const Json& percentile : one["percentiles"]) {
      row[percentile["percentile"].get<std::string>() + "_ns"] = percentile["client_ns"];
    }
    rows.push_back(std::move(row));
  }
  return rows;
}

int Main(const std::string& build, const std::string& path, const std::string& seconds) {
  Json cases = Json::array();
  bool failed = false;
  for (const Case& one : Cases()) {
    for (const char* backend : kBackends) {
      Say(absl::StrCat(one.server, ", ",
                       one.rate > 0 ? absl::StrCat(one.rate, "/s") : "closed loop", ", ", backend));
      auto json = Play(one, backend, build, seconds);
      failed = failed || !json.ok();
      if (!json.ok()) Say(absl::StrCat("  failed: ", json.status().message()));
      cases.push_back(json.ok() ? *json
                                : Json{{"server", one.server},
                                       {"backend", backend},
                                       {"failed", std::string(json.status().message())}});
    }
  }
  const Json figures = {{"within", {{"share", kWithinShare}, {"ns", kWithinNs}}},
                        {"rate_within", kRateWithin},
                        {"delay_ns", kDelayNs},
                        {"stall_ns", kStallNs},
                        {"stall_period_ns", kPeriodNs},
                        {"cases", cases},
                        {"coordinated_omission", Omission(cases)}};
  return Finish("ringside.accuracy/1", "./dev bench accuracy", figures, failed, path);
}

}  // namespace
}  // namespace bench

int main(int argc, char** argv) {
  if (argc != 3 && argc != 4) {
    bench::Say("usage: accuracy BUILD_DIRECTORY RESULT_FILE [SECONDS]");
    return 2;
  }
  return bench::Main(argv[1], argv[2], argc == 4 ? argv[3] : "10");
}
