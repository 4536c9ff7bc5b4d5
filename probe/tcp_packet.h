#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

// TCP segments as bytes: the few that a half-open probe sends and reads. RFC 9293, section 3.1.
namespace probe {

// Both addresses of a segment, in network byte order: 4 bytes each of IPv4, or 16 of IPv6.
struct SegmentPath {
  std::vector<uint8_t> from, to;
};

// What a segment without data says.
struct Segment {
  uint16_t source_port = 0, destination_port = 0;
  uint32_t sequence = 0, acknowledgement = 0;
  bool syn = false, ack = false, rst = false, fin = false;
  uint16_t window = 0;

  friend bool operator==(const Segment&, const Segment&) = default;
};

inline constexpr size_t kTcpHeaderBytes = 20;
inline constexpr uint16_t kSynWindow = 64240;  // as Linux opens with, at an MTU of 1500

// The TCP header, with its checksum; a SYN also has a maximum segment size (1460 over IPv4, 1440
// over IPv6), since some paths drop a SYN without options.
std::vector<uint8_t> BuildSegment(const SegmentPath& path, const Segment& segment);

// The segment in these bytes, which begin with the TCP header; nothing where they are too few, or
// the header says that it is longer than they are. Its checksum is not looked at: what the kernel
// sends to itself has only the part of it that hardware would complete.
std::optional<Segment> ParseSegment(std::span<const uint8_t> bytes);

// `packet` without its IPv4 header, options included; nothing where it is cut off.
std::span<const uint8_t> SkipIpv4Header(std::span<const uint8_t> packet);

// The checksum over pseudo-header and segment (RFC 9293, RFC 8200 section 8.1); 0 where the
// segment's own is right.
uint16_t TcpChecksum(const SegmentPath& path, std::span<const uint8_t> segment);

// Whether `answer` answers the SYN `syn`: the ports are turned round, it acknowledges the SYN's
// sequence number and no other, and it is a SYN-ACK or a reset.
bool Answers(const Segment& syn, const Segment& answer);

}  // namespace probe
