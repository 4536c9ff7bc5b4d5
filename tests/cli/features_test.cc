#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "tests/cli/ringside.h"

// What of the event loops can be switched: each feature, alone, serves and loads without a wrong
// byte, is told in the summary, and is refused where it has no meaning.
namespace cli_tests {
namespace {

struct Switched {
  const char* name;
  const char* backend;
  std::vector<std::string> flags;
  std::string told;  // in the summary's features
};
void PrintTo(const Switched& switched, std::ostream* out) { *out << switched.name; }

class FeatureSwitched : public testing::TestWithParam<Switched> {};

// Messages longer than a buffer, so that they come in pieces, and some connections at once.
TEST_P(FeatureSwitched, EchoesEveryByte) {
  const Switched& p = GetParam();
  if (!Available(p.backend)) GTEST_SKIP() << p.backend << " is not available here";
  std::vector<std::string> serve = p.flags;
  serve.insert(serve.end(), {"--backend", p.backend, "--recv-buffer-bytes", "4KiB"});
  std::optional<Server> server;
  try {
    server.emplace(serve);
  } catch (const std::runtime_error& ended) {
    const std::string why = ended.what();
    if (why.find(" needs Linux ") != std::string::npos) GTEST_SKIP() << why;
    throw;
  }
  std::vector<std::string> load = {"load", server->port(), "--backend", p.backend, "-c",
                                   "16",   "-n",           "3000",      "-s",      "1..40KiB",
                                   "-q",   "--json",       "-"};
  load.insert(load.end(), p.flags.begin(), p.flags.end());
  const Ended ended = Ringside(load);
  EXPECT_EQ(ended.exit_code, 0) << ended.err;
  const Json result = Json::parse(ended.out, nullptr, false);
  EXPECT_EQ(result["requests"], 3000);
  EXPECT_EQ(result["errors"]["corrupt_connections"], 0);
  const Json summary = server->Stop();
  const auto features = summary["features"].get<std::string>();
  EXPECT_NE(features.find(p.told), std::string::npos) << p.told << " is not in: " << features;
}

Switched Without(const char* name, const char* backend, const char* feature) {
  return {name, backend, {"--without", feature}, std::string("without ") + feature};
}
Switched With(const char* name, const char* backend, const char* feature) {
  return {name, backend, {"--with", feature}, std::string("with ") + feature};
}

INSTANTIATE_TEST_SUITE_P(
    All, FeatureSwitched,
    testing::Values(Without("MultishotReceive", "io_uring", "multishot-receive"),
                    Without("MultishotAccept", "io_uring", "multishot-accept"),
                    Without("DeferTaskrun", "io_uring", "defer-taskrun"),
                    Without("CoopTaskrun", "io_uring", "coop-taskrun"),
                    Without("RegisteredRing", "io_uring", "registered-ring"),
                    Without("ReceiveCap", "io_uring", "receive-cap"),
                    Without("Borrow", "io_uring", "borrow"), With("Sqpoll", "io_uring", "sqpoll"),
                    With("Bundles", "io_uring", "bundles"),
                    With("IncrementalBuffers", "io_uring", "incremental-buffers"),
                    With("SendZeroCopy", "io_uring", "send-zc"),
                    Switched{"BundlesOfIncrementalBuffers",
                             "io_uring",
                             {"--with", "bundles,incremental-buffers"},
                             "with bundles, with incremental-buffers"},
                    Switched{"MinWait", "io_uring", {"--min-wait", "20us"}, "minimum wait 20 us"},
                    Without("EdgeTriggered", "epoll", "edge-triggered"),
                    With("Drain", "epoll", "drain"),
                    Switched{"Batch", "epoll", {"--batch", "3"}, "batches of 3"},
                    Switched{"BusyPollOfEpoll", "epoll", {"--busy-poll"}, "busy poll"},
                    Switched{"BusyPollOfUring", "io_uring", {"--busy-poll"}, "busy poll"}),
    [](const auto& test) { return test.param.name; });

struct Refused {
  const char* name;
  std::vector<std::string> arguments;
  std::vector<std::string> says;
};
void PrintTo(const Refused& refused, std::ostream* out) { *out << refused.name; }

class FeatureRefused : public testing::TestWithParam<Refused> {};

TEST_P(FeatureRefused, WithOneSentenceAndExitCode2) {
  for (const char* command : {"serve", "load"}) {
    std::vector<std::string> arguments = GetParam().arguments;
    arguments.insert(arguments.begin(), {command, "9"});
    const Ended ended = Ringside(arguments);
    EXPECT_EQ(ended.exit_code, 2) << command << ": " << ended.err;
    EXPECT_EQ(ended.err.find('\n'), ended.err.size() - 1) << "more than one line: " << ended.err;
    for (const std::string& word : GetParam().says) {
      EXPECT_NE(ended.err.find(word), std::string::npos) << word << " is not in: " << ended.err;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    All, FeatureRefused,
    testing::Values(
        Refused{"Misspelt",
                {"--without", "multishot-recieve"},
                {"--without", "'multishot-recieve'", "did you mean multishot-receive?"}},
        Refused{"Unknown", {"--with", "speed"}, {"--with", "'speed'", "it is one of", "borrow"}},
        Refused{"Empty", {"--with", "drain,,"}, {"--with", "''"}},
        Refused{"TheOtherBackends",
                {"--backend", "epoll", "--without", "multishot-receive"},
                {"--without multishot-receive", "io_uring", "epoll"}},
        Refused{"TheOtherBackendsOfTwo",
                {"--backend", "io_uring", "--without", "borrow,edge-triggered"},
                {"edge-triggered", "epoll", "io_uring"}},
        Refused{"BatchOfUring", {"--backend", "io_uring", "--batch", "7"}, {"--batch", "epoll"}},
        Refused{"MinWaitOfEpoll",
                {"--backend", "epoll", "--min-wait", "20us"},
                {"--min-wait", "io_uring"}},
        Refused{"Both", {"--with", "borrow", "--without", "borrow"}, {"borrow", "leave one out"}},
        Refused{"DeferWithoutCoop",
                {"--with", "defer-taskrun", "--without", "coop-taskrun"},
                {"defer-taskrun", "coop-taskrun"}},
        Refused{
            "SqpollWithDefer", {"--with", "sqpoll,defer-taskrun"}, {"sqpoll", "defer-taskrun"}}),
    [](const auto& test) { return test.param.name; });

// Without a backend of their own, they are the one's that is picked.
TEST(Features, OfTheOtherBackendAreRefusedAlsoWhereItWasPicked) {
  if (!Available("io_uring")) GTEST_SKIP() << "io_uring is not available here";
  const Ended ended = Ringside({"serve", "0", "--with", "drain"});
  EXPECT_EQ(ended.exit_code, 2);
  EXPECT_NE(ended.err.find("--with drain is about epoll, and the backend is io_uring"),
            std::string::npos)
      << ended.err;
}

}  // namespace
}  // namespace cli_tests
