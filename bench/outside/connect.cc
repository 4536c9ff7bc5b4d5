// What connections cost the client: `ringside load` beside a client with nothing around it.
//
//   connect BUILD_DIRECTORY RESULT_FILE [ROUNDS]
//
// `opening`: 19,900 connections from one address, until all are open and answered. `memory`: the
// client's peak of resident memory with 12,000 connections, less that with 1,000. `crr`: connect,
// one request, close, from four addresses. Each run has a network of its own, as the ports of
// closed connections are not free for a minute.
#include <stdlib.h>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "bench/outside/harness.h"

namespace bench {
namespace {

constexpr uint64_t kSeed = 1;
constexpr int kOpened = 19'900, kHeld = 12'000, kFew = 1'000;
constexpr int kConnectsOfCrr = 60'000, kAtOnce = 64;

using Figures = std::map<std::string, double>;
using Reader = absl::StatusOr<Figures> (*)(const Ran& ran, bool ringside);

absl::StatusOr<Json> ResultOf(const Ran& ran, bool ringside) {
  if (ringside) return LoadResult(ran);
  Json json = Json::parse(ran.output, nullptr, /*allow_exceptions=*/false);
  if (ran.exit_code == 0 && json.is_object()) return json;
  return absl::InternalError(absl::StrCat("exit code ", ran.exit_code, ": ", ran.errors));
}

// A fresh server in a fresh network, and the client once.
absl::StatusOr<Ran> RunOnce(const std::string& build, const Words& command) {
  if (const absl::Status network = EnterNewNetwork(); !network.ok()) return network;
  const int port = FreePort();
  const Places places = {{"{build}", build}, {"{port}", absl::StrCat(port)}};
  const auto server =
      StartServer(Filled({"{build}/bench/reference/bare_epoll", "{port}"}, places), port);
  if (!server.ok()) return server.status();
  return RunToEnd(Filled(command, places), kClientCpus);
}

Words Load(const std::string& backend, const Words& flags) {
  Words words = {"{build}/ringside", "load",   "{port}", "-b", backend, "-s", "64",
                 "--quiet",          "--json", "-"};
  words.insert(words.end(), flags.begin(), flags.end());
  return words;
}

Words Bare(const std::string& mode, const Words& rest) {
  Words words = {"{build}/bench/reference/bare_client", "{port}", mode};
  words.insert(words.end(), rest.begin(), rest.end());
  return words;
}

// The same flags on both backends, and the bare client.
std::vector<std::pair<std::string, Words>> Three(const Words& flags, const Words& bare) {
  return {{"ringside epoll", Load("epoll", flags)},
          {"ringside io_uring", Load("io_uring", flags)},
          {"bare_client", bare}};
}

absl::StatusOr<Figures> Opening(const Ran& ran, bool ringside) {
  const auto json = ResultOf(ran, ringside);
  if (!json.ok()) return json.status();
  return Figures{
      {"opening_s", ringside ? (*json)["connections"]["opening_s"] : (*json)["seconds"]}};
}

absl::StatusOr<Figures> Rate(const Ran& ran, bool ringside) {
  const auto json = ResultOf(ran, ringside);
  if (!json.ok()) return json.status();
  const double seconds = (*json)[ringside ? "duration_s" : "seconds"];
  const double connections = (*json)["requests"];
  return Figures{{"connections_per_s", connections / seconds},
                 {"cpu_us_per_connection", ran.cpu_us / connections}};
}

Json Play(const std::string& name, const std::string& build,
          const std::vector<std::pair<std::string, Words>>& clients, Reader read, int rounds) {
  Say(name);
  std::vector<Contender> contenders;
  for (const auto& [client, command] : clients) {
    const auto play = [&build, read, command = command]() -> absl::StatusOr<Figures> {
      const auto ran = RunOnce(build, command);
      if (!ran.ok()) return ran.status();
      return read(*ran, command.front() == "{build}/ringside");
    };
    contenders.push_back({client, play});
  }
  return Interleave(contenders, rounds, kSeed);
}

absl::StatusOr<double> PeakOf(const std::string& build, const Words& command, double* opening_s) {
  const bool ringside = command.front() == "{build}/ringside";
  const auto ran = RunOnce(build, command);
  if (!ran.ok()) return ran.status();
  const auto json = ResultOf(*ran, ringside);
  if (!json.ok()) return json.status();
  *opening_s = ringside ? (*json)["connections"]["opening_s"].get<double>() : 0;
  return static_cast<double>(ran->peak_bytes);
}

// The peak of memory with kHeld connections, less that with kFew: both have the same histograms.
Contender Memory(const std::string& build, const std::string& name,
                 const std::function<Words(const std::string& connections)>& command) {
  const auto play = [build, command]() -> absl::StatusOr<Figures> {
    double opening_s = 0;
    const auto few = PeakOf(build, command(absl::StrCat(kFew)), &opening_s);
    if (!few.ok()) return few.status();
    const auto all = PeakOf(build, command(absl::StrCat(kHeld)), &opening_s);
    if (!all.ok()) return all.status();
    Figures figures = {{"bytes_with_few", *few},
                       {"bytes_with_all", *all},
                       {"bytes_per_connection", (*all - *few) / (kHeld - kFew)}};
    if (opening_s > 0) figures["opening_s"] = opening_s;
    return figures;
  };
  return {name, play};
}

Json PlayMemory(const std::string& build, int rounds) {
  Say("memory");
  const auto load = [](const std::string& backend) {
    return [backend](const std::string& connections) {
      return Load(backend, {"-c", connections, "--warmup", "100ms", "-d", "1s"});
    };
  };
  const auto bare = [](const std::string& connections) {
    return Bare("rr", {connections, "64", "1"});
  };
  return Interleave(
      {Memory(build, "ringside epoll", load("epoll")),
       Memory(build, "ringside io_uring", load("io_uring")), Memory(build, "bare_client", bare)},
      rounds, kSeed);
}

int Main(const std::string& build, const std::string& path, int rounds) {
  const std::string opened = absl::StrCat(kOpened), at_once = absl::StrCat(kAtOnce);
  const std::string connects = absl::StrCat(kConnectsOfCrr);
  Json json = {
      {"rounds", rounds}, {"seed", kSeed}, {"opened", kOpened}, {"held", kHeld}, {"few", kFew}};
  json["crr_connections"] = kConnectsOfCrr;
  json["crr_at_once"] = kAtOnce;
  json["opening"] =
      Play("opening", build,
           Three({"-c", opened, "--connect-timeout", "60s", "--warmup", "100ms", "-d", "200ms"},
                 Bare("open", {opened, "64"})),
           Opening, rounds);
  json["memory"] = PlayMemory(build, rounds);
  json["crr"] = Play("crr", build,
                     Three({"-w", "crr", "-c", at_once, "-n", connects, "--source",
                            "127.0.0.1,127.0.0.2,127.0.0.3,127.0.0.4"},
                           Bare("crr", {at_once, "64", connects})),
                     Rate, rounds);
  const bool failed = AnyFailed(json);
  return Finish("ringside.connect/1", "./dev bench connect", json, failed, path);
}

}  // namespace
}  // namespace bench

int main(int argc, char** argv) {
  const int rounds = argc > 3 ? std::atoi(argv[3]) : 10;
  if (argc < 3 || argc > 4 || rounds < 1) {
    bench::Say("usage: connect BUILD_DIRECTORY RESULT_FILE [ROUNDS]");
    return 2;
  }
  if (!bench::CanWrite(argv[2])) return 2;
  return bench::Main(argv[1], argv[2], rounds);
}
