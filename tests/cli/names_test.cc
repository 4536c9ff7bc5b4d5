// Names with several addresses, in a network and with an /etc/hosts of the test's own.

#include <gtest/gtest.h>
#include <unistd.h>

#include <string>

#include "tests/cli/ringside.h"

namespace cli_tests {
namespace {

Ended WithHosts(const std::string& hosts, const std::string& script) {
  const std::string file = testing::TempDir() + "ringside-hosts-" + std::to_string(getpid());
  return RunToEnd({"unshare", "--net", "--mount", "sh", "-c",
                   "ip link set lo up && printf '" + hosts + "' > \"$1\" && " +
                       "mount --bind \"$1\" /etc/hosts && rm \"$1\"; " + script,
                   RINGSIDE_BINARY, file});
}

class Names : public testing::Test {
 protected:
  void SetUp() override {
    if (RunToEnd({"unshare", "--net", "--mount", "ip", "link", "set", "lo", "up"}).exit_code != 0) {
      GTEST_SKIP() << "no network of the test's own: needs root and ip(8)";
    }
  }
};

TEST_F(Names, TheFirstAddressThatAnswersIsUsedAndSaid) {
  const Ended ended = WithHosts(
      "::1 two\\n127.0.0.1 two\\n",
      "exec 3>&1; \"$0\" serve -b epoll 127.0.0.1:9999 --json | (read ready; "
      "\"$0\" load two:9999 -b epoll -c 1 -n 5 --json - >&3; "
      "kill $(echo \"$ready\" | sed 's/.*\"pid\":\\([0-9]*\\).*/\\1/'); cat > /dev/null)");
  EXPECT_EQ(ended.err.find("ringside load: using 127.0.0.1:9999, since [::1]:9999: ECONNREFUSED"),
            0u)
      << ended.err;
  const Json json = Json::parse(ended.out, nullptr, false);
  ASSERT_TRUE(json.is_object()) << ended.out;
  EXPECT_EQ(json["address"], "127.0.0.1:9999");
  EXPECT_EQ(json["requests_total"], 5);
}

// One public address among those that may be tried is enough, whatever comes before it.
TEST_F(Names, EveryAddressIsGuarded) {
  const Ended ended =
      WithHosts("127.0.0.1 mixed\\n8.8.8.8 mixed\\n", "exec \"$0\" load mixed:9999 -c 1 -n 1");
  EXPECT_EQ(ended.exit_code, 2);
  EXPECT_NE(ended.err.find("8.8.8.8:9999 is a public address"), std::string::npos) << ended.err;
}

}  // namespace
}  // namespace cli_tests
