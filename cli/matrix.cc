#include "cli/matrix.h"

#include <algorithm>
#include <array>

#include "absl/strings/str_cat.h"
#include "cli/config_file.h"
#include "cli/settings.h"

namespace cli {
namespace {

constexpr const char* kKind = "matrix";
// Flags of `compare` that aren't for a file which another flag names.
constexpr std::array<const char*, 5> kNotHere = {"matrix", "init", "config", "arm", "arm-load"};

absl::Status Wrong(const std::string& origin, const std::string& what) {
  return absl::InvalidArgumentError(absl::StrCat(origin, ": ", what));
}

// Sets the flags that the entries name.
absl::Status Apply(const std::vector<ConfigEntry>& entries, const std::string& file, Flags* flags) {
  for (const ConfigEntry& entry : entries) {
    if (const auto mistake = ApplyEntry(entry, file, flags)) {
      return absl::InvalidArgumentError(*mistake);
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<MatrixArm> ReadArm(const ListedTable& table, const std::string& file) {
  MatrixArm arm;
  arm.origin = absl::StrCat(file, ", line ", table.line);
  std::string backend, server;
  Flags flags;
  flags.Text("--name NAME", &arm.name, "")
      .Text("--backend BACKEND", &backend, "")
      .Text("--server COMMAND", &server, "")
      .Text("--load FLAGS", &arm.load, "");
  const absl::Status status = Apply(table.entries, file, &flags);
  if (!status.ok()) return status;
  if (backend.empty() == server.empty()) {
    return Wrong(arm.origin,
                 "an arm has either a backend (backend = \"epoll\") or a command (server = \"serve "
                 "--backend epoll\")");
  }
  if (!backend.empty() && !arm.name.empty() && arm.name != backend) {
    server = absl::StrCat("serve --backend ", backend);
  }
  if (server.empty()) {
    arm.name = arm.text = backend;
    return arm;
  }
  if (arm.name.empty()) return Wrong(arm.origin, "an arm with a command needs a name");
  arm.text = absl::StrCat(arm.name, "=", server);
  return arm;
}

// Whether it stands on the command line, which wins.
bool Typed(const Flags& flags, const std::string& key) {
  return std::any_of(flags.declared().begin(), flags.declared().end(), [&](const Flag& flag) {
    return KeyOf(flag) == key && flag.given && flag.origin.empty();
  });
}

absl::StatusOr<MatrixScenario> ReadScenario(const ListedTable& table, const std::string& file,
                                            const CompareFlags& f) {
  MatrixScenario scenario;
  scenario.origin = absl::StrCat(file, ", line ", table.line);
  scenario.flags = f.scenario;
  Flags declared;
  DeclareScenario(declared, scenario.flags);
  std::vector<ConfigEntry> entries = table.entries;
  std::erase_if(entries, [&](const ConfigEntry& entry) { return Typed(*f.flags, entry.key); });
  const absl::Status status = Apply(entries, file, &declared);
  if (!status.ok()) return status;
  return scenario;
}

}  // namespace

absl::StatusOr<Matrix> ReadMatrix(const std::string& path, CompareFlags* f) {
  const std::string file = absl::StrCat(kKind, " ", path);
  const auto lists = ReadLists(kKind, path);
  if (!lists.ok()) return lists.status();
  for (const ConfigEntry& entry : lists->top) {
    if (std::find(kNotHere.begin(), kNotHere.end(), entry.key) == kNotHere.end()) continue;
    return Wrong(absl::StrCat(file, ", line ", entry.line),
                 entry.key.starts_with("arm")
                     ? "arms are tables here; write [[arm]]"
                     : absl::StrCat(entry.key, " is for the command line only"));
  }
  const absl::Status applied = Apply(lists->top, file, f->flags);
  if (!applied.ok()) return applied;
  Matrix matrix;
  for (const ListedTable& table : lists->tables) {
    if (table.name == "arm") {
      auto arm = ReadArm(table, file);
      if (!arm.ok()) return arm.status();
      matrix.arms.push_back(*std::move(arm));
    } else if (table.name == "scenario") {
      auto scenario = ReadScenario(table, file, *f);
      if (!scenario.ok()) return scenario.status();
      matrix.scenarios.push_back(*std::move(scenario));
    } else {
      return Wrong(
          absl::StrCat(file, ", line ", table.line),
          absl::StrCat("unknown table [[", table.name, "]]",
                       Hint(table.name, {"arm", "scenario"}, "it is [[arm]] or [[scenario]]")));
    }
  }
  return matrix;
}

std::string ExampleMatrix() {
  return R"(# What `ringside compare --matrix THIS_FILE` plays: every arm in every scenario, in
# interleaved rounds. Keys here are flags of `ringside compare`; the command line wins.

margin = "5%"            # the difference that matters
budget = "5m"            # after which it says what it can
inconclusive = "fail"    # or "pass": whether a verdict that can't be reached fails the run
# transport = "unix"     # tcp, unix, seqpacket, udp, unix-dgram
# self-check = true      # the first arm against itself: nothing is judged where that differs

# The first arm is what the others are compared with.

[[arm]]
backend = "epoll"

[[arm]]
backend = "io_uring"

# Another build, or any server: {port} or {address} are filled in.
# [[arm]]
# name = "old"
# server = "./ringside.old serve --backend io_uring"
# load = "--backend epoll"     # flags of the load generator for this arm alone

[[scenario]]
connections = 64
size = "64B"
pace = "100k"            # of the paced part: the verdict is about its CPU time a request

[[scenario]]
connections = 64
size = "16KiB"
pace = "40k"
margin = "10%"           # of this scenario alone

# [[scenario]]
# name = "capacity"
# connections = 256
# objective = "p99<1ms"  # the highest rate that keeps it

# [[scenario]]
# workload = "crr"       # connect, one request, close
# metric = "requests_per_s"
)";
}

}  // namespace cli
