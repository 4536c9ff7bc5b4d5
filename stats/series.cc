#include "stats/series.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "stats/signed_rank.h"

namespace stats {
namespace {

using Values = std::vector<double>;

constexpr double kStalledShare = 0.2;
constexpr double kShareMin = 0.02;       // smaller trends and steps are nothing
constexpr double kTrendLevel = 0.02;     // of significance
constexpr double kStepLevel = 0.0005;    // the best of many places: some 2 % in all
constexpr double kEffectiveMin = 3;      // independent intervals
constexpr size_t kTrendValuesMax = 512;  // whose pairs are taken
constexpr double kAutocorrelationMax = 0.99;
constexpr double kNormalMad = 1.4826;    // standard deviations in a median absolute deviation
constexpr double kMedianError = 1.2533;  // the median's standard error over the mean's

double MedianOf(std::span<const double> values) { return Median({values.begin(), values.end()}); }

// A standard deviation that outliers don't move.
double Spread(std::span<const double> values, double median) {
  Values deviations(values.begin(), values.end());
  for (double& value : deviations) value = std::abs(value - median);
  return kNormalMad * Median(std::move(deviations));
}

// The means of blocks of `size` values; a block that isn't full is left out.
Values BlockMeans(std::span<const double> values, size_t size) {
  Values means(values.size() / size);
  for (size_t i = 0; i < means.size() * size; ++i) means[i / size] += values[i] / size;
  return means;
}

// How many leading values to drop, at most half, so that the standard error of the mean of the rest
// is the smallest.
size_t Mser(std::span<const double> values) {
  double sum = 0, squares = 0, smallest = std::numeric_limits<double>::infinity();
  const double middle = MedianOf(values);  // near 0 the sums of squares lose nothing
  size_t best = 0;
  for (size_t drop = values.size(); drop-- > 0;) {
    const double value = values[drop] - middle;
    sum += value;
    squares += value * value;
    if (drop > values.size() / 2) continue;
    const double left = static_cast<double>(values.size() - drop);
    const double error = (squares - sum * sum / left) / (left * left);
    if (error <= smallest) smallest = error, best = drop;
  }
  return best;
}

double Sign(double value) { return (value > 0) - (value < 0); }

// Lag 1, about the mean; 0 for constant values.
double Autocorrelation(std::span<const double> values) {
  double mean = 0;
  for (const double value : values) mean += value / static_cast<double>(values.size());
  double products = 0, squares = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    squares += (values[i] - mean) * (values[i] - mean);
    if (i > 0) products += (values[i] - mean) * (values[i - 1] - mean);
  }
  return squares > 0 ? products / squares : 0;
}

// The estimate is too low by about (2 + 4 rho) / n where a line or a step was taken off. A negative
// one counts as 0: it would only make the tests bolder.
double Unbiased(double autocorrelation, double n) {
  const double corrected = (n * autocorrelation + 2) / (n - 4);
  return std::clamp(corrected, 0.0, kAutocorrelationMax);
}

// By how much autocorrelation `rho` of an AR(1) process raises the variance of a mean of n values.
double MeanInflation(double rho, double n) {
  return (1 + rho) / (1 - rho) - 2 * rho * (1 - std::pow(rho, n)) / (n * (1 - rho) * (1 - rho));
}

// The same for Mann and Kendall's S: Hamed and Rao's sum over all lags.
double TrendInflation(double rho, double n) {
  double sum = 0, power = rho;
  for (double lag = 1; lag < n - 2 && power > 1e-9; ++lag, power *= rho) {
    // The correlation of ranks, of normal values with this one.
    const double ranks = 6 / M_PI * std::asin(power / 2);
    sum += (n - lag) * (n - lag - 1) * (n - lag - 2) * ranks;
  }
  return 1 + 2 / (n * (n - 1) * (n - 2)) * sum;
}

// Two-sided, of a standard normal.
double NormalP(double z) { return std::erfc(std::abs(z) / M_SQRT2); }

// Two-sided, of Student's t. Source: Wallace, "Bounds on normal approximations to Student's and the
// chi-square distributions" (1959).
double StudentP(double t, double freedom) {
  const double z = std::sqrt(freedom * std::log1p(t * t / freedom));
  return NormalP(z * (8 * freedom + 1) / (8 * freedom + 3));
}

// The variance of S, ties counted.
double KendallVariance(Values values) {
  const auto term = [](double n) { return n * (n - 1) * (2 * n + 5) / 18; };
  double variance = term(static_cast<double>(values.size()));
  std::sort(values.begin(), values.end());
  for (size_t i = 0, end = 0; i < values.size(); i = end) {
    while (end < values.size() && values[end] == values[i]) ++end;
    variance -= term(static_cast<double>(end - i));
  }
  return variance;
}

struct Line {
  double slope = 0;  // a value of the series
  double p = 1;
  Values residuals;
};

Values Detrended(std::span<const double> values, double slope) {
  Values residuals(values.begin(), values.end());
  for (size_t i = 0; i < residuals.size(); ++i) residuals[i] -= slope * static_cast<double>(i);
  return residuals;
}

Line FitLine(std::span<const double> series) {
  const size_t block = (series.size() + kTrendValuesMax - 1) / kTrendValuesMax;
  const Values values = BlockMeans(series, block);
  Values slopes;
  slopes.reserve(values.size() * (values.size() - 1) / 2);
  double s = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    for (size_t j = i + 1; j < values.size(); ++j) {
      s += Sign(values[j] - values[i]);
      slopes.push_back((values[j] - values[i]) / static_cast<double>(j - i));
    }
  }
  Line line;
  const double slope = Median(std::move(slopes));
  line.slope = slope / static_cast<double>(block);
  line.residuals = Detrended(series, line.slope);
  const double n = static_cast<double>(values.size());
  const double rho = Unbiased(Autocorrelation(Detrended(values, slope)), n);
  const double variance = KendallVariance(values) * TrendInflation(rho, n);
  if (variance > 0) line.p = NormalP((s - Sign(s)) / std::sqrt(variance));
  return line;
}

