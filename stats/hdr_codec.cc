#include "stats/hdr_codec.h"

#include <zlib.h>

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <new>
#include <span>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace stats {
namespace {

// A cookie's bits 4 to 7 are the size of a count in bytes; in V2 they are 1 and mean nothing.
constexpr uint32_t kWordSizeBits = 0xf0;
constexpr uint32_t kV2 = 0x1c849303;
constexpr uint32_t kV2Compressed = 0x1c849304;
constexpr uint32_t kV2WordSize = 0x10;
// What else begins with "HIST" or "DHIST".
constexpr uint32_t kV0Compressed = 0x1c849309;
constexpr uint32_t kV1Compressed = 0x1c849302;
constexpr uint32_t kDouble = 0x0c72120e;  // these two without the bits
constexpr uint32_t kDoubleCompressed = 0x0c72120f;

constexpr size_t kEnvelopeBytes = 8;  // cookie and length
constexpr size_t kHeaderBytes = 40;
constexpr size_t kVarintMax = 9;
constexpr int64_t kInt64Max = std::numeric_limits<int64_t>::max();

// How many buckets HdrHistogram allocates for this highest trackable value.
constexpr size_t BucketsFor(int64_t highest) {
  const int shift = std::bit_width(static_cast<uint64_t>(highest) | 2047) - 11;
  return (static_cast<size_t>(shift) + 2) * 1024;
}

constexpr size_t kPlainMax = kHeaderBytes + kVarintMax * BucketsFor(kInt64Max);
// Deflating adds 5 bytes to a block of 16 KB at most: this is well above any base64 of it.
constexpr size_t kTextMax = 2 * kPlainMax;

template <class T>
void PutBigEndian(T value, std::string* out) {
  for (int shift = 8 * (sizeof value - 1); shift >= 0; shift -= 8) {
    out->push_back(static_cast<char>(value >> shift));
  }
}

// Reads the sizeof(T) bytes at `at`, which must be there.
template <class T>
T GetBigEndian(std::string_view bytes, size_t at) {
  T value = 0;
  for (const char c : bytes.substr(at, sizeof value)) {
    value = static_cast<T>(value << 8) | static_cast<uint8_t>(c);
  }
  return value;
}

// ZigZag LEB128: seven bits a byte, lowest first; a ninth byte holds eight and ends it.
void PutVarint(int64_t number, std::string* out) {
  uint64_t rest = (static_cast<uint64_t>(number) << 1) ^ static_cast<uint64_t>(number >> 63);
  for (size_t i = 1; i < kVarintMax && rest > 0x7f; ++i, rest >>= 7) {
    out->push_back(static_cast<char>(rest | 0x80));
  }
  out->push_back(static_cast<char>(rest));
}

// Takes one number off the front of `bytes`; false when they end within it.
bool TakeVarint(std::string_view* bytes, int64_t* number) {
  uint64_t value = 0;
  for (size_t i = 0; i < bytes->size(); ++i) {
    const auto byte = static_cast<uint8_t>((*bytes)[i]);
    const bool last = i + 1 == kVarintMax || byte < 0x80;
    value |= static_cast<uint64_t>(last ? byte : byte & 0x7f) << (7 * i);
    if (!last) continue;
    bytes->remove_prefix(i + 1);
    *number = static_cast<int64_t>(value >> 1) ^ -static_cast<int64_t>(value & 1);
    return true;
  }
  return false;
}

// The buckets up to the last that isn't empty, and the first in any case.
std::string EncodeCounts(std::span<const uint64_t> counts) {
  while (counts.size() > 1 && counts.back() == 0) counts = counts.first(counts.size() - 1);
  std::string out;
  for (size_t i = 0; i < counts.size();) {
    size_t end = i;
    while (end < counts.size() && counts[end] == 0) ++end;
    if (end - i > 1) {
      PutVarint(-static_cast<int64_t>(end - i), &out);  // a run of empty buckets
      i = end;
    } else {
      PutVarint(static_cast<int64_t>(std::min<uint64_t>(counts[i++], kInt64Max)), &out);
    }
  }
  return out;
}

std::string Deflate(std::string_view plain) {
  uLongf size = compressBound(plain.size());
  std::string out(size, '\0');
  const int error =
      compress(reinterpret_cast<Bytef*>(out.data()), &size,
               reinterpret_cast<const Bytef*>(plain.data()), static_cast<uLong>(plain.size()));
  if (error != Z_OK) throw std::bad_alloc();  // Z_MEM_ERROR: the buffer is large enough
  out.resize(size);
  return out;
}

absl::Status Damaged(const std::string& what) {
  return absl::InvalidArgumentError(absl::StrCat(
      "not an HdrHistogram: ", what, "; give the whole text that begins with HISTFAAA"));
}

absl::Status Unsupported(const std::string& what) {
  return absl::UnimplementedError(
      absl::StrCat("the HdrHistogram has ", what,
                   "; only V2 histograms of whole numbers with lowest discernible value 1 and 3 "
                   "significant digits can be read"));
}

absl::StatusOr<std::string> Inflate(std::string_view deflated) {
  std::string plain(kPlainMax, '\0');
  z_stream stream = {};
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(deflated.data()));  // never written
  stream.avail_in = static_cast<uInt>(deflated.size());
  stream.next_out = reinterpret_cast<Bytef*>(plain.data());
  stream.avail_out = static_cast<uInt>(plain.size());
  if (const int error = inflateInit(&stream); error != Z_OK) {
    return absl::ResourceExhaustedError(absl::StrCat("zlib can't start: ", zError(error)));
  }
  const int result = inflate(&stream, Z_FINISH);
  const bool whole = stream.avail_in == 0;
  const bool full = stream.avail_out == 0;
  plain.resize(stream.total_out);
  inflateEnd(&stream);
  switch (result) {
    case Z_STREAM_END:
      if (!whole) return Damaged("there is more after the compressed data");
      return plain;
    case Z_MEM_ERROR:
      return absl::ResourceExhaustedError("no memory to decompress an HdrHistogram");
    case Z_OK:
    case Z_BUF_ERROR:
      return Damaged(full ? "it decompresses to more than any histogram has"
                          : "the compressed data is cut off");
    default:  // Z_DATA_ERROR, Z_NEED_DICT
      return Damaged("the compressed data is damaged");
  }
}

