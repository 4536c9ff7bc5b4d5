#include <stdlib.h>
#include <sys/wait.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "report/compare_words.h"
#include "report/escape.h"
#include "report/fields.h"
#include "report/formats.h"
#include "stats/hdr_codec.h"
#include "stats/histogram.h"

// Pictures for a README, drawn by gnuplot from scripts that are made here.
namespace report {
namespace svg {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kDrawnMax = 500;  // comparisons: what a picture can show

// Told apart by all who see colours differently, and in grey (Okabe and Ito, "Color Universal
// Design", 2008).
constexpr const char* kColours[] = {"#0072B2", "#D55E00", "#009E73",
                                    "#CC79A7", "#56B4E9", "#E69F00"};

std::string Head(int width, int height, const std::string& title) {
  return absl::StrFormat(
      "set terminal svg size %d,%d dynamic background rgb 'white' font "
      "'Helvetica,Arial,sans-serif' "
      "fontscale 1.0 noenhanced\n"
      "set encoding utf8\n"
      "set title %s font ',15' textcolor rgb '#222222' offset 0,0.3\n"
      "set border 3 linecolor rgb '#888888'\n"
      "set tics nomirror out textcolor rgb '#333333'\n"
      "set grid linecolor rgb '#e4e4e4' linetype 1 linewidth 1\n"
      "set key textcolor rgb '#333333'\n",
      width, height, QuoteGnuplot(title));
}

// A comparison, as it is drawn: an effect in percent with its interval.
struct Effect {
  std::string label;
  double percent, low, high;  // NaN: none
  const char* colour;
};

const char* ColourOf(const std::string& word) {
  if (word == "faster") return "#009E73";
  if (word == "slower") return "#D55E00";
  if (word == "same" || word == "small difference") return "#0072B2";
  return "#888888";
}

double Percent(const Json& ratio) {
  return ratio.is_null() ? std::nan("") : (ratio.get<double>() - 1) * 100;
}

std::vector<Effect> EffectsOf(const Json& result) {
  std::vector<Effect> effects;
  const bool several = result["scenarios"].size() > 1;
  for (const Json& scenario : result["scenarios"]) {
    for (const Json& comparison : scenario["comparisons"]) {
      const std::string word = VerdictWord(comparison), arm = ArmName(result, comparison["arm"]);
      const std::string name =
          several ? absl::StrCat(scenario["name"].get<std::string>(), ", ", arm) : arm;
      Effect effect = {absl::StrCat(name, ": ", word), std::nan(""), std::nan(""), std::nan(""),
                       ColourOf(word)};
      const Json& verdict = comparison["verdict"];
      if (!verdict.is_null()) {
        effect.percent = Percent(verdict["ratio"]);
        const bool bounded = !verdict["ratio_low"].is_null() && !verdict["ratio_high"].is_null();
        effect.low = bounded ? Percent(verdict["ratio_low"]) : effect.percent;
        effect.high = bounded ? Percent(verdict["ratio_high"]) : effect.percent;
      }
      effects.push_back(std::move(effect));
    }
  }
  return effects;
}

// What the effects are of. Scenarios may have paces of their own: then none is said.
std::string EffectsTitle(const Json& result) {
  const Json& first = result["scenarios"][0];
  const std::string label = MetricLabel(result, first, first["metric"]);
  for (const Json& scenario : result["scenarios"]) {
    if (scenario["metric"] != first["metric"]) return "the metric of each scenario";
    if (MetricLabel(result, scenario, scenario["metric"]) != label) {
      return result["metrics"][first["metric"].get<std::string>()]["label"];
    }
  }
  return label;
}

// Intervals against the band that doesn't matter, a row a comparison, the first on top.
std::string EffectsScript(const Json& result) {
  const std::vector<Effect> effects = EffectsOf(result);
  double margin = 0;  // the largest of all: what is outside of the band matters in any scenario
  for (const Json& scenario : result["scenarios"]) {
    margin = std::max(margin, scenario["margin"].get<double>() * 100);
  }
  double low = -2 * margin, high = 2 * margin;
  std::string tics, data;
  size_t known = 0;
  for (size_t i = 0; i < effects.size(); ++i) {
    const Effect& effect = effects[i];
    const size_t y = effects.size() - i;
    absl::StrAppend(&tics, i == 0 ? "" : ", ", QuoteGnuplotTic(effect.label), " ", y);
    if (std::isnan(effect.percent)) continue;
    ++known;
    low = std::min(low, effect.low);
    high = std::max(high, effect.high);
    absl::StrAppendFormat(&data, "%.6g %d %.6g %.6g 0x%s\n", effect.percent, static_cast<int>(y),
                          effect.low, effect.high, effect.colour + 1);
  }
  const double room = (high - low) * 0.06;
  std::string script = Head(760, 130 + 34 * static_cast<int>(effects.size()),
                            absl::StrCat(EffectsTitle(result), ": against ", ArmName(result, 0)));
  absl::StrAppendFormat(&script,
                        "unset key\nset ytics (%s)\nset yrange [0.4:%g]\nset xrange [%g:%g]\n"
                        "set xlabel 'difference in %% (band: what does not matter)' textcolor rgb "
                        "'#333333'\nset xtics format '%%+.0f'\nset grid xtics noytics\n"
                        "set object 1 rectangle from %g,graph 0 to %g,graph 1 behind fillcolor rgb "
                        "'#eef2f7' fillstyle solid noborder\n"
                        "set arrow 1 from 0,graph 0 to 0,graph 1 nohead linecolor rgb '#888888'\n",
                        tics, static_cast<double>(effects.size()) + 0.6, low - room, high + room,
                        (1 / (1 + margin / 100) - 1) * 100, margin);
  if (known == 0) return script + "plot NaN notitle\n";
  return absl::StrCat(
      script, "$effects << END\n", data,
      "END\nplot $effects using 1:2:3:4:5 with xerrorbars pointtype 7 pointsize 0.9 "
      "linewidth 2.5 linecolor rgb variable notitle\n");
}

// How to divide a metric for an axis, and its unit.
struct Axis {
  double divisor;
  std::string label;
};
Axis AxisOf(const Json& result, const std::string& key, const std::string& label) {
  const std::string unit = result["metrics"][key]["unit"];
  if (unit == "ns") return {1000, label + " (µs)"};
  if (unit == "us") return {1, label + " (µs)"};
  if (unit == "bytes") return {1 << 20, label + " (MiB)"};
  return {1, label};
}

// The quartiles of an arm's rounds that count.
std::vector<double> Quartiles(const Json& scenario, size_t arm, const std::string& key) {
  std::vector<double> values;
  for (const Json& round : scenario["rounds"]) {
    const Json& figures = round["arms"][arm];
    if (figures.is_null() || !figures["void"].is_null() || !figures.contains(key)) continue;
    if (figures[key].is_number()) values.push_back(figures[key].get<double>());
  }
  if (values.empty()) return {};
  std::sort(values.begin(), values.end());
  const auto at = [&](double share) {
    return values[static_cast<size_t>(share * static_cast<double>(values.size() - 1) + 0.5)];
  };
  return {at(0.25), at(0.75)};
}

std::string SweepScript(const Json& result) {
  const Json& first = result["scenarios"][0];
  const std::string key = first["metric"];
  const Axis axis = AxisOf(result, key, result["metrics"][key]["label"]);
  const std::string parameter = result["sweep"]["parameter"];
  double least = INFINITY, most = 0;
  std::string script = Head(760, 440, absl::StrCat(axis.label, " by ", parameter));
  std::string plots, tics;
  for (size_t arm = 0; arm < result["arms"].size(); ++arm) {
    absl::StrAppend(&script, "$arm", arm, " << END\n");
    bool any = false;
    for (const Json& scenario : result["scenarios"]) {
      const Json& median = fields::At(scenario["arms"][arm]["medians"], key.c_str());
      const std::vector<double> quartiles = Quartiles(scenario, arm, key);
      if (median.is_null() || scenario["x"].is_null() || quartiles.empty()) continue;
      const double x = scenario["x"];
      least = std::min(least, x);
      most = std::max(most, x);
      any = true;
      absl::StrAppendFormat(&script, "%.9g %.9g %.9g %.9g\n", x,
                            median.get<double>() / axis.divisor, quartiles[0] / axis.divisor,
                            quartiles[1] / axis.divisor);
    }
    absl::StrAppend(&script, "END\n");
    if (!any) continue;
    const char* colour = kColours[arm % std::size(kColours)];
    const std::string name = ArmName(result, arm);
    absl::StrAppendFormat(
        &plots,
        "%s$arm%d using 1:2 with lines linewidth 2.5 linecolor rgb '%s' notitle, $arm%d using "
        "1:2:3:4 with yerrorbars pointtype %d pointsize 0.8 linewidth 1.5 linecolor rgb '%s' title "
        "%s",
        plots.empty() ? "" : ", ", static_cast<int>(arm), colour, static_cast<int>(arm),
        arm % 2 == 0 ? 7 : 5, colour, QuoteGnuplot(name));
  }
  for (const Json& scenario : result["scenarios"]) {
    if (scenario["x"].is_null()) continue;
    const double x = scenario["x"];
    absl::StrAppendFormat(&tics, "%s'%.6g' %.9g", tics.empty() ? "" : ", ", x, x);
  }
  if (plots.empty()) return script + "plot [0:1][0:1] NaN notitle\n";
  absl::StrAppendFormat(&script, "set ylabel %s textcolor rgb '#333333'\n",
                        QuoteGnuplot(axis.label));
  absl::StrAppendFormat(&script, "set xlabel %s textcolor rgb '#333333'\n",
                        QuoteGnuplot(parameter + " (median of the rounds, bars: their quartiles)"));
  if (least > 0 && most / least > 8) {
    absl::StrAppendFormat(&script, "set logscale x 2\nset xrange [%g:%g]\n", least / 1.2,
                          most * 1.2);
  }
  return absl::StrCat(script, "set xtics (", tics,
                      ")\nset yrange [0:*]\nset key below reverse Left\nplot ", plots, "\n");
}

// The share that is above, on a scale of nines.
absl::StatusOr<std::string> CurveScript(const Json& result) {
  std::string script = Head(760, 440, "Latency by percentile"), plots;
  double most = 100;
  size_t index = 0;
  for (const Json* load : LoadsOf(result)) {
    const auto histogram = stats::DecodeHdr((*load)["latency_ns"]["hdr"].get<std::string>());
    if (!histogram.ok()) return histogram.status();
    if (histogram->count() == 0) continue;
    const auto count = static_cast<double>(histogram->count());
    most = std::max(most, count);
    absl::StrAppend(&script, "$run", index, " << END\n");
    for (double nines = 0.0; std::pow(10, nines) <= count; nines += 0.02) {
      const double above = std::pow(10, -nines);
      absl::StrAppendFormat(&script, "%.6g %.6g\n", 1 / above,
                            static_cast<double>(histogram->Percentile(100 * (1 - above))) / 1000);
    }
    absl::StrAppend(&script, "END\n");
    absl::StrAppendFormat(&plots,
                          "%s$run%d using 1:2 with lines linewidth 2.5 linecolor rgb '%s' "
                          "title %s",
                          plots.empty() ? "" : ", ", static_cast<int>(index),
                          kColours[index % std::size(kColours)], QuoteGnuplot(LoadName(*load)));
    ++index;
  }
  if (plots.empty()) {
    return absl::InvalidArgumentError("it has no latencies: there is nothing to draw");
  }
  absl::StrAppendFormat(
      &script,
      "set logscale x 10\nset logscale y 10\nset xrange [1:%g]\nset xlabel 'percentile' textcolor "
      "rgb '#333333'\nset ylabel 'latency (µs)' textcolor rgb '#333333'\nset xtics ('0' 1, '50' 2, "
      "'90' 10, '99' 100, '99.9' 1000, '99.99' 10000, '99.999' 100000, '99.9999' 1000000)\n"
      "set key below reverse Left\nplot %s\n",
      most, plots);
  return script;
}

absl::StatusOr<std::string> Draw(const std::string& script) {
  std::string folder = (std::filesystem::temp_directory_path() / "ringside_svg_XXXXXX").string();
  if (mkdtemp(folder.data()) == nullptr) {
    return absl::InternalError(absl::StrCat("can't create ", folder, " for gnuplot"));
  }
  const std::string path = folder + "/script", drawn = folder + "/drawn.svg";
  std::ofstream(path) << "set output 'drawn.svg'\n" << script << "unset output\n";
  // The path has no character that a shell takes for its own, unless TMPDIR has: so it is cd'd to
  // by the environment.
  setenv("RINGSIDE_SVG_FOLDER", folder.c_str(), 1);
  const int status = system("cd \"$RINGSIDE_SVG_FOLDER\" && exec gnuplot script 2>errors");
  const auto read = [](const std::string& file) {
    std::ifstream stream(file, std::ios::binary);
    return std::string(std::istreambuf_iterator<char>(stream), {});
  };
  const std::string text = read(drawn), errors = read(folder + "/errors");
  std::error_code ignored;
  std::filesystem::remove_all(folder, ignored);
  if (WIFEXITED(status) && WEXITSTATUS(status) == 127) {
    return absl::FailedPreconditionError(
        "svg is drawn by gnuplot, which isn't installed; on Debian: apt-get install gnuplot-nox");
  }
  if (status != 0 || text.empty()) {
    return absl::InternalError(absl::StrCat("gnuplot failed: ", Trimmed(errors)));
  }
  return text;
}

}  // namespace
}  // namespace svg

absl::StatusOr<std::string> SvgReport(std::span<const nlohmann::ordered_json> results,
                                      const RenderOptions&) {
  if (results.size() != 1) {
    return absl::InvalidArgumentError("svg is a picture of one result; name one file");
  }
  const auto& result = results[0];
  if (result["schema"] != "ringside.compare/2") {
    const auto script = svg::CurveScript(result);
    return script.ok() ? svg::Draw(*script) : script.status();
  }
  const size_t comparisons = result["scenarios"].size() * (result["arms"].size() - 1);
  if (comparisons > svg::kDrawnMax) {
    return absl::InvalidArgumentError(absl::StrCat("svg draws up to ", svg::kDrawnMax,
                                                   " comparisons, and here are ", comparisons,
                                                   "; html shows them all"));
  }
  return svg::Draw(result["sweep"].is_null() ? svg::EffectsScript(result)
                                             : svg::SweepScript(result));
}

}  // namespace report
