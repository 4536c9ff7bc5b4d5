#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>

#include "tests/cli/ringside.h"
#include "tests/tier.h"

// What `ringside completion` prints, as the shells themselves take it.
namespace cli_tests {
namespace {

namespace fs = std::filesystem;
using Words = std::vector<std::string>;

// A folder of its own, for as long as it lives.
class Folder {
 public:
  Folder() : path_(testing::TempDir() + "ringside-completion-XXXXXX") {
    if (mkdtemp(path_.data()) == nullptr) throw std::runtime_error("no folder " + path_);
  }
  ~Folder() { fs::remove_all(path_); }
  fs::path operator/(const std::string& name) const { return fs::path(path_) / name; }

 private:
  std::string path_;
};

Words Lines(const std::string& text) {
  Words lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) {
    if (!line.empty()) lines.push_back(line);
  }
  return lines;
}

// The script for a shell.
std::string Script(const std::string& shell) {
  const Ended ended = Ringside({"completion", shell});
  EXPECT_EQ(ended.exit_code, 0) << ended.err;
  return ended.out;
}

// What bash offers for the last of these words behind "ringside".
Words Bash(Words typed) {
  Words command = {"bash", "--norc", "-c",
                   "eval \"$0\"; COMP_WORDS=(ringside \"$@\"); COMP_CWORD=$#; _ringside; "
                   "printf '%s\\n' \"${COMPREPLY[@]}\"",
                   Script("bash")};
  command.insert(command.end(), typed.begin(), typed.end());
  const Ended ended = RunToEnd(command);
  EXPECT_EQ(ended.exit_code, 0) << ended.err;
  EXPECT_EQ(ended.err, "");
  return Lines(ended.out);
}

// What fish offers for a line, without the descriptions.
Words Fish(const std::string& line) {
  const Ended ended = RunToEnd(
      {"fish", "--no-config", "-c", "eval $argv[1]; complete -C $argv[2]", Script("fish"), line});
  EXPECT_EQ(ended.exit_code, 0) << ended.err;
  Words words = Lines(ended.out);
  for (std::string& word : words) word.resize(std::min(word.find('\t'), word.size()));
  return words;
}

// What our function hands to zsh's _arguments for a line.
Words Zsh(const Words& typed) {
  Words command = {"zsh",
                   "-f",
                   "-c",
                   "compdef() { }; _arguments() { print -rl -- \"$@\" }; eval \"$1\"; "
                   "words=(ringside \"${@:2}\"); CURRENT=$#words; _ringside",
                   "zsh",
                   Script("zsh")};
  command.insert(command.end(), typed.begin(), typed.end());
  const Ended ended = RunToEnd(command);
  EXPECT_EQ(ended.exit_code, 0) << ended.err;
  EXPECT_EQ(ended.err, "");
  return Lines(ended.out);
}

bool Holds(const Words& words, const std::string& word) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

// The long flags in a command's help.
std::set<std::string> FlagsOf(const std::string& command) {
  std::set<std::string> flags;
  const size_t space = command.find(' ');
  const Words words = space == std::string::npos
                          ? Words{command, "--help"}
                          : Words{command.substr(0, space), command.substr(space + 1), "--help"};
  for (const std::string& line : Lines(Ringside(words).out)) {
    const size_t at = line.find("--");
    if (line.rfind("  -", 0) != 0 && line.rfind("      --", 0) != 0) continue;
    flags.insert(line.substr(at, line.find_first_of(" \n", at) - at));
  }
  EXPECT_TRUE(flags.contains("--help"));
  return flags;
}

constexpr const char* kCommands[] = {"serve",  "load",   "compare",   "probe",
                                     "doctor", "report", "completion"};

TEST(BashCompletion, IsAcceptedByBash) {
  const Ended ended = RunToEnd({"bash", "-n", "-c", Script("bash")});
  EXPECT_EQ(ended.exit_code, 0);
  EXPECT_EQ(ended.err, "");
}

TEST(BashCompletion, OffersCommands) {
  EXPECT_EQ(Bash({"lo"}), Words({"load"}));
  EXPECT_EQ(Bash({"--v"}), Words({"--version"}));
  EXPECT_EQ(Bash({""}), Words({"serve", "load", "compare", "stress", "probe", "doctor", "report",
                               "completion", "help", "--help", "--version"}));
  EXPECT_EQ(Bash({"help", "co"}), Words({"compare", "completion"}));
  EXPECT_EQ(Bash({"completion", ""}), Words({"bash", "zsh", "fish"}));
}

TEST(BashCompletion, OffersEveryFlag) {
  for (const char* command : kCommands) {
    const Words offered = Bash({command, "--"});
    EXPECT_EQ(std::set<std::string>(offered.begin(), offered.end()), FlagsOf(command)) << command;
  }
}

TEST(BashCompletion, OffersWhatIsInAGroup) {
  EXPECT_EQ(Bash({"stress", "ch"}), Words({"churn"}));
  EXPECT_EQ(Bash({"stress", "churn", "--closes", ""}), Words({"client", "server"}));
  const Words offered = Bash({"stress", "churn", "--"});
  EXPECT_EQ(std::set<std::string>(offered.begin(), offered.end()), FlagsOf("stress churn"));
}

TEST(BashCompletion, OffersTheChoicesOfAFlag) {
  EXPECT_EQ(Bash({"load", "--backend", ""}), Words({"auto", "io_uring", "epoll"}));
  EXPECT_EQ(Bash({"load", "-b", "e"}), Words({"epoll"}));
  EXPECT_EQ(Bash({"load", "-c", "5", "--backend", "=", "i"}), Words({"io_uring"}));
  EXPECT_EQ(Bash({"load", "--backend", "="}), Words({"auto", "io_uring", "epoll"}));
  EXPECT_EQ(Bash({"compare", "--transport", "se"}), Words({"seqpacket"}));
  EXPECT_EQ(Bash({"load", "--connections", ""}), Words());
  EXPECT_EQ(Bash({"load", "--connections", "-"}), Words());  // a value, and no flag
}

TEST(BashCompletion, OffersFilesWhereAFileIsMeant) {
  const Folder folder;
  std::ofstream(folder / "a result.json") << "{}";
  EXPECT_EQ(Bash({"load", "--json", folder / "a r"}), Words({folder / "a result.json"}));
  EXPECT_EQ(Bash({"serve", "--config", folder / "a"}), Words({folder / "a result.json"}));
  EXPECT_EQ(Bash({"serve", "--service", folder / "a"}), Words());
}

TEST(ZshCompletion, OffersEveryFlag) {
  if (!Installed("zsh")) GTEST_SKIP() << "zsh is not installed";
  for (const char* command : kCommands) {
    const Words specs = Zsh({command, ""});
    for (const std::string& flag : FlagsOf(command)) {
      EXPECT_TRUE(std::any_of(
          specs.begin(), specs.end(),
          [&](const std::string& spec) {
            const size_t at = spec.find(flag, spec[0] == '(' ? spec.find(')') : 0);
            return at != std::string::npos && spec.find_first_of("=[", at) == at + flag.size();
          }))
          << command << " " << flag;
    }
  }
}

TEST(ZshCompletion, OffersWhatIsInAGroup) {
  if (!Installed("zsh")) GTEST_SKIP() << "zsh is not installed";
  const auto offers = [](const Words& specs, const std::string& part) {
    return std::any_of(specs.begin(), specs.end(), [&](const std::string& spec) {
      return spec.find(part) != std::string::npos;
    });
  };
  EXPECT_TRUE(offers(Zsh({"stress", ""}), ":COMMAND:(backlog fds hold churn slow)"));
  EXPECT_TRUE(offers(Zsh({"stress", "churn", ""}), "(--closes)--closes=["));
}

TEST(ZshCompletion, OffersChoicesAndFiles) {
  if (!Installed("zsh")) GTEST_SKIP() << "zsh is not installed";
  const Words specs = Zsh({"load", ""});
  EXPECT_TRUE(Holds(specs, "(-q --quiet)--quiet[no progress and no table]"));
  EXPECT_TRUE(std::any_of(specs.begin(), specs.end(), [](const std::string& spec) {
    return spec.rfind("(-b --backend)--backend=[", 0) == 0 &&
           spec.ends_with(":auto|io_uring|epoll:(auto io_uring epoll)");
  }));
  EXPECT_TRUE(std::any_of(specs.begin(), specs.end(), [](const std::string& spec) {
    return spec.rfind("(--json)--json=[", 0) == 0 && spec.ends_with(":FILE:_files");
  }));
}

TEST(FishCompletion, OffersWhatBashOffers) {
  if (!Installed("fish")) GTEST_SKIP() << "fish is not installed";
  EXPECT_EQ(Fish("ringside lo"), Words({"load"}));
  EXPECT_EQ(Fish("ringside completion b"), Words({"bash"}));
  EXPECT_EQ(Fish("ringside load --backend e"), Words({"epoll"}));
  for (const char* command : kCommands) {
    const Words offered = Fish(std::string("ringside ") + command + " --");
    EXPECT_EQ(std::set<std::string>(offered.begin(), offered.end()), FlagsOf(command)) << command;
  }
}

TEST(FishCompletion, OffersWhatIsInAGroup) {
  if (!Installed("fish")) GTEST_SKIP() << "fish is not installed";
  EXPECT_EQ(Fish("ringside stress ch"), Words({"churn"}));
  EXPECT_EQ(Fish("ringside stress churn --closes s"), Words({"server"}));
  const Words offered = Fish("ringside stress churn --");
  EXPECT_EQ(std::set<std::string>(offered.begin(), offered.end()), FlagsOf("stress churn"));
}

TEST(Completion, NamesTheShellsItKnows) {
  const Ended none = Ringside({"completion"});
  EXPECT_EQ(none.exit_code, 2);
  EXPECT_EQ(none.err, "ringside completion: which shell? write bash, zsh or fish\n");
  const Ended other = Ringside({"completion", "bsh"});
  EXPECT_EQ(other.exit_code, 2);
  EXPECT_NE(other.err.find("did you mean bash?"), std::string::npos) << other.err;
}

// ---- installed ----------------------------------------------------------------------------------

std::string Contents(const fs::path& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

TEST(Installation, HasTheProgramAndItsCompletions) {
  if (!Installed("cmake")) GTEST_SKIP() << "cmake is not installed";
  const Folder folder;
  const std::string build = fs::path(RINGSIDE_BINARY).parent_path();
  const Ended ended = RunToEnd({"cmake", "--install", build, "--prefix", folder / ""});
  ASSERT_EQ(ended.exit_code, 0) << ended.err;
  EXPECT_EQ(RunToEnd({folder / "bin/ringside", "--version"}).exit_code, 0);
  EXPECT_EQ(Contents(folder / "share/bash-completion/completions/ringside"), Script("bash"));
  EXPECT_EQ(Contents(folder / "share/zsh/site-functions/_ringside"), Script("zsh"));
  EXPECT_EQ(Contents(folder / "share/fish/vendor_completions.d/ringside.fish"), Script("fish"));
}

// ---- the manual ---------------------------------------------------------------------------------

// As text, without the escapes that man needs.
std::string PageText(const fs::path& path) {
  std::string text = Contents(path);
  for (size_t at; (at = text.find("\\-")) != std::string::npos;) text.erase(at, 1);
  return text;
}

class Manual : public testing::Test {
 protected:
  void SetUp() override {
    if (!Installed("help2man")) GTEST_SKIP() << "help2man is not installed";
    const Ended ended =
        RunToEnd({RINGSIDE_SOURCE_DIR "/packaging/man/make-pages", RINGSIDE_BINARY, folder_ / ""});
    ASSERT_EQ(ended.exit_code, 0) << ended.err;
    EXPECT_EQ(ended.err, "");
  }

  const Folder folder_;
};

TEST_F(Manual, HasEveryFlagOfEachCommand) {
  LEFT_TO_ALL();
  for (const std::string command : kCommands) {
    const std::string page = PageText(folder_ / ("ringside-" + command + ".1"));
    EXPECT_NE(page.find("ringside-" + command + " - "), std::string::npos) << command;
    for (const std::string& flag : FlagsOf(command)) {
      EXPECT_NE(page.find("\\fB" + flag + "\\fR"), std::string::npos) << command << " " << flag;
    }
  }
  const std::string main = PageText(folder_ / "ringside.1");
  for (const std::string part : {"CONFIGURATION", "ENVIRONMENT", "EXIT STATUS"}) {
    EXPECT_TRUE(main.find(".SH " + part) != std::string::npos ||
                main.find(".SH \"" + part + "\"") != std::string::npos)
        << part;
  }
  for (const std::string command : kCommands) {
    EXPECT_NE(main.find("ringside-" + command + "(1)"), std::string::npos);
  }
}

TEST_F(Manual, IsWithoutFaultForMan) {
  LEFT_TO_ALL();
  if (!Installed("man")) GTEST_SKIP() << "man is not installed";
  for (const char* name :
       {"ringside.1", "ringside-serve.1", "ringside-load.1", "ringside-compare.1",
        "ringside-stress.1", "ringside-stress-churn.1", "ringside-probe.1", "ringside-doctor.1",
        "ringside-report.1", "ringside-completion.1"}) {
    const Ended ended = RunToEnd(
        {"env", "LC_ALL=C.UTF-8", "MANWIDTH=96", "man", "--warnings", "-l", folder_ / name});
    EXPECT_EQ(ended.exit_code, 0) << name;
    EXPECT_EQ(ended.err, "") << name;
    EXPECT_NE(ended.out.find("SYNOPSIS"), std::string::npos) << name;
  }
}

}  // namespace
}  // namespace cli_tests
