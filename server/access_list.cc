#include "server/access_list.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <algorithm>
#include <cstring>
#include <iterator>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"

namespace server {
namespace {

constexpr char kWant[] =
    "write addresses or blocks, such as 10.0.0.0/8, 127.0.0.1 or 2001:db8::/32";

// ::ffff:0:0/96, where IPv6 names IPv4 addresses.
constexpr int kMappedBits = 96;
constexpr uint64_t kMappedPrefix = 0xffff;  // the upper 96 bits

absl::Status Wrong(absl::string_view item, absl::string_view why, absl::string_view want = kWant) {
  return absl::InvalidArgumentError(absl::StrCat("'", item, "' ", why, "; ", want));
}

int BitsOf(int family) { return family == AF_INET ? 32 : 128; }

absl::uint128 FromBytes(const uint8_t* bytes, size_t size) {
  absl::uint128 address = 0;
  for (size_t i = 0; i < size; ++i) address = address << 8 | bytes[i];
  return address;
}

bool IsMapped(absl::uint128 address) { return address >> 32 == kMappedPrefix; }

std::string AddressText(int family, absl::uint128 address) {
  uint8_t bytes[16];
  const int size = BitsOf(family) / 8;
  for (int i = size; i-- > 0; address >>= 8) bytes[i] = static_cast<uint8_t>(address);
  char text[INET6_ADDRSTRLEN] = "?";
  inet_ntop(family, bytes, text, sizeof(text));
  return text;
}

// The addresses that share the first `prefix` bits of `address`.
AddressRange Block(int family, absl::uint128 address, int prefix) {
  const int host_bits = BitsOf(family) - prefix;
  const absl::uint128 host =
      host_bits == 128 ? absl::Uint128Max() : (absl::uint128(1) << host_bits) - 1;
  return {address & ~host, address | host};
}

std::string BlockText(int family, absl::uint128 address, int prefix) {
  const std::string first = AddressText(family, Block(family, address, prefix).first);
  return prefix == BitsOf(family) ? first : absl::StrCat(first, "/", prefix);
}

// Why `text`, the part before the slash, is no address.
absl::Status NotAnAddress(absl::string_view item, const std::string& text) {
  if (text.empty()) return Wrong(item, "has no address before the '/'");
  if (text.front() == '[') return Wrong(item, "has brackets", "write the address without them");
  if (text.find('%') != std::string::npos) {
    return Wrong(item, "names an interface", "write the address without '%' and what follows");
  }
  return Wrong(item, "is not an IP address (names are not looked up)");
}

absl::StatusOr<Cidr> ParseCidr(absl::string_view item) {
  const size_t slash = item.find('/');
  const std::string text(item.substr(0, slash));
  uint8_t bytes[16];
  Cidr cidr;
  // A string with a NUL inside must not be taken for what precedes it.
  if (text.find('\0') != std::string::npos) return NotAnAddress(item, text);
  if (inet_pton(AF_INET, text.c_str(), bytes) != 1) {
    cidr.family = AF_INET6;
    if (inet_pton(AF_INET6, text.c_str(), bytes) != 1) return NotAnAddress(item, text);
  }
  const int bits = BitsOf(cidr.family);
  const absl::uint128 address = FromBytes(bytes, bits / 8);

  int prefix = bits;
  if (slash != absl::string_view::npos) {
    const absl::string_view digits = item.substr(slash + 1);
    const bool number = !digits.empty() && digits.size() <= 3 &&
                        std::all_of(digits.begin(), digits.end(), absl::ascii_isdigit);
    if (!number || !absl::SimpleAtoi(digits, &prefix) || prefix > bits) {
      return Wrong(item, "has no valid prefix after the '/'",
                   absl::StrCat("write the number of bits, from 0 to ", bits,
                                cidr.family == AF_INET ? " for IPv4" : " for IPv6"));
    }
  }
  if (cidr.family == AF_INET6 && prefix >= kMappedBits && IsMapped(address)) {
    const auto v4 = static_cast<uint32_t>(address);
    return Wrong(item, "is IPv4 in the clothes of IPv6",
                 absl::StrCat("write ", BlockText(AF_INET, v4, prefix - kMappedBits)));
  }
  cidr.range = Block(cidr.family, address, prefix);
  if (cidr.range.first != address) {
    return Wrong(item, "has bits set beyond its prefix",
                 absl::StrCat("write ", BlockText(cidr.family, address, prefix), ", or ",
                              AddressText(cidr.family, address), " for the one address"));
  }
  return cidr;
}

// Sorted, with what overlaps or touches joined.
std::vector<AddressRange> Merged(std::vector<AddressRange> ranges) {
  std::sort(ranges.begin(), ranges.end(),
            [](const AddressRange& a, const AddressRange& b) { return a.first < b.first; });
  std::vector<AddressRange> merged;
  for (const AddressRange& range : ranges) {
    // first > last implies first - 1 >= 0: no overflow at either end of the address space.
    if (!merged.empty() &&
        (range.first <= merged.back().last || range.first - 1 == merged.back().last)) {
      merged.back().last = std::max(merged.back().last, range.last);
    } else {
      merged.push_back(range);
    }
  }
  return merged;
}

std::vector<AddressRange> OfFamily(const std::vector<Cidr>& cidrs, int family) {
  std::vector<AddressRange> ranges;
  for (const Cidr& cidr : cidrs) {
    if (cidr.family == family) ranges.push_back(cidr.range);
  }
  return ranges;
}

// What passes of a family.
std::vector<AddressRange> Passing(const std::vector<Cidr>& allow, const std::vector<Cidr>& deny,
                                  int family) {
  std::vector<AddressRange> denied = OfFamily(deny, family);
  if (!allow.empty()) {
    const auto others = Complement(Merged(OfFamily(allow, family)), family);
    denied.insert(denied.end(), others.begin(), others.end());
  }
  return Complement(Merged(std::move(denied)), family);
}

// Whether one of `ranges` (sorted and disjoint) holds `address`.
template <class Range, class Address>
bool Holds(const std::vector<Range>& ranges, Address address) {
  const auto next = std::upper_bound(ranges.begin(), ranges.end(), address,
                                     [](Address a, const Range& range) { return a < range.first; });
  return next != ranges.begin() && address <= std::prev(next)->last;
}

absl::Status ParseInto(const char* flag, const std::vector<std::string>& values,
                       std::vector<Cidr>* cidrs) {
  for (const std::string& value : values) {
    const auto parsed = ParseCidrs(value);
    if (!parsed.ok()) {
      return absl::InvalidArgumentError(absl::StrCat(flag, ": ", parsed.status().message()));
    }
    cidrs->insert(cidrs->end(), parsed->begin(), parsed->end());
  }
  return absl::OkStatus();
}

}  // namespace

absl::uint128 MaxAddress(int family) { return Block(family, 0, 0).last; }

std::vector<AddressRange> Complement(const std::vector<AddressRange>& ranges, int family) {
  std::vector<AddressRange> rest;
  const absl::uint128 max = MaxAddress(family);
  absl::uint128 next = 0;
  for (const AddressRange& range : ranges) {
    if (range.first > next) rest.push_back({next, range.first - 1});
    if (range.last == max) return rest;
    next = range.last + 1;
  }
  rest.push_back({next, max});
  return rest;
}

absl::StatusOr<std::vector<Cidr>> ParseCidrs(const std::string& text) {
  std::vector<Cidr> cidrs;
  for (absl::string_view item : absl::StrSplit(text, ',')) {
    item = absl::StripAsciiWhitespace(item);
    if (item.empty()) return Wrong(text, "has an empty item");
    auto cidr = ParseCidr(item);
    if (!cidr.ok()) return cidr.status();
    cidrs.push_back(*cidr);
  }
  return cidrs;
}

AccessList::AccessList() : AccessList({}, {}) {}

AccessList::AccessList(const std::vector<Cidr>& allow, const std::vector<Cidr>& deny)
    : v6_(Passing(allow, deny, AF_INET6)), allows_everybody_(false) {
  for (const AddressRange& range : Passing(allow, deny, AF_INET)) {
    v4_.push_back({static_cast<uint32_t>(range.first), static_cast<uint32_t>(range.last)});
  }
  allows_everybody_ = Complement(v4(), AF_INET).empty() && Complement(v6_, AF_INET6).empty();
}

absl::StatusOr<AccessList> AccessList::Parse(const std::vector<std::string>& allow,
                                             const std::vector<std::string>& deny) {
  std::vector<Cidr> allowed, denied;
  if (auto status = ParseInto("--allow", allow, &allowed); !status.ok()) return status;
  if (auto status = ParseInto("--deny", deny, &denied); !status.ok()) return status;
  return AccessList(allowed, denied);
}

std::vector<AddressRange> AccessList::v4() const {
  std::vector<AddressRange> ranges;
  for (const V4Range& range : v4_) ranges.push_back({range.first, range.last});
  return ranges;
}

bool AccessList::AllowsV4(uint32_t address) const noexcept { return Holds(v4_, address); }

bool AccessList::AllowsV6(absl::uint128 address) const noexcept {
  if (IsMapped(address)) return AllowsV4(static_cast<uint32_t>(address));
  return Holds(v6_, address);
}

bool AccessList::Allows(const sockaddr* source) const noexcept {
  if (allows_everybody_ || source->sa_family == AF_UNIX) return true;
  if (source->sa_family == AF_INET) {
    sockaddr_in in;
    std::memcpy(&in, source, sizeof(in));
    return AllowsV4(ntohl(in.sin_addr.s_addr));
  }
  if (source->sa_family == AF_INET6) {
    sockaddr_in6 in6;
    std::memcpy(&in6, source, sizeof(in6));
    return AllowsV6(FromBytes(in6.sin6_addr.s6_addr, sizeof(in6.sin6_addr.s6_addr)));
  }
  return false;
}

}  // namespace server
