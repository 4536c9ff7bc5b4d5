// Whether the latencies that `ringside load` reports are true: against a server that answers after
// known times and logs when it received and when it sent.
//
//   accuracy BUILD_DIRECTORY RESULT_FILE [ROUNDS [SECONDS]]
//
// Each case is played ROUNDS times, the cases by turns, and judged by the median of its rounds.
// Each percentile is held against two truths. `server`: of send minus receive in the server's log,
// over the requests that the client measured; what remains is the way there and back, and the
// client. `analytic`: of the distribution that the server was given, and of stalls, the time from
// each moment at which a request was due to the end of the logged stall that it fell into.
//
// Both ends spin, each on a CPU of its own. When something else takes one of these, requests wait
// that no client could have measured sooner. How much was taken the kernel tells
// (`away_share`): a percentile that leaves out less than twice that is not `attainable` here.
#include <signal.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "bench/outside/harness.h"
#include "stats/cpu_usage.h"

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

// The truths of one round, by percentile; 0: there is none of this kind.
struct Truth {
  double client_ns, server_ns, analytic_ns;
};

std::vector<Truth> Truths(const Case& one, const Json& load, const std::vector<Record>& records) {
  const Window window(records, load["duration_s"]);
  std::vector<double> server = ServerTimes(records, window), stalled;
  if (one.server == "stall" && one.rate > 0) stalled = StalledTimes(records, window, one.rate);
  std::vector<Truth> truths;
  for (const auto& [key, share] : kPercentiles) {
    Truth truth = {load["latency_ns"][key], Percentile(server, share), 0};
    if (one.server == "constant") truth.analytic_ns = kDelayNs;
    if (one.server == "exponential") truth.analytic_ns = -kDelayNs * std::log1p(-share);
    if (!stalled.empty()) truth.analytic_ns = Percentile(stalled, share);
    truths.push_back(truth);
  }
  return truths;
}

// The part of the time for which something else had the CPU of one of the ends.
struct Away {
  double ns = 0, of_ns = 0;

  double share() const { return of_ns > 0 ? ns / of_ns : 0; }
};

// One case on one backend, with what its rounds gave.
struct Played {
  Case one;
  std::string backend;
  std::vector<std::vector<Truth>> rounds;
  std::vector<double> achieved;
  Away away;
  Json last;  // what `load` said in the last round
  std::string failed;
};

// The client's difference from one of the truths, over the rounds.
Json Held(const Played& played, size_t percentile, double Truth::*truth) {
  std::vector<double> truths, differences;
  for (const std::vector<Truth>& round : played.rounds) {
    truths.push_back(round[percentile].*truth);
    differences.push_back(round[percentile].client_ns - round[percentile].*truth);
  }
  const double true_ns = Percentile(truths, .5), difference = Percentile(differences, .5);
  const bool met = std::abs(difference) <= std::max(kWithinNs, kWithinShare * true_ns);
  return {{"truth_ns", true_ns},
          {"difference_ns", difference},
          {"difference_low_ns", *std::min_element(differences.begin(), differences.end())},
          {"difference_high_ns", *std::max_element(differences.begin(), differences.end())},
          {"met", met}};
}

double ClientMedian(const Played& played, size_t percentile) {
  std::vector<double> values;
  for (const auto& round : played.rounds) values.push_back(round[percentile].client_ns);
  return Percentile(values, .5);
}

Json PercentileRows(const Played& played) {
  Json rows = Json::array();
  for (size_t i = 0; i < std::size(kPercentiles); ++i) {
    Json row = {{"percentile", kPercentiles[i].key},
                {"client_ns", ClientMedian(played, i)},
                {"attainable", 1 - kPercentiles[i].share > 2 * played.away.share()},
                {"server", Held(played, i, &Truth::server_ns)}};
    if (played.rounds.front()[i].analytic_ns > 0) {
      row["analytic"] = Held(played, i, &Truth::analytic_ns);
    }
    rows.push_back(std::move(row));
  }
  return rows;
}

Json RateJson(Played& played) {
  double worst = 0;
  for (const double rps : played.achieved) {
    worst = std::max(worst, std::abs(rps / played.one.rate - 1));
  }
  const Json& lag = played.last["lag_ns"];
  return {{"requested_rps", played.one.rate},
          {"achieved_rps", Percentile(played.achieved, .5)},
          {"deviation_max", worst},
          {"met", worst <= kRateWithin},
          {"lag_ns", {{"p50", lag["p50"]}, {"p99_9", lag["p99_9"]}}}};
}

