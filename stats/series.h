#pragma once

#include <cstddef>
#include <span>
#include <string>

// Whether a series of rates, one for each interval of a run, is settled: a figure for the whole run
// means something only where its parts agree.
//
// The values must be finite and not negative. Time is O(n) but for the trend, whose pairs are taken
// from at most 512 values: longer series are averaged in blocks for it.
namespace stats {

// Below this many intervals nothing can be told.
inline constexpr size_t kIntervalsMin = 8;

// How many leading intervals to drop as warm-up, at most half of them; 0 for series too short to
// tell.
//
// MSER: the number that minimises the standard error of the mean of what is left, over the means of
// blocks of 5 intervals (1 to 4 where there are fewer than 100, so that there are about 20 blocks).
// Two changes keep it from cutting into settled series: values are first drawn in to 3 robust
// standard deviations from the median of the second half, because a stall in the middle would
// otherwise be taken for the end of the warm-up; and nothing is dropped whose median is within 3
// standard errors of the median of the rest. Sources: White, "An effective truncation heuristic for
// bias reduction in simulation output" (1997); White, Cobb, Spratt, "A comparison of five
// steady-state truncation heuristics for simulation" (2000).
size_t WarmupEnd(std::span<const double> series);

struct Stationarity {
  size_t intervals = 0;
  double median = 0;

  // The change over the run as a share of the median, by Sen's slope: -0.12 is a fall by 12 %. Its
  // p value is two-sided, by Mann and Kendall's test, its variance corrected for autocorrelation.
  double trend_share = 0;
  double trend_p = 1;

  // The step that divides the run best: the mean after it over the mean before, less 1, from
  // interval `step_at` on; and the p value of a t test at that place, with as many degrees of
  // freedom as autocorrelation leaves. It is smaller than for a place known in advance.
  double step_share = 0;
  size_t step_at = 0;
  double step_p = 1;

  // Lag 1, of what Sen's line leaves over. Of independent values 1 in 40 is above the bound.
  double autocorrelation = 0;
  double autocorrelation_bound = 1;

  // How many independent intervals would tell the mean as well, for autocorrelation that decays as
  // in an AR(1) process, its bias in short series corrected; at most `intervals`.
  double effective_samples = 0;

  // Intervals with 0 or with less than a fifth of the median. The other checks take them for
  // intervals with the median.
  size_t stalled_intervals = 0;

  bool too_short = false;  // fewer than kIntervalsMin; then nothing else is looked at
  bool trend = false;      // significant, and at least 2 % of the median
  bool step = false;       // likewise
  bool wandering = false;  // fewer than 3 effective samples, that spread by 1 % of the median
  bool settled = false;    // none of these, and nothing stalled

  // One sentence on why it isn't settled, without a full stop: "the rate fell by 12 % over the
  // run". Empty where it is.
  std::string Reason() const;
};

// Of 100 series of independent values some 2 are said to be unsettled. Autocorrelation of 0.5
// raises that to 3 to 6, and above 10 only where fewer than some 30 intervals leave it open whether
// the rate wanders. Values that spread by little have fewer still: trends and steps below 2 % don't
// count. Where both are seen, it is the one that leaves less over.
//
// Sources: Mann, "Nonparametric tests against trend" (1945); Sen, "Estimates of the regression
// coefficient based on Kendall's tau" (1968); Hamed, Rao, "A modified Mann-Kendall trend test for
// autocorrelated data" (1998), here with the lags of an AR(1) process, since their own estimates
// are too noisy for short runs; Kendall, "Note on bias in the estimation of autocorrelation"
// (1954).
Stationarity CheckStationarity(std::span<const double> series);

}  // namespace stats
