#pragma once

#include <cstdint>
#include <string_view>

#include "stats/proc_file.h"

namespace stress {

// The field "NAME:  N kB" of a file of /proc (meminfo, smaps_rollup), in bytes; -1: there is none.
inline int64_t FieldBytes(std::string_view text, std::string_view name) {
  for (const std::string_view line : stats::Lines(text)) {
    const auto words = stats::Words(line);
    if (words.size() < 2 || words[0] != name) continue;
    const auto kibibytes = stats::ParseNumber<int64_t>(words[1]);
    return kibibytes ? *kibibytes * 1024 : -1;
  }
  return -1;
}

}  // namespace stress
