#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "stats/histogram.h"

// Histograms in HdrHistogram's interchange format: what its log files (.hlog) have in their last
// column, and what all its ports read. It is the V2 encoding, deflated by zlib, in base64: text
// that begins with "HISTFAAA". Sources: AbstractHistogram.java and ZigZagEncoding.java of
// https://github.com/HdrHistogram/HdrHistogram, 2.1.11.
//
// The format holds the count of each bucket and nothing else, so the exact min() and max() are lost
// and so is clamped().
namespace stats {

// Encodes `histogram`, with kHighest for its highest trackable value. A bucket's count above
// 2^63 - 1 is written as that. Throws std::bad_alloc as any allocation does.
std::string EncodeHdr(const Histogram& histogram);

// Decodes what EncodeHdr() or a port of HdrHistogram wrote with 3 significant digits and lowest
// discernible value 1, whatever its highest trackable value. Surrounding white space is ignored.
// min() is the lowest value of its bucket, max() the highest of its bucket; values in buckets above
// that of kHighest count as kHighest and are clamped().
//
// Any text may be given: memory and time are bounded by those of the largest histogram there is
// (0.5 MB inflated). Damage that zlib's check sum (Adler-32) misses stays unnoticed. Errors:
// InvalidArgument (not such a text, cut off, damaged, or against the format; says where),
// Unimplemented (a histogram of another layout, encoding or of floating-point values; says which),
// ResourceExhausted (no memory for zlib).
absl::StatusOr<Histogram> DecodeHdr(std::string_view text);

}  // namespace stats
