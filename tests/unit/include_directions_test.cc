#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <vector>

// The folders are the architecture: who may include whom is checked here, file by file.
namespace {

using Names = std::set<std::string>;

const Names kFolders = {"bench",  "cli",      "io",    "loadgen", "probe", "report",
                        "server", "services", "stats", "stress",  "tests"};

// What a folder may include besides itself: whole folders ("stats"), or single files of one.
// tests/ is not listed: it may include all of ours.
const std::map<std::string, Names> kAllowed = {
    {"cli",
     {"server", "loadgen", "stress", "probe", "bench", "report", "stats", "io/backends.h",
      "io/endpoint.h", "io/errors.h", "io/event_loop.h", "io/kernel_features.h", "io/resolve.h",
      "io/threads.h", "services/delay.h", "services/sizes.h"}},
    {"server", {"services", "io", "stats"}},
    {"loadgen", {"services", "io", "stats", "report/files.h", "report/json_text.h"}},
    {"stress",
     {"loadgen", "services", "io", "stats", "bench/process.h", "bench/own_server.h", "bench/cpus.h",
      "report/format.h", "report/json_text.h"}},
    {"probe", {"io", "stats"}},
    {"bench", {"report", "stats"}},
    {"bench/micro", {"services", "io", "stats", "server", "loadgen", "report", "bench"}},
    {"bench/outside", {"report", "stats", "bench"}},  // measures our program from outside
    {"bench/reference", {}},  // references share nothing with what they are compared to
    {"report", {"stats"}},
    {"services", {"io/bytes.h"}},
    {"io", {}},
    {"stats", {}},
};

// Headers of Linux, as folders and files.
const Names kLinuxHeaders = {"arpa",     "linux",      "net",       "netinet", "sys",
                             "fcntl.h",  "netdb.h",    "pthread.h", "poll.h",  "sched.h",
                             "unistd.h", "liburing.h", "liburing",  "libmnl"};
const Names kEventLoopHeaders = {"liburing.h", "liburing", "sys/epoll.h", "linux/io_uring.h"};

// What the line includes; "" when it includes nothing.
std::string IncludeOf(const std::string& line) {
  const auto after = [&](size_t at) { return line.find_first_not_of(" \t", at); };
  const size_t hash = after(0);
  if (hash == std::string::npos || line[hash] != '#') return "";
  const size_t word = after(hash + 1);
  constexpr char kWord[] = "include";
  if (word == std::string::npos || line.compare(word, sizeof kWord - 1, kWord) != 0) return "";
  const size_t open = after(word + sizeof kWord - 1);
  if (open == std::string::npos || (line[open] != '<' && line[open] != '"')) return "";
  const size_t close = line.find_first_of(">\"", open + 1);
  return close == std::string::npos ? "" : line.substr(open + 1, close - open - 1);
}

std::vector<std::string> IncludesOf(const std::string& text) {
  std::vector<std::string> includes;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    const std::string include = IncludeOf(line);
    if (!include.empty()) includes.push_back(include);
  }
  return includes;
}

std::string FirstFolder(const std::string& path) { return path.substr(0, path.find('/')); }

// The longest folder of `path` that has a rule of its own; "" for one without, such as tests.
std::string RuleOf(const std::string& path) {
  for (std::string folder = path; folder.find('/') != std::string::npos;) {
    folder.resize(folder.rfind('/'));
    if (kAllowed.contains(folder)) return folder;
  }
  return "";
}

// Whether `names` has the path itself, or its first folder.
bool Holds(const Names& names, const std::string& path) {
  return names.contains(path) || names.contains(FirstFolder(path));
}

bool Allows(const std::string& rule, const std::string& include) {
  if (rule.empty()) return true;
  return include.starts_with(rule + "/") || Holds(kAllowed.at(rule), include);
}

// What is wrong with the includes of the file at `path` (from the root) that contains `text`: a
// line for each.
std::vector<std::string> Violations(const std::string& path, const std::string& text) {
  std::vector<std::string> wrong;
  const std::string rule = RuleOf(path);
  const std::string folder = FirstFolder(path);
  for (const std::string& include : IncludesOf(text)) {
    const auto report = [&](const char* why) {
      wrong.push_back(path + ": " + include + ": " + why);
    };
    if (include.starts_with(".")) report("write it from the root");
    if (kFolders.contains(FirstFolder(include)) && !Allows(rule, include)) {
      report("not in this direction");
    }
    if (include.starts_with("CLI/") && path != "cli/flags.cc") report("only cli/flags.cc may");
    if (include.starts_with("toml++/") && path != "cli/config_file.cc") {
      report("only cli/config_file.cc may");
    }
    if (folder == "services" && Holds(kLinuxHeaders, include)) {
      report("services know nothing of Linux");
    }
    // stress/connects.cc is about connect(2) itself, without a loop of ours between.
    const bool any_loop = folder == "io" || folder == "tests" || rule == "bench/reference" ||
                          rule == "bench/micro" || path == "stress/connects.cc";
    if (!any_loop && Holds(kEventLoopHeaders, include)) report("only io/ may");
  }
  return wrong;
}

std::string Read(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

TEST(IncludeDirections, AreKept) {
  const std::filesystem::path root = RINGSIDE_SOURCE_DIR;
  Names seen;
  for (const std::string& folder : kFolders) {
    if (!std::filesystem::exists(root / folder)) continue;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(root / folder)) {
      const std::string extension = entry.path().extension();
      if (!entry.is_regular_file() || (extension != ".h" && extension != ".cc")) continue;
      const std::string path = std::filesystem::relative(entry.path(), root);
      for (const std::string& violation : Violations(path, Read(entry.path()))) {
        ADD_FAILURE() << violation;
      }
      seen.insert(path);
    }
  }
  EXPECT_TRUE(seen.contains("cli/flags.cc")) << "is " << root << " the source tree?";
}