// Takes the base64 and the outer cookie off.
absl::StatusOr<std::string> Unwrap(std::string_view untrimmed) {
  const absl::string_view text =
      absl::StripAsciiWhitespace(absl::string_view(untrimmed.data(), untrimmed.size()));
  if (text.empty()) return Damaged("it is empty");
  if (text.size() > kTextMax) return Damaged("it is longer than any");
  std::string bytes;
  if (!absl::Base64Unescape(text, &bytes)) return Damaged("it is not base64");
  if (bytes.size() < kEnvelopeBytes) return Damaged("it is cut off");
  const auto cookie = GetBigEndian<uint32_t>(bytes, 0);
  switch (cookie & ~kWordSizeBits) {
    case kV2Compressed:
      break;
    case kV0Compressed:
      return Unsupported("encoding V0");
    case kV1Compressed:
      return Unsupported("encoding V1");
    case kV2:
      return Unsupported("no compression");
    case kDouble:
    case kDoubleCompressed:
      return Unsupported("floating-point values");
    default:
      return Damaged(absl::StrFormat("its first bytes are %08x", cookie));
  }
  const auto size = GetBigEndian<uint32_t>(bytes, 4);
  if (size != bytes.size() - kEnvelopeBytes) {
    return Damaged(absl::StrCat("it says ", size, " compressed bytes and has ",
                                bytes.size() - kEnvelopeBytes));
  }
  return Inflate(std::string_view(bytes).substr(kEnvelopeBytes));
}

