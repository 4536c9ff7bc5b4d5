#include "tests/cli/ringside.h"

namespace probe_tests {
namespace {

struct Bad {
  const char* name;
  std::vector<std::string> arguments;
  const char* says;  // part of the sentence on stderr
};

void PrintTo(const Bad& bad, std::ostream* out) { *out << bad.name; }

class BadInput : public testing::TestWithParam<Bad> {};

TEST_P(BadInput, IsOneSentenceAndExitCode2) {
  std::vector<std::string> arguments = GetParam().arguments;
  arguments.insert(arguments.begin(), "probe");
  const cli_tests::Ended ended = cli_tests::Ringside(arguments);
  EXPECT_EQ(ended.exit_code, 2);
  EXPECT_EQ(ended.out, "");
  EXPECT_NE(ended.err.find(GetParam().says), std::string::npos) << ended.err;
  EXPECT_EQ(ended.err.find('\n'), ended.err.size() - 1) << "more than one line: " << ended.err;
}

INSTANTIATE_TEST_SUITE_P(
    All, BadInput,
    testing::Values(
        Bad{"PortZero", {"--ports", "0"}, "--ports: '0' is no port"},
        Bad{"LargePort", {"--ports", "70000"}, "from 1 to 65535"},
        Bad{"BackwardRange", {"--ports", "9-1"}, "write 1-9"},
        Bad{"UnknownService", {"--ports", "no-such-service"}, "/etc/services"},
        Bad{"NoPorts", {"--ports", ""}, "is no port"},
        Bad{"AddressWithPortZero", {"127.0.0.1:0"}, "port 0"},
        Bad{"AddressWithLargePort", {"127.0.0.1:70000"}, "65535"},
        Bad{"TwoWaysToNamePorts", {"127.0.0.1:22", "--ports", "23"}, "give one"},
        Bad{"EmptyAddress", {""}, "the address is empty"},
        Bad{"UnresolvedHost", {"no.such.host.invalid"}, "does not resolve"},
        Bad{"UnixAddress", {"unix:/run/x.sock"}, "TCP ports"},
        Bad{"UdpAddress", {"udp://127.0.0.1:53"}, "TCP ports"},
        // TEST-NET-3: nobody's (RFC 5737).
        Bad{"PublicAddress", {"203.0.113.2"}, "--i-own-this-target"},
        Bad{"Multicast", {"224.0.0.1", "--i-own-this-target"}, "multicast"},
        Bad{"RetriesOfConnect", {"--retries", "1"}, "add --syn"},
        Bad{"TooManyRetries", {"--syn", "--retries", "4"}, "--retries"},
        Bad{"BackendOfSyn", {"--syn", "--backend", "epoll"}, "--backend has no meaning"},
        Bad{"ListenersOfAnother", {"10.0.0.1", "--listeners"}, "ADDRESS has no meaning"},
        Bad{"PortsOfListeners", {"--listeners", "--ports", "1"}, "--ports has no meaning"},
        Bad{"NoneInFlight", {"--in-flight", "0"}, "--in-flight"},
        Bad{"NoTime", {"--timeout", "0s"}, "--timeout"},
        Bad{"UnknownFlag", {"--port", "1"}, "did you mean --ports"}),
    [](const auto& test) { return test.param.name; });

TEST(Descriptors, ThatLackAreNamed) {
  const cli_tests::Ended ended = cli_tests::RunToEnd(
      {"prlimit", "--nofile=100:100", RINGSIDE_BINARY, "probe", "--in-flight", "5000"});
  EXPECT_EQ(ended.exit_code, 1);
  EXPECT_NE(ended.err.find("--in-flight 5000"), std::string::npos) << ended.err;
}

TEST(Help, HasExamples) {
  const cli_tests::Ended ended = cli_tests::Ringside({"probe", "--help"});
  EXPECT_EQ(ended.exit_code, 0);
  EXPECT_NE(ended.out.find("ringside probe --listeners"), std::string::npos);
}

}  // namespace
}  // namespace probe_tests
