#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cstdint>
#include <cstring>
#include <iterator>
#include <random>
#include <string>
#include <vector>

// Random access lists and addresses that meet: blocks and addresses share a few beginnings, and
// many addresses lie at the edge of a block or one beside it.
namespace access_lists {

struct Address {
  int family = AF_INET;
  uint8_t bytes[16] = {};
};

struct Block {
  Address address;  // no bit set beyond the prefix
  int prefix = 0;
};

inline int BitsOf(int family) { return family == AF_INET ? 32 : 128; }

inline bool Bit(const Address& address, int i) {
  return (address.bytes[i / 8] >> (7 - i % 8) & 1) != 0;
}

inline void SetBit(Address& address, int i, bool on) {
  const auto mask = static_cast<uint8_t>(1u << (7 - i % 8));
  address.bytes[i / 8] =
      static_cast<uint8_t>(on ? address.bytes[i / 8] | mask : address.bytes[i / 8] & ~mask);
}

// The slow and obvious way: bit by bit.
inline bool Holds(const Block& block, const Address& address) {
  if (block.address.family != address.family) return false;
  for (int i = 0; i < block.prefix; ++i) {
    if (Bit(block.address, i) != Bit(address, i)) return false;
  }
  return true;
}

inline bool HeldByAny(const std::vector<Block>& blocks, const Address& address) {
  for (const Block& block : blocks) {
    if (Holds(block, address)) return true;
  }
  return false;
}

// ::ffff:a.b.c.d is a.b.c.d.
inline Address Unmapped(const Address& address) {
  const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
  if (address.family != AF_INET6 || std::memcmp(address.bytes, mapped, 12) != 0) return address;
  Address v4;
  std::memcpy(v4.bytes, address.bytes + 12, 4);
  return v4;
}

inline Address Mapped(const Address& v4) {
  Address mapped = {AF_INET6, {}};
  mapped.bytes[10] = mapped.bytes[11] = 0xff;
  std::memcpy(mapped.bytes + 12, v4.bytes, 4);
  return mapped;
}

inline bool NaiveAllows(const std::vector<Block>& allow, const std::vector<Block>& deny,
                        const Address& source) {
  const Address address = Unmapped(source);
  if (HeldByAny(deny, address)) return false;
  return allow.empty() || HeldByAny(allow, address);
}

inline std::string ToText(const Address& address) {
  char text[INET6_ADDRSTRLEN];
  return inet_ntop(address.family, address.bytes, text, sizeof(text));
}

inline std::string ToText(const std::vector<Block>& blocks) {
  std::string text;
  for (const Block& block : blocks) {
    if (!text.empty()) text += ',';
    text += ToText(block.address);
    text += '/';
    text += std::to_string(block.prefix);
  }
  return text;
}

// The values of a flag: none, or one list.
inline std::vector<std::string> Values(const std::vector<Block>& blocks) {
  if (blocks.empty()) return {};
  return {ToText(blocks)};
}

inline sockaddr_storage ToSockaddr(const Address& address) {
  sockaddr_storage storage = {};
  if (address.family == AF_INET) {
    sockaddr_in in = {.sin_family = AF_INET};
    std::memcpy(&in.sin_addr, address.bytes, 4);
    std::memcpy(&storage, &in, sizeof(in));
  } else {
    sockaddr_in6 in6 = {.sin6_family = AF_INET6};
    std::memcpy(&in6.sin6_addr, address.bytes, 16);
    std::memcpy(&storage, &in6, sizeof(in6));
  }
  return storage;
}

class Random {
 public:
  explicit Random(uint64_t seed) : engine_(seed) {}

  uint64_t Below(uint64_t n) { return std::uniform_int_distribution<uint64_t>(0, n - 1)(engine_); }

  Address AnyAddress(int family) {
    Address address = {family, {}};
    for (int i = 0; i < BitsOf(family) / 8; ++i) {
      // Ends of bytes and words are where comparisons go wrong.
      constexpr uint8_t kEdges[] = {0, 0xff, 0x80, 0x7f, 1};
      address.bytes[i] =
          static_cast<uint8_t>(Below(3) == 0 ? kEdges[Below(std::size(kEdges))] : Below(256));
    }
    if (family == AF_INET6 && Below(20) == 0) return Mapped(AnyAddress(AF_INET));
    return address;
  }

  // Shares a random number of leading bits with one of `blocks`, where there is any: within, at an
  // edge, one beside an edge, or near.
  Address NearOneOf(const std::vector<Block>& blocks, int family) {
    if (blocks.empty() || Below(8) == 0) return AnyAddress(family);
    const Block& block = blocks[Below(blocks.size())];
    Address address = block.address;
    const int bits = BitsOf(address.family);
    switch (Below(5)) {
      case 0:  // its first address, or the one before
        return Below(2) == 0 ? address : Step(address, -1);
      case 1:  // its last address, or the one after
        for (int i = block.prefix; i < bits; ++i) SetBit(address, i, true);
        return Below(2) == 0 ? address : Step(address, 1);
      case 2:  // within
        for (int i = block.prefix; i < bits; ++i) SetBit(address, i, Below(2) == 0);
        return address;
      default:  // near
        for (int i = static_cast<int>(Below(bits)); i < bits; ++i) {
          SetBit(address, i, Below(2) == 0);
        }
        return address;
    }
  }

  // A block near one of `blocks`.
  Block NextBlock(const std::vector<Block>& blocks, int family) {
    Block block{NearOneOf(blocks, family), 0};
    // What NearOneOf() says may be mapped, or of the other family: those are written as IPv4.
    block.address = Unmapped(block.address);
    const int bits = BitsOf(block.address.family);
    const int usual[] = {bits, bits / 2, bits / 4, bits - 8, bits / 4 + 12, bits / 2 - 8};
    block.prefix = static_cast<int>(Below(3) == 0 ? Below(bits + 1) : usual[Below(6)]);
    for (int i = block.prefix; i < bits; ++i) SetBit(block.address, i, false);
    return block;
  }

  std::vector<Block> Blocks(size_t n, const std::vector<Block>& near = {}) {
    std::vector<Block> blocks;
    while (blocks.size() < n) {
      const std::vector<Block>& other = Below(4) == 0 ? near : blocks;
      const Block block = NextBlock(other, Below(2) == 0 ? AF_INET : AF_INET6);
      // Else most lists hold everything.
      if (block.prefix < 4 && (n > 100 || Below(10) != 0)) continue;
      if (block.prefix < 14 && n > 100 && Below(10) != 0) continue;
      blocks.push_back(block);
    }
    return blocks;
  }

  // The address after or before; wraps round.
  static Address Step(Address address, int by) {
    for (int i = BitsOf(address.family) / 8; i-- > 0;) {
      address.bytes[i] = static_cast<uint8_t>(address.bytes[i] + by);
      if (address.bytes[i] != (by > 0 ? 0 : 0xff)) break;
    }
    return address;
  }

 private:
  std::mt19937_64 engine_;
};

}  // namespace access_lists
