#include "cli/load_values.h"

#include <cmath>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "cli/values.h"

namespace cli {
namespace {

using loadgen::RateSegment, services::SizePlan;

constexpr char kWantRates[] = "give rates such as 200k, 100/conn, 10k/10s,50k/10s or 10k:100k/60s";
constexpr char kWantSizes[] =
    "give sizes such as 64, 64..16KiB, 64:90,16KiB:10, exp:1KiB, lognormal:1KiB,2.0 or "
    "pareto:64,1.2";
constexpr char kWantEscapes[] = "use \\r, \\n, \\t, \\0, \\\\ or \\xHH with two hex digits";

constexpr uint64_t kFixedBytesMax = 1 << 30;

absl::Status Wrong(const std::string& what, const char* want) {
  return absl::InvalidArgumentError(absl::StrCat(what, "; ", want));
}

std::string Quoted(const std::string& text) { return absl::StrCat("'", text, "'"); }

// The text before and after the first `separator`; false when there is none.
bool Cut(const std::string& text, char separator, std::string* before, std::string* after) {
  const size_t at = text.find(separator);
  if (at == std::string::npos) return false;
  *before = text.substr(0, at);
  *after = text.substr(at + 1);
  return true;
}

// Takes a suffix off the end of the text, if it is there.
bool TakeSuffix(std::string* text, std::string_view suffix) {
  if (!text->ends_with(suffix)) return false;
  text->resize(text->size() - suffix.size());
  return true;
}

// --- rates --------------------------------------------------------------------------------------

// A rate without its length; *per_connection becomes true where it says so.
absl::StatusOr<double> OneRate(std::string text, bool* per_connection) {
  *per_connection |= TakeSuffix(&text, "/conn");
  if (text.empty()) return Wrong("a rate is missing", kWantRates);
  return ParseRate(text);
}

// Takes the length off the end of a part: what is behind its last slash, if that is a time. The
// part without one is endless.
absl::StatusOr<int64_t> TakeLength(std::string* part) {
  const size_t slash = part->rfind('/');
  if (slash == std::string::npos) return loadgen::kNever;
  const std::string length = part->substr(slash + 1);
  if (length == "s" || length == "conn") return loadgen::kNever;  // the rate's own
  part->resize(slash);
  const absl::StatusOr<int64_t> ns = ParseDuration(length);
  if (ns.ok() && *ns == 0) return Wrong("a part of the rates takes no time", kWantRates);
  return ns;
}

absl::StatusOr<RateSegment> OneSegment(std::string part, bool* per_connection) {
  const absl::StatusOr<int64_t> length = TakeLength(&part);
  if (!length.ok()) return length.status();
  std::string from = part, to = part;
  Cut(part, ':', &from, &to);
  const auto end_rate = OneRate(to, per_connection);
  if (!end_rate.ok()) return end_rate.status();
  const auto begin_rate = OneRate(from, per_connection);
  if (!begin_rate.ok()) return begin_rate.status();
  return RateSegment{*begin_rate, *end_rate, *length};
}

// --- sizes --------------------------------------------------------------------------------------

absl::StatusOr<uint32_t> OneSize(const std::string& text, uint64_t most) {
  if (text.empty()) return Wrong("a size is missing", kWantSizes);
  const absl::StatusOr<uint64_t> bytes = ParseBytes(text);
  if (!bytes.ok()) return bytes.status();
  if (*bytes == 0) return Wrong("a request has at least one byte", kWantSizes);
  if (*bytes > most) {
    const char* limit = most == SizePlan::kMax ? " is more than 1 MiB, the most of sizes that vary"
                                               : " is more than 1 GiB";
    return Wrong(absl::StrCat(text, limit), kWantSizes);
  }
  return static_cast<uint32_t>(*bytes);
}

// A plain number, such as 2 or 0.5.
absl::StatusOr<double> OneNumber(const std::string& text, const char* noun, double least,
                                 double most) {
  double value = 0;
  const bool plain = text.find_first_not_of("0123456789.") == std::string::npos;
  if (!plain || !absl::SimpleAtod(text, &value)) {
    return Wrong(absl::StrCat(Quoted(text), " is no ", noun), kWantSizes);
  }
  if (!(value >= least && value <= most)) {
    return Wrong(absl::StrCat(noun, " ", text, " is not within ", least, " to ", most), kWantSizes);
  }
  return value;
}

absl::StatusOr<SizePlan> UniformSizes(const std::string& text, size_t dots) {
  const auto least = OneSize(text.substr(0, dots), SizePlan::kMax);
  if (!least.ok()) return least.status();
  const auto most = OneSize(text.substr(dots + 2), SizePlan::kMax);
  if (!most.ok()) return most.status();
  if (*least > *most) return Wrong(absl::StrCat(text, " runs backwards"), kWantSizes);
  return SizePlan::Uniform(*least, *most);
}

absl::StatusOr<SizePlan> WeightedSizes(const std::string& text) {
  constexpr double kWeightMax = 1e9;
  std::vector<SizePlan::Weight> weights;
  double total = 0;
  for (const std::string& part : std::vector<std::string>(absl::StrSplit(text, ','))) {
    std::string size, weight;
    if (!Cut(part, ':', &size, &weight)) {
      return Wrong(absl::StrCat(Quoted(part), " has no weight"), kWantSizes);
    }
    const auto bytes = OneSize(size, SizePlan::kMax);
    if (!bytes.ok()) return bytes.status();
    TakeSuffix(&weight, "%");
    const auto number = OneNumber(weight, "weight", 0, kWeightMax);
    if (!number.ok()) return number.status();
    weights.push_back({*bytes, *number});
    total += *number;
  }
  if (total <= 0) return Wrong("all weights are 0", "give one above 0");
  return SizePlan::Weighted(weights);
}

// "SIZE,SHAPE" of a lognormal or Pareto distribution.
absl::StatusOr<SizePlan> ShapedSizes(const std::string& text, const char* shape,
                                     SizePlan (*make)(double, double)) {
  const size_t comma = text.rfind(',');
  if (comma == std::string::npos) {
    return Wrong(absl::StrCat(Quoted(text), " has no ", shape), kWantSizes);
  }
  const auto bytes = OneSize(text.substr(0, comma), SizePlan::kMax);
  if (!bytes.ok()) return bytes.status();
  const auto number =
      OneNumber(text.substr(comma + 1), shape, SizePlan::kShapeMin, SizePlan::kShapeMax);
  if (!number.ok()) return number.status();
  return make(*bytes, *number);
}

// --- escapes ------------------------------------------------------------------------------------

int HexDigit(const std::string& text, size_t at) {
  if (at >= text.size() || !absl::ascii_isxdigit(static_cast<unsigned char>(text[at]))) return -1;
  const char c = absl::ascii_tolower(static_cast<unsigned char>(text[at]));
  return c <= '9' ? c - '0' : c - 'a' + 10;
}

// The character that the one after a backslash stands for; -1 for none.
int Escaped(char c) {
  switch (c) {
    case 'r':
      return '\r';
    case 'n':
      return '\n';
    case 't':
      return '\t';
    case '0':
      return '\0';
    case '\\':
      return '\\';
    default:
      return -1;
  }
}

absl::StatusOr<uint64_t> OneCount(const std::string& text) {
  constexpr char kWant[] = "give a number such as 100, or two such as 50..200";
  constexpr uint64_t kMost = 1'000'000'000'000'000;
  if (text.empty()) return Wrong("a number is missing", kWant);
  const auto count = ParseCount(text);
  if (!count.ok()) return count.status();
  if (*count == 0 || *count > kMost) {
    return Wrong(absl::StrCat(text, " is not within 1 to ", kMost), kWant);
  }
  return count;
}

}  // namespace

absl::StatusOr<std::pair<uint64_t, uint64_t>> ParseCounts(const std::string& text) {
  const size_t dots = text.find("..");
  const auto least = OneCount(text.substr(0, dots));
  if (!least.ok()) return least.status();
  if (dots == std::string::npos) return std::pair(*least, *least);
  const auto most = OneCount(text.substr(dots + 2));
  if (!most.ok()) return most.status();
  if (*least > *most) {
    return Wrong(absl::StrCat(text, " runs backwards"), "give the smaller number first");
  }
  return std::pair(*least, *most);
}

absl::StatusOr<TypedRates> ParseRates(const std::string& text) {
  if (text.empty()) return Wrong("the value is empty", kWantRates);
  TypedRates rates;
  const std::vector<std::string> parts = absl::StrSplit(text, ',');
  for (size_t i = 0; i < parts.size(); ++i) {
    if (parts[i].empty()) return Wrong("a part of the rates is missing", kWantRates);
    bool per_connection = false;
    const auto segment = OneSegment(parts[i], &per_connection);
    if (!segment.ok()) return segment.status();
    if (i > 0 && per_connection != rates.per_connection) {
      return Wrong(absl::StrCat(Quoted(text), " mixes rates per connection with rates of all"),
                   "write /conn in every part, or in none");
    }
    rates.per_connection = per_connection;
    rates.plan.segments.push_back(*segment);
  }
  if (const absl::Status status = rates.plan.Check(); !status.ok()) return status;
  return rates;
}

absl::StatusOr<SizePlan> ParseSizes(const std::string& text) {
  if (text.empty()) return Wrong("the value is empty", kWantSizes);
  if (const size_t dots = text.find(".."); dots != std::string::npos) {
    return UniformSizes(text, dots);
  }
  std::string name, rest;
  if (!Cut(text, ':', &name, &rest)) {
    const auto bytes = OneSize(text, kFixedBytesMax);
    if (!bytes.ok()) return bytes.status();
    return SizePlan::Fixed(*bytes);
  }
  if (name == "exp") {
    const auto mean = OneSize(rest, SizePlan::kMax);
    if (!mean.ok()) return mean.status();
    return SizePlan::Exponential(*mean);
  }
  if (name == "lognormal") return ShapedSizes(rest, "sigma", &SizePlan::LogNormal);
  if (name == "pareto") return ShapedSizes(rest, "alpha", &SizePlan::Pareto);
  if (!name.empty() && absl::ascii_isalpha(static_cast<unsigned char>(name[0]))) {
    return Wrong(absl::StrCat(Quoted(name), " is not a distribution"), kWantSizes);
  }
  return WeightedSizes(text);
}

absl::StatusOr<std::string> ParseEscapes(const std::string& text) {
  std::string out;
  for (size_t at = 0; at < text.size(); ++at) {
    if (text[at] != '\\') {
      out += text[at];
      continue;
    }
    if (++at == text.size()) return Wrong("the text ends in a backslash", kWantEscapes);
    if (text[at] == 'x') {
      const int high = HexDigit(text, at + 1), low = HexDigit(text, at + 2);
      if (high < 0 || low < 0) {
        return Wrong(absl::StrCat(Quoted(text.substr(at - 1, 4)), " is no byte"), kWantEscapes);
      }
      out += static_cast<char>(high * 16 + low);
      at += 2;
      continue;
    }
    const int c = Escaped(text[at]);
    if (c < 0) {
      return Wrong(absl::StrCat(Quoted(text.substr(at - 1, 2)), " means nothing"), kWantEscapes);
    }
    out += static_cast<char>(c);
  }
  return out;
}

absl::StatusOr<std::vector<io::Endpoint>> ParseSources(const std::string& text,
                                                       const io::Endpoint& to) {
  if (to.is_unix()) {
    return absl::InvalidArgumentError("Unix sockets have no source address; leave it out");
  }
  std::vector<io::Endpoint> sources;
  const std::vector<std::string> parts = absl::StrSplit(text, ',');
  for (const std::string& part : parts) {
    const bool bare_v6 = absl::StrContains(part, ':') && !absl::StartsWith(part, "[");
    auto source = io::Resolve(absl::StrCat(bare_v6 ? absl::StrCat("[", part, "]") : part, ":0"));
    if (!source.ok()) return source.status();
    if (source->family() != to.family()) {
      return absl::InvalidArgumentError(absl::StrCat(
          part, " is of another family than ", to.ToString(), "; write addresses of the same"));
    }
    sources.emplace_back(to.transport(), source->address(), source->size());
  }
  return sources;
}

}  // namespace cli
