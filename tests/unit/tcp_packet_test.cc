#include "probe/tcp_packet.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/escaping.h"

namespace probe::tcp_packet_tests {
namespace {

using Bytes = std::vector<uint8_t>;

Bytes FromHex(const std::string& hex) {
  const std::string text = absl::HexStringToBytes(hex);
  return {text.begin(), text.end()};
}

const SegmentPath kPath4 = {{192, 168, 1, 2}, {10, 0, 0, 1}};
const SegmentPath kBack4 = {kPath4.to, kPath4.from};
const SegmentPath kPath6 = {FromHex("20010db8000000000000000000000001"),
                            FromHex("20010db8000000000000000000000002")};

// The bytes were made by another implementation of RFC 1071 and RFC 9293.
struct Vector {
  const char* name;
  SegmentPath path;
  Segment segment;
  const char* hex;
};

const Vector kVectors[] = {
    {"SYN over IPv4",
     kPath4,
     {.source_port = 40000,
      .destination_port = 22,
      .sequence = 0x12345678,
      .syn = true,
      .window = 64240},
     "9c40001612345678000000006002faf0cc870000020405b4"},
    {"SYN-ACK over IPv4",
     kBack4,
     {.source_port = 22,
      .destination_port = 40000,
      .sequence = 0xdeadbeef,
      .acknowledgement = 0x12345679,
      .syn = true,
      .ack = true,
      .window = 65160},
     "00169c40deadbeef123456796012fe882b410000020405b4"},
    {"RST over IPv4",
     kPath4,
     {.source_port = 40000, .destination_port = 22, .sequence = 0x12345679, .rst = true},
     "9c400016123456790000000050040000df310000"},
    {"SYN over IPv6",
     kPath6,
     {.source_port = 50000,
      .destination_port = 443,
      .sequence = 0xffffffff,
      .syn = true,
      .window = 64240},
     "c35001bbffffffff000000006002faf07cc90000020405a0"},
    {"RST-ACK over IPv6",
     {kPath6.to, kPath6.from},
     {.source_port = 443, .destination_port = 50000, .ack = true, .rst = true},
     "01bbc3500000000000000000501400008f500000"},
};

TEST(TcpPacket, IsBuiltAsTheRfcHasIt) {
  for (const Vector& vector : kVectors) {
    const Bytes bytes = FromHex(vector.hex);
    EXPECT_EQ(BuildSegment(vector.path, vector.segment), bytes) << vector.name;
    EXPECT_EQ(TcpChecksum(vector.path, bytes), 0) << vector.name;
    EXPECT_EQ(ParseSegment(bytes), vector.segment) << vector.name;
  }
}

TEST(TcpPacket, ChecksumSeesEveryBitAndTheAddresses) {
  const Bytes good = BuildSegment(kPath4, kVectors[0].segment);
  for (size_t bit = 0; bit < good.size() * 8; ++bit) {
    Bytes bad = good;
    bad[bit / 8] ^= static_cast<uint8_t>(1 << bit % 8);
    EXPECT_NE(TcpChecksum(kPath4, bad), 0) << bit;
  }
  SegmentPath elsewhere = kPath4;
  elsewhere.to[3] = 2;
  EXPECT_NE(TcpChecksum(elsewhere, good), 0);
}

TEST(TcpPacket, OddLengthIsFilledUpWithZero) {
  Bytes segment = BuildSegment(kPath4, kVectors[2].segment);
  Bytes even = segment;
  segment.push_back(0x7f);
  even.push_back(0x7f);
  even.push_back(0);
  // The lengths in the pseudo-headers differ by 1, and nothing else does.
  const uint16_t odd = ~TcpChecksum(kPath4, segment), filled = ~TcpChecksum(kPath4, even);
  EXPECT_EQ(odd + 1, filled);
}

TEST(TcpPacket, CutOffIsNone) {
  const Bytes whole = FromHex(kVectors[1].hex);
  for (size_t size = 0; size < whole.size(); ++size) {
    EXPECT_EQ(ParseSegment(std::span(whole).first(size)), std::nullopt) << size;
  }
  Bytes short_header = whole;
  short_header[12] = 4 << 4;
  EXPECT_EQ(ParseSegment(short_header), std::nullopt) << "a header of less than 20 bytes";
}

TEST(TcpPacket, Ipv4HeaderIsSkippedWithItsOptions) {
  Bytes packet(24, 0xaa);
  packet[0] = 0x46;
  packet.push_back(7);
  ASSERT_EQ(SkipIpv4Header(packet).size(), 1u);
  EXPECT_EQ(SkipIpv4Header(packet)[0], 7);
  packet[0] = 0x4f;
  EXPECT_TRUE(SkipIpv4Header(packet).empty()) << "longer than the packet";
  packet[0] = 0x44;
  EXPECT_TRUE(SkipIpv4Header(packet).empty()) << "shorter than a header";
  EXPECT_TRUE(SkipIpv4Header(std::span(packet).first(19)).empty());
}

TEST(Answers, OnlyWhatAcknowledgesTheSyn) {
  const Segment syn = kVectors[0].segment;
  const Segment answer = kVectors[1].segment;
  EXPECT_TRUE(Answers(syn, answer));
  Segment refused = {.source_port = 22,
                     .destination_port = 40000,
                     .acknowledgement = syn.sequence + 1,
                     .ack = true,
                     .rst = true};
  EXPECT_TRUE(Answers(syn, refused));
  const auto without = [&](auto change) {
    Segment changed = answer;
    change(&changed);
    return Answers(syn, changed);
  };
  EXPECT_FALSE(without([](Segment* s) { s->acknowledgement -= 1; })) << "forged, or another's";
  EXPECT_FALSE(without([](Segment* s) { s->ack = false; }));
  EXPECT_FALSE(without([](Segment* s) { s->syn = false; }));
  EXPECT_FALSE(without([](Segment* s) { s->rst = true; })) << "both at once";
  EXPECT_FALSE(without([](Segment* s) { s->source_port = 23; }));
  EXPECT_FALSE(without([](Segment* s) { s->destination_port = 40001; }));
  EXPECT_FALSE(Answers(syn, syn)) << "our own, as loopback brings it";
}

TEST(Answers, SequenceNumbersWrap) {
  const Segment syn = kVectors[3].segment;
  EXPECT_TRUE(Answers(syn, {.source_port = 443,
                            .destination_port = 50000,
                            .acknowledgement = 0,
                            .ack = true,
                            .rst = true}));
}

}  // namespace
}  // namespace probe::tcp_packet_tests