struct Step {
  double before = 0, after = 0;  // means
  size_t at = 0;
  double p = 1;
  Values residuals;
};

// The step that leaves the smallest squares over, with a tenth of the values and 3 of them at least
// on either side.
Step FitStep(std::span<const double> values) {
  const size_t margin = std::max<size_t>(3, values.size() / 10);
  const double n = static_cast<double>(values.size());
  double total = 0;
  for (const double value : values) total += value;
  Step step;
  double head = 0, best = -1;
  for (size_t at = 1; at + margin <= values.size(); ++at) {
    head += values[at - 1];
    if (at < margin) continue;
    const double k = static_cast<double>(at);
    const double before = head / k, after = (total - head) / (n - k);
    const double explained = k * (n - k) / n * (after - before) * (after - before);
    if (explained <= best) continue;
    best = explained;
    step.before = before;
    step.after = after;
    step.at = at;
  }
  step.residuals.assign(values.begin(), values.end());
  double squares = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    step.residuals[i] -= i < step.at ? step.before : step.after;
    squares += step.residuals[i] * step.residuals[i];
  }
  const double inflation = MeanInflation(Unbiased(Autocorrelation(step.residuals), n), n);
  const double freedom = std::max(1.0, n / inflation - 2);
  if (best <= 0) return step;
  step.p = squares > 0 ? StudentP(std::sqrt(best * (n - 2) / squares / inflation), freedom) : 0;
  return step;
}

double SquaresAboutMedian(std::span<const double> values) {
  const double median = MedianOf(values);
  double sum = 0;
  for (const double value : values) sum += (value - median) * (value - median);
  return sum;
}

// "12 %", "2.4 %", "150 %".
std::string Percent(double share) {
  const double percent = std::abs(share) * 100;
  return absl::StrFormat("%.*f %%", percent < 9.95 ? 1 : 0, percent);
}