// How many buckets the counts after this header may fill.
absl::StatusOr<size_t> CheckHeader(std::string_view plain) {
  if (plain.size() < kHeaderBytes) return Damaged("its header is cut off");
  const auto cookie = GetBigEndian<uint32_t>(plain, 0);
  if ((cookie & ~kWordSizeBits) != kV2) {
    return Damaged(absl::StrFormat("its header begins with %08x", cookie));
  }
  const auto size = GetBigEndian<uint32_t>(plain, 4);
  if (size != plain.size() - kHeaderBytes) {
    return Damaged(absl::StrCat("its header says ", size, " bytes of counts and there are ",
                                plain.size() - kHeaderBytes));
  }
  const auto offset = static_cast<int32_t>(GetBigEndian<uint32_t>(plain, 8));
  const auto digits = static_cast<int32_t>(GetBigEndian<uint32_t>(plain, 12));
  const auto lowest = static_cast<int64_t>(GetBigEndian<uint64_t>(plain, 16));
  const auto highest = static_cast<int64_t>(GetBigEndian<uint64_t>(plain, 24));
  const auto ratio = std::bit_cast<double>(GetBigEndian<uint64_t>(plain, 32));
  if (offset != 0) return Unsupported(absl::StrCat("normalizing index offset ", offset));
  if (digits != Histogram::kSignificantDigits) {
    return Unsupported(absl::StrCat(digits, " significant digits"));
  }
  if (lowest != 1) return Unsupported(absl::StrCat("lowest discernible value ", lowest));
  if (ratio != 1) return Unsupported(absl::StrCat("values scaled by ", ratio));
  if (highest < 2) return Damaged(absl::StrCat("its highest trackable value is ", highest));
  return BucketsFor(highest);
}

absl::StatusOr<Histogram> DecodeCounts(std::string_view bytes, size_t buckets) {
  Histogram histogram;
  for (size_t index = 0; !bytes.empty();) {
    int64_t number = 0;
    if (!TakeVarint(&bytes, &number)) return Damaged("its last count is cut off");
    // A negative number is a run of empty buckets. Negated as unsigned: -2^63 has no positive.
    const uint64_t run = number < 0 ? -static_cast<uint64_t>(number) : 1;
    if (run > buckets - index) return Damaged("a count lies above its highest trackable value");
    if (number > 0) {
      if (static_cast<uint64_t>(number) > static_cast<uint64_t>(kInt64Max) - histogram.count()) {
        return Damaged("its counts add up to more than 2^63 - 1");
      }
      histogram.RecordBucket(index, static_cast<uint64_t>(number));
    }
    index += run;
  }
  return histogram;
}

}  // namespace

std::string EncodeHdr(const Histogram& histogram) {
  const std::string counts = EncodeCounts(histogram.counts());
  std::string plain;
  PutBigEndian(kV2 | kV2WordSize, &plain);
  PutBigEndian(static_cast<uint32_t>(counts.size()), &plain);
  PutBigEndian(uint32_t{0}, &plain);  // normalizing index offset
  PutBigEndian(uint32_t{Histogram::kSignificantDigits}, &plain);
  PutBigEndian(uint64_t{1}, &plain);  // lowest discernible value
  PutBigEndian(static_cast<uint64_t>(Histogram::kHighest), &plain);
  PutBigEndian(std::bit_cast<uint64_t>(1.0), &plain);  // conversion ratio
  plain += counts;

  const std::string deflated = Deflate(plain);
  std::string wrapped;
  PutBigEndian(kV2Compressed | kV2WordSize, &wrapped);
  PutBigEndian(static_cast<uint32_t>(deflated.size()), &wrapped);
  wrapped += deflated;
  return absl::Base64Escape(wrapped);
}

absl::StatusOr<Histogram> DecodeHdr(std::string_view text) {
  const absl::StatusOr<std::string> plain = Unwrap(text);
  if (!plain.ok()) return plain.status();
  const absl::StatusOr<size_t> buckets = CheckHeader(*plain);
  if (!buckets.ok()) return buckets.status();
  return DecodeCounts(std::string_view(*plain).substr(kHeaderBytes), *buckets);
}

}  // namespace stats
