#include <cmath>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "report/format.h"
#include "report/text.h"

namespace report {
namespace {

// Characters, not bytes: how wide UTF-8 text is in a terminal.
size_t Width(const std::string& text) {
  size_t width = 0;
  for (const char c : text) width += (static_cast<unsigned char>(c) & 0xc0) != 0x80;
  return width;
}

std::string Left(const std::string& text, size_t width) {
  return text + std::string(width > Width(text) ? width - Width(text) : 0, ' ');
}

std::string Right(const std::string& text, size_t width) {
  return std::string(width > Width(text) ? width - Width(text) : 0, ' ') + text;
}

// A ratio as the difference in percent that it is: 0.953 is "−4.7".
std::string Percent(double ratio) {
  const double percent = (ratio - 1) * 100;
  const int decimals = std::abs(percent) < 9.95 ? 1 : 0;
  const std::string digits = absl::StrFormat("%.*f", decimals, std::abs(percent));
  const bool zero = digits.find_first_not_of("0.") == std::string::npos;
  return absl::StrCat(zero ? "±" : percent < 0 ? "−" : "+", digits);
}

std::string Interval(const Json& estimate) {
  if (estimate["ratio"].is_null()) return "";
  std::string text = absl::StrCat(Percent(estimate["ratio"].get<double>()), " %");
  if (!estimate["ratio_low"].is_null() && !estimate["ratio_high"].is_null()) {
    text = absl::StrCat(Right(text, 8), "  (", Percent(estimate["ratio_low"].get<double>()), " to ",
                        Percent(estimate["ratio_high"].get<double>()), ")");
  }
  return text;
}

std::string Value(const std::string& key, const Json& value) {
  if (value.is_null()) return "–";
  const double number = value.get<double>();
  if (key == "requests_per_s") return FormatCount(static_cast<uint64_t>(std::llround(number)));
  if (key == "p99_ns") return FormatDuration(static_cast<int64_t>(number));
  if (key == "server_cpu_us" || key == "client_cpu_us") return absl::StrFormat("%.2f µs", number);
  return number < 1 ? absl::StrFormat("%.3f", number) : absl::StrFormat("%.2f", number);
}

std::string Label(const std::string& key, const Json& scenario) {
  const std::string pace = FormatRate(scenario["pace_rps"].get<double>());
  if (key == "server_cpu_us") return absl::StrCat("server CPU a request, at ", pace);
  if (key == "server_syscalls") return absl::StrCat("system calls a request, at ", pace);
  if (key == "client_cpu_us") return absl::StrCat("client CPU a request, at ", pace);
  if (key == "requests_per_s") return "requests/s, full speed";
  return "p99 latency, full speed";
}

std::string Noun(const std::string& key, const Json& scenario) {
  const std::string pace = FormatRate(scenario["pace_rps"].get<double>());
  if (key == "server_cpu_us") return absl::StrCat("server CPU a request at ", pace);
  if (key == "server_syscalls") return absl::StrCat("system calls a request at ", pace);
  if (key == "client_cpu_us") return absl::StrCat("client CPU a request at ", pace);
  if (key == "requests_per_s") return "requests/s";
  return "p99 latency";
}

std::string Unsigned(double ratio) { return absl::StrFormat("%.1f %%", std::abs(ratio - 1) * 100); }

// "io_uring is faster than epoll: 6.2 % less server CPU a request at 100k/s (…)."
std::string Sentence(const Json& compare, const Json& scenario) {
  const std::string a = compare["a"]["name"], b = compare["b"]["name"];
  const Json& verdict = scenario["verdict"];
  const std::string noun = Noun(compare["metric"], scenario);
  if (verdict.is_null() || verdict["ratio"].is_null()) {
    return absl::StrCat("Nothing can be said of ", a, " and ", b, ": no pair of rounds counted.");
  }
  const int pairs = verdict["pairs"].get<int>();
  const std::string margin = absl::StrFormat("%g %%", compare["margin"].get<double>() * 100);
  const double ratio = verdict["ratio"].get<double>();
  const std::string name = verdict["verdict"];
  const bool bounded = !verdict["ratio_low"].is_null() && !verdict["ratio_high"].is_null();
  const std::string evidence =
      bounded ? absl::StrFormat("%.1f %% interval %s to %s %%, %d pairs",
                                verdict["confidence"].get<double>() * 100,
                                Percent(verdict["ratio_low"].get<double>()),
                                Percent(verdict["ratio_high"].get<double>()), pairs)
              : absl::StrCat(pairs, pairs == 1 ? " pair" : " pairs");
  const std::string difference =
      absl::StrCat(Unsigned(ratio), ratio < 1 ? " less " : " more ", noun);
  if (name == "faster" || name == "slower") {
    return absl::StrCat(b, " is ", name, " than ", a, ": ", difference, " (", evidence, ").");
  }
  if (name == "same") {
    return absl::StrCat(b, " is the same as ", a, " within ", margin, ": ", difference, " (",
                        evidence, ").");
  }
  if (name == "small difference") {
    return absl::StrCat(b, " differs a little from ", a, ": ", difference, ", and ", margin,
                        " is within the interval (", evidence, ").");
  }
  std::string more;
  if (verdict["more_pairs"].get<int>() > 0) {
    more = absl::StrCat(" About ", verdict["more_pairs"].get<int>(),
                        " more pairs would tell: --budget, --pairs.");
  }
  return absl::StrCat("Can't tell whether ", b, " is faster or slower than ", a, " by more than ",
                      margin, ": ", difference, " (", evidence, ").", more);
}

std::string Table(const Json& compare, const Json& scenario) {
  constexpr size_t kLabel = 40, kValue = 12, kDifference = 30;
  const std::string a = compare["a"]["name"], b = compare["b"]["name"], gate = compare["metric"];
  std::string text =
      absl::StrCat(Left(scenario["name"].get<std::string>(), kLabel + 2), Right(a, kValue),
                   Right(b, kValue), "   ", b, " against ", a, "\n");
  std::vector<std::string> keys = {gate};
  for (const auto& item : scenario["medians"].items()) {
    if (item.key() != gate) keys.push_back(item.key());
  }
  for (const std::string& key : keys) {
    if (!scenario["medians"].contains(key)) continue;
    const Json& medians = scenario["medians"][key];
    if (medians["a"].is_null() && medians["b"].is_null()) continue;
    const bool gating = key == gate;
    const bool known = gating || scenario["secondary"].contains(key);
    const Json& estimate = gating  ? scenario["verdict"]
                           : known ? scenario["secondary"][key]
                                   : Json();
    const std::string word = !known ? "" : gating ? estimate["verdict"] : estimate["difference"];
    std::string line = absl::StrCat("  ", Left(Label(key, scenario), kLabel),
                                    Right(Value(key, medians["a"]), kValue),
                                    Right(Value(key, medians["b"]), kValue), "   ",
                                    Left(known ? Interval(estimate) : "", kDifference), word);
    while (line.back() == ' ') line.pop_back();
    text += line + "\n";
  }
  const size_t voids = scenario["void_pairs"].size();
  if (voids > 0) {
    absl::StrAppend(&text, "  ", voids, voids == 1 ? " pair was" : " pairs were",
                    " void: ", scenario["void_pairs"].back()["why"].get<std::string>(), "\n");
  }
  return text;
}

// Results of versions that knew only TCP don't name it.
std::string TransportText(const Json& compare) {
  const std::string name = compare.value("transport", "tcp");
  if (name == "tcp") return "loopback TCP";
  if (name == "udp") return "loopback UDP";
  if (name == "unix") return "Unix streams";
  if (name == "seqpacket") return "Unix seqpackets";
  return "Unix datagrams";
}

}  // namespace

std::string CompareText(const Json& compare) {
  std::string text =
      absl::StrCat("\n", compare["a"]["name"].get<std::string>(), " against ",
                   compare["b"]["name"].get<std::string>(), ", ",
                   compare["service"].get<std::string>(), " over ", TransportText(compare),
                   compare["interrupted"].get<bool>() ? ", interrupted" : "", "\n\n");
  for (const Json& scenario : compare["scenarios"])
    absl::StrAppend(&text, Table(compare, scenario), "\n");
  for (const Json& scenario : compare["scenarios"]) {
    absl::StrAppend(&text, Left(scenario["name"].get<std::string>(), 18),
                    Sentence(compare, scenario), "\n");
  }
  return text;
}

}  // namespace report
