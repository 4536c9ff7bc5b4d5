#include <memory>

#include <nlohmann/json.hpp>

#include "cli/common.h"
#include "cli/doctor_json.h"
#include "cli/outputs.h"
#include "cli/subcommands.h"
#include "io/backends.h"
#include "report/files.h"
#include "report/json_text.h"
#include "report/reader.h"
#include "report/text.h"

namespace cli {
namespace {

constexpr const char* kDoctor = "doctor";

struct DoctorFlags {
  uint64_t connections = 10'000;
  std::string json;
};

void Declare(Flags& flags, DoctorFlags& f) {
  flags
      .Count("-c,--connections", &f.connections, {1, 100'000'000},
             "how many are wanted at once, over TCP, with server and client on this machine")
      .Group("Output")
      .Text("--json FILE", &f.json, "what was found as JSON, into a file or - for standard output")
      .Example("ringside doctor", "what this machine allows, and whether 10,000 connections fit")
      .Example("ringside doctor -c 1M", "exit code 3 where a million don't, with what to change")
      .Example("ringside doctor --json - | jq .findings", "each limit against what is needed");
}

Examination Examine() {
  return {.limits = stats::ReadMachineLimits(),
          .environment = stats::CollectEnvironment(),
          .cpu_times = stats::ReadCpuTimes(),
          .io_uring = io::ProbeBackend("io_uring"),
          .rings = io::AskRingMemory(),
          .io_uring_features = io::ListUringFeatures(),
          .epoll_features = io::ListEpollFeatures()};
}

int Run(const DoctorFlags& f) {
  report::OutputFile file;
  const absl::Status opened = OpenOutputs(kDoctor, {{"--json", f.json, &file}});
  if (!opened.ok()) return OutputsFailed(kDoctor, opened);
  const nlohmann::ordered_json json = DoctorJson(Examine(), f.connections);
  const absl::Status written = file.Write(report::JsonText(json, 2) + "\n");
  if (f.json != "-") Print(kDoctor, report::DoctorText(json));
  if (!written.ok()) return Fail(kDoctor, written, kExitFailed);
  return report::Reader(json)["fits"].get<bool>() ? kExitOk : kExitDoesNotFit;
}

}  // namespace

Subcommand DoctorCommand() {
  auto f = std::make_shared<DoctorFlags>();
  return {.name = kDoctor,
          .summary = "what this machine allows, and what many connections need",
          .declare = [f](Flags& flags) { Declare(flags, *f); },
          .run = [f] { return Run(*f); }};
}

}  // namespace cli
