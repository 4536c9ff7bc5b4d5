#include "server/privileges.h"

#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "io/errors.h"

namespace server {
namespace {

struct Target {
  uid_t uid = 0;
  gid_t gid = 0;
  std::string name;          // of the user; "" where it has none
  bool group_given = false;  // then it is the only one
};

// (uid_t)-1 means "leave it" to setresuid(2).
constexpr uint32_t kNoId = ~0u;

std::optional<uint32_t> Number(const std::string& text) {
  uint32_t number = 0;
  if (text.find_first_not_of("0123456789") != std::string::npos) return std::nullopt;
  if (!absl::SimpleAtoi(text, &number) || number == kNoId) return std::nullopt;
  return number;
}

absl::Status DatabaseError(const std::string& what, int error) {
  const std::string message = absl::StrCat(what, ": ", io::ErrnoName(error));
  switch (error) {
    case EMFILE:
    case ENFILE:
    case ENOMEM:
      return absl::ResourceExhaustedError(message);
    default:
      return absl::InternalError(message);
  }
}

// getpwnam_r(3) and its kin, with as much memory as the entry needs. `entry` stays empty where
// there is none.
template <class Entry, class Call>
absl::Status LookUp(const std::string& what, Call call, std::vector<char>* memory,
                    std::optional<Entry>* entry) {
  memory->resize(1024);
  while (true) {
    Entry found = {};
    Entry* result = nullptr;
    const int error = call(&found, memory->data(), memory->size(), &result);
    switch (error) {
      case ERANGE:
        memory->resize(2 * memory->size());
        continue;
      case EINTR:
        continue;
      // These, besides 0, are the ways of saying that there is no such entry.
      case 0:
      case ENOENT:
      case ESRCH:
      case EBADF:
      case EPERM:
        if (result != nullptr) *entry = found;
        return absl::OkStatus();
      default:
        return DatabaseError(what, error);
    }
  }
}

absl::Status FindUser(const std::string& user, Target* target, bool* has_group) {
  const auto number = Number(user);
  std::vector<char> memory;
  std::optional<passwd> entry;
  const absl::Status looked_up = LookUp<passwd>(
      absl::StrCat("the user '", user, "'"),
      [&](passwd* found, char* at, size_t size, passwd** result) {
        return number ? getpwuid_r(*number, found, at, size, result)
                      : getpwnam_r(user.c_str(), found, at, size, result);
      },
      &memory, &entry);
  if (!looked_up.ok()) return looked_up;
  if (!entry.has_value() && !number.has_value()) {
    return absl::NotFoundError(absl::StrCat("there is no user '", user,
                                            "'; see: getent passwd, or give a number and a group"));
  }
  *has_group = entry.has_value();
  target->uid = entry ? entry->pw_uid : *number;
  if (entry.has_value()) {
    target->gid = entry->pw_gid;
    target->name = entry->pw_name;
  }
  return absl::OkStatus();
}

absl::Status FindGroup(const std::string& group, gid_t* gid) {
  if (const auto number = Number(group)) {
    *gid = *number;
    return absl::OkStatus();
  }
  std::vector<char> memory;
  std::optional<struct group> entry;
  const absl::Status looked_up = LookUp<struct group>(
      absl::StrCat("the group '", group, "'"),
      [&](struct group* found, char* at, size_t size, struct group** result) {
        return getgrnam_r(group.c_str(), found, at, size, result);
      },
      &memory, &entry);
  if (!looked_up.ok()) return looked_up;
  if (!entry.has_value()) {
    return absl::NotFoundError(
        absl::StrCat("there is no group '", group, "'; see: getent group, or give a number"));
  }
  *gid = entry->gr_gid;
  return absl::OkStatus();
}

absl::StatusOr<Target> Parse(const std::string& text) {
  const size_t colon = text.find(':');
  const std::string user = text.substr(0, colon);
  const bool has_colon = colon != std::string::npos;
  const std::string group = has_colon ? text.substr(colon + 1) : "";
  if (user.empty() || (has_colon && group.empty()) || group.find(':') != std::string::npos ||
      text.find('\0') != std::string::npos) {
    return absl::InvalidArgumentError(
        absl::StrCat("'", text, "' is not a user; write USER or USER:GROUP, such as nobody"));
  }
  Target target;
  bool has_group = false;
  const absl::Status found = FindUser(user, &target, &has_group);
  if (!found.ok()) return found;
  if (has_colon) {
    const absl::Status group_found = FindGroup(group, &target.gid);
    if (!group_found.ok()) return group_found;
    target.group_given = true;
  } else if (!has_group) {
    return absl::InvalidArgumentError(absl::StrCat("the user ", user, " has no entry that names ",
                                                   "its group; write ", user, ":GROUP"));
  }
  if (target.uid == 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("'", text, "' is root, which would give up nothing; name another user"));
  }
  return target;
}

absl::Status ChangeError(const char* call, int error) {
  const std::string what =
      absl::StrCat("privileges can't be dropped: ", call, ": ", io::ErrnoName(error));
  switch (error) {
    case EPERM:
      return absl::PermissionDeniedError(
          absl::StrCat(what, "; run as root (with CAP_SETUID and CAP_SETGID), or drop the flag"));
    case EINVAL:
      return absl::InvalidArgumentError(
          absl::StrCat(what, "; this user namespace has no such user or group"));
    case EAGAIN:
    case ENOMEM:
      return absl::ResourceExhaustedError(what);
    default:
      return absl::InternalError(what);
  }
}

struct Capabilities {
  __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
  __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {};

