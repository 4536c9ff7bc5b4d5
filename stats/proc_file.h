#pragma once

#include <charconv>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

// The files of /proc, which are text.
namespace stats {

// The whole of such a file, whose size isn't known before. Errors: NotFound (no such file, or the
// process it is of has ended), PermissionDenied, ResourceExhausted (descriptors, memory); Internal
// for what the kernel is not known to answer.
absl::StatusOr<std::string> ReadProcFile(const std::string& path);

// The lines of a text that aren't empty; the words of a line. They point into what they are of.
std::vector<std::string_view> Lines(std::string_view text);
std::vector<std::string_view> Words(std::string_view line);

// All of `word` as a number; nothing where it isn't one or is too large.
template <class T>
std::optional<T> ParseNumber(std::string_view word, int base = 10) {
  T number;
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), number, base);
  if (error != std::errc() || end != word.data() + word.size()) return std::nullopt;
  return number;
}

}  // namespace stats
