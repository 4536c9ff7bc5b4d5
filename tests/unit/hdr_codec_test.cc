#include "stats/hdr_codec.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <zlib.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"

namespace stats {
namespace {

constexpr int64_t kInt64Max = std::numeric_limits<int64_t>::max();

using Counts =
    std::vector<std::pair<int64_t, uint64_t>>;  // the highest value of a bucket, its count

Counts CountsOf(const Histogram& histogram) {
  Counts counts;
  histogram.ForEachBucket(
      [&](int64_t, int64_t high, uint64_t count) { counts.emplace_back(high, count); });
  return counts;
}

Histogram Empty() { return {}; }

Histogram Zero() {
  Histogram histogram;
  histogram.Record(0, 3);
  return histogram;
}

Histogram One() {
  Histogram histogram;
  histogram.Record(12345);
  return histogram;
}

Histogram Highest() {
  Histogram histogram;
  histogram.Record(Histogram::kHighest, 1'000'000'000'000);
  histogram.Record(Histogram::kHighest - 1);
  histogram.Record(0);
  return histogram;
}

Histogram Doubling() {
  Histogram histogram;
  uint64_t times = 1;
  for (int64_t value = 1; value <= Histogram::kHighest; value *= 2, times = times * 3 + 1) {
    histogram.Record(value, times);
  }
  return histogram;
}

Histogram Exponential() {
  Histogram histogram;
  for (int i = 1; i <= 2000; ++i) {
    histogram.Record(static_cast<int64_t>(-std::log(1 - (i - 0.5) / 2000) * 50000));
  }
  return histogram;
}

Histogram Ramp() {
  Histogram histogram;
  for (int64_t value = 1; value <= 100'000; ++value) histogram.Record(value);
  return histogram;
}

// Made by HdrHistogram 2.1.11 for Java (Debian's libhdrhistogram-java): the same values recorded in
// a Histogram(1, 100'000'000'000, 3), encodeIntoCompressedByteBuffer(), base64.
struct Golden {
  const char* name;
  Histogram (*make)();
  const char* text;
};

const Golden kGolden[] = {
    {"empty", Empty, "HISTFAAAACB4nJNpmSzMwMDAyAABzFAaxBf3KHvBYP8BKgIAUR8EOA=="},
    {"zero", Zero, "HISTFAAAACF4nJNpmSzMwMDAyAABzFAaxBf3KHvBYP8BIsAGAFElBD4="},
    {"one", One, "HISTFAAAACN4nJNpmSzMwMDAzAABMJoRiMU9yl4w2H+ACPR6MAEAXBAFEQ=="},
    {"highest", Highest, "HISTFAAAACt4nJNpmSzMwMDAxQABzFCaEYjFPcpeMNh/gAgwLdzO3HRgxalZVgCRXAkm"},
    {"doubling", Doubling,
     "HISTFAAAAR54nC1NzUvCABzdXDOL4kcUFJHQqWOXztK1bh279j9EtyCiQ62EUQRT7ANDUg8VI3B4Ejtkgjhq"
     "go2SiMph1D6ENOVpg3zwePB4H1NbB6MMw9SZf3A9ZV2OL6wZzLzVczw+ZpJfGnZYf5kPCCPrp3NgX0MsuHiB"
     "Q3+rOgiyUtOg+/MVUPPnzAOqvX16QZmLmzFQdjcfAOWiFYUF6dVwsg8kptTOEEiO2e0ZkGQ91FdBebWtV9zy"
     "i+2IER8oWirL2gTI6O5IWASlu0e5xrM7ctV5LH+EeNB+OyhcFwik2InjiDELSmrQNWXPDW2gKXYSMQ602ajJ"
     "LZgDoO33jGT+Fv2g8GX2rvBlLoPU4O2TkSsK7rETLx2m9e8T7x9055ZX"},
    {"exponential", Exponential,
     "HISTFAAAAbB4nK1XXUrDQBDeTAgSSghSSigqIj5IEdEgPvhU+iZ4CG/hu+ANPIUH8S4+egTHpE2yO3+7rf0y"
     "M9/37bakZXeaPX3/mDtX37n+lW9rhtE8vX679U9vNHAboGV569Uxt6xqCfPzWKeMwzU0IpaCosyvfJYYH0tY"
     "wAxKjB4cs5TsHY7KcCqTV2rlVJhLKBB5l3c1ZzzdpZVjo8PP83mobG35+807ivw0fl7oaprnlMmOXzlFR3Jw"
     "iD67gOtuiqPXVEXzVOkzuRn6iDSPKt09PCwnjfE6Lmue5ErzJCa5uuId2Y0Dvlm/DIOhUZUKwSHJdtkCTh5T"
     "9IRE0EDEGebAfyGP9kOH75d8R43tmXL/s/ua3b/27VaxfSetj2i9QuN/yt6iwcWrlF0o76kpV3RAU3ZBGvSl"
     "ay1BaWFxyyd+4UhLRf97iG/jBav8WhBGQ3r0lR8h6YNcmPvw81h9lJMqbQz9F5C+of4QTO/Wv8NyyH2MmA0x"
     "PbRUXa47Vm9xPGCOWHTYHQOXcAJniHO4gEvEFazwqHmDB84HeIQ1bNBb4dH0HvkzvMBbBl8ZfObwC7jPRg0="},
    {"ramp", Ramp,
     "HISTFAAAAFV4nO3IvQ1AYBSG0c9PoZQoNApLqInKRGqFDSypNAIJA+jvOU9u3uR2+9Gk1A/pVXybPdcu65nG"
     "6/vkAEA0JRBWBYRVA2H1QFgTENaWSdL/5hu78xQT"},
};

// The same from histograms made otherwise; see the tests.
const char kResized[] =
    "HISTFAAAAE14nJNpmSzMwMCgywABzFCakYGB/T8I2H+AirBwCgSKnWThWS8rclFXYqmO1EYdvtc6HHN1hU7q"
    "cp3VYVuuw3JfR2CqrthBXR4A5DgUkA==";
const char kIntCounts[] = "HISTFAAAACd4nJNpmSzMwMDAzgABzFCaEURcm7yEwf4DRGAiD9fle0xMAHwABuo=";
const char kConcurrent[] = "HISTFAAAACF4nJNpmSzMwMDAzAABMJoRTPI7Odh/gAgcN2ACAEvWBAc=";
const char kTwoDigits[] = "HISTFAAAACJ4nJNpmSzMwMDAxAABMJoRiMU9yl4w2H+ACOQyAQBWOwSn";
const char kLowestThousand[] = "HISTFAAAACR4nJNpmSzMwMDAzAABUJr5BZAQ9yh7wWD/ASJynZEJAG6rBf4=";
const char kShifted[] = "HISTFAAAACR4nJNpmSzMwMDAzMDAwwChwYARTPI7Odh/gAgcTuYAAE3CBEg=";
const char kDoubleValues[] =
    "DHISTwAAAAMAAAAAAAAD6ByEkxQAAAAheJyTaZkszMDAwMwAATCaEUzK//9vHwAR+C/OBABZeQUS";

std::string Bytes(const std::string& base64) {
  std::string bytes;
  EXPECT_TRUE(absl::Base64Unescape(base64, &bytes)) << base64;
  return bytes;
}

// The encoding before its compression.
std::string Inflated(const std::string& base64) {
  const std::string bytes = Bytes(base64);
  std::string plain(1'000'000, '\0');
  uLongf size = plain.size();
  EXPECT_EQ(uncompress(reinterpret_cast<Bytef*>(plain.data()), &size,
                       reinterpret_cast<const Bytef*>(bytes.data()) + 8, bytes.size() - 8),
            Z_OK);
  plain.resize(size);
  return plain;
}

std::string BigEndian(uint64_t value, int bytes) {
  std::string text;
  for (int i = bytes - 1; i >= 0; --i) text += static_cast<char>(value >> (8 * i));
  return text;
}

// A whole text from the bytes that are to be compressed.
std::string Wrapped(const std::string& plain, const std::string& trailing = "") {
  uLongf size = compressBound(plain.size());
  std::string deflated(size, '\0');
  EXPECT_EQ(compress(reinterpret_cast<Bytef*>(deflated.data()), &size,
                     reinterpret_cast<const Bytef*>(plain.data()), plain.size()),
            Z_OK);
  deflated.resize(size);
  deflated += trailing;
  return absl::Base64Escape(BigEndian(0x1c849314, 4) + BigEndian(deflated.size(), 4) + deflated);
}

std::string Header(size_t payload, uint64_t highest = Histogram::kHighest) {
  return BigEndian(0x1c849313, 4) + BigEndian(payload, 4) + BigEndian(0, 4) + BigEndian(3, 4) +
         BigEndian(1, 8) + BigEndian(highest, 8) + BigEndian(0x3ff0000000000000, 8);
}

std::string WithCounts(const std::string& counts, uint64_t highest = Histogram::kHighest) {
  return Wrapped(Header(counts.size(), highest) + counts);
}

std::string ZigZag(int64_t number) {
  const uint64_t twice = 2 * static_cast<uint64_t>(number);
  uint64_t rest = number < 0 ? ~twice : twice;
  std::string bytes;
  for (int i = 0; i < 8 && rest > 127; ++i, rest >>= 7) bytes += static_cast<char>(rest | 128);
  return bytes + static_cast<char>(rest);
}

void ExpectError(const std::string& text, absl::StatusCode code, const std::string& what) {
  const auto decoded = DecodeHdr(text);
  ASSERT_FALSE(decoded.ok()) << what;
  EXPECT_EQ(decoded.status().code(), code) << decoded.status();
  EXPECT_NE(std::string(decoded.status().message()).find(what), std::string::npos)
      << decoded.status();
}

void ExpectDamaged(const std::string& text, const std::string& what) {
  ExpectError(text, absl::StatusCode::kInvalidArgument, what);
}

void ExpectUnsupported(const std::string& text, const std::string& what) {
  ExpectError(text, absl::StatusCode::kUnimplemented, what);
}

TEST(HdrCodec, DecodesWhatJavaEncoded) {
  for (const Golden& golden : kGolden) {
    const auto decoded = DecodeHdr(golden.text);
    ASSERT_TRUE(decoded.ok()) << golden.name << ": " << decoded.status();
    const Histogram made = golden.make();
    EXPECT_EQ(CountsOf(*decoded), CountsOf(made)) << golden.name;
    EXPECT_EQ(decoded->count(), made.count()) << golden.name;
    EXPECT_EQ(decoded->clamped(), 0u) << golden.name;
  }
}

TEST(HdrCodec, EncodesWhatJavaEncodesByteForByte) {
  for (const Golden& golden : kGolden) {
    const std::string text = EncodeHdr(golden.make());
    EXPECT_EQ(text.substr(0, 8), "HISTFAAA") << golden.name;
    // Compressed, only another version of zlib may differ.
    EXPECT_EQ(Inflated(text), Inflated(golden.text)) << golden.name;
    EXPECT_EQ(Bytes(text).substr(0, 4), Bytes(golden.text).substr(0, 4)) << golden.name;
    EXPECT_EQ(Bytes(text).substr(4, 4), BigEndian(Bytes(text).size() - 8, 4)) << golden.name;
  }
}

TEST(HdrCodec, OfTheExtremesOnlyTheBucketsRemain) {
  Histogram histogram;
  histogram.Record(5001);
  histogram.Record(70'001);
  histogram.Record(Histogram::kHighest + 1);
  const auto decoded = DecodeHdr(EncodeHdr(histogram));
  ASSERT_TRUE(decoded.ok()) << decoded.status();
  EXPECT_EQ(decoded->min(), 5000);
  EXPECT_EQ(decoded->max(), Histogram::kHighest);
  EXPECT_EQ(decoded->clamped(), 0u);
  EXPECT_EQ(DecodeHdr(EncodeHdr(One()))->max(), 12'351);
}

// new IntCountsHistogram(1, 3'600'000'000, 3), new ConcurrentHistogram(1, 1'000'000, 3).
TEST(HdrCodec, DecodesHistogramsWithAnotherHighestValue) {
  const auto counts = DecodeHdr(kIntCounts);
  ASSERT_TRUE(counts.ok()) << counts.status();
  EXPECT_EQ(CountsOf(*counts), (Counts{{777, 5}, {3'600'809'983, 1}}));
  const auto concurrent = DecodeHdr(kConcurrent);
  ASSERT_TRUE(concurrent.ok()) << concurrent.status();
  EXPECT_EQ(CountsOf(*concurrent), (Counts{{4243, 1}}));
}

// new Histogram(3), which grows: the values 7^0 to 7^15, each 7^i mod 13 + 1 times.
TEST(HdrCodec, ValuesAboveOurHighestAreClamped) {
  const auto decoded = DecodeHdr(kResized);
  ASSERT_TRUE(decoded.ok()) << decoded.status();
  EXPECT_EQ(decoded->count(), 117u);
  EXPECT_EQ(decoded->clamped(), 17u);
  EXPECT_EQ(decoded->max(), Histogram::kHighest);
  EXPECT_EQ(decoded->CountAtOrBelow(Histogram::kHighest - 1'000'000'000), 100u);
}

// Histogram(1, 100'000'000'000, 2), Histogram(1000, 100'000'000'000, 3), a ConcurrentHistogram
// after shiftValuesLeft(3), DoubleHistogram(1000, 3).
TEST(HdrCodec, OtherLayoutsAreNamed) {
  ExpectUnsupported(kTwoDigits, "2 significant digits");
  ExpectUnsupported(kLowestThousand, "lowest discernible value 1000");
  ExpectUnsupported(kShifted, "normalizing index offset 3072");
  ExpectUnsupported(kDoubleValues, "floating-point values");
  std::string scaled = Header(0);
  scaled[33] = '\0';
  ExpectUnsupported(Wrapped(scaled), "values scaled by");
  const std::string rest = BigEndian(0, 4);
  ExpectUnsupported(absl::Base64Escape(BigEndian(0x1c849312, 4) + rest), "encoding V1");
  ExpectUnsupported(absl::Base64Escape(BigEndian(0x1c849389, 4) + rest), "encoding V0");
  ExpectUnsupported(absl::Base64Escape(BigEndian(0x1c849313, 4) + rest), "no compression");
  ExpectUnsupported(absl::Base64Escape(BigEndian(0x0c72124f, 4) + rest), "floating-point values");
}

// Values of every magnitude, each some number of times.
rc::Gen<std::vector<std::pair<int64_t, uint64_t>>> AnyValues() {
  return rc::gen::container<std::vector<std::pair<int64_t, uint64_t>>>(rc::gen::pair(
      rc::gen::mapcat(rc::gen::inRange(0, 38),
                      [](int bits) { return rc::gen::inRange<int64_t>(0, int64_t{1} << bits); }),
      rc::gen::mapcat(rc::gen::inRange(0, 50), [](int bits) {
        return rc::gen::inRange<uint64_t>(0, uint64_t{1} << bits);
      })));
}

TEST(HdrCodec, CountsSurviveARoundTrip) {
  EXPECT_TRUE(rc::check([] {
    Histogram histogram;
    for (const auto& [value, times] : *AnyValues()) histogram.Record(value, times);
    const std::string text = EncodeHdr(histogram);
    const auto decoded = DecodeHdr(text);
    RC_ASSERT(decoded.ok());
    RC_ASSERT(CountsOf(*decoded) == CountsOf(histogram));
    RC_ASSERT(decoded->count() == histogram.count());
    RC_ASSERT(decoded->min() <= histogram.min());
    RC_ASSERT(decoded->max() >= histogram.max());
    RC_ASSERT(EncodeHdr(*decoded) == text);
  }));
}

TEST(HdrCodec, CountsOfEveryLengthSurvive) {
  for (int bits = 0; bits < 63; ++bits) {
    for (const uint64_t times : {uint64_t{1} << bits, (uint64_t{1} << bits) * 2 - 1}) {
      Histogram histogram;
      histogram.Record(1000, times);
      const auto decoded = DecodeHdr(EncodeHdr(histogram));
      ASSERT_TRUE(decoded.ok()) << times << ": " << decoded.status();
      EXPECT_EQ(decoded->counts()[1000], times);
    }
  }
}

TEST(HdrCodec, CountsThatTheFormatCannotHoldAreCapped) {
  Histogram histogram;
  histogram.Record(1000, std::numeric_limits<uint64_t>::max());
  const auto decoded = DecodeHdr(EncodeHdr(histogram));
  ASSERT_TRUE(decoded.ok()) << decoded.status();
  EXPECT_EQ(decoded->count(), static_cast<uint64_t>(kInt64Max));
}

TEST(HdrCodec, WhiteSpaceAroundIsIgnored) {
  const auto decoded = DecodeHdr(" \t" + EncodeHdr(Ramp()) + "\r\n");
  ASSERT_TRUE(decoded.ok()) << decoded.status();
  EXPECT_EQ(CountsOf(*decoded), CountsOf(Ramp()));
}

TEST(HdrCodec, WhatIsNoHistogramIsSaidSo) {
  ExpectDamaged("", "empty");
  ExpectDamaged("\n", "empty");
  ExpectDamaged("HISTFAAA", "cut off");
  ExpectDamaged("#[StartTime: 1.0]", "not base64");
  ExpectDamaged("HISTF\xff\xff\x80", "not base64");
  ExpectDamaged(absl::Base64Escape(std::string(100, 'x')), "first bytes are 78787878");
  ExpectDamaged(std::string(10'000'000, 'A'), "longer than any");
}

TEST(HdrCodec, EveryTruncationIsFound) {
  for (const Golden& golden : kGolden) {
    const std::string text = golden.text;
    const size_t digits = text.find_last_not_of('=') + 1;  // what follows is padding
    for (size_t size = 0; size < digits; ++size) {
      const auto decoded = DecodeHdr(text.substr(0, size));
      ASSERT_EQ(decoded.status().code(), absl::StatusCode::kInvalidArgument)
          << golden.name << " cut to " << size;
    }
  }
}

// Not all: deflate has bits that mean nothing, and Adler-32 is weak where there are few bytes.
TEST(HdrCodec, NearlyEveryFlippedBitIsFound) {
  for (const Golden& golden : kGolden) {
    const std::string bytes = Bytes(golden.text);
    size_t unnoticed = 0;
    for (size_t bit = 0; bit < bytes.size() * 8; ++bit) {
      std::string damaged = bytes;
      damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ (1 << bit % 8));
      const auto decoded = DecodeHdr(absl::Base64Escape(damaged));
      unnoticed += decoded.ok();
      // The cookie's bits 4 to 7 are the size of a word, which V2 doesn't have.
      if (bit < 64) {
        EXPECT_EQ(decoded.ok(), bit / 4 == 7) << golden.name << ", bit " << bit;
      }
    }
    EXPECT_LE(unnoticed, 12 + bytes.size() * 8 / 100) << golden.name;
  }
}

TEST(HdrCodec, DamageBehindTheCheckSumIsFound) {
  ExpectDamaged(Wrapped(""), "header is cut off");
  ExpectDamaged(Wrapped(Header(0).substr(0, 39)), "header is cut off");
  ExpectDamaged(Wrapped("x" + Header(0)), "header begins with 781c8493");
  ExpectDamaged(Wrapped(Header(2) + "\x02"), "header says 2 bytes of counts and there are 1");
  ExpectDamaged(Wrapped(Header(1) + "\x02\x02"), "header says 1 bytes of counts and there are 2");
  ExpectDamaged(WithCounts("\x02", 1), "highest trackable value is 1");
  ExpectDamaged(WithCounts("\x02", 1ull << 63), "highest trackable value is -9223372036854775808");
  ExpectDamaged(Wrapped(Header(0), "x"), "more after the compressed data");
}

TEST(HdrCodec, CountsHaveBounds) {
  // 28 * 1024 buckets for 100 s.
  EXPECT_TRUE(DecodeHdr(WithCounts(ZigZag(-28'671) + ZigZag(1))).ok());
  ExpectDamaged(WithCounts(ZigZag(-28'672) + ZigZag(1)), "above its highest trackable value");
  EXPECT_TRUE(DecodeHdr(WithCounts(ZigZag(-2047) + ZigZag(1), 2)).ok());
  ExpectDamaged(WithCounts(ZigZag(-2048) + ZigZag(1), 2), "above its highest trackable value");
  ExpectDamaged(WithCounts(ZigZag(-1'000'000'000'000)), "above its highest trackable value");
  ExpectDamaged(WithCounts(ZigZag(std::numeric_limits<int64_t>::min())),
                "above its highest trackable value");
  EXPECT_EQ(DecodeHdr(WithCounts(ZigZag(kInt64Max - 1) + ZigZag(1)))->count(),
            static_cast<uint64_t>(kInt64Max));
  ExpectDamaged(WithCounts(ZigZag(kInt64Max) + ZigZag(1)), "add up to more");
  ExpectDamaged(WithCounts(std::string(60'000, '\x02')), "above its highest trackable value");
}

TEST(HdrCodec, NumbersEndAfterNineBytes) {
  ExpectDamaged(WithCounts("\x80"), "last count is cut off");
  ExpectDamaged(WithCounts(std::string(8, '\xff')), "last count is cut off");
  // The ninth byte ends the number, whatever its eighth bit: this is -2^63.
  ExpectDamaged(WithCounts(std::string(9, '\xff')), "above its highest trackable value");
  // Zeros may be written at any length.
  const auto padded = DecodeHdr(
      WithCounts(std::string(8, '\x80') + std::string(1, '\0') + "\x82" + std::string(1, '\0')));
  ASSERT_TRUE(padded.ok()) << padded.status();
  EXPECT_EQ(CountsOf(*padded), (Counts{{1, 1}}));
}

TEST(HdrCodec, WhatInflatesWithoutEndIsRefused) {
  ExpectDamaged(Wrapped(Header(400'000'000) + std::string(20'000'000, '\0')),
                "more than any histogram has");
}

TEST(HdrCodec, AnyBytesAreRefusedOrUnderstood) {
  int understood = 0;
  EXPECT_TRUE(rc::check([&] {
    const auto counts = *rc::gen::container<std::string>(rc::gen::arbitrary<char>());
    const auto highest = *rc::gen::arbitrary<uint64_t>();
    const auto decoded = DecodeHdr(WithCounts(counts, highest));
    if (!decoded.ok()) return RC_ASSERT(!decoded.status().message().empty());
    ++understood;
    if (decoded->clamped() > 0) return;
    const auto again = DecodeHdr(EncodeHdr(*decoded));
    RC_ASSERT(again.ok());
    RC_ASSERT(*again == *decoded);
  }));
  EXPECT_GT(understood, 0);
  EXPECT_TRUE(rc::check([] {
    const auto text = *rc::gen::container<std::string>(rc::gen::arbitrary<char>());
    RC_ASSERT(!DecodeHdr(text).ok());
    RC_ASSERT(!DecodeHdr("HISTFAAA" + absl::Base64Escape(text)).ok());
  }));
}

}  // namespace
}  // namespace stats
