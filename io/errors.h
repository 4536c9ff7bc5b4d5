#pragma once

#include <string>

namespace io {

// "ECONNRESET (Connection reset by peer)", for messages; strerrorname_np(3) and strerror(3).
std::string ErrnoName(int error);

// "ECONNRESET", for counters and JSON; "E123" where the C library knows no name.
std::string ErrnoSymbol(int error);

}  // namespace io
