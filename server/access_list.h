#pragma once

#include <sys/socket.h>

#include <cstdint>
#include <string>
#include <vector>

#include "absl/numeric/int128.h"
#include "absl/status/statusor.h"

namespace server {

// Addresses from `first` to `last`, both included, in host byte order. An IPv4 address is a number
// below 2^32.
struct AddressRange {
  absl::uint128 first, last;

  friend bool operator==(const AddressRange& a, const AddressRange& b) {
    return a.first == b.first && a.last == b.last;
  }
};

// A block of addresses as a person writes it: "10.0.0.0/8", "127.0.0.1", "2001:db8::/32", "::1".
struct Cidr {
  int family = AF_INET;  // or AF_INET6
  AddressRange range;
};

// Reads a comma-separated list of blocks. Blanks around an item are ignored. A bit beyond the
// prefix that is set, a prefix that is too long, an empty item, a name, or an IPv4-mapped IPv6
// block (IPv4 is written as IPv4) is an error: one sentence that says what to write
// (InvalidArgument).
absl::StatusOr<std::vector<Cidr>> ParseCidrs(const std::string& text);

// Who may talk to a server, by source address. What is denied does not pass; where anything is
// allowed by name, only that passes; otherwise all else does. `--allow 10.0.0.0/8` therefore shuts
// IPv6 out, and `--deny 10.0.0.0/8` leaves it alone.
//
// An IPv4-mapped IPv6 address (::ffff:a.b.c.d, as a dual-stack socket names its IPv4 peers, RFC
// 4291 2.5.5.2) is judged as IPv4, so that neither ::/0 nor any other IPv6 block covers it.
//
// Immutable once built: any number of threads may ask at once.
class AccessList {
 public:
  // Lets everybody pass.
  AccessList();
  // `allow` empty: nothing is allowed by name, all pass that `deny` doesn't hold.
  AccessList(const std::vector<Cidr>& allow, const std::vector<Cidr>& deny);

  // From the values of --allow and --deny, each a list as ParseCidrs() reads it. Errors begin with
  // the flag's name.
  static absl::StatusOr<AccessList> Parse(const std::vector<std::string>& allow,
                                          const std::vector<std::string>& deny);

  // Whether a peer at `source` passes. AF_UNIX always does: its peers have no address (see
  // unix_access.h). A family that is neither passes only where everybody does. `source` must be as
  // long as its family's structure (AF_UNIX: sa_family alone). Allocates nothing; the time grows
  // with the logarithm of the list's length.
  bool Allows(const sockaddr* source) const noexcept;

  // Nothing is denied to anybody.
  bool allows_everybody() const { return allows_everybody_; }

  // All that passes: sorted, disjoint, and not adjacent.
  std::vector<AddressRange> v4() const;
  const std::vector<AddressRange>& v6() const { return v6_; }

 private:
  struct V4Range {
    uint32_t first, last;
  };

  bool AllowsV4(uint32_t address) const noexcept;
  bool AllowsV6(absl::uint128 address) const noexcept;

  std::vector<V4Range> v4_;  // 8 bytes each: eight to a cache line
  std::vector<AddressRange> v6_;
  bool allows_everybody_ = true;
};

// The highest address of a family (AF_INET or AF_INET6).
absl::uint128 MaxAddress(int family);

// What lies between `ranges` (sorted and disjoint), in the same order: the family's other
// addresses.
std::vector<AddressRange> Complement(const std::vector<AddressRange>& ranges, int family);

}  // namespace server
