#pragma once

#include <string>
#include <vector>

// The short text files of /proc, /sys and /etc, of which a part that is missing is no error.
namespace stats {

// A file's first line with runs of blanks made one; empty if there is none.
std::string FirstLine(const std::string& path);

// The names in a folder, sorted; none if it can't be read.
std::vector<std::string> NamesIn(const std::string& folder);

// The value of the first "key : value" (/proc/cpuinfo, /proc/meminfo) key=value (os-release)
// or "key value" (memory.stat); empty if there is none.
std::string FieldOf(const std::string& path, const std::string& key, char separator);

// The file of a sysctl: "net.core.somaxconn" is at `root`/proc/sys/net/core/somaxconn.
std::string SysctlPath(const std::string& root, std::string name);

}  // namespace stats
