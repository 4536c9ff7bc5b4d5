#include "probe/ports.h"

#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cerrno>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace probe {
namespace {

constexpr uint32_t kPortMax = 65535;
constexpr const char* kHow =
    "; write numbers, ranges and services, separated by commas: 22,80-90,https";

absl::Status Wrong(const std::string& item, const std::string& why) {
  return absl::InvalidArgumentError(absl::StrCat("'", item, "' ", why, kHow));
}

bool IsNumber(const std::string& text) {
  return !text.empty() && text.find_first_not_of("0123456789") == std::string::npos;
}

absl::StatusOr<uint16_t> ParsePort(const std::string& text, const std::string& item) {
  uint32_t port = 0;
  if (!absl::SimpleAtoi(text, &port) || port > kPortMax || port == 0) {
    return Wrong(item, absl::StrCat(text == item ? std::string()
                                                 : absl::StrCat("has port ", text, ", which "),
                                    "is no port: they go from 1 to 65535"));
  }
  return static_cast<uint16_t>(port);
}

absl::StatusOr<uint16_t> PortOfService(const std::string& name) {
  // getaddrinfo(3) takes " 22" and "+22" for numbers.
  if (!absl::ascii_isalnum(static_cast<unsigned char>(name.front()))) {
    return Wrong(name, "is no TCP service of /etc/services");
  }
  const addrinfo hints = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM};
  addrinfo* found = nullptr;
  const int error = getaddrinfo(nullptr, name.c_str(), &hints, &found);
  if (error != 0) return Wrong(name, "is no TCP service of /etc/services");
  const uint16_t port = ntohs(reinterpret_cast<const sockaddr_in*>(found->ai_addr)->sin_port);
  freeaddrinfo(found);
  if (port == 0) return Wrong(name, "is no port: they go from 1 to 65535");
  return port;
}

// A part between two commas, into `asked`.
absl::Status ParseItem(const std::string& item, std::vector<bool>* asked) {
  if (item.empty()) return Wrong(item, "is no port");
  if (item.find_first_not_of("0123456789-") != std::string::npos) {
    const auto port = PortOfService(item);
    if (!port.ok()) return port.status();
    (*asked)[*port] = true;
    return absl::OkStatus();
  }
  const size_t dash = item.find('-');
  const std::string low = item.substr(0, dash);
  const std::string high = dash == std::string::npos ? low : item.substr(dash + 1);
  if (!IsNumber(low) || !IsNumber(high)) return Wrong(item, "is no range, which has two ends");
  const auto first = ParsePort(low, item), last = ParsePort(high, item);
  if (!first.ok()) return first.status();
  if (!last.ok()) return last.status();
  if (*first > *last) {
    return absl::InvalidArgumentError(
        absl::StrCat("'", item, "' runs backwards; write ", high, "-", low));
  }
  for (uint32_t port = *first; port <= *last; ++port) (*asked)[port] = true;
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::vector<uint16_t>> ParsePorts(const std::string& text) {
  std::vector<bool> asked(kPortMax + 1);
  for (const std::string& item : std::vector<std::string>(absl::StrSplit(text, ','))) {
    if (const absl::Status parsed = ParseItem(item, &asked); !parsed.ok()) return parsed;
  }
  std::vector<uint16_t> ports;
  for (uint32_t port = 1; port <= kPortMax; ++port) {
    if (asked[port]) ports.push_back(static_cast<uint16_t>(port));
  }
  return ports;
}

std::vector<uint16_t> PortRange(uint16_t first, uint16_t last) {
  std::vector<uint16_t> ports;
  for (uint32_t port = first; port <= last; ++port) ports.push_back(static_cast<uint16_t>(port));
  return ports;
}

std::string ServiceName(uint16_t port) {
  servent entry = {}, *found = nullptr;
  std::string buffer(1024, '\0');
  while (true) {
    const int error =
        getservbyport_r(htons(port), "tcp", &entry, buffer.data(), buffer.size(), &found);
    if (error != ERANGE) return error == 0 && found != nullptr ? found->s_name : "";
    buffer.resize(buffer.size() * 2);  // an entry with many aliases
  }
}

}  // namespace probe
