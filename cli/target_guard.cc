#include "cli/target_guard.h"

#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <iostream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "io/errors.h"
#include "io/resolve.h"

namespace cli {
namespace {

using AddressBytes = std::vector<uint8_t>;

// A network: its first bytes, and how many bits of them count.
struct Network {
  AddressBytes prefix;
  size_t bits;

  bool Holds(const AddressBytes& address) const {
    const size_t whole = bits / 8, rest = bits % 8;
    if (!std::equal(prefix.begin(), prefix.begin() + whole, address.begin())) return false;
    return rest == 0 || ((prefix[whole] ^ address[whole]) >> (8 - rest)) == 0;
  }
};

bool AnyHolds(const std::vector<Network>& networks, const AddressBytes& address) {
  return std::any_of(networks.begin(), networks.end(),
                     [&](const Network& network) { return network.Holds(address); });
}

TargetKind KindOfIpv4(const AddressBytes& address) {
  static const std::vector<Network> kNear = {
      {{0, 0, 0, 0}, 32}, {{127}, 8},      {{10}, 8},        {{172, 16}, 12},
      {{192, 168}, 16},   {{100, 64}, 10}, {{169, 254}, 16}, {{198, 18}, 15},
  };
  if (address == AddressBytes(4, 255)) return TargetKind::kBroadcast;
  if (Network{{224}, 4}.Holds(address)) return TargetKind::kMulticast;
  return AnyHolds(kNear, address) ? TargetKind::kNear : TargetKind::kPublic;
}

TargetKind KindOfIpv6(const AddressBytes& address) {
  static const AddressBytes kUnspecified(16, 0);
  static const AddressBytes kLoopback = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};
  static const Network kMapped = {{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF}, 96};
  static const std::vector<Network> kNear = {
      {kUnspecified, 128},
      {kLoopback, 128},
      {{0xFE, 0x80}, 10},
      {{0xFC}, 7},
      {{0x20, 0x01, 0, 2, 0, 0}, 48},
  };
  if (kMapped.Holds(address)) return KindOfIpv4({address.begin() + 12, address.end()});
  if (address[0] == 0xFF) return TargetKind::kMulticast;
  return AnyHolds(kNear, address) ? TargetKind::kNear : TargetKind::kPublic;
}

// The bytes of an IP address, an IPv4-mapped one as IPv4; empty for another family.
AddressBytes BytesOf(const sockaddr* address) {
  if (address == nullptr) return {};
  if (address->sa_family == AF_INET) {
    const auto* in = reinterpret_cast<const sockaddr_in*>(address);
    const auto* first = reinterpret_cast<const uint8_t*>(&in->sin_addr);
    return {first, first + 4};
  }
  if (address->sa_family != AF_INET6) return {};
  const auto* in6 = reinterpret_cast<const sockaddr_in6*>(address);
  const uint8_t* first = in6->sin6_addr.s6_addr;
  const size_t skip = IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr) ? 12 : 0;
  return {first + skip, first + 16};
}

bool IsAmong(const std::vector<AddressBytes>& all, const AddressBytes& one) {
  return std::find(all.begin(), all.end(), one) != all.end();
}

absl::Status Refused(const io::Endpoint& at, const char* kind) {
  return absl::InvalidArgumentError(
      absl::StrCat(at.ToString(), " is a ", kind,
                   " address: every machine that listens would be the target; name one machine"));
}

}  // namespace

TargetKind KindOfTarget(const std::vector<uint8_t>& address) {
  return address.size() == 4 ? KindOfIpv4(address) : KindOfIpv6(address);
}

MachineAddresses ReadMachineAddresses() {
  MachineAddresses machine;
  ifaddrs* list = nullptr;
  // Its errors are those of a netlink socket (getifaddrs(3)): none has a remedy of its own here.
  if (getifaddrs(&list) != 0) {
    machine.error = std::strerror(errno);
    return machine;
  }
  for (const ifaddrs* entry = list; entry != nullptr; entry = entry->ifa_next) {
    const AddressBytes own = BytesOf(entry->ifa_addr);
    if (own.empty()) continue;
    machine.own.push_back(own);
    // Of a point-to-point interface the same field is the peer's address.
    if ((entry->ifa_flags & IFF_BROADCAST) == 0) continue;
    const AddressBytes broadcast = BytesOf(entry->ifa_broadaddr);
    // A /32 has its own address there; Linux leaves others without one at 0.0.0.0.
    if (!broadcast.empty() && broadcast != own && broadcast != AddressBytes(4, 0)) {
      machine.broadcast.push_back(broadcast);
    }
  }
  freeifaddrs(list);
  return machine;
}

absl::Status CheckTargetFrom(const MachineAddresses& machine, const io::Endpoint& at, bool owned) {
  const AddressBytes address = BytesOf(at.address());
  if (address.empty()) return absl::OkStatus();  // a Unix socket
  const TargetKind kind = KindOfTarget(address);
  if (kind == TargetKind::kMulticast) return Refused(at, "multicast");
  if (kind == TargetKind::kBroadcast || IsAmong(machine.broadcast, address)) {
    return Refused(at, "broadcast");
  }
  if (kind == TargetKind::kNear || owned || IsAmong(machine.own, address)) return absl::OkStatus();
  const std::string unknown =
      machine.error.empty()
          ? ""
          : absl::StrCat(", as far as can be told (this machine's addresses: ", machine.error, ")");
  return absl::InvalidArgumentError(absl::StrCat(
      at.ToString(), " is a public address of another machine", unknown,
      ", for which a load or a scan is an attack unless its owner agreed; if it is yours, add "
      "--i-own-this-target"));
}

bool IsThisMachine(const io::Endpoint& at) {
  if (at.is_loopback() || at.is_wildcard()) return true;
  return IsAmong(ReadMachineAddresses().own, BytesOf(at.address()));
}

absl::Status CheckTarget(const io::Endpoint& at, bool owned) {
  return CheckTargetFrom(ReadMachineAddresses(), at, owned);
}

absl::StatusOr<io::Endpoint> ChooseTarget(const std::string& command, const std::string& text,
                                          bool owned) {
  const auto addresses = io::ResolveAll(text);
  if (!addresses.ok()) return addresses.status();
  for (const io::Endpoint& at : *addresses) {
    const absl::Status allowed = CheckTarget(at, owned);
    if (!allowed.ok()) return allowed;
  }
  const io::Answer answer = io::FirstThatAnswers(*addresses);
  const io::Endpoint& chosen = (*addresses)[answer.index];
  if (answer.index == 0 && answer.any()) return chosen;
  std::vector<std::string> said;
  for (size_t i = 0; i < answer.errors.size(); ++i) {
    if (answer.errors[i] == 0) continue;
    said.push_back(absl::StrCat((*addresses)[i].ToString(), ": ", io::ErrnoName(answer.errors[i])));
  }
  std::cerr << "ringside " << command << ": "
            << (answer.any() ? absl::StrCat("using ", chosen.ToString(), ", since ")
                             : absl::StrCat("no address of '", text, "' answers: "))
            << absl::StrJoin(said, "; ") << "\n";
  return chosen;
}

}  // namespace cli
