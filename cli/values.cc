#include "cli/values.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <span>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace cli {
namespace {

constexpr char kWantCount[] = "give a number such as 64, 10k or 1M";
constexpr char kWantBytes[] = "give a size such as 64, 16KiB or 1MB";
constexpr char kWantDuration[] = "give a duration such as 250ms, 10s or 1m30s";
constexpr char kWantRate[] = "give a rate per second such as 500, 100k/s or 2.5M";
constexpr char kWantPercent[] = "give a percentage such as 5% or 0.5%";
constexpr char kWantDelay[] = "give a delay such as 5ms, 1ms..10ms, exp:5ms or normal:5ms,1ms";
constexpr char kWantCpus[] = "give CPU numbers such as 0 or 0,2-3";

constexpr int kCpuMax = 8191;  // the largest NR_CPUS that Linux can be configured with, less one

// With more digits than this no value fits into 64 bits, whatever its unit; with fewer, a value
// times any unit (each below 2^42) stays within 128 bits.
constexpr size_t kDigitsMax = 24;

absl::Status Wrong(const std::string& what, const char* want) {
  return absl::InvalidArgumentError(absl::StrCat(what, "; ", want));
}

std::string Quoted(const std::string& text) { return absl::StrCat("'", text, "'"); }

// A number as typed: its digits without separators, and the unit that follows it.
struct TypedQuantity {
  std::string whole;     // without leading zeros
  std::string fraction;  // without trailing zeros
  std::string unit;
};

bool IsDigitAt(const std::string& text, size_t at) {
  return at < text.size() && absl::ascii_isdigit(static_cast<unsigned char>(text[at]));
}

// Takes the digits at *at, with separators only where they group in threes ("1,000", never "1,00").
std::string TakeWhole(const std::string& text, size_t* at) {
  std::string digits;
  while (IsDigitAt(text, *at)) digits += text[(*at)++];
  if (digits.empty() || digits.size() > 3) return digits;
  while (*at < text.size() && (text[*at] == ',' || text[*at] == '_') && IsDigitAt(text, *at + 1) &&
         IsDigitAt(text, *at + 2) && IsDigitAt(text, *at + 3) && !IsDigitAt(text, *at + 4)) {
    digits += text.substr(*at + 1, 3);
    *at += 4;
  }
  return digits;
}

// Takes one number and its unit at *at, and the spaces after either. False when there is none.
bool TakeQuantity(const std::string& text, size_t* at, TypedQuantity* out) {
  const auto skip_spaces = [&] {
    while (*at < text.size() && text[*at] == ' ') ++*at;
  };
  *out = {};
  out->whole = TakeWhole(text, at);
  bool any = !out->whole.empty();
  if (*at < text.size() && text[*at] == '.') {
    ++*at;
    while (IsDigitAt(text, *at)) out->fraction += text[(*at)++];
    any = any || !out->fraction.empty();
  }
  skip_spaces();
  while (*at < text.size() && text[*at] != ' ' && !IsDigitAt(text, *at)) out->unit += text[(*at)++];
  skip_spaces();
  out->whole.erase(0, out->whole.find_first_not_of('0'));
  out->fraction.erase(out->fraction.find_last_not_of('0') + 1);
  return any;
}

// The whole of `text` as one quantity; what every single number has in common is refused here.
absl::StatusOr<TypedQuantity> OneQuantity(const std::string& text, const char* noun,
                                          const char* want) {
  if (text.empty()) return Wrong("the value is empty", want);
  size_t at = 0;
  TypedQuantity quantity;
  if (text[0] == '-' && IsDigitAt(text, 1)) return Wrong(absl::StrCat(text, " is negative"), want);
  if (!TakeQuantity(text, &at, &quantity) || at != text.size()) {
    return Wrong(absl::StrCat(Quoted(text), " is not ", noun), want);
  }
  return quantity;
}

struct Unit {
  const char* name;
  uint64_t factor;
};

constexpr uint64_t kThousand = 1000;
constexpr Unit kCountUnits[] = {{"", 1},
                                {"k", kThousand},
                                {"m", kThousand* kThousand},
                                {"g", kThousand* kThousand* kThousand},
                                {"t", kThousand* kThousand* kThousand* kThousand}};
constexpr Unit kDurationUnits[] = {{"ns", 1},
                                   {"us", 1'000},
                                   {"µs", 1'000},
                                   {"μs", 1'000},  // the Greek letter; the line above: the sign
                                   {"ms", 1'000'000},
                                   {"s", 1'000'000'000},
                                   {"m", 60'000'000'000},
                                   {"min", 60'000'000'000},
                                   {"h", 3'600'000'000'000}};

// The factor of a unit; 0 when there is no such unit.
uint64_t FactorOf(const std::string& unit, std::span<const Unit> units) {
  const auto found =
      std::find_if(units.begin(), units.end(), [&](const Unit& u) { return unit == u.name; });
  return found == units.end() ? 0 : found->factor;
}

uint64_t CountFactor(const std::string& unit) {
  return FactorOf(absl::AsciiStrToLower(unit), kCountUnits);
}

uint64_t BytesFactor(const std::string& unit) {
  std::string name = absl::AsciiStrToLower(unit);
  if (!name.empty() && name.back() == 'b') name.pop_back();
  if (name.size() == 2 && name[1] == 'i') {
    constexpr char kPrefixes[] = {'k', 'm', 'g', 't'};
    for (int power = 1; power <= 4; ++power) {
      if (name[0] == kPrefixes[power - 1]) return uint64_t{1} << (10 * power);
    }
    return 0;
  }
  return FactorOf(name, kCountUnits);
}

enum class Fit { kExact, kFraction, kTooLarge };

// quantity * factor, exactly.
Fit Multiply(const TypedQuantity& quantity, uint64_t factor, unsigned __int128* out) {
  if (quantity.whole.size() > kDigitsMax) return Fit::kTooLarge;
  if (quantity.whole.size() + quantity.fraction.size() > kDigitsMax) return Fit::kFraction;
  unsigned __int128 value = 0;
  unsigned __int128 divisor = 1;
  for (const char digit : quantity.whole) value = value * 10 + (digit - '0');
  for (const char digit : quantity.fraction) {
    value = value * 10 + (digit - '0');
    divisor *= 10;
  }
  value *= factor;
  *out = value / divisor;
  return value % divisor == 0 ? Fit::kExact : Fit::kFraction;
}

absl::StatusOr<uint64_t> WholeNumber(const std::string& text, const char* noun, const char* want,
                                     uint64_t (*factor_of)(const std::string&)) {
  const absl::StatusOr<TypedQuantity> quantity = OneQuantity(text, noun, want);
  if (!quantity.ok()) return quantity.status();
  const uint64_t factor = factor_of(quantity->unit);
  if (factor == 0) {
    return Wrong(absl::StrCat(Quoted(text), " has an unknown unit ", Quoted(quantity->unit)), want);
  }
  unsigned __int128 value = 0;
  const Fit fit = Multiply(*quantity, factor, &value);
  if (fit == Fit::kFraction) return Wrong(absl::StrCat(text, " is not a whole number"), want);
  if (fit == Fit::kTooLarge || value > std::numeric_limits<uint64_t>::max()) {
    return Wrong(absl::StrCat(text, " is too large"), want);
  }
  return static_cast<uint64_t>(value);
}

// The number before the unit; infinite when it is beyond a double.
double Real(const TypedQuantity& quantity) {
  double value = 0;
  absl::SimpleAtod(absl::StrCat("0", quantity.whole, ".", quantity.fraction, "0"), &value);
  return value;
}

// One of the times in a delay.
absl::StatusOr<std::chrono::nanoseconds> DelayPart(const std::string& text) {
  if (text.empty()) return Wrong("a time is missing", kWantDelay);
  const absl::StatusOr<int64_t> ns = ParseDuration(text);
  if (!ns.ok()) return ns.status();
  if (std::chrono::nanoseconds(*ns) > services::Delay::kMax) {
    return Wrong(absl::StrCat(text, " is longer than an hour"), kWantDelay);
  }
  return std::chrono::nanoseconds(*ns);
}

// A delay of which both times are in the text.
absl::StatusOr<services::Delay> DelayOf(services::Delay::Kind kind, const std::string& a,
                                        const std::string& b) {
  const auto first = DelayPart(a);
  if (!first.ok()) return first.status();
  const auto second = DelayPart(b);
  if (!second.ok()) return second.status();
  return services::Delay{.kind = kind, .a = *first, .b = *second};
}

// A CPU number alone; -1 when it isn't one.
int CpuNumber(const std::string& text) {
  int cpu = -1;
  const bool plain = !text.empty() && std::all_of(text.begin(), text.end(), absl::ascii_isdigit);
  return plain && absl::SimpleAtoi(text, &cpu) && cpu <= kCpuMax ? cpu : -1;
}

}  // namespace

absl::StatusOr<uint64_t> ParseCount(const std::string& text) {
  return WholeNumber(text, "a number", kWantCount, &CountFactor);
}

absl::StatusOr<uint64_t> ParseBytes(const std::string& text) {
  return WholeNumber(text, "a size", kWantBytes, &BytesFactor);
}

absl::StatusOr<int64_t> ParseDuration(const std::string& text) {
  if (text.empty()) return Wrong("the value is empty", kWantDuration);
  if (text[0] == '-' && IsDigitAt(text, 1)) {
    return Wrong(absl::StrCat(text, " is negative"), kWantDuration);
  }
  unsigned __int128 total = 0;
  for (size_t at = 0; at < text.size();) {
    TypedQuantity part;
    if (!TakeQuantity(text, &at, &part)) {
      return Wrong(absl::StrCat(Quoted(text), " is not a duration"), kWantDuration);
    }
    if (part.unit.empty()) {
      return Wrong(absl::StrCat(text, " has no unit"),
                   absl::StrCat("add one, such as ", text, "s or ", text, "ms").c_str());
    }
    const uint64_t factor = FactorOf(part.unit, kDurationUnits);
    if (factor == 0) {
      return Wrong(absl::StrCat(Quoted(text), " has an unknown unit ", Quoted(part.unit)),
                   "use ns, us, ms, s, m or h");
    }
    unsigned __int128 ns = 0;
    const Fit fit = Multiply(part, factor, &ns);
    if (fit == Fit::kFraction) {
      return Wrong(absl::StrCat(text, " is finer than a nanosecond"), kWantDuration);
    }
    total += ns;
    if (fit == Fit::kTooLarge || total > std::numeric_limits<int64_t>::max()) {
      return Wrong(absl::StrCat(text, " is too long"), kWantDuration);
    }
  }
  return static_cast<int64_t>(total);
}

absl::StatusOr<double> ParseRate(const std::string& text) {
  absl::StatusOr<TypedQuantity> quantity = OneQuantity(text, "a rate", kWantRate);
  if (!quantity.ok()) return quantity.status();
  std::string unit = quantity->unit;
  if (unit.ends_with("/s")) unit.resize(unit.size() - 2);
  const uint64_t factor = CountFactor(unit);
  if (factor == 0) {
    return Wrong(absl::StrCat(Quoted(text), " has an unknown unit ", Quoted(quantity->unit)),
                 kWantRate);
  }
  const double rate = Real(*quantity) * static_cast<double>(factor);
  if (!std::isfinite(rate)) return Wrong(absl::StrCat(text, " is too large"), kWantRate);
  return rate;
}

absl::StatusOr<services::Delay> ParseDelay(const std::string& text) {
  if (text.empty()) return Wrong("the value is empty", kWantDelay);
  const size_t colon = text.find(':');
  if (colon == std::string::npos) {
    const size_t dots = text.find("..");
    if (dots == std::string::npos) return DelayOf(services::Delay::kFixed, text, "0s");
    auto delay = DelayOf(services::Delay::kUniform, text.substr(0, dots), text.substr(dots + 2));
    if (delay.ok() && delay->a > delay->b) {
      return Wrong(absl::StrCat(text, " runs backwards"), kWantDelay);
    }
    return delay;
  }
  const std::string name = text.substr(0, colon), times = text.substr(colon + 1);
  if (name == "exp") return DelayOf(services::Delay::kExponential, times, "0s");
  if (name != "normal") {
    return Wrong(absl::StrCat(Quoted(name), " is not a distribution"), kWantDelay);
  }
  const size_t comma = times.rfind(',');
  if (comma == std::string::npos) {
    return Wrong(absl::StrCat(text, " has no standard deviation"), kWantDelay);
  }
  return DelayOf(services::Delay::kNormal, times.substr(0, comma), times.substr(comma + 1));
}

absl::StatusOr<std::vector<int>> ParseCpuList(const std::string& text) {
  if (text.empty()) return Wrong("the list is empty", kWantCpus);
  std::vector<int> cpus;
  for (const std::string& part : std::vector<std::string>(absl::StrSplit(text, ','))) {
    const size_t dash = part.find('-');
    const int first = CpuNumber(part.substr(0, dash));
    const int last = dash == std::string::npos ? first : CpuNumber(part.substr(dash + 1));
    if (first < 0 || last < 0) {
      return Wrong(absl::StrCat(Quoted(part), " is not a CPU number from 0 to ", kCpuMax),
                   kWantCpus);
    }
    if (first > last) return Wrong(absl::StrCat(part, " runs backwards"), kWantCpus);
    for (int cpu = first; cpu <= last; ++cpu) {
      if (std::find(cpus.begin(), cpus.end(), cpu) != cpus.end()) {
        return Wrong(absl::StrCat("CPU ", cpu, " is named twice"), "name each CPU once");
      }
      cpus.push_back(cpu);
    }
  }
  return cpus;
}

absl::StatusOr<double> ParsePercent(const std::string& text) {
  absl::StatusOr<TypedQuantity> quantity = OneQuantity(text, "a percentage", kWantPercent);
  if (!quantity.ok()) return quantity.status();
  if (!quantity->unit.empty() && quantity->unit != "%") {
    return Wrong(absl::StrCat(Quoted(text), " has an unknown unit ", Quoted(quantity->unit)),
                 kWantPercent);
  }
  const double percent = Real(*quantity);
  if (!std::isfinite(percent)) return Wrong(absl::StrCat(text, " is too large"), kWantPercent);
  return percent / 100;
}

}  // namespace cli
