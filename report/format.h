#pragma once

#include <cstdint>
#include <string>

// Numbers as people read them; cli/values.h reads them back.
namespace report {

// To three significant digits, 1024-based: "64 B", "16 KiB", "1.5 MiB".
std::string FormatBytes(uint64_t bytes);

// To three significant digits below a minute, to the second above: "640 ns", "48 µs", "1m30s".
std::string FormatDuration(int64_t ns);

// Exact, grouped in threes: "100,000".
std::string FormatCount(uint64_t count);

// To three significant digits: "850/s", "100k/s", "2.5M/s".
std::string FormatRate(double per_second);

}  // namespace report
