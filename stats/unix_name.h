#pragma once

#include <span>
#include <string>

namespace stats {

// The name of a Unix socket, the bytes of its sun_path, as SocketInfo::local promises it:
// printable,
// "@" for each NUL of an abstract one. Anyone may bind a socket to a name that a terminal would
// obey. Source: unix(7).
std::string UnixName(std::span<const char> name);

}  // namespace stats
