#include "cli/flags.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>

#include "absl/strings/str_split.h"
#include "cli/run.h"

namespace cli {
namespace {

// Every kind of flag, as `load`; `serve` takes none. Each Type() starts from the defaults.
struct Outcome {
  int exit_code = -1;
  std::string out;
  std::string err;
  bool ran = false;
  std::string address = "9999";
  std::string backend = "auto";
  std::string service = "echo";
  std::string output;
  std::vector<std::string> headers;
  uint64_t connections = 64;
  uint64_t size = 64;
  int64_t duration_ns = 10'000'000'000;
  double rate = 0;
  double margin = 0.05;
  bool quiet = false;
  bool given_connections = false;
};

void DeclareLoad(Outcome* o, Flags* flags) {
  flags->Positional("ADDRESS", &o->address, "what to connect to")
      .Group("Load")
      .Count("-c,--connections", &o->connections, {1, 1'000'000}, "connections held open")
      .Bytes("-s,--size", &o->size, {1, 1 << 20}, "bytes in a message")
      .Duration("-d,--duration", &o->duration_ns, {.min = 1}, "how long to measure")
      .Rate("-r,--rate", &o->rate, {.min = 1, .max = 1e9}, "requests per second")
      .Group("Server")
      .Choice("-b,--backend", &o->backend, {"auto", "epoll", "io_uring"}, "the event loop")
      .Choice("--service", &o->service, {"echo", "counter", "something-with-a-long-name"},
              "what to speak")
      .Group("Output")
      .Repeated("-H,--header", &o->headers, "add a header")
      .Percent("--margin", &o->margin, {0, 1}, "smaller differences are none")
      .Text("-o,--output FILE", &o->output, "write the result here")
      .Switch("-q,--quiet", &o->quiet, "print the result only")
      .Example("ringside load 9999 -c 1k", "a thousand connections");
}

Outcome Type(std::vector<std::string> words) {
  Outcome o;
  const Flags* declared = nullptr;
  const Subcommand load = {"load", "Opens connections against a server.",
                           [&](Flags& flags) {
                             DeclareLoad(&o, &flags);
                             declared = &flags;
                           },
                           [&] {
                             o.ran = true;
                             o.given_connections = declared->Given("connections");
                             EXPECT_EQ(declared->Given("-c"), declared->Given("--connections"));
                             return 7;
                           }};
  const Subcommand serve = {"serve", "Answers.", [](Flags&) {}, [] { return 0; }};
  words.insert(words.begin(), "/usr/bin/ringside");
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  testing::internal::CaptureStdout();
  testing::internal::CaptureStderr();
  o.exit_code = RunSubcommands({serve, load}, "Benchmarks the network.", "1.2.3",
                               static_cast<int>(words.size()), argv.data());
  std::fflush(stdout);
  o.out = testing::internal::GetCapturedStdout();
  o.err = testing::internal::GetCapturedStderr();
  return o;
}

// The one sentence a refused command line gets; also that nothing ran and nothing went to stdout.
std::string Refusal(std::vector<std::string> words) {
  const Outcome o = Type(std::move(words));
  EXPECT_EQ(o.exit_code, kExitUsage);
  EXPECT_FALSE(o.ran);
  EXPECT_EQ(o.out, "");
  EXPECT_EQ(std::count(o.err.begin(), o.err.end(), '\n'), 1);
  return o.err.substr(0, o.err.find('\n'));
}

TEST(Flags, KeepTheirDefaults) {
  const Outcome o = Type({"load"});
  EXPECT_EQ(o.exit_code, 7);  // run's own
  EXPECT_TRUE(o.ran);
  EXPECT_EQ(o.address, "9999");
  EXPECT_EQ(o.connections, 64u);
  EXPECT_FALSE(o.given_connections);
  EXPECT_EQ(o.err, "");
}

TEST(Flags, TakeEveryKindOfValue) {
  const Outcome o = Type({"load",     "[::1]",    "--connections=1k",
                          "-s",       "16KiB",    "-d",
                          "1m30s",    "-r",       "100k/s",
                          "-b",       "epoll",    "-H",
                          "a: [b,c]", "--header", "d",
                          "--margin", "2.5%",     "-o",
                          "-",        "-q"});
  EXPECT_TRUE(o.ran) << o.err;
  EXPECT_EQ(o.address, "[::1]");
  EXPECT_EQ(o.connections, 1'000u);
  EXPECT_TRUE(o.given_connections);
  EXPECT_EQ(o.size, 16'384u);
  EXPECT_EQ(o.duration_ns, 90'000'000'000);
  EXPECT_DOUBLE_EQ(o.rate, 1e5);
  EXPECT_EQ(o.backend, "epoll");
  EXPECT_EQ(o.headers, std::vector<std::string>({"a: [b,c]", "d"}));
  EXPECT_DOUBLE_EQ(o.margin, 0.025);
  EXPECT_EQ(o.output, "-");
  EXPECT_TRUE(o.quiet);
}

TEST(Flags, MayBeWrittenTogether) {
  const Outcome o = Type({"load", "-c64k", "-qb", "io_uring", "--", "-5"});
  EXPECT_TRUE(o.ran) << o.err;
  EXPECT_EQ(o.connections, 64'000u);
  EXPECT_EQ(o.backend, "io_uring");
  EXPECT_TRUE(o.quiet);
  EXPECT_EQ(o.address, "-5");
}

TEST(Flags, KeepValuesThatLookLikeLists) {
  EXPECT_EQ(Type({"load", "-H", "[a,b]", "-H", "{}", "-H", ""}).headers,
            std::vector<std::string>({"[a,b]", "{}", ""}));
  EXPECT_EQ(Type({"load", ""}).address, "");
}

TEST(Flags, RefuseValuesOutOfRange) {
  EXPECT_EQ(Refusal({"load", "--connections", "0"}),
            "ringside load: --connections: 0 is out of range; give a number from 1 to 1,000,000");
  EXPECT_EQ(Refusal({"load", "-c2M"}),
            "ringside load: --connections: 2M is out of range; give a number from 1 to 1,000,000");
  EXPECT_EQ(Refusal({"load", "-s", "2MiB"}),
            "ringside load: -s: 2MiB is out of range; give a size from 1B to 1MiB");
  EXPECT_EQ(Refusal({"load", "-d", "0s"}),
            "ringside load: -d: 0s is out of range; give a duration of at least 1ns");
  EXPECT_EQ(Refusal({"load", "-r", "0"}),
            "ringside load: -r: 0 is out of range; give a rate from 1/s to 1G/s");
  EXPECT_EQ(Refusal({"load", "--margin", "200%"}),
            "ringside load: --margin: 200% is out of range; give a percentage from 0% to 100%");
}

TEST(Flags, RefuseNegativeNumbers) {
  const std::string sentence = "-5 is negative; give a number such as 64, 10k or 1M";
  EXPECT_EQ(Refusal({"load", "-c", "-5"}), "ringside load: -c: " + sentence);
  EXPECT_EQ(Refusal({"load", "-c-5"}), "ringside load: --connections: " + sentence);
  EXPECT_EQ(Refusal({"load", "--connections=-5"}), "ringside load: --connections: " + sentence);
  EXPECT_EQ(Refusal({"load", "--connections", "-5"}), "ringside load: --connections: " + sentence);
}

TEST(Flags, RefuseWhatCannotBeParsed) {
  EXPECT_EQ(Refusal({"load", "-c", "many"}),
            "ringside load: -c: 'many' is not a number; give a number such as 64, 10k or 1M");
  EXPECT_EQ(Refusal({"load", "-c", ""}),
            "ringside load: -c: the value is empty; give a number such as 64, 10k or 1M");
  EXPECT_EQ(Refusal({"load", "-d", "10"}),
            "ringside load: -d: 10 has no unit; add one, such as 10s or 10ms");
}

TEST(Flags, RefuseAnUnknownChoice) {
  EXPECT_EQ(Refusal({"load", "-b", "epol"}),
            "ringside load: -b: 'epol' is not one of auto, epoll, io_uring; did you mean epoll?");
  EXPECT_EQ(Refusal({"load", "-b", "kqueue"}),
            "ringside load: -b: 'kqueue' is not one of auto, epoll, io_uring; give one of these");
}

TEST(Flags, RefuseUnknownFlags) {
  EXPECT_EQ(Refusal({"load", "--conections", "5"}),
            "ringside load: unknown flag --conections; did you mean --connections?");
  EXPECT_EQ(Refusal({"load", "--conections=5"}),
            "ringside load: unknown flag --conections; did you mean --connections?");
  EXPECT_EQ(Refusal({"load", "-connections", "5"}),
            "ringside load: unknown flag -connections; did you mean --connections?");
  EXPECT_EQ(Refusal({"load", "--hlep"}),
            "ringside load: unknown flag --hlep; did you mean --help?");
  EXPECT_EQ(Refusal({"load", "-x"}), "ringside load: unknown flag -x; see ringside load --help");
}

TEST(Flags, RefuseAMissingValue) {
  EXPECT_EQ(Refusal({"load", "-c"}), "ringside load: -c: needs a value; write -c N");
  EXPECT_EQ(Refusal({"load", "-o"}), "ringside load: -o: needs a value; write -o FILE");
  EXPECT_EQ(Refusal({"load", "--connections=", "5"}),
            "ringside load: --connections: needs a value; write --connections N");
  EXPECT_EQ(Refusal({"load", "-c", "--size", "5"}),
            "ringside load: -c: needs a value before --size; write -c N");
  EXPECT_EQ(Refusal({"load", "-c", "--"}),
            "ringside load: -c: needs a value before --; write -c N");
}

TEST(Flags, RefuseTheWrongShape) {
  EXPECT_EQ(Refusal({"load", "-c=5"}),
            "ringside load: -c: takes its value after a space; write -c N");
  EXPECT_EQ(Refusal({"load", "--quiet=no"}),
            "ringside load: --quiet: takes no value; write --quiet alone");
  EXPECT_EQ(Refusal({"load", "-c", "1", "-c", "2"}),
            "ringside load: -c: given 2 times; give it once");
  EXPECT_EQ(Refusal({"load", "1", "2"}),
            "ringside load: unexpected argument '2'; it takes only ADDRESS");
  EXPECT_EQ(Refusal({"load", "--", "1", "--size"}),
            "ringside load: unexpected argument '--size'; it takes only ADDRESS");
  EXPECT_EQ(Refusal({"serve", "1"}),
            "ringside serve: unexpected argument '1'; it takes flags only");
}

TEST(RunSubcommands, RefusesUnknownCommands) {
  EXPECT_EQ(Refusal({"laod"}), "ringside: unknown command 'laod'; did you mean 'load'?");
  EXPECT_EQ(Refusal({"help", "laod"}), "ringside: unknown command 'laod'; did you mean 'load'?");
  EXPECT_EQ(Refusal({"banana"}), "ringside: unknown command 'banana'; see ringside --help");
  EXPECT_EQ(Refusal({"--versoin"}), "ringside: unknown flag --versoin; did you mean --version?");
  EXPECT_EQ(Refusal({"-x"}), "ringside: unknown flag -x; see ringside --help");
}

TEST(RunSubcommands, ShowsTheVersion) {
  const Outcome o = Type({"--version"});
  EXPECT_EQ(o.exit_code, 0);
  EXPECT_EQ(o.out, "ringside 1.2.3\n");
}

TEST(RunSubcommands, ShowsHelpWhenAskedAndWhenNothingIs) {
  const Outcome asked = Type({"--help"});
  EXPECT_EQ(asked.exit_code, 0);
  EXPECT_NE(asked.out.find("  load            Opens connections against a server.\n"),
            std::string::npos)
      << asked.out;
  const Outcome alone = Type({});
  EXPECT_EQ(alone.exit_code, kExitUsage);
  EXPECT_EQ(alone.out, asked.out);
  EXPECT_EQ(Type({"help"}).out, asked.out);
  EXPECT_EQ(Type({"-h"}).out, asked.out);
}

TEST(Help, ShowsEveryFlagWithItsDefaultAsTyped) {
  const Outcome o = Type({"load", "--help"});
  EXPECT_EQ(o.exit_code, 0);
  EXPECT_FALSE(o.ran);
  EXPECT_EQ(o.err, "");
  EXPECT_EQ(o.out, R"(Opens connections against a server.

Usage: ringside load [ADDRESS] [flags]

  ADDRESS               what to connect to [9999]

Load:
  -c, --connections N   connections held open [64]
  -s, --size SIZE       bytes in a message [64B]
  -d, --duration TIME   how long to measure [10s]
  -r, --rate RATE       requests per second

Server:
  -b, --backend auto|epoll|io_uring
                        the event loop [auto]
      --service NAME    what to speak: echo, counter, something-with-a-long-name [echo]

Output:
  -H, --header TEXT     add a header (repeatable)
      --margin PERCENT  smaller differences are none [5%]
  -o, --output FILE     write the result here
  -q, --quiet           print the result only

Other:
      --config FILE     a TOML file with more flags (the command line and the environment win):
                        size = "16KiB", for load alone under [load]
  -h, --help            show this help

Values:
  N                     64, 10k, 1M
  SIZE                  64, 16KiB, 1MB
  TIME                  250ms, 10s, 1m30s
  RATE                  500, 100k/s, 2.5M
  PERCENT               5%, 0.5%

Examples:
  ringside load 9999 -c 1k
      a thousand connections
)");
}

TEST(Help, IsTheSameHoweverAsked) {
  const std::string help = Type({"load", "--help"}).out;
  EXPECT_EQ(Type({"help", "load"}).out, help);
  EXPECT_EQ(Type({"load", "-h"}).out, help);
  EXPECT_EQ(Type({"load", "--bogus", "--help"}).out, help);
}

TEST(Help, StaysWithinTheWidth) {
  std::string text;
  std::string value = "x";
  for (int i = 0; i < 60; ++i) text += "wörds ";
  const Subcommand wide = {"wide", "Summary.",
                           [&](Flags& declare) { declare.Text("--text", &value, text); },
                           [] { return 0; }};
  char program[] = "ringside", command[] = "wide", help[] = "--help";
  char* argv[] = {program, command, help, nullptr};
  testing::internal::CaptureStdout();
  EXPECT_EQ(RunSubcommands({wide}, "", "", 3, argv), 0);
  const std::string out = testing::internal::GetCapturedStdout();
  size_t widest = 0;
  for (const std::string& line : std::vector<std::string>(absl::StrSplit(out, '\n'))) {
    const size_t columns = line.size() - std::count(line.begin(), line.end(), '\xB6');
    widest = std::max(widest, columns);
    EXPECT_FALSE(line.ends_with(' ')) << line;
  }
  EXPECT_LE(widest, 96u);
  EXPECT_GT(widest, 85u);
}

}  // namespace
}  // namespace cli
