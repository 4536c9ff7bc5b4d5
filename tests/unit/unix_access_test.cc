#include "server/unix_access.h"

#include <grp.h>
#include <gtest/gtest.h>
#include <pwd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <functional>
#include <string>
#include <vector>

namespace server {
namespace {

constexpr uid_t kOtherUser = 65534;

template <typename T>
std::string Error(const absl::StatusOr<T>& result) {
  return result.ok() ? "(no error)" : std::string(result.status().message());
}

TEST(ParseUnixMode, TakesOctal) {
  EXPECT_EQ(*ParseUnixMode("0660"), 0660u);
  EXPECT_EQ(*ParseUnixMode("660"), 0660u);
  EXPECT_EQ(*ParseUnixMode("0777"), 0777u);
  EXPECT_EQ(*ParseUnixMode("0002"), 0002u);
}

struct Mistake {
  const char *text, *says;
};

TEST(ParseUnixMode, SaysWhatIsWrong) {
  const std::string want = "; write an octal mode, such as 0660, 0600 or 0666";
  constexpr Mistake kMistakes[] = {
      {"", "'' is empty"},
      {"0680", "'0680' is not octal"},
      {"-660", "'-660' is not octal"},
      {"0x1b0", "'0x1b0' is not octal"},
      {"rw-rw----", "'rw-rw----' is not octal"},
      {" 660", "' 660' is not octal"},
      {"1777", "'1777' has bits beyond 0777, which mean nothing for a socket"},
      {"777777777777777777777777",
       "'777777777777777777777777' has bits beyond 0777, which mean nothing for a socket"},
      {"66", "'66' doesn't have three digits, or four with a leading 0"},
      {"00660", "'00660' doesn't have three digits, or four with a leading 0"},
      {"0440", "'0440' lets nobody connect, which takes write permission"},
      {"0000", "'0000' lets nobody connect, which takes write permission"},
  };
  for (const Mistake& mistake : kMistakes) {
    EXPECT_EQ(Error(ParseUnixMode(mistake.text)), mistake.says + want);
  }
}

TEST(ParseUnixOwner, TakesNumbers) {
  const auto both = ParseUnixOwner("1000:1001");
  ASSERT_TRUE(both.ok()) << both.status();
  EXPECT_EQ(both->uid, 1000u);
  EXPECT_EQ(both->gid, 1001u);
  const auto user = ParseUnixOwner("0");
  ASSERT_TRUE(user.ok()) << user.status();
  EXPECT_EQ(user->uid, 0u);
  EXPECT_EQ(user->gid, std::nullopt);
  const auto group = ParseUnixOwner(":7");
  ASSERT_TRUE(group.ok()) << group.status();
  EXPECT_EQ(group->uid, std::nullopt);
  EXPECT_EQ(group->gid, 7u);
}

// Some user and group that have names here.
TEST(ParseUnixOwner, TakesNames) {
  const passwd* user = getpwuid(0);
  if (user == nullptr) GTEST_SKIP() << "user 0 has no name here";
  const std::string user_name = user->pw_name;
  const group* of_root = getgrgid(0);
  if (of_root == nullptr) GTEST_SKIP() << "group 0 has no name here";
  const std::string group_name = of_root->gr_name;
  const auto owner = ParseUnixOwner(user_name + ":" + group_name);
  ASSERT_TRUE(owner.ok()) << owner.status();
  EXPECT_EQ(owner->uid, 0u);
  EXPECT_EQ(owner->gid, 0u);
  EXPECT_EQ(*ParseUsers("7," + user_name), (std::vector<uid_t>{7, 0}));
  EXPECT_EQ(*ParseGroups(group_name + ", 9"), (std::vector<gid_t>{0, 9}));
}

TEST(ParseUnixOwner, SaysWhatIsWrong) {
  EXPECT_EQ(Error(ParseUnixOwner("")),
            "'' is empty; write USER, USER:GROUP or :GROUP, such as www-data:www-data or 1000");
  EXPECT_EQ(Error(ParseUnixOwner("0:")),
            "'0:' has no group after the ':'; write USER, USER:GROUP or :GROUP, such as "
            "www-data:www-data or 1000");
  EXPECT_EQ(Error(ParseUnixOwner("no-such-user")),
            "there is no user 'no-such-user' here; see getent passwd, or write its number");
  EXPECT_EQ(Error(ParseUnixOwner("0:no-such-group")),
            "there is no group 'no-such-group' here; see getent group, or write its number");
  EXPECT_TRUE(absl::IsNotFound(ParseUnixOwner("no-such-user").status()));
  EXPECT_FALSE(ParseUnixOwner("0:0:0").ok());
}

TEST(ParseUsers, SaysWhatIsWrong) {
  const std::string want = "; write names or numbers, such as root or 1000,1001";
  EXPECT_EQ(*ParseUsers("0, 4294967294"), (std::vector<uid_t>{0, 4294967294}));
  EXPECT_EQ(Error(ParseUsers("")), "'' has an empty item" + want);
  EXPECT_EQ(Error(ParseUsers("1,,2")), "'1,,2' has an empty item" + want);
  EXPECT_EQ(Error(ParseUsers("-1")), "'-1' is negative" + want);
  EXPECT_EQ(Error(ParseUsers("4294967295")),
            "'4294967295' is out of range: users go from 0 to 4294967294" + want);
  EXPECT_EQ(Error(ParseUsers("99999999999999999999")),
            "'99999999999999999999' is out of range: users go from 0 to 4294967294" + want);
  EXPECT_EQ(Error(ParseGroups("4294967295")),
            "'4294967295' is out of range: groups go from 0 to 4294967294; write names or numbers, "
            "such as www-data or 33,1000");
  EXPECT_FALSE(ParseUsers(std::string("root\0x", 6)).ok());
}

TEST(UnixAccess, EitherListAdmits) {
  const PeerCredentials peer = {1, 1000, 2000};
  UnixAccess access;
  EXPECT_TRUE(access.Allows(peer)) << "no list, nobody kept out";
  access.uids = {999, 1000};
  EXPECT_TRUE(access.Allows(peer));
  access.uids = {999, 2000};
  EXPECT_FALSE(access.Allows(peer)) << "2000 is its group";
  access.gids = {2000};
  EXPECT_TRUE(access.Allows(peer));
  access.uids = {};
  EXPECT_TRUE(access.Allows(peer));
  access.gids = {1000};
  EXPECT_FALSE(access.Allows(peer)) << "1000 is its user";
  access.uids = {1000};
  EXPECT_TRUE(access.Allows(peer));
}

TEST(ReadPeerCredentials, NamesThePeer) {
  int pair[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
  const auto peer = ReadPeerCredentials(pair[0]);
  ASSERT_TRUE(peer.ok()) << peer.status();
  EXPECT_EQ(peer->pid, getpid());
  EXPECT_EQ(peer->uid, geteuid());
  EXPECT_EQ(peer->gid, getegid());
  close(pair[0]);
  close(pair[1]);
}

TEST(ReadPeerCredentials, SaysWhatIsWrong) {
  EXPECT_NE(Error(ReadPeerCredentials(-1)).find("EBADF"), std::string::npos);
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  EXPECT_NE(Error(ReadPeerCredentials(ends[0])).find("ENOTSOCK"), std::string::npos);
  close(ends[0]);
  close(ends[1]);
  for (const int family : {AF_INET, AF_UNIX}) {
    const int fd = socket(family, SOCK_STREAM, 0);
    const auto none = ReadPeerCredentials(fd);
    EXPECT_EQ(Error(none), "SO_PEERCRED: this is not a connected Unix socket");
    EXPECT_TRUE(absl::IsInvalidArgument(none.status()));
    close(fd);
  }
}

// What `act` returns in a child process of another user; -1 if it could not become that.
int AsUser(uid_t id, const std::function<int()>& act) {
  const pid_t child = fork();
  if (child == 0) {
    if (setgroups(0, nullptr) != 0 || setresgid(id, id, id) != 0 || setresuid(id, id, id) != 0) {
      _exit(255);
    }
    _exit(act());
  }
  int status = 0;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  return WIFEXITED(status) && WEXITSTATUS(status) != 255 ? WEXITSTATUS(status) : -1;
}

// A directory that others may search, with a socket bound in it; no umask helps.
class UnixPath : public testing::Test {
 protected:
  UnixPath() : umask_before_(umask(0)), directory_(testing::TempDir() + "ringside-XXXXXX") {
    EXPECT_NE(mkdtemp(directory_.data()), nullptr);
    EXPECT_EQ(chmod(directory_.c_str(), 0755), 0);
    path_ = directory_ + "/socket";
  }
  ~UnixPath() override {
    if (fd_ >= 0) close(fd_);
    unlink(path_.c_str());
    rmdir(directory_.c_str());
    umask(umask_before_);
  }

  sockaddr_un Address() const {
    sockaddr_un address = {.sun_family = AF_UNIX};
    EXPECT_LT(path_.size(), sizeof(address.sun_path));
    std::strncpy(address.sun_path, path_.c_str(), sizeof(address.sun_path) - 1);
    return address;
  }
  void Bind(bool prepare = true) {
    fd_ = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ASSERT_GE(fd_, 0);
    if (prepare) {
      ASSERT_TRUE(UnixAccess::PrepareToBind(fd_).ok());
    }
    const sockaddr_un address = Address();
    ASSERT_EQ(bind(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
  }
  // 0, or why a new socket can't connect.
  int Connect() const {
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const sockaddr_un address = Address();
    const int result = connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address));
    const int error = result == 0 ? 0 : errno;
    close(fd);
    return error;
  }
  struct stat Stat() const {
    struct stat file = {};
    EXPECT_EQ(lstat(path_.c_str(), &file), 0);
    return file;
  }
  mode_t Mode() const { return Stat().st_mode & 07777; }

  const mode_t umask_before_;
  std::string directory_, path_;
  int fd_ = -1;
};

TEST_F(UnixPath, IsClosedToOthersFromTheStart) {
  Bind();
  EXPECT_EQ(Mode(), 0600u);
  EXPECT_TRUE(S_ISSOCK(Stat().st_mode));
}

TEST_F(UnixPath, GetsItsMode) {
  Bind();
  UnixAccess access;
  ASSERT_TRUE(access.ApplyTo(path_).ok());
  EXPECT_EQ(Mode(), 0600u) << "nothing was asked for";
  access.mode = 0660;
  const absl::Status status = access.ApplyTo(path_);
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(Mode(), 0660u);
  EXPECT_EQ(Stat().st_uid, geteuid());
}

TEST_F(UnixPath, StaysClosedWhereItsOwnerCannotBeSet) {
  // Root may give anything away; another user may not.
  const int result = [&] {
    const auto act = [&] {
      Bind();
      UnixAccess access;
      access.owner.uid = 1;
      access.mode = 0666;
      const absl::Status status = access.ApplyTo(path_);
      if (!absl::IsPermissionDenied(status)) return 1;
      if (status.message().find("EPERM") == absl::string_view::npos) return 2;
      return Mode() == 0600 ? 0 : 3;  // the mode comes last
    };
    if (geteuid() != 0) return act();
    EXPECT_EQ(chown(directory_.c_str(), kOtherUser, kOtherUser), 0);
    return AsUser(kOtherUser, act);
  }();
  EXPECT_EQ(result, 0);
}

TEST_F(UnixPath, GetsItsOwnerAsRoot) {
  if (geteuid() != 0) GTEST_SKIP() << "takes root";
  Bind();
  UnixAccess access;
  access.owner = {kOtherUser, 7};
  access.mode = 0620;
  const absl::Status status = access.ApplyTo(path_);
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(Stat().st_uid, kOtherUser);
  EXPECT_EQ(Stat().st_gid, 7u);
  EXPECT_EQ(Mode(), 0620u);
}

TEST_F(UnixPath, KeepsOthersOutUntilItIsOpened) {
  if (geteuid() != 0) GTEST_SKIP() << "takes root, to be another user";
  Bind();
  ASSERT_EQ(listen(fd_, 4), 0);
  EXPECT_EQ(AsUser(kOtherUser, [&] { return Connect(); }), EACCES);
  UnixAccess access;
  access.mode = 0666;
  ASSERT_TRUE(access.ApplyTo(path_).ok());
  EXPECT_EQ(AsUser(kOtherUser, [&] { return Connect(); }), 0);
  const int accepted = accept(fd_, nullptr, nullptr);
  const auto peer = ReadPeerCredentials(accepted);
  ASSERT_TRUE(peer.ok()) << peer.status();
  EXPECT_EQ(peer->uid, kOtherUser) << "though its process has ended";
  EXPECT_EQ(peer->gid, kOtherUser);
  EXPECT_NE(peer->pid, getpid());
  access.uids = {0, 1};
  EXPECT_FALSE(access.Allows(*peer));
  access.gids = {kOtherUser};
  EXPECT_TRUE(access.Allows(*peer));
  close(accepted);
}

TEST_F(UnixPath, ThatIsNotOurSocketIsLeftAlone) {
  UnixAccess access;
  access.mode = 0666;
  EXPECT_TRUE(absl::IsNotFound(access.ApplyTo(path_)));
  EXPECT_TRUE(absl::IsNotFound(access.ApplyTo(path_ + "/x")));

  const std::string other = directory_ + "/other";
  std::ofstream(other) << "x";
  ASSERT_EQ(chmod(other.c_str(), 0600), 0);
  ASSERT_EQ(symlink(other.c_str(), path_.c_str()), 0);
  absl::Status status = access.ApplyTo(path_);
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
  EXPECT_NE(status.message().find("symbolic link"), std::string::npos) << status;
  status = access.ApplyTo(other);
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
  EXPECT_NE(status.message().find("is not a socket"), std::string::npos) << status;
  struct stat file = {};
  ASSERT_EQ(stat(other.c_str(), &file), 0);
  EXPECT_EQ(file.st_mode & 07777, 0600u);
  unlink(other.c_str());
  unlink(path_.c_str());

  Bind(/*prepare=*/false);
  ASSERT_EQ(Mode(), 0777u) << "no umask";
  status = access.ApplyTo(path_);
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
  EXPECT_NE(status.message().find("open to others"), std::string::npos) << status;
}

TEST_F(UnixPath, OfAnotherUserIsLeftAlone) {
  if (geteuid() != 0) GTEST_SKIP() << "takes root, to be another user";
  ASSERT_EQ(chown(directory_.c_str(), kOtherUser, kOtherUser), 0);
  EXPECT_EQ(AsUser(kOtherUser, [&] { return Bind(), Mode() == 0600 ? 0 : 1; }), 0);
  UnixAccess access;
  access.mode = 0666;
  const absl::Status status = access.ApplyTo(path_);
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
  EXPECT_NE(status.message().find("belongs to another user"), std::string::npos) << status;
  EXPECT_EQ(Mode(), 0600u);
}

TEST(UnixAccess, PrepareToBindNamesTheError) {
  const absl::Status status = UnixAccess::PrepareToBind(-1);
  EXPECT_TRUE(absl::IsInvalidArgument(status));
  EXPECT_NE(status.message().find("EBADF"), std::string::npos) << status;
}

}  // namespace
}  // namespace server
