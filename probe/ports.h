#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace probe {

// Ports as a person types them: numbers, ranges and names of TCP services, separated by commas:
// "22", "1-1024,9999", "ssh,http". Names are those of /etc/services (getaddrinfo(3)); a range is of
// numbers. Sorted, each once, none 0. InvalidArgument: one sentence, "<what is wrong>; <what would
// be right>", without a flag's name.
absl::StatusOr<std::vector<uint16_t>> ParsePorts(const std::string& text);

// All from `first` to `last`, both included.
std::vector<uint16_t> PortRange(uint16_t first, uint16_t last);

// What /etc/services calls a TCP port (getservbyport_r(3)); "" where it has no name. Reads the file
// each time: for ports that were found, not for all that there are.
std::string ServiceName(uint16_t port);

}  // namespace probe
