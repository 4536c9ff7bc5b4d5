#include "server/privileges.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include <fstream>
#include <functional>

#include "absl/strings/match.h"
#include "tests/unit/descriptors.h"

namespace server {
namespace {

// What the child found: its exit code is the line of the first check that failed.
#define CHECK_IN_CHILD(condition) \
  if (!(condition)) return __LINE__ % 250 + 1

// Runs `check` in a process of its own, which may lose its privileges, and expects 0 of it.
void ExpectInChild(const std::function<int()>& check) {
  EXPECT_EQ(unit_tests::ExitCodeOf(unit_tests::InChild(check)), 0)
      << "the line of the check that failed, modulo 250, plus 1";
}

class PrivilegesTest : public testing::Test {
 protected:
  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "only root has privileges to drop";
    const passwd* nobody = getpwnam("nobody");
    if (nobody == nullptr) GTEST_SKIP() << "there is no user nobody";
    uid_ = nobody->pw_uid;
    gid_ = nobody->pw_gid;
  }
  uid_t uid_ = 0;
  gid_t gid_ = 0;
};

// A line of /proc/self/status, as "CapEff: 0000000000000000" gives 0. The file can be read by all.
uint64_t StatusOf(const std::string& field) {
  std::ifstream file("/proc/self/status");
  for (std::string line; std::getline(file, line);) {
    if (line.rfind(field + ":", 0) == 0) return std::stoull(line.substr(field.size() + 1), {}, 16);
  }
  return ~0ull;
}

TEST_F(PrivilegesTest, OfRootAreGoneForGood) {
  ExpectInChild([this]() -> int {
    CHECK_IN_CHILD(DropTo("nobody").ok());
    CHECK_IN_CHILD(getuid() == uid_ && geteuid() == uid_);
    CHECK_IN_CHILD(getgid() == gid_ && getegid() == gid_);
    CHECK_IN_CHILD(setuid(0) != 0 && seteuid(0) != 0 && setgid(0) != 0);
    for (const char* set : {"CapEff", "CapPrm", "CapInh", "CapAmb"}) {
      CHECK_IN_CHILD(StatusOf(set) == 0);
    }
    CHECK_IN_CHILD(StatusOf("NoNewPrivs") == 1);
    CHECK_IN_CHILD(prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) == 0);
    gid_t groups[64];
    const int count = getgroups(64, groups);
    for (int i = 0; i < count; ++i) CHECK_IN_CHILD(groups[i] != 0);
    CHECK_IN_CHILD(open("/etc/shadow", O_RDONLY | O_CLOEXEC) == -1);
    return 0;
  });
}

TEST_F(PrivilegesTest, GoToNumbersAndGroups) {
  ExpectInChild([]() -> int {  // of an entry that exists nowhere
    CHECK_IN_CHILD(DropTo("54321:65432").ok());
    CHECK_IN_CHILD(getuid() == 54321 && getgid() == 65432);
    gid_t group = 0;
    CHECK_IN_CHILD(getgroups(1, &group) == 1 && group == 65432);
    return 0;
  });
  ExpectInChild([this]() -> int {
    CHECK_IN_CHILD(DropTo(std::to_string(uid_)).ok());
    CHECK_IN_CHILD(getuid() == uid_ && getgid() == gid_);
    return 0;
  });
  const group* daemon = getgrnam("daemon");
  if (daemon == nullptr) GTEST_SKIP() << "there is no group daemon";
  const gid_t gid = daemon->gr_gid;
  ExpectInChild([this, gid]() -> int {
    CHECK_IN_CHILD(DropTo("nobody:daemon").ok());
    CHECK_IN_CHILD(getuid() == uid_ && getgid() == gid);
    return 0;
  });
}

// Capabilities that the kernel was told to keep, and ambient ones, go too.
TEST_F(PrivilegesTest, ThatWereToBeKeptGoToo) {
  ExpectInChild([]() -> int {
    __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
    __user_cap_data_struct data[2] = {};
    CHECK_IN_CHILD(syscall(SYS_capget, &header, data) == 0);
    const uint32_t bind = 1u << CAP_NET_BIND_SERVICE;
    if ((data[0].permitted & bind) == 0) return 0;  // a container without it
    data[0].inheritable |= bind;
    CHECK_IN_CHILD(syscall(SYS_capset, &header, data) == 0);
    CHECK_IN_CHILD(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_NET_BIND_SERVICE, 0, 0) == 0);
    CHECK_IN_CHILD(prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) == 0);
    CHECK_IN_CHILD(DropTo("nobody").ok());
    for (const char* set : {"CapEff", "CapPrm", "CapInh", "CapAmb"}) {
      CHECK_IN_CHILD(StatusOf(set) == 0);
    }
    return 0;
  });
}

TEST_F(PrivilegesTest, CantBeDroppedTwice) {
  ExpectInChild([]() -> int {
    CHECK_IN_CHILD(DropTo("nobody").ok());
    const absl::Status again = DropTo("nobody");
    CHECK_IN_CHILD(absl::IsPermissionDenied(again));
    CHECK_IN_CHILD(absl::StrContains(std::string(again.message()), "run as root"));
    CHECK_IN_CHILD(absl::StrContains(std::string(again.message()), "EPERM"));
    return 0;
  });
}

// Each of these is said before anything changes.
TEST(DropToTest, SaysWhatIsWrongWithAUser) {
  const uid_t before = geteuid();
  for (const char* text : {"", ":", ":nogroup", "nobody:", "nobody:a:b", "0", "0:1", "54321"}) {
    EXPECT_TRUE(absl::IsInvalidArgument(DropTo(text))) << text << ": " << DropTo(text);
  }
  for (const char* text : {"no such user", "no-such-user:daemon", "4294967295", "-1", "1e3"}) {
    EXPECT_TRUE(absl::IsNotFound(DropTo(text))) << text << ": " << DropTo(text);
  }
  EXPECT_TRUE(absl::IsNotFound(DropTo("54321:no such group")));
  EXPECT_TRUE(absl::IsNotFound(DropTo("54321:4294967296")));
  EXPECT_EQ(geteuid(), before);
}

}  // namespace
}  // namespace server
