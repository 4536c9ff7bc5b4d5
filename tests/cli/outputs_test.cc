#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include "tests/cli/ringside.h"

// What the commands leave: text on standard output, and files, where these can't take it or name
// something else than a file.
namespace cli_tests {
namespace {

namespace fs = std::filesystem;

class Outputs : public testing::Test {
 protected:
  Outputs() : folder_(testing::TempDir() + "outputsXXXXXX") {
    if (mkdtemp(folder_.data()) == nullptr) ADD_FAILURE() << "no folder " << folder_;
  }
  ~Outputs() override { fs::remove_all(folder_); }
  std::string In(const std::string& name) const { return folder_ + "/" + name; }
  bool Empty() const { return fs::is_empty(folder_); }

 private:
  std::string folder_;
};

std::string ReadAll(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

// A command of a shell, with the program as "$0" in it.
Ended InShell(const std::string& command) {
  return RunToEnd({"bash", "-c", command, RINGSIDE_BINARY});
}

TEST_F(Outputs, OfTextThatFindsNoRoomAreOneSentenceAndExitCode1) {
  for (const char* command : {"--help", "load --help", "--version", "completion bash", "doctor",
                              "probe 127.0.0.1 --ports 1", "probe --listeners"}) {
    const Ended ended = InShell(std::string("exec \"$0\" ") + command + " >/dev/full");
    EXPECT_EQ(ended.exit_code, 1) << command;
    EXPECT_NE(ended.err.find("can't write to standard output: ENOSPC"), std::string::npos)
        << command << ended.err;
  }
  EXPECT_EQ(InShell("exec \"$0\" --version >&-").exit_code, 1);  // closed
}

// Nobody knows that it is ready, so it isn't.
TEST_F(Outputs, OfAServerThatCanNotSayThatItIsReadyEndIt) {
  const Ended ended = InShell("exec \"$0\" serve 0 >/dev/full");
  EXPECT_EQ(ended.exit_code, 1);
  EXPECT_NE(ended.err.find("ENOSPC"), std::string::npos) << ended.err;
}

TEST_F(Outputs, OfALoadAreSavedThoughItsTextFindsNoRoom) {
  Server server({"--backend", "epoll"});
  const Ended ended = InShell("exec \"$0\" load " + server.port() + " -c 1 -n 1 -b epoll --json " +
                              In("r.json") + " >/dev/full");
  EXPECT_EQ(ended.exit_code, 1);
  EXPECT_EQ(Json::parse(ReadAll(In("r.json")))["requests"], 1);
}

TEST_F(Outputs, AreTriedBeforeACommandBegins) {
  const std::string nowhere = In("no/such");
  for (const std::vector<std::string>& command :
       {std::vector<std::string>{"load", "1", "--json"},
        {"load", "1", "--hgrm"},
        {"load", "1", "--timeseries"},
        {"probe", "127.0.0.1", "--json"},
        {"probe", "--listeners", "--json"},
        {"doctor", "--json"},
        {"stress", "churn", "--json"},
        {"report", "none.json", "-f", "text", "--output"},
        {"compare", "--arm", "epoll", "--arm", "epoll", "-q", "-o", In("r.json"), "--export"},
        {"--version", "--json"}}) {
    std::vector<std::string> arguments = command;
    arguments.push_back(command.back() == "--export" ? nowhere + ".csv" : nowhere);
    const Ended ended = Ringside(arguments);
    EXPECT_EQ(ended.exit_code, 2) << command[0];
    EXPECT_NE(ended.err.find("ENOENT"), std::string::npos) << command[0] << ended.err;
  }
  std::ofstream(In("file")) << "kept";
  const Ended ended = Ringside(
      {"compare", "--arm", "epoll", "--arm", "epoll", "-o", In("file") + "/within/r.json"});
  EXPECT_EQ(ended.exit_code, 2);
  EXPECT_NE(ended.err.find("ENOTDIR"), std::string::npos) << ended.err;
  const Ended twice = Ringside({"load", "1", "--json", In("a"), "--hgrm", In("./a")});
  EXPECT_EQ(twice.exit_code, 2);
  EXPECT_NE(twice.err.find("are the same file"), std::string::npos) << twice.err;
  fs::remove(In("file"));
  EXPECT_TRUE(Empty());
}

TEST_F(Outputs, GoThroughPipesOfTheShell) {
  const std::string version = Ringside({"--version", "--json"}).out;
  EXPECT_EQ(InShell("exec 3>&1; \"$0\" --version --json >(cat >&3); wait $!").out, version);
  EXPECT_EQ(InShell("\"$0\" --version --json /dev/stdout | cat").out, version);
}

TEST_F(Outputs, OfTheVersionAreJsonWhereThatIsWanted) {
  const Ended ended = Ringside({"--version", "--json"});
  EXPECT_EQ(ended.exit_code, 0) << ended.err;
  const Json json = Json::parse(ended.out);
  EXPECT_EQ(json["schema"], "ringside.version/1");
  for (const char* key : {"name", "version", "revision", "compiler", "liburing"}) {
    EXPECT_TRUE(json[key].is_string()) << key;
  }
  EXPECT_EQ(json["backends"]["epoll"]["available"], true);
  EXPECT_EQ(Ringside({"--version", "--json", In("v.json")}).out, "");
  EXPECT_EQ(Json::parse(ReadAll(In("v.json"))), json);
  EXPECT_EQ(Ringside({"--version", "--jsno"}).exit_code, 2);
}

// Any user may call a process anything.
TEST_F(Outputs, TellAProcessWhoseNameIsNoUtf8) {
  const int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in at = {};
  at.sin_family = AF_INET;
  at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(at);
  auto* address = reinterpret_cast<sockaddr*>(&at);
  ASSERT_EQ(bind(listener, address, size), 0);
  ASSERT_EQ(listen(listener, 8), 0);
  ASSERT_EQ(getsockname(listener, address, &size), 0);
  char name[16];
  prctl(PR_GET_NAME, name);
  prctl(PR_SET_NAME, "bad\xfcname");
  const Ended ended = Ringside(
      {"probe", "127.0.0.1", "--ports", std::to_string(ntohs(at.sin_port)), "--json", "-"});
  prctl(PR_SET_NAME, name);
  close(listener);
  EXPECT_EQ(ended.exit_code, 0) << ended.err;
  EXPECT_TRUE(Json::accept(ended.out)) << ended.out;
  EXPECT_NE(ended.out.find("bad\\\\xfcname"), std::string::npos) << ended.out;
}

TEST_F(Outputs, TellASocketWhosePathIsNoUtf8AndRemoveIt) {
  const std::string path = In("s\xfc");
  Server server({"--backend", "epoll"}, "unix:" + path);
  EXPECT_NE(server.ready().dump().find("s\\\\xfc"), std::string::npos) << server.ready();
  server.Stop();
  EXPECT_FALSE(fs::exists(path));
}

TEST_F(Outputs, TellWhatAnArmWroteThatIsNoUtf8) {
  const Ended ended =
      Ringside({"compare", "--arm", "bad\xfc=sh -c 'printf \"\\374\" >&2; exit 3' {port}", "--arm",
                "epoll", "-q", "-o", In("r.json")});
  EXPECT_EQ(ended.exit_code, 1) << ended.err;
  const Json json = Json::parse(ReadAll(In("r.json")), nullptr, false);
  EXPECT_EQ(json["arms"][0]["name"], "bad\\xfc") << ReadAll(In("r.json"));
}

}  // namespace
}  // namespace cli_tests
