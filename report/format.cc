#include "report/format.h"

#include <cmath>
#include <span>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace report {
namespace {

// `value` to three significant digits, without trailing zeros, and never as "1e+03".
std::string ThreeDigits(double value) {
  if (value < 1) return absl::StrFormat("%.3g", value);
  const int decimals = value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2;
  std::string text = absl::StrFormat("%.*f", decimals, value);
  if (text.find('.') == std::string::npos) return text;
  text.erase(text.find_last_not_of('0') + 1);
  if (text.back() == '.') text.pop_back();
  return text;
}

struct Scale {
  double factor;
  const char* suffix;
};

// `value` in the largest scale in which it doesn't round to less than 1.
std::string Scaled(double value, std::span<const Scale> ascending) {
  const Scale* scale = &ascending.front();
  for (const Scale& next : ascending) {
    if (value / next.factor >= 0.9995) scale = &next;
  }
  return absl::StrCat(ThreeDigits(value / scale->factor), scale->suffix);
}

constexpr double kKibi = 1024;
constexpr Scale kBytesScale[] = {{1, " B"},
                                 {kKibi, " KiB"},
                                 {kKibi * kKibi, " MiB"},
                                 {kKibi * kKibi * kKibi, " GiB"},
                                 {kKibi * kKibi * kKibi * kKibi, " TiB"}};
constexpr Scale kDurationScale[] = {{1, " ns"}, {1e3, " µs"}, {1e6, " ms"}, {1e9, " s"}};
constexpr Scale kRateScale[] = {{1, "/s"}, {1e3, "k/s"}, {1e6, "M/s"}, {1e9, "G/s"}};

}  // namespace

std::string FormatBytes(uint64_t bytes) { return Scaled(static_cast<double>(bytes), kBytesScale); }

std::string FormatDuration(int64_t ns) {
  const double magnitude = std::abs(static_cast<double>(ns));
  const char* sign = ns < 0 ? "-" : "";
  if (magnitude < 59.95e9) return absl::StrCat(sign, Scaled(magnitude, kDurationScale));
  const auto seconds = static_cast<int64_t>(std::llround(magnitude / 1e9));
  std::string text = sign;
  if (seconds >= 3600) absl::StrAppend(&text, seconds / 3600, "h");
  if (seconds / 60 % 60 != 0) absl::StrAppend(&text, seconds / 60 % 60, "m");
  if (seconds % 60 != 0) absl::StrAppend(&text, seconds % 60, "s");
  return text;
}

std::string FormatCount(uint64_t count) {
  const std::string digits = absl::StrCat(count);
  std::string text;
  for (size_t i = 0; i < digits.size(); ++i) {
    if (i > 0 && (digits.size() - i) % 3 == 0) text += ',';
    text += digits[i];
  }
  return text;
}

std::string FormatRate(double per_second) { return Scaled(per_second, kRateScale); }

}  // namespace report
