#pragma once

#include "report/hgrm.h"
#include "stats/histogram.h"

namespace cli {

// What report::HgrmText() needs of a histogram.
report::Distribution DistributionOf(const stats::Histogram& histogram);

}  // namespace cli