const char* Moved(double share) { return share < 0 ? "fell" : "rose"; }

}  // namespace

size_t WarmupEnd(std::span<const double> series) {
  if (series.size() < kIntervalsMin) return 0;
  const auto later = series.last(series.size() - series.size() / 2);
  const double median = MedianOf(later);
  const double reach = 3 * Spread(later, median);
  Values values(series.begin(), series.end());
  for (double& value : values) value = std::clamp(value, median - reach, median + reach);

  const size_t block = std::clamp<size_t>(series.size() / 20, 1, 5);
  const size_t drop = Mser(BlockMeans(values, block)) * block;
  if (drop == 0) return 0;
  const auto dropped = series.first(drop), rest = series.subspan(drop);
  const double usual = MedianOf(rest);
  const double error = kMedianError * Spread(rest, usual) / std::sqrt(static_cast<double>(drop));
  return std::abs(MedianOf(dropped) - usual) > 3 * error ? drop : 0;
}

Stationarity CheckStationarity(std::span<const double> series) {
  Stationarity result;
  result.intervals = series.size();
  result.effective_samples = static_cast<double>(series.size());
  result.too_short = series.size() < kIntervalsMin;
  if (series.empty()) return result;
  result.median = MedianOf(series);
  Values values(series.begin(), series.end());
  for (double& value : values) {
    if (value > 0 && value >= kStalledShare * result.median) continue;
    value = result.median;
    ++result.stalled_intervals;
  }
  if (result.too_short) return result;

  const double n = static_cast<double>(series.size());
  const Line line = FitLine(values);
  const Step step = FitStep(values);
  result.trend_p = line.p;
  if (result.median > 0) result.trend_share = line.slope * (n - 1) / result.median;
  result.step_p = step.p;
  result.step_at = step.at;
  if (step.before > 0) result.step_share = step.after / step.before - 1;
  result.autocorrelation = Autocorrelation(line.residuals);
  result.autocorrelation_bound = 1.96 / std::sqrt(n);
  result.effective_samples = std::min(n, n / MeanInflation(Unbiased(result.autocorrelation, n), n));

  result.trend = line.p <= kTrendLevel && std::abs(result.trend_share) >= kShareMin;
  result.step = step.p <= kStepLevel && std::abs(result.step_share) >= kShareMin;
  if (result.trend && result.step) {
    const bool is_step = SquaresAboutMedian(step.residuals) < SquaresAboutMedian(line.residuals);
    (is_step ? result.trend : result.step) = false;
  }
  const double spread = std::sqrt(SquaresAboutMedian(line.residuals) / n);
  result.wandering = result.autocorrelation > result.autocorrelation_bound &&
                     result.effective_samples < kEffectiveMin &&
                     2 * spread >= kShareMin * result.median && spread > 0;
  result.settled =
      !result.trend && !result.step && !result.wandering && result.stalled_intervals == 0;
  return result;
}

std::string Stationarity::Reason() const {
  if (too_short) {
    return absl::StrCat("the run is too short to tell: ", intervals, " of at least ", kIntervalsMin,
                        " intervals");
  }
  if (median <= 0 && stalled_intervals == intervals) return "nothing was done in any interval";
  if (stalled_intervals > 0) {
    return absl::StrCat(stalled_intervals, " of ", intervals,
                        " intervals had less than a fifth of the usual rate");
  }
  if (step) {
    return absl::StrCat("the rate ", Moved(step_share), " by ", Percent(step_share),
                        " after interval ", step_at, " of ", intervals);
  }
  if (trend) {
    return absl::StrCat("the rate ", Moved(trend_share), " by ", Percent(trend_share),
                        " over the run");
  }
  if (wandering) {
    return absl::StrFormat(
        "the rate wanders: %d intervals tell as much as %.1f independent ones (autocorrelation "
        "%.2f)",
        intervals, effective_samples, autocorrelation);
  }
  return "";
}

}  // namespace stats
