#pragma once

#include <string>
#include <vector>

namespace bench {

// Where the two ends of a round run.
struct CpuPlan {
  std::vector<int> server, client;  // empty: not pinned
};

// One CPU for each end, from those this process may run on, that are not two threads of one core
// where there is a choice. With a single CPU nothing is pinned.
CpuPlan PlanCpus();

}  // namespace bench
