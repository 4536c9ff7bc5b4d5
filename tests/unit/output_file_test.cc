#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <unistd.h>

#include <csignal>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "report/files.h"
#include "tests/unit/descriptors.h"

namespace report {
namespace {

namespace fs = std::filesystem;

constexpr uid_t kNobody = 65534;

std::string ReadAll(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

struct stat StatusOf(const std::string& path) {
  struct stat status = {};
  EXPECT_EQ(lstat(path.c_str(), &status), 0) << path;
  return status;
}

class OutputFileTest : public unit_tests::LeavesNothingOpen {
 protected:
  std::string Existing(const std::string& name) const {
    std::ofstream(InFolder(name)) << "what was there";
    return InFolder(name);
  }
  std::set<std::string> Names() const {
    std::set<std::string> names;
    for (const auto& entry : fs::directory_iterator(InFolder(""))) {
      names.insert(entry.path().filename());
    }
    return names;
  }
};

TEST_F(OutputFileTest, ReplacesAFileWithItsModeAndOwner) {
  const std::string path = Existing("result.json");
  chmod(path.c_str(), 0640);
  ASSERT_EQ(geteuid() == 0 ? chown(path.c_str(), kNobody, kNobody) : 0, 0);
  const struct stat old = StatusOf(path);
  ASSERT_TRUE(WriteFile(path, "new").ok());
  const struct stat now = StatusOf(path);
  EXPECT_EQ(ReadAll(path), "new");
  EXPECT_EQ(now.st_mode, old.st_mode);
  EXPECT_EQ(now.st_uid, old.st_uid);
  EXPECT_EQ(now.st_gid, old.st_gid);
  EXPECT_NE(now.st_ino, old.st_ino);  // renamed: nobody sees half of it
  EXPECT_EQ(Names(), std::set<std::string>{"result.json"});
}

TEST_F(OutputFileTest, LeavesALinkALink) {
  Existing("result.json");
  fs::create_symlink("result.json", InFolder("link"));
  fs::create_symlink("link", InFolder("link of it"));
  fs::create_symlink("not there yet", InFolder("dangling"));
  ASSERT_TRUE(WriteFile(InFolder("link of it"), "new").ok());
  ASSERT_TRUE(WriteFile(InFolder("dangling"), "first").ok());
  EXPECT_TRUE(fs::is_symlink(InFolder("link of it")) && fs::is_symlink(InFolder("link")) &&
              fs::is_symlink(InFolder("dangling")));
  EXPECT_EQ(ReadAll(InFolder("result.json")), "new");
  EXPECT_EQ(ReadAll(InFolder("not there yet")), "first");
}

TEST_F(OutputFileTest, WritesInPlaceWhatHasOtherNames) {
  const std::string path = Existing("result.json");
  fs::create_hard_link(path, InFolder("other"));
  ASSERT_TRUE(WriteFile(path, "new").ok());
  EXPECT_EQ(ReadAll(InFolder("other")), "new");
  EXPECT_EQ(StatusOf(path).st_nlink, 2u);
}

TEST_F(OutputFileTest, WritesInPlaceWhereTheDirectoryMayNotBeWrittenTo) {
  if (geteuid() != 0) GTEST_SKIP() << "a file in somebody else's directory takes root";
  const std::string path = Existing("result.json");
  ASSERT_EQ(chown(path.c_str(), kNobody, kNobody), 0);
  ASSERT_EQ(chmod(InFolder("").c_str(), 0755), 0);
  const ino_t inode = StatusOf(path).st_ino;
  const pid_t child = unit_tests::InChild([&] {
    if (setgid(kNobody) != 0 || setuid(kNobody) != 0) return 1;
    if (OutputFile().Open(InFolder("another")).code() != absl::StatusCode::kInvalidArgument) {
      return 2;
    }
    return WriteFile(path, "new").ok() ? 0 : 3;
  });
  EXPECT_EQ(unit_tests::ExitCodeOf(child), 0);
  EXPECT_EQ(ReadAll(path), "new");
  EXPECT_EQ(StatusOf(path).st_ino, inode);
}

// As /dev/null is: nothing is put in its place.
TEST_F(OutputFileTest, WritesThroughADevice) {
  const std::string device = InFolder("null");
  if (mknod(device.c_str(), S_IFCHR | 0666, makedev(1, 3)) != 0) {
    GTEST_SKIP() << "to make a device takes CAP_MKNOD";
  }
  if (!WriteFile(device, "gone").ok()) GTEST_SKIP() << "devices don't work here (nodev)";
  EXPECT_TRUE(S_ISCHR(StatusOf(device).st_mode));
  EXPECT_EQ(Names(), std::set<std::string>{"null"});
}

TEST_F(OutputFileTest, TellsThatADeviceIsFull) {
  fs::create_symlink("/dev/full", InFolder("full"));
  const absl::Status status = WriteFile(InFolder("full"), "text");
  EXPECT_TRUE(absl::StrContains(status.message(), "ENOSPC")) << status;
  EXPECT_TRUE(fs::is_symlink(InFolder("full")) && fs::is_character_file("/dev/full"));
}

TEST_F(OutputFileTest, WritesThroughAFifo) {
  const std::string path = InFolder("fifo");
  ASSERT_EQ(mkfifo(path.c_str(), 0600), 0);
  bool waited = false;
  int reader = -1;  // comes when it is waited for
  OutputFile file;
  ASSERT_TRUE(file.Open(path,
                        [&] {
                          waited = true;
                          reader = open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
                        })
                  .ok());
  EXPECT_TRUE(waited);
  ASSERT_TRUE(file.Write("text").ok());
  char got[16];
  EXPECT_EQ(read(reader, got, sizeof(got)), 4);
  EXPECT_EQ(read(reader, got, sizeof(got)), 0);  // closed: its reader needn't wait for our end
  close(reader);
  EXPECT_TRUE(S_ISFIFO(StatusOf(path).st_mode));
}

TEST_F(OutputFileTest, WritesToADescriptorWhereverItIsAt) {
  int ends[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);  // open(2) can't
  for (const char* folder : {"/dev/fd/", "/proc/self/fd/"}) {
    ASSERT_TRUE(WriteFile(absl::StrCat(folder, ends[0]), "text").ok()) << folder;
    char got[16];
    EXPECT_EQ(read(ends[1], got, sizeof(got)), 4);
  }
  close(ends[0]);
  close(ends[1]);
  // A shell's >>file goes on behind what is there.
  const std::string path = Existing("log");
  const int fd = open(path.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC);
  ASSERT_TRUE(WriteFile(absl::StrCat("/dev/fd/", fd), ", and more").ok());
  close(fd);
  EXPECT_EQ(ReadAll(path), "what was there, and more");
}

TEST_F(OutputFileTest, RefusesBeforeAnythingIsWritten) {
  const std::string file = Existing("file");
  fs::create_symlink("loop", InFolder("loop"));
  const int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_un at = {};
  at.sun_family = AF_UNIX;
  strncpy(at.sun_path, InFolder("socket").c_str(), sizeof(at.sun_path) - 1);
  ASSERT_EQ(bind(listener, reinterpret_cast<sockaddr*>(&at), sizeof(at)), 0);
  const int readable = open(file.c_str(), O_RDONLY | O_CLOEXEC);
  const std::set<std::string> before = Names();
  for (const auto& [path, error] : {std::pair(InFolder("no/such"), "ENOENT"),
                                    {file + "/within", "ENOTDIR"},
                                    {InFolder(""), "EISDIR"},
                                    {InFolder("loop"), "ELOOP"},
                                    {InFolder(std::string(300, 'x')), "ENAMETOOLONG"},
                                    {InFolder("socket"), "ENXIO"},
                                    {absl::StrCat("/dev/fd/", readable), "EBADF"},
                                    {"/dev/fd/12345", "EBADF"}}) {
    OutputFile output;
    const absl::Status status = output.Open(path);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << path;
    EXPECT_TRUE(absl::StrContains(status.message(), error)) << status;
    EXPECT_TRUE(absl::StrContains(status.message(), path)) << status;
    EXPECT_FALSE(output.is_open());
  }
  close(listener);
  close(readable);
  EXPECT_EQ(Names(), before);
}

TEST_F(OutputFileTest, LeavesNothingWhereNothingIsWritten) {
  const std::string old = Existing("old");
  const std::set<std::string> before = Names();
  {
    OutputFile existing, absent;
    ASSERT_TRUE(existing.Open(old).ok());
    ASSERT_TRUE(absent.Open(InFolder("new")).ok());
    EXPECT_EQ(Names(), before);
    EXPECT_FALSE(existing.IsSameAs(absent));
  }
  EXPECT_EQ(Names(), before);
  EXPECT_EQ(ReadAll(old), "what was there");
}

TEST_F(OutputFileTest, KnowsTheSameFileByOtherNames) {
  const std::string old = Existing("old");
  fs::create_symlink("old", InFolder("link"));
  fs::create_symlink("new", InFolder("dangling"));
  const auto same = [&](const std::string& a, const std::string& b) {
    OutputFile left, right;
    EXPECT_TRUE(left.Open(a).ok() && right.Open(b).ok());
    return left.IsSameAs(right);
  };
  EXPECT_TRUE(same(old, InFolder("./link")));
  EXPECT_TRUE(same(InFolder("new"), InFolder("dangling")));
  EXPECT_FALSE(same(old, InFolder("new")));
  EXPECT_FALSE(same("/dev/null", "/dev/null"));  // has room for all
}

TEST_F(OutputFileTest, KeepsWhatWasThereWhereThereIsNoRoom) {
  const std::string path = Existing("result.json");
  const pid_t child = unit_tests::InChild([&] {
    std::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit = {.rlim_cur = 5, .rlim_max = 5};
    if (setrlimit(RLIMIT_FSIZE, &limit) != 0) return 1;
    const absl::Status status = WriteFile(path, "longer than that");
    return absl::StrContains(status.message(), "EFBIG") ? 0 : 2;
  });
  EXPECT_EQ(unit_tests::ExitCodeOf(child), 0);
  EXPECT_EQ(ReadAll(path), "what was there");
  EXPECT_EQ(Names(), std::set<std::string>{"result.json"});
}

TEST_F(OutputFileTest, MakesANewFileOrNone) {
  EXPECT_TRUE(WriteNewFile(InFolder("new"), "first").ok());
  EXPECT_TRUE(absl::IsAlreadyExists(WriteNewFile(InFolder("new"), "second")));
  EXPECT_EQ(ReadAll(InFolder("new")), "first");
  EXPECT_EQ(Names(), std::set<std::string>{"new"});
}

}  // namespace
}  // namespace report
