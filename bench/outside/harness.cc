#include "bench/outside/harness.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <fstream>
#include <iostream>
#include <random>
#include <regex>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "report/environment_json.h"
#include "report/files.h"
#include "report/json_text.h"
#include "revision.h"
#include "stats/environment.h"
#include "stats/signed_rank.h"

namespace bench {
namespace {

constexpr int64_t kGlanceNs = 20'000'000;
constexpr int kRunGlances = 15'000;    // five minutes
constexpr int kServerGlances = 1'000;  // 20 s
constexpr double kConfidence = 0.95;
constexpr int kTries = 3;  // of a contender in a round

sockaddr_in Loopback(int port) {
  sockaddr_in at = {};
  at.sin_family = AF_INET;
  at.sin_port = htons(static_cast<uint16_t>(port));
  at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return at;
}

bool Accepts(int port) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const sockaddr_in at = Loopback(port);
  const bool connected = connect(fd, reinterpret_cast<const sockaddr*>(&at), sizeof(at)) == 0;
  close(fd);
  return connected;
}

// VmHWM of a process; `last` when it has ended.
int64_t PeakBytes(pid_t pid, int64_t last) {
  std::ifstream file(absl::StrCat("/proc/", pid, "/status"));
  for (std::string line; std::getline(file, line);) {
    if (line.rfind("VmHWM:", 0) == 0) return std::stoll(line.substr(6)) * 1024;
  }
  return last;
}

struct Standing {
  std::vector<std::map<std::string, double>> rounds;
  std::vector<std::string> voids;  // why tries failed that were repeated
  absl::Status status;
};

// Once, or again where it fails: others on the machine can spoil a run.
void PlayOnce(const Contender& contender, Standing& standing) {
  for (int i = 1; standing.status.ok(); ++i) {
    auto figures = contender.play();
    if (figures.ok()) return standing.rounds.push_back(*std::move(figures));
    const std::string why(figures.status().message());
    const bool out = i == kTries || absl::IsNotFound(figures.status());
    Say(absl::StrCat("  ", contender.name, out ? " is out: " : " is played again: ", why));
    if (out) {
      standing.status = figures.status();
    } else {
      standing.voids.push_back(why);
    }
  }
}

std::vector<double> Values(const Standing& standing, const std::string& name) {
  std::vector<double> values;
  for (const auto& round : standing.rounds) {
    if (const auto at = round.find(name); at != round.end()) values.push_back(at->second);
  }
  return values;
}

Json Ratio(const std::vector<double>& first, const std::vector<double>& other) {
  std::vector<double> logs;
  for (size_t i = 0; i < std::min(first.size(), other.size()); ++i) {
    if (first[i] > 0 && other[i] > 0) logs.push_back(std::log(other[i] / first[i]));
  }
  if (logs.empty()) return Json();
  const stats::PairedEstimate estimate = stats::SignedRank(logs, kConfidence);
  const auto finite = [](double log) { return std::isfinite(log) ? Json(std::exp(log)) : Json(); };
  return {{"ratio", std::exp(estimate.estimate)}, {"ratio_low", finite(estimate.low)},
          {"ratio_high", finite(estimate.high)},  {"confidence", kConfidence},
          {"p_value", estimate.p_value},          {"rounds", estimate.pairs}};
}

Json StandingJson(const Contender& contender, const Standing& standing, const Standing* first) {
  Json json = {{"name", contender.name}};
  if (!standing.status.ok()) {
    const bool missing = absl::IsNotFound(standing.status);
    json[missing ? "skipped" : "failed"] = std::string(standing.status.message());
    return json;
  }
  if (!standing.voids.empty()) json["void"] = standing.voids;
  json["medians"] = Json::object();
  for (const auto& [name, value] : standing.rounds.front()) {
    json["medians"][name] = stats::Median(Values(standing, name));
    if (first == nullptr || !first->status.ok()) continue;
    const std::vector<double> base = Values(*first, name);
    if (!base.empty()) json["to_first"][name] = Ratio(base, Values(standing, name));
  }
  json["rounds"] = standing.rounds;
  return json;
}

}  // namespace

int FreePort() {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in at = Loopback(0);
  socklen_t size = sizeof(at);
  (void)bind(fd, reinterpret_cast<sockaddr*>(&at), size);
  getsockname(fd, reinterpret_cast<sockaddr*>(&at), &size);
  close(fd);
  return ntohs(at.sin_port);
}

Words Filled(Words words, const Places& places) {
  for (std::string& word : words) word = absl::StrReplaceAll(word, places);
  return words;
}

