#include "tests/cli/ringside.h"

namespace cli_tests {
namespace {

struct Bad {
  const char* name;
  std::vector<std::string> arguments;
  const char* says;  // part of the sentence on stderr
};

void PrintTo(const Bad& bad, std::ostream* out) { *out << bad.name; }

class BadInput : public testing::TestWithParam<Bad> {};

TEST_P(BadInput, IsOneSentenceAndExitCode2) {
  const Ended ended = Ringside(GetParam().arguments);
  EXPECT_EQ(ended.exit_code, 2);
  EXPECT_EQ(ended.out, "");
  EXPECT_NE(ended.err.find(GetParam().says), std::string::npos) << ended.err;
  EXPECT_EQ(ended.err.find('\n'), ended.err.size() - 1) << "more than one line: " << ended.err;
}

INSTANTIATE_TEST_SUITE_P(
    All, BadInput,
    testing::Values(
        Bad{"UnknownCommand", {"laod"}, "did you mean 'load'"},
        Bad{"UnknownFlag", {"load", "--conections", "5"}, "did you mean --connections"},
        Bad{"UnknownServeFlag", {"serve", "--thread", "2"}, "did you mean --threads"},
        Bad{"NoConnections", {"load", "-c", "0"}, "-c: 0 is out of range"},
        Bad{"NegativeConnections", {"load", "-c", "-5"}, "-5 is negative"},
        Bad{"DoctorOfNothing", {"doctor", "--connections", "0"}, "0 is out of range"},
        Bad{"DoctorOfBytes", {"doctor", "--connections", "5B"}, "unknown unit 'B'"},
        Bad{"UnknownDoctorFlag", {"doctor", "--conections", "5"}, "did you mean --connections"},
        Bad{"NoSize", {"load", "-s", "0"}, "-s"},
        Bad{"HugeSize", {"load", "-s", "99999999999999999999GiB"}, "too large"},
        Bad{"HugeConnections", {"load", "-c", "18446744073709551616"}, "too large"},
        Bad{"NoUnit", {"load", "-d", "10"}, "10s"},
        Bad{"NegativeDuration", {"load", "-d", "-1s"}, "-1s"},
        Bad{"EndlessDuration", {"load", "-d", "99999999999h"}, "too long"},
        Bad{"Nonsense", {"load", "-s", "big"}, "'big'"},
        Bad{"NoPort", {"load", "127.0.0.1"}, "the port is missing"},
        Bad{"LargePort", {"load", "127.0.0.1:70000"}, "65535"},
        Bad{"PortZero", {"load", "0"}, "port 0"},
        Bad{"UnknownService", {"load", "127.0.0.1:nonesuch"}, "nonesuch"},
        Bad{"UnresolvedHost", {"load", "no.such.host.invalid:1"}, "does not resolve"},
        Bad{"UnixAddressWithoutPath", {"serve", "unix:"}, "the path is missing"},
        Bad{"ListenWithoutService", {"serve", "--listen", "9999"}, "SERVICE=ADDRESS"},
        Bad{"ListenToNoService", {"serve", "--listen", "eco=9999"}, "no service 'eco'"},
        Bad{"DeniedNonsense", {"serve", "--deny", "10.0.0.1/8"}, "--deny"},
        Bad{"UnknownBackend", {"serve", "--backend", "iouring"}, "did you mean io_uring"},
        Bad{"WarmupWithCount", {"load", "-n", "5", "--warmup", "1s"}, "--warmup"},
        Bad{"PacedSource", {"load", "--service", "chargen", "--rate", "1k"}, "--workload rate"},
        Bad{"NoReplyText", {"load", "--reply-text", ""}, "--reply-text"},
        Bad{"NothingToReply", {"serve", "--reply-text", ""}, "--reply-text"},
        Bad{"BackwardDelay", {"serve", "--delay", "2ms..1ms"}, "--delay: 2ms..1ms runs backwards"},
        Bad{"UnknownDelay", {"load", "--delay", "soon"}, "--delay: 'soon'"},
        Bad{"NoSuchServer", {"load", "--server-pid", "4194304"}, "doesn't exist"},
        Bad{"LargeDatagram", {"load", "udp://9999", "-s", "65508"}, "--size 65507 or less"},
        Bad{"LargeUnixDatagram", {"load", "unix-dgram:@x", "-s", "1MiB"}, "or less"},
        Bad{"LargeSeqpacket", {"load", "unix-seqpacket:@x", "-s", "1MiB"}, "a stream (unix:PATH)"},
        Bad{"TimeoutOfASink",
            {"load", "-w", "upload", "--timeout", "1s"},
            "--timeout has no meaning"},
        Bad{"LossOfAStream", {"load", "--loss-max", "5%"}, "--loss-max has no meaning"},
        Bad{"GreetingDatagrams", {"load", "udp://9999", "--service", "greet"}, "speaks first"},
        Bad{"DatagramSource", {"load", "unix-dgram:@x", "--service", "chargen"}, "speaks first"},
        Bad{"OneArm", {"compare", "--arm", "epoll"}, "two"},
        Bad{"UnknownArm", {"compare", "--arm", "epol", "--arm", "epoll"}, "'epol'"},
        Bad{"UnixArmWithoutAddress",
            {"compare", "--transport", "unix", "--arm", "a=cat {port}", "--arm", "epoll"},
            "put {address}"},
        Bad{"ArmWithoutPort", {"compare", "--arm", "a=cat", "--arm", "epoll"}, "{port}"}),
    [](const auto& test) { return test.param.name; });

TEST(Help, IsThereForEachCommand) {
  for (const char* command : {"serve", "load", "compare", "probe", "doctor", "report"}) {
    const Ended ended = Ringside({command, "--help"});
    EXPECT_EQ(ended.exit_code, 0);
    EXPECT_NE(ended.out.find(std::string("Usage: ringside ") + command), std::string::npos);
    EXPECT_NE(ended.out.find("Examples:"), std::string::npos);
  }
  EXPECT_EQ(Ringside({"--version"}).exit_code, 0);
  EXPECT_EQ(Ringside({}).exit_code, 2);
}

}  // namespace
}  // namespace cli_tests
