#include "probe/tcp_packet.h"

namespace probe {
namespace {

constexpr uint8_t kFin = 0x01, kSyn = 0x02, kRst = 0x04, kAck = 0x10;
constexpr uint8_t kProtocolTcp = 6;
constexpr size_t kChecksumAt = 16;
constexpr uint16_t kMss4 = 1460, kMss6 = 1440;

void Put16(std::vector<uint8_t>* bytes, uint16_t value) {
  bytes->push_back(static_cast<uint8_t>(value >> 8));
  bytes->push_back(static_cast<uint8_t>(value));
}

void Put32(std::vector<uint8_t>* bytes, uint32_t value) {
  Put16(bytes, static_cast<uint16_t>(value >> 16));
  Put16(bytes, static_cast<uint16_t>(value));
}

uint16_t Get16(std::span<const uint8_t> bytes, size_t at) {
  return static_cast<uint16_t>(bytes[at] << 8 | bytes[at + 1]);
}

uint32_t Get32(std::span<const uint8_t> bytes, size_t at) {
  return static_cast<uint32_t>(Get16(bytes, at)) << 16 | Get16(bytes, at + 2);
}

// The sum of 16-bit words, the last one filled up with a zero byte (RFC 1071); 64 bits hold the
// carries of any packet.
uint64_t Sum(std::span<const uint8_t> bytes) {
  uint64_t sum = 0;
  for (size_t i = 0; i < bytes.size(); i += 2) {
    sum += static_cast<uint64_t>(bytes[i]) << 8 | (i + 1 < bytes.size() ? bytes[i + 1] : 0);
  }
  return sum;
}

}  // namespace

uint16_t TcpChecksum(const SegmentPath& path, std::span<const uint8_t> segment) {
  uint64_t sum = Sum(path.from) + Sum(path.to) + kProtocolTcp + segment.size() + Sum(segment);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<uint16_t>(~sum);
}

std::vector<uint8_t> BuildSegment(const SegmentPath& path, const Segment& segment) {
  std::vector<uint8_t> bytes;
  const size_t size = kTcpHeaderBytes + (segment.syn ? 4 : 0);
  bytes.reserve(size);
  Put16(&bytes, segment.source_port);
  Put16(&bytes, segment.destination_port);
  Put32(&bytes, segment.sequence);
  Put32(&bytes, segment.acknowledgement);
  bytes.push_back(static_cast<uint8_t>(size / 4 << 4));
  bytes.push_back((segment.fin ? kFin : 0) | (segment.syn ? kSyn : 0) | (segment.rst ? kRst : 0) |
                  (segment.ack ? kAck : 0));
  Put16(&bytes, segment.window);
  Put32(&bytes, 0);  // checksum, and no urgent pointer
  if (segment.syn) {
    Put16(&bytes, 0x0204);  // maximum segment size, 4 bytes
    Put16(&bytes, path.from.size() == 4 ? kMss4 : kMss6);
  }
  const uint16_t checksum = TcpChecksum(path, bytes);
  bytes[kChecksumAt] = static_cast<uint8_t>(checksum >> 8);
  bytes[kChecksumAt + 1] = static_cast<uint8_t>(checksum);
  return bytes;
}

std::optional<Segment> ParseSegment(std::span<const uint8_t> bytes) {
  if (bytes.size() < kTcpHeaderBytes) return std::nullopt;
  const size_t header = (bytes[12] >> 4) * size_t{4};
  if (header < kTcpHeaderBytes || header > bytes.size()) return std::nullopt;
  const uint8_t flags = bytes[13];
  return Segment{.source_port = Get16(bytes, 0),
                 .destination_port = Get16(bytes, 2),
                 .sequence = Get32(bytes, 4),
                 .acknowledgement = Get32(bytes, 8),
                 .syn = (flags & kSyn) != 0,
                 .ack = (flags & kAck) != 0,
                 .rst = (flags & kRst) != 0,
                 .fin = (flags & kFin) != 0,
                 .window = Get16(bytes, 14)};
}

std::span<const uint8_t> SkipIpv4Header(std::span<const uint8_t> packet) {
  constexpr size_t kLeast = 20;
  if (packet.size() < kLeast) return {};
  const size_t header = (packet[0] & 0x0f) * size_t{4};
  if (header < kLeast || header > packet.size()) return {};
  return packet.subspan(header);
}

bool Answers(const Segment& syn, const Segment& answer) {
  return answer.source_port == syn.destination_port && answer.destination_port == syn.source_port &&
         answer.ack && answer.acknowledgement == syn.sequence + 1 && answer.syn != answer.rst;
}

}  // namespace probe
