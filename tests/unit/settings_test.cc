#include "cli/settings.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>

#include "cli/config_file.h"
#include "cli/run.h"

namespace cli {
namespace {

// ---- the file -----------------------------------------------------------------------------------

// Each entry on a line: "table/key:line=value,value".
std::string Read(const std::string& text) {
  const auto config = ParseConfig(text);
  if (!config.ok()) return std::string(config.status().message());
  std::string out;
  for (const ConfigEntry& entry : config->entries) {
    out += entry.table + "/" + entry.key + ":" + std::to_string(entry.line) + "=";
    if (entry.is_boolean) out += entry.on ? "true" : "false";
    if (entry.is_array) out += "[";
    for (const std::string& value : entry.values) out += value + ",";
    out += "\n";
  }
  return out;
}

TEST(ConfigFile, GivesValuesAsOneWouldTypeThem) {
  EXPECT_EQ(Read("a = 'x y'\nb = 1_000\nc = -5\nd = 0.001\ne = 1e9\nf = true\ng = 0x10\n"),
            "/a:1=x y,\n/b:2=1000,\n/c:3=-5,\n/d:4=0.001,\n/e:5=1000000000,\n/f:6=true\n"
            "/g:7=16,\n");
}

TEST(ConfigFile, KeepsTheOrderOfItsLines) {
  EXPECT_EQ(Read("z = 1\na = 2\n\n[serve]\nlisten = ['x', 'y']\nall = []\n[load]\nq = false\n"),
            "/z:1=1,\n/a:2=2,\nserve/listen:5=[x,y,\nserve/all:6=[\nload/q:8=false\n");
}

TEST(ConfigFile, NamesTheLineOfWhatIsWrong) {
  EXPECT_EQ(Read("a = 1\nb = 2020-01-02\n"), "line 2: b: a date or time; put the value in quotes");
  EXPECT_EQ(Read("[load]\na = [1,\n true]\n"),
            "line 3: a: an array holds strings and numbers only");
  EXPECT_EQ(Read("[a.b.deeper]\nb = 1\n"),
            "line 1: deeper: a table within [a.b]; tables are one a command, such as [load]");
  EXPECT_TRUE(Read("[[load]]\na = 1\n").starts_with("line 1: load: an array holds"));
  for (const char* wrong : {"a = 1\na = 2\n", "a = 1\nb = \n", "a = 1\nb 2\n", "\n\"a\n"}) {
    const std::string sentence = Read(wrong);
    EXPECT_TRUE(sentence.starts_with("line 2: ")) << sentence;
    EXPECT_EQ(sentence.find('\n'), std::string::npos) << sentence;
  }
}

TEST(ConfigFile, SaysWhyItCannotBeRead) {
  EXPECT_TRUE(absl::IsNotFound(ReadConfig("/nonexistent/x.toml").status()));
  EXPECT_EQ(ReadConfig("/").status().message(), "config /: Is a directory");
}

// ---- precedence ---------------------------------------------------------------------------------

struct Outcome {
  int exit_code = -1;
  std::string err;
  bool ran = false;
  std::string address = "9999";
  std::string backend = "auto";
  std::vector<std::string> headers;
  uint64_t connections = 64;
  int64_t duration_ns = 10'000'000'000;
  bool quiet = false;
  int run_returns = 7;
  std::vector<std::string> given;
  std::vector<std::string> set_as_typed;
  std::string seen_in_environment;
};

void Declare(Outcome* o, Flags* flags) {
  flags->Positional("ADDRESS", &o->address, "what to connect to")
      .Count("-c,--connections", &o->connections, {1, 1'000'000}, "connections held open")
      .Duration("-d,--duration", &o->duration_ns, {.min = 1}, "how long to measure")
      .Choice("-b,--backend", &o->backend, {"auto", "epoll", "io_uring"}, "the event loop")
      .Repeated("-H,--header", &o->headers, "add a header")
      .Switch("-q,--quiet", &o->quiet, "print the result only");
}

// Runs a command line among these variables, which are gone afterwards.
Outcome Type(std::vector<std::string> words,
             const std::vector<std::pair<std::string, std::string>>& variables = {},
             int run_returns = 7) {
  Outcome o;
  const Flags* declared = nullptr;
  const Subcommand load = {"load", "Opens connections.",
                           [&](Flags& flags) {
                             Declare(&o, &flags);
                             declared = &flags;
                           },
                           [&] {
                             o.ran = true;
                             for (const Flag& flag : declared->declared()) {
                               if (declared->Given(flag.long_name))
                                 o.given.push_back(flag.long_name);
                             }
                             o.set_as_typed = declared->SetAsTyped();
                             for (const auto& [name, value] : variables) {
                               if (getenv(name.c_str()) != nullptr) o.seen_in_environment += name;
                             }
                             return run_returns;
                           }};
  uint64_t backlog = 1;
  const Subcommand serve = {
      "serve", "Answers.", [&](Flags& flags) { flags.Count("--backlog", &backlog, {}, "waiting"); },
      [] { return 0; }};
  for (const auto& [name, value] : variables) setenv(name.c_str(), value.c_str(), 1);
  words.insert(words.begin(), "ringside");
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  testing::internal::CaptureStderr();
  o.exit_code =
      RunSubcommands({serve, load}, "", "1.2.3", static_cast<int>(words.size()), argv.data());
  o.err = testing::internal::GetCapturedStderr();
  for (const auto& [name, value] : variables) unsetenv(name.c_str());
  return o;
}

// A file with this text, for as long as it lives.
class File {
 public:
  explicit File(const std::string& text)
      : path_(testing::TempDir() + "ringside-" + std::to_string(getpid()) + ".toml") {
    std::ofstream(path_) << text;
  }
  ~File() { std::remove(path_.c_str()); }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

Outcome WithConfig(const std::string& text, std::vector<std::string> words = {},
                   const std::vector<std::pair<std::string, std::string>>& variables = {}) {
  const File file(text);
  words.insert(words.begin(), {"load", "--config", file.path()});
  Outcome o = Type(std::move(words), variables);
  if (const size_t at = o.err.find(file.path()); at != std::string::npos) {
    o.err.replace(at, file.path().size(), "FILE");
  }
  return o;
}

using Words = std::vector<std::string>;

TEST(Settings, OfAFileReachEveryKindOfFlag) {
  const Outcome o = WithConfig(
      "address = '[::1]:7'\nconnections = '10k'\n[load]\nduration = '1m'\nheader = ['a', 'b']\n"
      "quiet = true\nbackend = 'epoll'\n[serve]\nbacklog = 5\n");
  EXPECT_TRUE(o.ran) << o.err;
  EXPECT_EQ(o.address, "[::1]:7");
  EXPECT_EQ(o.connections, 10'000u);
  EXPECT_EQ(o.duration_ns, 60'000'000'000);
  EXPECT_EQ(o.headers, Words({"a", "b"}));
  EXPECT_EQ(o.backend, "epoll");
  EXPECT_TRUE(o.quiet);
  EXPECT_EQ(o.given, Words({"ADDRESS", "--connections", "--duration", "--backend", "--header",
                            "--quiet", "--config"}));
  EXPECT_EQ(o.set_as_typed,
            Words({"[::1]:7", "--connections", "10k", "--duration", "1m", "--backend", "epoll",
                   "--header", "a", "--header", "b", "--quiet"}));
}

TEST(Settings, OfTheCommandsTableWinOverTheTop) {
  EXPECT_EQ(WithConfig("connections = 1\n[load]\nconnections = 2\n").connections, 2u);
  EXPECT_EQ(WithConfig("header = 'a'\n[load]\nheader = []\n").headers, Words());
  const Outcome o = WithConfig("quiet = true\n[load]\nquiet = false\n");
  EXPECT_FALSE(o.quiet);
  EXPECT_EQ(o.given, Words({"--config"}));
}

TEST(Settings, AtTheTopMayBeOfAnotherCommand) {
  EXPECT_TRUE(WithConfig("backlog = 5\nbacklog = 5\n").err.find("line 2") != std::string::npos);
  EXPECT_TRUE(WithConfig("backlog = 5\n").ran);
}

TEST(Settings, OfTheEnvironmentReachEveryKindOfFlag) {
  const Outcome o = Type({"load"}, {{"RINGSIDE_LOAD_ADDRESS", "7"},
                                    {"RINGSIDE_CONNECTIONS", "1k"},
                                    {"RINGSIDE_HEADER", "a\nb c\n"},
                                    {"RINGSIDE_LOAD_QUIET", "yes"},
                                    {"RINGSIDE_DURATION", ""},
                                    {"RINGSIDE_TRANSPORT", "unix"}});
  EXPECT_TRUE(o.ran) << o.err;
  EXPECT_EQ(o.address, "7");
  EXPECT_EQ(o.connections, 1'000u);
  EXPECT_EQ(o.headers, Words({"a", "b c"}));
  EXPECT_TRUE(o.quiet);
  EXPECT_EQ(o.duration_ns, 10'000'000'000);
  EXPECT_EQ(o.err, "");
}

TEST(Settings, AreLookedForFromTheCommandLineToTheFile) {
  const std::string file = "connections = 1\nheader = ['a', 'b']\nquiet = true\n";
  EXPECT_EQ(WithConfig(file).connections, 1u);
  EXPECT_EQ(WithConfig(file, {}, {{"RINGSIDE_CONNECTIONS", "2"}}).connections, 2u);
  EXPECT_EQ(
      WithConfig(file, {}, {{"RINGSIDE_CONNECTIONS", "2"}, {"RINGSIDE_LOAD_CONNECTIONS", "3"}})
          .connections,
      3u);
  EXPECT_EQ(WithConfig(file, {"-c", "4"}, {{"RINGSIDE_LOAD_CONNECTIONS", "3"}}).connections, 4u);
  EXPECT_EQ(WithConfig(file, {"-H", "c"}).headers, Words({"c"}));
  EXPECT_EQ(WithConfig(file, {}, {{"RINGSIDE_HEADER", "d"}}).headers, Words({"d"}));
  EXPECT_FALSE(WithConfig(file, {}, {{"RINGSIDE_QUIET", "0"}}).quiet);
}

TEST(Settings, TakeTheFileThatAVariableNames) {
  const File file("connections = 5\n");
  EXPECT_EQ(Type({"load"}, {{"RINGSIDE_CONFIG", file.path()}}).connections, 5u);
  EXPECT_EQ(Type({"load", "--config", ""}, {{"RINGSIDE_CONFIG", file.path()}}).connections, 64u);
}

TEST(Settings, AreNotHandedOnToWhatACommandStarts) {
  const Outcome o = Type({"load"}, {{"RINGSIDE_CONNECTIONS", "2"},
                                    {"RINGSIDE_SERVE_BACKLOG", "2"},
                                    {"RINGSIDE_CONFIG", "/dev/null"},
                                    {"RINGSIDE_FAULT_SEED", "2"}});
  EXPECT_TRUE(o.ran) << o.err;
  EXPECT_EQ(o.seen_in_environment, "RINGSIDE_FAULT_SEED");
}

TEST(Settings, AreNamedWhenTheCommandRefusesThem) {
  EXPECT_EQ(Type({"load", "-q"}, {{"RINGSIDE_CONNECTIONS", "2"}}, kExitUsage).err,
            "ringside load: not from the command line: --connections (RINGSIDE_CONNECTIONS)\n");
  EXPECT_EQ(Type({"load", "-q"}, {}, kExitUsage).err, "");
}

// ---- what is wrong ------------------------------------------------------------------------------

std::string Refusal(const Outcome& o) {
  EXPECT_EQ(o.exit_code, kExitUsage);
  EXPECT_FALSE(o.ran);
  return o.err;
}

TEST(Settings, OfAFileAreRefusedByLine) {
  const std::string where = "ringside load: config FILE, line 2: ";
  EXPECT_EQ(Refusal(WithConfig("\nconnections = 0\n")),
            where + "--connections: 0 is out of range; give a number from 1 to 1,000,000\n");
  EXPECT_EQ(Refusal(WithConfig("[load]\nduration = 10\n")),
            where + "--duration: 10 has no unit; add one, such as 10s or 10ms\n");
  EXPECT_EQ(Refusal(WithConfig("[load]\nbackend = 'epol'\n")),
            where + "--backend: 'epol' is not one of auto, epoll, io_uring; did you mean epoll?\n");
  EXPECT_EQ(Refusal(WithConfig("\nconnections = [1, 2]\n")),
            where + "--connections: takes one value; write it without brackets\n");
  EXPECT_EQ(Refusal(WithConfig("\nconnections = true\n")),
            where + "--connections: needs a value, not true; write connections = \"N\"\n");
  EXPECT_EQ(Refusal(WithConfig("\nquiet = 1\n")),
            where + "--quiet: is a switch; write true or false\n");
  EXPECT_EQ(Refusal(WithConfig("\nconfig = 'x'\n")), where + "config: a file can't name another\n");
}

TEST(Settings, OfAFileHaveToNameFlags) {
  const std::string where = "ringside load: config FILE, line 2: ";
  EXPECT_EQ(Refusal(WithConfig("\nconections = 1\n")),
            where + "unknown key 'conections'; did you mean connections?\n");
  EXPECT_EQ(Refusal(WithConfig("\n[lod]\nconnections = 1\n")),
            where + "there is no command 'lod'; did you mean load?\n");
  EXPECT_EQ(Refusal(WithConfig("[load]\nbacklog = 1\n")),
            where + "unknown key 'backlog'; see ringside load --help\n");
  // In a table of a command that doesn't run, too.
  EXPECT_EQ(Refusal(WithConfig("[serve]\nbaklog = 1\n")),
            where + "unknown key 'baklog'; did you mean backlog?\n");
  EXPECT_EQ(Refusal(WithConfig("\nxyz = 1\n")),
            where + "unknown key 'xyz'; see ringside COMMAND --help\n");
}

TEST(Settings, OfAMissingFileAreRefused) {
  EXPECT_EQ(Refusal(Type({"load", "--config", "/nonexistent/x"})),
            "ringside load: config /nonexistent/x: No such file or directory\n");
}

TEST(Settings, OfTheEnvironmentAreRefusedByName) {
  EXPECT_EQ(Refusal(Type({"load"}, {{"RINGSIDE_CONNECTIONS", "0"}})),
            "ringside load: RINGSIDE_CONNECTIONS: 0 is out of range; give a number from 1 to "
            "1,000,000\n");
  EXPECT_EQ(Refusal(Type({"load"}, {{"RINGSIDE_LOAD_QUIET", "maybe"}})),
            "ringside load: RINGSIDE_LOAD_QUIET: 'maybe' is neither on nor off; write 1 or 0\n");
}

TEST(Settings, WarnOfAVariableThatNamesNoFlag) {
  const Outcome o = Type({"load"}, {{"RINGSIDE_LOAD_CONECTIONS", "5"},
                                    {"RINGSIDE_NOTHING", "5"},
                                    {"RINGSIDE_SERVE_NOTHING", "5"}});
  EXPECT_TRUE(o.ran);
  EXPECT_EQ(o.err,
            "ringside load: RINGSIDE_LOAD_CONECTIONS names no flag and is ignored; did you mean "
            "RINGSIDE_LOAD_CONNECTIONS?\n");
}

}  // namespace
}  // namespace cli
