#include <cstdio>
#include <fstream>

#include "tests/cli/ringside.h"

// `ringside doctor` as its users see it, on this machine and in surroundings that are made for it.
namespace cli_tests {
namespace {

using Words = std::vector<std::string>;

Words Doctor(Words before, Words arguments) {
  before.insert(before.end(), {RINGSIDE_BINARY, "doctor"});
  before.insert(before.end(), arguments.begin(), arguments.end());
  return before;
}

// What it finds, started by `before`.
Json DoctorJson(Words before, Words arguments, int exit_code) {
  arguments.insert(arguments.end(), {"--json", "-"});
  const Ended ended = RunToEnd(Doctor(std::move(before), std::move(arguments)));
  EXPECT_EQ(ended.exit_code, exit_code) << ended.out << ended.err;
  EXPECT_EQ(ended.err, "");
  const Json json = Json::parse(ended.out, nullptr, false);
  EXPECT_EQ(json.value("schema", ""), "ringside.doctor/1") << ended.out;
  return json;
}

Json Of(const Json& doctor, const std::string& limit) {
  for (const Json& finding : doctor["findings"]) {
    if (finding["limit"] == limit) return finding;
  }
  ADD_FAILURE() << "nothing was found of " << limit;
  return {};
}

// What a shell says, without the line's end.
std::string Shell(const std::string& command) {
  std::string out = RunToEnd({"sh", "-c", command}).out;
  while (out.ends_with('\n')) out.pop_back();
  return out;
}

std::string Sysctl(const std::string& path) { return Shell("cat /proc/sys/" + path); }

// In a network namespace of its own, where `setup` was done before.
Words InNamespace(const std::string& setup) {
  return {"unshare", "-n", "sh", "-c", setup + " && exec \"$@\"", "sh"};
}

bool MayUnshare() { return RunToEnd({"unshare", "-n", "true"}).exit_code == 0; }

TEST(Doctor, SaysWhatTheMachineSays) {
  const Json json = DoctorJson({"prlimit", "--nofile=300:600"}, {"-c", "100"}, 0);
  const Json& limits = json["limits"];
  EXPECT_EQ(limits["nofile"]["soft"], 300);
  EXPECT_EQ(limits["nofile"]["hard"], 600);
  EXPECT_EQ(limits["somaxconn"].dump(), Sysctl("net/core/somaxconn"));
  EXPECT_EQ(limits["nr_open"].dump(), Sysctl("fs/nr_open"));
  EXPECT_EQ(limits["port_first"].dump() + "\t" + limits["port_last"].dump(),
            Sysctl("net/ipv4/ip_local_port_range"));
  EXPECT_EQ(limits["tcp_max_syn_backlog"].dump(), Sysctl("net/ipv4/tcp_max_syn_backlog"));
  EXPECT_EQ(limits["memlock_bytes"]["soft"].is_string()
                ? "unlimited"
                : std::to_string(limits["memlock_bytes"]["soft"].get<uint64_t>() / 1024),
            Shell("bash -c 'ulimit -l'"));
  EXPECT_EQ(json["environment"]["system"]["kernel_release"], Shell("uname -r"));
  EXPECT_EQ(json["fits"], true);
  EXPECT_EQ(json["stopped_by"], Json::array());
}

TEST(Doctor, NamesTheDescriptorLimitAndItsMend) {
  const Json json = DoctorJson({"prlimit", "--nofile=256:256"}, {"-c", "1000"}, 3);
  EXPECT_EQ(json["fits"], false);
  EXPECT_EQ(json["stopped_by"], Json({"RLIMIT_NOFILE"}));
  const Json finding = Of(json, "RLIMIT_NOFILE");
  EXPECT_EQ(finding["has"], 256);
  EXPECT_EQ(finding["needs"], 1052);
  EXPECT_EQ(finding["severity"], "stops");
  const std::string mend = finding["mend"];
  EXPECT_NE(mend.find("1052"), std::string::npos) << mend;
  const bool direct = json["direct"]["fits"];
  EXPECT_EQ(mend.find("--direct -b io_uring -t 4") != std::string::npos, direct) << mend;
  if (direct) {
    EXPECT_EQ(json["direct"]["threads"], 4);
  }
}

// What is said to be enough for direct descriptors is: `load` gets as far as connecting.
TEST(Doctor, TheThreadsForDirectDescriptorsAreEnough) {
  const Json json = DoctorJson({"prlimit", "--nofile=256:256"}, {"-c", "1000"}, 3);
  if (!json["direct"]["fits"]) GTEST_SKIP() << "no direct descriptors here";
  Server server({});
  const Ended ended = RunToEnd({"prlimit", "--nofile=256:256", RINGSIDE_BINARY, "load",
                                server.port(), "-c", "1000", "--direct", "-b", "io_uring", "-t",
                                json["direct"]["threads"].dump(), "-n", "1000"});
  EXPECT_EQ(ended.exit_code, 0) << ended.err;
  EXPECT_EQ(server.Stop()["connections"]["accepted"], 1000);
}

// The tables are bounded by the soft limit, so that has to be raised for them.
TEST(Doctor, LoadRaisesTheSoftLimitToItsTables) {
  const Json json = DoctorJson({}, {"-c", "1"}, 0);
  if (json["direct"]["threads"].is_null()) GTEST_SKIP() << "no direct descriptors here";
  Server server({});
  const Ended ended =
      RunToEnd({"prlimit", "--nofile=100:1000", RINGSIDE_BINARY, "load", server.port(), "-c", "500",
                "--direct", "-b", "io_uring", "-n", "500"});
  EXPECT_EQ(ended.exit_code, 0) << ended.err;
}

TEST(Doctor, ServeAndLoadNameTheSameMend) {
  const Words little = {"prlimit", "--nofile=256:256"};
  const std::string mend = Of(DoctorJson(little, {"-c", "1000"}, 3), "RLIMIT_NOFILE")["mend"];
  const Ended load =
      RunToEnd({"prlimit", "--nofile=256:256", RINGSIDE_BINARY, "load", "1", "-c", "1000"});
  EXPECT_EQ(load.exit_code, 1);
  EXPECT_NE(load.err.find(mend), std::string::npos) << load.err;
  Server server = Server::By({"prlimit", "--nofile=256:256", RINGSIDE_BINARY, "serve", "0",
                              "--json", "--connections-max", "1000", "--backlog", "1000000000"});
  server.process().Signal(SIGTERM);
  const Ended serve = WaitFor(server.process());
  EXPECT_EQ(serve.exit_code, 0);
  EXPECT_NE(serve.err.find("--connections-max 1000: "), std::string::npos) << serve.err;
  EXPECT_NE(serve.err.find(mend), std::string::npos) << serve.err;
  EXPECT_NE(serve.err.find("sysctl -w net.core.somaxconn=1000000000"), std::string::npos)
      << serve.err;
}

TEST(Doctor, SeesItsNetworkNamespace) {
  if (!MayUnshare()) GTEST_SKIP() << "unshare -n is not allowed here";
  const std::string setup =
      "echo 77 > /proc/sys/net/core/somaxconn && "
      "echo '20000 20099' > /proc/sys/net/ipv4/ip_local_port_range && "
      "echo 20000-20009 > /proc/sys/net/ipv4/ip_local_reserved_ports";
  Json json = DoctorJson(InNamespace(setup), {"-c", "200"}, 3);
  EXPECT_EQ(json["limits"]["somaxconn"], 77);
  EXPECT_EQ(json["limits"]["ports"], 90);
  EXPECT_EQ(json["limits"]["loopback_up"], false);
  EXPECT_EQ(json["stopped_by"], Json({"loopback"}));
  EXPECT_EQ(Of(json, "net.core.somaxconn")["mend"], "sysctl -w net.core.somaxconn=200");
  EXPECT_EQ(Of(json, "net.ipv4.ip_local_port_range")["severity"], "flag");
  // What it says to do helps.
  const std::string mend = Of(json, "loopback")["mend"];
  json = DoctorJson(InNamespace(setup + " && " + mend), {"-c", "200"}, 0);
  EXPECT_EQ(json["limits"]["loopback_up"], true);
}

// The sources that it names are as --source takes them, and enough.
TEST(Doctor, TheSourcesAreEnough) {
  if (!MayUnshare()) GTEST_SKIP() << "unshare -n is not allowed here";
  const std::string setup =
      "ip link set lo up && echo '20000 20099' > /proc/sys/net/ipv4/ip_local_port_range";
  const Json json = DoctorJson(InNamespace(setup), {"-c", "350"}, 0);
  std::string mend = Of(json, "net.ipv4.ip_local_port_range")["mend"];
  mend = mend.substr(0, mend.find(", or"));
  EXPECT_TRUE(mend.starts_with("load --source ")) << mend;
  const std::string binary = RINGSIDE_BINARY;
  const Ended ended = RunToEnd(
      {"unshare", "-n", "sh", "-c",
       setup + "; " + binary + " serve 127.0.0.1:9999 --json > /dev/null & server=$!; " +
           "until ss -Htln | grep -q 9999; do :; done; " + binary + " " + mend +
           " 127.0.0.1:9999 -c 350 -n 350 --json - -q; code=$?; kill $server; wait; exit $code"});
  EXPECT_EQ(ended.exit_code, 0) << ended.err;
  EXPECT_EQ(Json::parse(ended.out, nullptr, false)["connections"]["opened"], 350) << ended.out;
}

TEST(Doctor, ShowsItAsText) {
  const Ended fits = RunToEnd(Doctor({}, {"-c", "10"}));
  EXPECT_EQ(fits.exit_code, 0) << fits.err;
  for (const char* part : {"10 connections", "they fit", "RLIMIT_NOFILE", "io_uring",
                           "epoll_pwait2", "mitigations", "TIME-WAIT"}) {
    EXPECT_NE(fits.out.find(part), std::string::npos) << part << " isn't in\n" << fits.out;
  }
  const Ended less = RunToEnd(Doctor({"prlimit", "--nofile=64:64"}, {"-c", "10M"}));
  EXPECT_EQ(less.exit_code, 3);
  EXPECT_NE(less.out.find("don't fit    RLIMIT_NOFILE"), std::string::npos) << less.out;
  EXPECT_NE(less.out.find("to do\n  RLIMIT_NOFILE: "), std::string::npos) << less.out;
}

TEST(Doctor, WritesAFile) {
  const std::string file = testing::TempDir() + "ringside_doctor_" + std::to_string(getpid());
  EXPECT_EQ(Ringside({"doctor", "-c", "1", "--json", file}).exit_code, 0);
  EXPECT_EQ(Json::parse(std::ifstream(file))["connections"], 1);
  std::remove(file.c_str());
  const Ended ended = Ringside({"doctor", "-c", "1", "--json", "/nowhere/x.json"});
  EXPECT_EQ(ended.exit_code, 2);
  EXPECT_NE(ended.err.find("/nowhere"), std::string::npos) << ended.err;
}

}  // namespace
}  // namespace cli_tests
