#pragma once

#include <cstdint>
#include <string>

#include "report/reader.h"

// The rows that the texts of report/text.h are made of.
namespace report {

// A label and what there is to say, as a line.
std::string Row(const char* name, const std::string& text);

// "1 request", "2 requests".
std::string Counted(uint64_t count, const char* one);

// Errors by errno: "2 × ECONNRESET, 1 × EPIPE".
std::string ErrnoList(Reader by_errno);

// A duration of so many nanoseconds, or seconds; "unknown" where it is none.
std::string TimeText(Reader ns);
std::string SecondsText(Reader s);

}  // namespace report
