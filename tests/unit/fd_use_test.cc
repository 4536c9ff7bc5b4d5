#include "stress/fd_use.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <string>

#include "absl/status/status.h"

namespace stress {
namespace {

TEST(FdUse, CountsThisProcess) {
  const auto before = ReadFdUse(getpid());
  ASSERT_TRUE(before.ok()) << before.status();
  const int fd = dup(0);
  const auto after = ReadFdUse(getpid());
  close(fd);
  ASSERT_TRUE(after.ok()) << after.status();
  EXPECT_EQ(after->used, before->used + 1);
  EXPECT_EQ(after->free() + 1, before->free());
}

TEST(FdUse, ReadsTheSoftLimit) {
  const std::string text =
      "Limit                     Soft Limit           Hard Limit           Units     \n"
      "Max cpu time              unlimited            unlimited            seconds   \n"
      "Max open files            1024                 524288               files     \n";
  EXPECT_EQ(internal::ParseOpenFiles(text), 1024u);
  EXPECT_EQ(internal::ParseOpenFiles("Max open files none 5 files\n"), 0u);
  EXPECT_EQ(internal::ParseOpenFiles(""), 0u);
}

TEST(FdUse, SaysThatAProcessIsGone) { EXPECT_TRUE(absl::IsNotFound(ReadFdUse(1 << 22).status())); }

}  // namespace
}  // namespace stress