  bool none() const {
    for (const auto& d : data) {
      if (d.effective != 0 || d.permitted != 0 || d.inheritable != 0) return false;
    }
    return true;
  }
};

absl::Status Change(const Target& target) {
  // The groups first: without root they can't be changed any more.
  const bool by_name = !target.name.empty() && !target.group_given;
  if ((by_name ? initgroups(target.name.c_str(), target.gid) : setgroups(1, &target.gid)) != 0) {
    return ChangeError("setting the groups", errno);
  }
  if (setresgid(target.gid, target.gid, target.gid) != 0) return ChangeError("setresgid", errno);
  if (setresuid(target.uid, target.uid, target.uid) != 0) return ChangeError("setresuid", errno);
  // The kernel has cleared the capabilities with the last of the root ids, unless securebits or
  // PR_SET_KEEPCAPS tell it not to. Emptying the permitted and inheritable sets empties the ambient
  // one.
  Capabilities capabilities;
  if (syscall(SYS_capset, &capabilities.header, capabilities.data) != 0) {
    return ChangeError("capset", errno);
  }
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return ChangeError("no_new_privs", errno);
  if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0) return ChangeError("PR_SET_DUMPABLE", errno);
  return absl::OkStatus();
}

absl::Status StillPrivileged(const char* what) {
  return absl::InternalError(absl::StrCat("dropping privileges left ", what, "; not going on"));
}

absl::Status Verify(const Target& target) {
  uid_t real = 0, effective = 0, saved = 0;
  gid_t real_group = 0, effective_group = 0, saved_group = 0;
  if (getresuid(&real, &effective, &saved) != 0 || real != target.uid || effective != target.uid ||
      saved != target.uid) {
    return StillPrivileged("another user");
  }
  if (getresgid(&real_group, &effective_group, &saved_group) != 0 || real_group != target.gid ||
      effective_group != target.gid || saved_group != target.gid) {
    return StillPrivileged("another group");
  }
  if (setuid(0) == 0) return StillPrivileged("a way back to root");
  if (target.gid != 0 && setgid(0) == 0) return StillPrivileged("a way back to root's group");
  Capabilities capabilities;
  if (syscall(SYS_capget, &capabilities.header, capabilities.data) != 0 || !capabilities.none()) {
    return StillPrivileged("capabilities");
  }
  for (int cap = 0; prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; ++cap) {
    if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, cap, 0, 0) == 1) {
      return StillPrivileged("an ambient capability");
    }
  }
  if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1) return StillPrivileged("new privileges");
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckUser(const std::string& user_and_group) { return Parse(user_and_group).status(); }

absl::Status DropTo(const std::string& user_and_group) {
  const auto target = Parse(user_and_group);
  if (!target.ok()) return target.status();
  if (geteuid() != 0) return ChangeError("this process is not root", EPERM);
  const absl::Status changed = Change(*target);
  return changed.ok() ? Verify(*target) : changed;
}

}  // namespace server
