// Whether the verdicts of `ringside compare` can be trusted on this machine.
//
//   trust BUILD_DIRECTORY RESULT_FILE [PAIRS]
//
// `identical`: each backend against itself. Of the real pairs verdicts are drawn, as often as it
// takes to count wrong ones; the same with one arm made dearer by 10 %. `delays`: the service
// `delay` against one that is later by a known time, in several comparisons whose intervals should
// contain the truth.
#include <stdlib.h>
#include <unistd.h>

#include <cmath>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "bench/outside/harness.h"
#include "bench/replay.h"
#include "stats/signed_rank.h"

namespace bench {
namespace {

constexpr int kVerdicts = 2000;  // drawn from the pairs of each backend
constexpr uint64_t kSeed = 1;
constexpr double kBreach = 1.10;                   // a difference that is to be found
constexpr int kComparisons = 20, kPairsEach = 10;  // of two delays
constexpr int64_t kDelayNs = 1'000'000;
constexpr int64_t kLaterNs[] = {20'000, 50'000, 100'000};
constexpr double kResolution = 0.001;  // of a percentile: 3 significant digits

// Two arms, played `pairs` times without an early end: a margin that no interval fits into.
absl::StatusOr<Json> Compare(const std::string& build, const Words& flags, int pairs) {
  const std::string file = absl::StrCat("/tmp/ringside-trust-", getpid(), ".json");
  Words words = {build + "/ringside", "compare",  "--margin", "0.1%",     "--pairs",
                 absl::StrCat(pairs), "--budget", "1h",       "--output", file};
  words.insert(words.end(), flags.begin(), flags.end());
  auto process = Process::Start(words, {});
  if (!process.ok()) return process.status();
  process->Wait(int64_t{3600} * 1'000'000'000, -1);
  std::ifstream stream(file);
  Json json = Json::parse(stream, nullptr, /*allow_exceptions=*/false);
  unlink(file.c_str());
  if (!json.is_object() || !json["problem"].is_null()) {
    return absl::InternalError(absl::StrCat("compare failed: ", process->Errors()));
  }
  return json;
}

// log(B/A) of a metric, a value a pair that counts.
std::vector<double> LogRatios(const Json& result, const std::string& metric) {
  std::vector<double> logs;
  for (const Json& round : result["scenarios"][0]["rounds"]) {
    if (!round["void"].is_null()) continue;
    logs.push_back(
        std::log(round["arms"][1][metric].get<double>() / round["arms"][0][metric].get<double>()));
  }
  return logs;
}

int Voids(const Json& result) {
  int voids = 0;
  for (const Json& round : result["scenarios"][0]["rounds"]) voids += !round["void"].is_null();
  return voids;
}

Json TallyJson(const ReplayTally& tally) {
  Json json = {{"verdicts", tally.verdicts}, {"mean_pairs", tally.mean_pairs}};
  for (const Verdict verdict : {Verdict::kFaster, Verdict::kSlower, Verdict::kSame,
                                Verdict::kSmallDifference, Verdict::kCannotTell}) {
    json[Name(verdict)] = tally.Share(verdict);
  }
  return json;
}

// The default metric, CPU time a request at a pace, of a backend against itself.
absl::StatusOr<Json> Identical(const std::string& build, const std::string& backend, int pairs) {
  Say("identical: " + backend);
  const auto result = Compare(
      build,
      {"--arm", backend, "--arm", backend, "-c", "64", "--rate", "100k", "--arrivals", "bursts"},
      pairs);
  if (!result.ok()) return result.status();
  const std::vector<double> logs = LogRatios(*result, "server_cpu_us");
  return Json(
      {{"backend", backend},
       {"void", Voids(*result)},
       {"identical", TallyJson(Replay(logs, {.toss = true}, kVerdicts, kSeed))},
       {"breach", TallyJson(Replay(logs, {.ratio = kBreach, .toss = true}, kVerdicts, kSeed))},
       {"log_ratios", logs}});
}

// A server that answers after a time against one that does a little later, in comparisons of their
// own. Both are asked at the same rate, so what a request takes beside the delay is the same; and
// neither end sleeps. Servers' timer slack (50 us, prctl(2)) would round what is to be found, and a
// client's CPU that has gone to sleep takes some 40 us to wake up: how often depends on the delay.
absl::StatusOr<Json> Later(const std::string& build, int64_t later_ns) {
  const auto arm = [](const char* name, int64_t ns) {
    return absl::StrCat(name, "=serve --backend epoll --busy-poll --delay ", ns / 1000, "us");
  };
  const Words flags = {"--arm",     arm("base", kDelayNs),
                       "--arm",     arm("later", kDelayNs + later_ns),
                       "--service", "delay",
                       "--load",    "--busy-poll",
                       "-c",        "256",
                       "--rate",    "10k",
                       "--metric",  "paced_p50_ns",
                       "--window",  "200ms",
                       "--warmup",  "100ms"};
  std::vector<double> logs, bases;
  std::vector<Judgement> judgements;
  int voids = 0;
  for (int i = 0; i < kComparisons; ++i) {
    Say(absl::StrCat("delays: ", later_ns / 1000, " us later, ", i + 1, " of ", kComparisons));
    const auto result = Compare(build, flags, kPairsEach);
    if (!result.ok()) return result.status();
    const std::vector<double> own = LogRatios(*result, "paced_p50_ns");
    judgements.push_back(Judge(own, 0.05, /*lower_is_better=*/true, /*is_last_look=*/true));
    logs.insert(logs.end(), own.begin(), own.end());
    bases.push_back((*result)["scenarios"][0]["arms"][0]["medians"]["paced_p50_ns"].get<double>());
    voids += Voids(*result);
  }
  const double base = stats::Median(bases);
  const double truth = (base + later_ns) / base;
  Json comparisons = Json::array();
  int covered = 0;
  for (const Judgement& judgement : judgements) {
    const bool covers =
        judgement.ratio_low - kResolution <= truth && truth <= judgement.ratio_high + kResolution;
    covered += covers;
    comparisons.push_back({{"ratio", judgement.ratio_estimate},
                           {"ratio_low", judgement.ratio_low},
                           {"ratio_high", judgement.ratio_high},
                           {"covers", covers}});
  }
  return Json({{"delay_ns", kDelayNs},
               {"later_ns", later_ns},
               {"void", voids},
               {"base_p50_ns", base},
               {"true_ratio", truth},
               {"covered", covered},
               {"comparisons", comparisons},
               {"log_ratios", logs}});
}

int Main(const std::string& build, const std::string& path, int pairs) {
  Json json = {{"pairs", pairs},
               {"seed", kSeed},
               {"margin", 0.05},
               {"breach", kBreach},
               {"confidence", kLookConfidence},
               {"resolution", kResolution},
               {"identical", Json::array()},
               {"delays", Json::array()}};
  bool failed = false;
  const auto add = [&](const char* list, const absl::StatusOr<Json>& part) {
    failed |= !part.ok();
    json[list].push_back(part.ok() ? *part
                                   : Json({{"failed", std::string(part.status().message())}}));
  };
  for (const char* backend : {"epoll", "io_uring"}) {
    add("identical", Identical(build, backend, pairs));
  }
  for (const int64_t later_ns : kLaterNs) add("delays", Later(build, later_ns));
  return Finish("ringside.trust/1", "./dev bench trust", json, failed, path);
}

}  // namespace
}  // namespace bench

int main(int argc, char** argv) {
  const int pairs = argc > 3 ? std::atoi(argv[3]) : 80;
  if (argc < 3 || argc > 4 || pairs < 10 || pairs > 80) {
    bench::Say("usage: trust BUILD_DIRECTORY RESULT_FILE [PAIRS]    (10 to 80)");
    return 2;
  }
  if (!bench::CanWrite(argv[2])) return 2;
  return bench::Main(argv[1], argv[2], pairs);
}
