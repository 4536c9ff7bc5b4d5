#include <algorithm>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <sstream>

#include "tests/cli/ringside.h"

// The units in packaging/, as systemd's own tools judge them, and as the program needs them.
namespace cli_tests {
namespace {

namespace fs = std::filesystem;

const fs::path kUnits = fs::path(RINGSIDE_SOURCE_DIR) / "packaging";
constexpr const char* kServices[] = {"ringside.service", "ringside@.service"};

std::string ReadUnit(const std::string& name) {
  std::ifstream file(kUnits / name);
  EXPECT_TRUE(file) << name;
  return {std::istreambuf_iterator<char>(file), {}};
}

// The directives of a unit, in their order; comments are left out.
std::vector<std::string> Directives(const std::string& name) {
  std::vector<std::string> lines;
  std::istringstream text(ReadUnit(name));
  for (std::string line; std::getline(text, line);) {
    if (!line.empty() && line[0] != '#') lines.push_back(line);
  }
  return lines;
}

class Packaging : public testing::Test {
 protected:
  void SetUp() override {
    if (!Installed("systemd-analyze")) GTEST_SKIP() << "systemd-analyze is not installed";
  }
};

// On systemd's scale from 0 to 10; --threshold is in tenths.
TEST_F(Packaging, ServicesAreExposedByNoMoreThanOnePointFive) {
  if (RunToEnd({"systemd-analyze", "--help"}).out.find("--offline") == std::string::npos) {
    GTEST_SKIP() << "this systemd-analyze can't look at files (--offline, systemd 250)";
  }
  for (const char* service : kServices) {
    const Ended ended = RunToEnd({"systemd-analyze", "security", "--offline=true", "--threshold=15",
                                  "--no-pager", kUnits / service});
    EXPECT_EQ(ended.exit_code, 0) << ended.out << ended.err;
  }
}

// Copies of the units, which name the program where it is now and not where it will be installed.
class UnitCopies {
 public:
  UnitCopies() : folder_(testing::TempDir() + "ringside-units-XXXXXX") {
    if (mkdtemp(folder_.data()) == nullptr) throw std::runtime_error("no folder " + folder_);
    for (const char* name : {"ringside.service", "ringside@.service", "ringside.socket"}) {
      std::string text = ReadUnit(name);
      const std::string installed = "/usr/bin/ringside ";
      for (size_t at = 0; (at = text.find(installed, at)) != std::string::npos;) {
        text.replace(at, installed.size(), RINGSIDE_BINARY " ");
      }
      std::ofstream(fs::path(folder_) / name) << text;
    }
  }
  ~UnitCopies() { fs::remove_all(folder_); }
  std::string operator[](const std::string& name) const { return folder_ + "/" + name; }
  void Append(const std::string& name, const std::string& line) const {
    std::ofstream((*this)[name], std::ios::app) << line << "\n";
  }

