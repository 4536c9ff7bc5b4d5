#pragma once

#include <string>

#include "absl/status/status.h"

namespace server {

// Gives up root for good: from now on this process is the user "USER" or "USER:GROUP", by names or
// numbers; without a group the user's own. Supplementary groups become those of the user in
// /etc/group (initgroups(3)), or only the group where a group is given or the number has no name.
// All capabilities go (capabilities(7)), in all sets but the bounding one, which no_new_privs makes
// useless: PR_SET_NO_NEW_PRIVS is set, so no program that is executed can gain anything either. The
// process becomes non-dumpable (PR_SET_DUMPABLE): memory that root filled is not for core files or
// ptrace(2) of that user; its files in /proc/self belong to root.
//
// It is verified afterwards that root can't be had again and that no capability is left; an error
// of that kind (Internal) means that the process is in neither state and must end. Other errors:
// InvalidArgument (malformed; root itself), NotFound (no such user or group), PermissionDenied (not
// root: EPERM; run as root or drop the flag), ResourceExhausted.
//
// Thread: call it before others exist. setresuid(2) and its kin apply to all threads through the C
// library only, and capset(2) and prctl(2) to the calling one. Open privileged ports and files
// before it.
absl::Status DropTo(const std::string& user_and_group);

// Whether DropTo() would know whom it is told to become; changes nothing. Errors: its
// InvalidArgument and NotFound.
absl::Status CheckUser(const std::string& user_and_group);

}  // namespace server
