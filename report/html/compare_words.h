#pragma once

#include <string>

#include "report/html/view.h"

// What "ringside.compare/2" claims, in a word and a title; its sentences are those of
// report/compare_words.h, as in a terminal.
namespace report::html {

// A verdict, or the difference of a metric that only informs, as the page shows it.
struct Claim {
  std::string tone;    // as in view.h
  std::string symbol;  // says the same without a colour
  std::string word;
};

// Of `comparisons[].verdict`; null: no round was played.
Claim VerdictClaim(const Json& verdict);

// Of one of `comparisons[].metrics`; `better` as in `metrics`.
Claim DifferenceClaim(const Json& estimate, const std::string& better);

// The finding in the fewest words, of all scenarios: what the page is titled with.
std::string CompareTitle(const Json& compare);

}  // namespace report::html