 private:
  std::string folder_;
};

// An unknown directive or value is only a warning to `verify`, which says nothing where all is
// well.
TEST_F(Packaging, UnitsAreVerified) {
  const UnitCopies units;
  const auto verify = [&](const std::string& name) {
    return RunToEnd({"systemd-analyze", "verify", "--man=no", units[name]});
  };
  units.Append("ringside.socket", "Nonsense=yes");  // it can tell
  if (verify("ringside.socket").err.find("Nonsense") == std::string::npos) {
    GTEST_SKIP() << "systemd-analyze verify does not work here";
  }
  const UnitCopies good;
  for (const char* name : {"ringside.service", "ringside@blue.service", "ringside.socket"}) {
    const Ended ended = RunToEnd({"systemd-analyze", "verify", "--man=no", good[name]});
    EXPECT_EQ(ended.exit_code, 0) << name << ": " << ended.err;
    EXPECT_EQ(ended.err.find("ringside"), std::string::npos) << name << ": " << ended.err;
  }
}

// The template has each line of the plain service, but for those about being two.
TEST(PackagingText, TheTemplateIsHardenedAlike) {
  const auto plain = Directives("ringside.service"), instance = Directives("ringside@.service");
  const std::set<std::string> of_instance(instance.begin(), instance.end());
  for (const std::string& line : plain) {
    if (line.rfind("ExecStart=", 0) == 0 || line.rfind("Description=", 0) == 0) continue;
    EXPECT_TRUE(of_instance.contains(line)) << line;
  }
  EXPECT_TRUE(of_instance.contains("User=ringside"));
  EXPECT_EQ(instance.size(), plain.size() + 1);
}

// ---- the filter of system calls -----------------------------------------------------------------

using Calls = std::set<std::string>;

// Systemd's groups: "@aio" to what it holds, as this version of it has them.
std::map<std::string, Calls> CallGroups() {
  std::map<std::string, Calls> groups;
  std::istringstream text(RunToEnd({"systemd-analyze", "syscall-filter", "--no-pager"}).out);
  std::string group;
  for (std::string line; std::getline(text, line);) {
    if (line.empty() || line.find('#') != std::string::npos) {
      if (line.rfind('#', 0) == 0) group.clear();  // what follows is in no group
    } else if (line[0] == '@') {
      group = line;
    } else if (!group.empty() && line.find_first_not_of(' ') != std::string::npos) {
      groups[group].insert(line.substr(line.find_first_not_of(' ')));
    }
  }
  return groups;
}

Calls Expand(const std::map<std::string, Calls>& groups, const std::string& name) {
  if (name[0] != '@') return {name};
  Calls calls;
  if (!groups.contains(name)) return calls;
  for (const std::string& member : groups.at(name)) calls.merge(Expand(groups, member));
  return calls;
}

// What the service's SystemCallFilter= lines allow.
Calls AllowedCalls(const std::string& service) {
  const auto groups = CallGroups();
  Calls allowed = Expand(groups, "@default");  // always: systemd.exec(5)
  const std::string filter = "SystemCallFilter=";
  for (const std::string& line : Directives(service)) {
    if (line.rfind(filter, 0) != 0) continue;
    const bool taken_away = line[filter.size()] == '~';
    std::istringstream names(line.substr(filter.size() + (taken_away ? 1 : 0)));
    for (std::string name; names >> name;) {
      const Calls calls = Expand(groups, name);
      EXPECT_FALSE(calls.empty()) << "systemd has no group " << name;
      for (const std::string& call : calls) {
        if (taken_away) {
          allowed.erase(call);
        } else {
          allowed.insert(call);
        }
      }
    }
  }
  return allowed;
}

TEST_F(Packaging, IoUringIsAllowedAndWhatIntrudersWantIsNot) {
  for (const char* service : kServices) {
    const Calls allowed = AllowedCalls(service);
    for (const char* call : {"io_uring_setup", "io_uring_enter", "io_uring_register", "epoll_wait",
                             "sendmsg", "recvmsg", "prlimit64", "fchmod", "rename", "link"}) {
      EXPECT_TRUE(allowed.contains(call)) << call;
    }
    for (const char* call : {"setuid", "mount", "ptrace", "bpf", "reboot", "add_key"}) {
      EXPECT_FALSE(allowed.contains(call)) << call;
    }
  }
}

// Every call that a server makes, from its start over some load to its end, passes the filter.
TEST_F(Packaging, EachSystemCallOfAServerIsAllowed) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "a sanitizer makes calls of its own, and LeakSanitizer can't run under strace";
#endif
  if (RunToEnd({"strace", "-qq", "-o", "/dev/null", "true"}).exit_code != 0) {
    GTEST_SKIP() << "strace isn't installed, or may not trace";
  }
  const Calls allowed = AllowedCalls("ringside.service");
  for (const std::string backend : {"epoll", "io_uring"}) {
    if (!Available(backend)) continue;
    const std::string log = testing::TempDir() + "ringside-calls-" + std::to_string(getpid());
    // -D: the child is the server, and strace runs beside it.
    bench::Process server = Start({"strace", "-f", "-D", "-qq", "-o", log, RINGSIDE_BINARY, "serve",
                                   "0", "--threads", "2", "--backend", backend, "--json"});
    while (server.Output().find('\n') == std::string::npos) {
      ASSERT_NE(server.Wait(1'000'000, -1), bench::Process::Waited::kEnded) << server.Errors();
    }
    const std::string port = std::to_string(Line(server.Output(), 0)["port"].get<int>());
    const Ended load = Ringside({"load", port, "-c", "4", "-n", "1000", "-q"});
    EXPECT_EQ(load.exit_code, 0) << load.err;
    server.Signal(SIGTERM);
    EXPECT_EQ(WaitFor(server).exit_code, 0);

    // strace ends its log a moment after the program; this is its last line.
    std::string text;
    while (text.find("exit_group(0)") == std::string::npos) {
      std::ifstream file(log);
      text.assign(std::istreambuf_iterator<char>(file), {});
    }
    Calls made;
    std::istringstream lines(text);
    for (std::string line; std::getline(lines, line);) {
      // "1234  epoll_wait(5, ..." ; not "<... resumed>", "+++" and "---".
      const size_t name = line.find_first_not_of(' ', line.find(' '));
      const size_t end = line.find('(', name);
      if (name == std::string::npos || end == std::string::npos || !islower(line[name])) continue;
      made.insert(line.substr(name, end - name));
    }
    EXPECT_TRUE(made.contains(backend == "epoll" ? "epoll_create1" : "io_uring_enter"));
    for (const std::string& call : made) {
      EXPECT_TRUE(allowed.contains(call)) << backend << " makes the call " << call;
    }
    fs::remove(log);
  }
}

}  // namespace
}  // namespace cli_tests