Json ToJson(Played& played) {
  Json json = {{"server", played.one.server}, {"backend", played.backend}};
  if (!played.failed.empty()) {
    json["failed"] = played.failed;
    return json;
  }
  json["workload"] = played.last["workload"];
  json["connections"] = played.one.connections;
  json["rounds"] = played.rounds.size();
  json["verdict"] = played.last["verdict"];
  json["accusations"] = played.last["accusations"];
  json["away_share"] = played.away.share();
  if (played.one.rate > 0) json["rate"] = RateJson(played);
  json["percentiles"] = PercentileRows(played);
  return json;
}

// What was taken from both ends' CPUs since before; the kernel counts steal in ticks of 10 ms, so
// that it is true only over many rounds.
double StolenNs(const stats::MachineCpu& before, const stats::MachineCpu& after) {
  double stolen = 0;
  for (const int cpu : {kClientCpus.front(), kServerCpus.front()}) {
    const auto then = before.cpus.find(cpu), now = after.cpus.find(cpu);
    if (then == before.cpus.end() || now == after.cpus.end()) continue;
    stolen += static_cast<double>(now->second.steal_ns - then->second.steal_ns);
  }
  return stolen;
}

// Plays a round, and adds what it gave.
absl::Status Play(Played& played, const std::string& build, const std::string& seconds) {
  const Case& one = played.one;
  const int port = FreePort();
  auto server = StartServer(ServerCommand(one, build, port), port);
  if (!server.ok()) return server.status();
  Words argv = ClientCommand(one, played.backend, seconds, port);
  argv.insert(argv.begin(), build + "/ringside");
  const auto before = stats::MachineCpu::Read();
  const auto ran = RunToEnd(argv, {});  // its threads pin themselves: --cpus
  const auto after = stats::MachineCpu::Read();
  if (!ran.ok()) return ran.status();
  const auto load = LoadResult(*ran);
  if (!load.ok()) return load.status();
  const std::string tasks = absl::StrCat("/proc/", server->pid(), "/task");
  const auto queue = stats::RunQueueOf(server->pid(), tasks);
  server->Signal(SIGTERM);
  if (server->Wait(60'000'000'000, -1) != Process::Waited::kEnded) {
    return absl::DeadlineExceededError("the delaying server did not end");
  }
  played.rounds.push_back(Truths(one, *load, ReadRecords(server->Output())));
  const double duration_s = (*load)["duration_s"], warmup_s = (*load)["warmup_s"];
  played.away.ns += (*load)["client"]["runnable_wait_s"].get<double>() * 1e9;
  if (queue) played.away.ns += static_cast<double>(queue->waited_ns);
  if (before.ok() && after.ok()) played.away.ns += StolenNs(*before, *after);
  played.away.of_ns += (duration_s + warmup_s) * 1e9;
  if (one.rate > 0) played.achieved.push_back((*load)["pace"]["achieved_rps"]);
  played.last = *load;
  return absl::OkStatus();
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

int Main(const std::string& build, const std::string& path, int rounds,
         const std::string& seconds) {
  std::vector<Played> all;
  for (const Case& one : Cases()) {
    for (const char* backend : kBackends) {
      Played& played = all.emplace_back();
      played.one = one;
      played.backend = backend;
    }
  }
  bool failed = false;
  for (int round = 1; round <= rounds; ++round) {
    Say(absl::StrCat("round ", round, " of ", rounds));
    for (Played& played : all) {
      if (!played.failed.empty()) continue;
      const absl::Status status = Play(played, build, seconds);
      if (status.ok()) continue;
      failed = true;
      played.failed = std::string(status.message());
      Say(absl::StrCat(played.one.server, ", ", played.one.rate, "/s, ", played.backend,
                       ": failed: ", played.failed));
    }
  }
  Json cases = Json::array();
  for (Played& played : all) cases.push_back(ToJson(played));
  const Json figures = {{"rounds", rounds},
                        {"within", {{"share", kWithinShare}, {"ns", kWithinNs}}},
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
  const int rounds = argc > 3 ? std::atoi(argv[3]) : 9;
  if (argc < 3 || argc > 5 || rounds < 1) {
    bench::Say("usage: accuracy BUILD_DIRECTORY RESULT_FILE [ROUNDS [SECONDS]]");
    return 2;
  }
  if (!bench::CanWrite(argv[2])) return 2;
  return bench::Main(argv[1], argv[2], rounds, argc == 5 ? argv[4] : "2");
}