// A file with one include.
struct Sample {
  const char* path;
  const char* line;
};

size_t ViolationsOf(const Sample& sample) {
  return Violations(sample.path, std::string("// a file\n") + sample.line + "\nint x;\n").size();
}

const Sample kGood[] = {
    {"cli/load.cc", "#include \"loadgen/run.h\""},
    {"cli/load.cc", "#include \"io/backends.h\""},
    {"cli/values.h", "#include \"services/delay.h\""},
    {"cli/load.cc", "#include \"cli/flags.h\""},
    {"cli/flags.cc", "#include <CLI/CLI.hpp>"},
    {"cli/config_file.cc", "#include <toml++/toml.h>"},
    {"server/worker.h", "#include \"services/all.h\""},
    {"server/worker.h", "#include <sys/socket.h>"},
    {"loadgen/run.cc", "#include \"io/event_loop.h\""},
    {"loadgen/timeseries.cc", "#include \"report/files.h\""},
    {"cli/probe.cc", "#include \"probe/scan.h\""},
    {"probe/connect_scan.h", "#include \"io/event_loop.h\""},
    {"probe/listeners.cc", "#include \"stats/socket_diag.h\""},
    {"stress/churn.cc", "#include \"loadgen/load.h\""},
    {"stress/target.cc", "#include \"bench/process.h\""},
    {"stress/connects.cc", "#include <sys/epoll.h>"},
    {"bench/compare.cc", "#include \"report/json.h\""},
    {"bench/micro/loop_bench.cc", "#include \"io/epoll_loop.h\""},
    {"bench/micro/loop_bench.cc", "#include <benchmark/benchmark.h>"},
    {"bench/reference/bare_epoll.cc", "#include <sys/epoll.h>"},
    {"report/json.cc", "#include \"stats/histogram.h\""},
    {"services/echo.h", "#include \"io/bytes.h\""},
    {"services/all.h", "#include \"services/echo.h\""},
    {"services/echo.h", "#include <span>"},
    {"services/echo.h", "// #include <unistd.h>"},
    {"io/uring_loop.h", "#include <liburing.h>"},
    {"io/epoll_loop.cc", "#include \"absl/status/status.h\""},
    {"tests/faults/x_test.cc", "#include <liburing.h>"},
    {"tests/unit/x_test.cc", "#include \"services/echo.h\""},
};

const Sample kBad[] = {
    {"cli/load.cc", "#include \"services/echo.h\""},
    {"cli/load.cc", "#include \"io/epoll_loop.h\""},
    {"cli/load.cc", "#include <CLI/CLI.hpp>"},
    {"cli/flags.h", "#include \"CLI/App.hpp\""},
    {"cli/settings.cc", "#include <toml++/toml.h>"},
    {"server/worker.h", "#include \"loadgen/run.h\""},
    {"server/worker.h", "#include \"report/json.h\""},
    {"server/worker.h", "#include <sys/epoll.h>"},
    {"loadgen/run.cc", "#include \"server/worker.h\""},
    {"loadgen/run.cc", "#include \"cli/values.h\""},
    {"loadgen/run.cc", "#include \"report/format.h\""},
    {"loadgen/run.cc", "  #  include <liburing.h>"},
    {"probe/scan.h", "#include \"loadgen/load.h\""},
    {"probe/probe_json.cc", "#include \"report/format.h\""},
    {"loadgen/run.cc", "#include \"stress/target.h\""},
    {"stress/churn.cc", "#include \"server/worker.h\""},
    {"stress/churn.cc", "#include <sys/epoll.h>"},
    {"stress/churn.cc", "#include \"bench/compare.h\""},
    {"stress/churn.cc", "#include \"report/text.h\""},
    {"bench/compare.cc", "#include \"io/endpoint.h\""},
    {"bench/compare.cc", "#include \"server/worker.h\""},
    {"bench/micro/loop_bench.cc", "#include \"cli/values.h\""},
    {"bench/reference/floor.cc", "#include \"io/bytes.h\""},
    {"report/json.cc", "#include \"bench/verdict.h\""},
    {"services/echo.h", "#include \"io/endpoint.h\""},
    {"services/echo.h", "#include \"stats/histogram.h\""},
    {"services/echo.h", "#include <unistd.h>"},
    {"services/http/parse.cc", "#include <arpa/inet.h>"},
    {"services/echo.h", "#include <linux/tcp.h>"},
    {"io/socket.h", "#include \"stats/histogram.h\""},
    {"io/socket.h", "#include \"../io/bytes.h\""},
    {"io/socket.h", "#include <stats/histogram.h>"},
    {"stats/kernel.cc", "#include \"io/errors.h\""},
    {"tests/unit/x_test.cc", "#include <CLI/CLI.hpp>"},
};

TEST(IncludeDirections, OfGoodSamplesAreLeftAlone) {
  for (const Sample& sample : kGood) {
    EXPECT_EQ(ViolationsOf(sample), 0u) << sample.path << ": " << sample.line;
  }
}

TEST(IncludeDirections, OfBadSamplesAreReported) {
  for (const Sample& sample : kBad) {
    EXPECT_EQ(ViolationsOf(sample), 1u) << sample.path << ": " << sample.line;
  }
}

}  // namespace