absl::Status EnterNewNetwork() {
  if (unshare(CLONE_NEWNET) != 0 && unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0) {
    return absl::PermissionDeniedError(
        absl::StrCat("no network of our own: unshare: ", strerror(errno), "; run it as root"));
  }
  const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  ifreq loopback = {};
  std::strcpy(loopback.ifr_name, "lo");
  loopback.ifr_flags = IFF_UP;
  const bool up = ioctl(fd, SIOCSIFFLAGS, &loopback) == 0;
  const int error = errno;
  close(fd);
  if (up) return absl::OkStatus();
  return absl::InternalError(absl::StrCat("the new network's loopback: ", strerror(error)));
}

absl::StatusOr<Process> StartServer(const Words& argv, int port) {
  auto server = Process::Start(argv, kServerCpus, /*nofile=*/0, Process::kSomeBytes);
  if (!server.ok()) return server.status();
  for (int i = 0; i < kServerGlances && !Accepts(port); ++i) {
    if (server->Wait(kGlanceNs, -1) == Process::Waited::kEnded) {
      return absl::InternalError(
          absl::StrCat(absl::StrJoin(argv, " "), " ended: ", server->Errors(), server->Output()));
    }
  }
  return server;
}

absl::StatusOr<Ran> RunToEnd(const Words& argv, const std::vector<int>& cpus) {
  auto process = Process::Start(argv, cpus);
  if (!process.ok()) return process.status();
  Ran ran;
  int glances = 0;
  while (process->Wait(kGlanceNs, -1) != Process::Waited::kEnded) {
    ran.peak_bytes = PeakBytes(process->pid(), ran.peak_bytes);
    if (++glances == kRunGlances) {
      return absl::DeadlineExceededError(absl::StrCat(argv[0], " did not end"));
    }
  }
  ran.exit_code = process->exit_code();
  ran.output = process->Output();
  ran.errors = process->Errors();
  ran.cpu_us = process->cpu_ns() / 1e3;
  if (process->peak_bytes() > PeakBytes(getpid(), 0)) ran.peak_bytes = process->peak_bytes();
  return ran;
}

absl::StatusOr<Json> LoadResult(const Ran& ran) {
  Json json = Json::parse(ran.output, nullptr, /*allow_exceptions=*/false);
  if (json.is_object() && json.value("valid", false)) return json;
  std::string why = absl::StrCat("exit code ", ran.exit_code, ": ", ran.errors);
  if (json.is_object()) {
    for (const Json& one : json["accusations"]) absl::StrAppend(&why, one.value("text", ""), "\n");
  }
  return absl::InternalError(why);
}

absl::StatusOr<double> SumOf(const std::string& regex, const std::string& text) {
  const std::regex pattern(regex);
  double sum = 0;
  bool found = false;
  for (std::sregex_iterator it(text.begin(), text.end(), pattern), end; it != end; ++it) {
    double value = 0;
    found = absl::SimpleAtod((*it)[1].str(), &value) || found;
    sum += value;
  }
  if (!found) return absl::InternalError(absl::StrCat("no ", regex, " in: ", text.substr(0, 2000)));
  return sum;
}

Json Interleave(const std::vector<Contender>& contenders, int rounds, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<Standing> standings(contenders.size());
  std::vector<size_t> order(contenders.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  for (int round = 0; round < rounds; ++round) {
    Say(absl::StrCat("  round ", round + 1, " of ", rounds));
    std::shuffle(order.begin(), order.end(), random);
    for (const size_t i : order) PlayOnce(contenders[i], standings[i]);
  }
  Json json = Json::array();
  for (size_t i = 0; i < contenders.size(); ++i) {
    json.push_back(StandingJson(contenders[i], standings[i], i > 0 ? &standings[0] : nullptr));
  }
  return json;
}

void Say(const std::string& what) { std::cerr << what << std::endl; }

bool CanWrite(const std::string& path) {
  const absl::Status opened = report::OutputFile().Open(path);
  if (!opened.ok()) Say(std::string(opened.message()));
  return opened.ok();
}

bool AnyFailed(const Json& json) {
  if (json.is_object() && json.contains("failed")) return true;
  return json.is_structured() && std::any_of(json.begin(), json.end(), AnyFailed);
}

int Finish(const std::string& schema, const std::string& command, const Json& figures, bool failed,
           const std::string& path) {
  Json json = {{"schema", schema}};
  json.update(figures);
  json["server_cpus"] = kServerCpus;
  json["client_cpus"] = kClientCpus;
  json["version"] = RINGSIDE_VERSION;
  json["revision"] = RINGSIDE_REVISION;
  json["command"] = command;
  json["time_utc"] = absl::FormatTime("%Y-%m-%dT%H:%M:%SZ", absl::Now(), absl::UTCTimeZone());
  json["environment"] = report::EnvironmentJson(stats::CollectEnvironment());
  const absl::Status written = report::WriteFile(path, report::JsonText(json, 1) + "\n");
  if (!written.ok()) Say(std::string(written.message()));
  return failed || !written.ok() ? 1 : 0;
}

}  // namespace bench
