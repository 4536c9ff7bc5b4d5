// A seed replays: the same calls meet the same faults.

#include "tests/faults/rig.h"

namespace faults {
namespace {

template <class Backend>
class Replay : public BackendTest<Backend> {
 protected:
  // The faults of a run in lockstep: one client, one message at a time, each answered in full
  // before the next. Sorted, since faults depend on the number of a call, not on when it is made.
  // Waits and completions are the kernel's to number: they are left out.
  static std::vector<Fault> Faults(uint64_t seed) {
    Plan plan = Benign(0.2);
    plan.waits = plan.delayed = plan.ends_early = 0;
    Rig<Backend> rig(seed, plan);
    rig.Listen();
    const Socket client = rig.Connect();
    for (int i = 0; i < 100; ++i) EXPECT_TRUE(rig.Echoes(client, std::string(1 + i * 7, 'x')));
    std::vector<Fault> log = rig.faults->log();
    std::sort(log.begin(), log.end());
    return log;
  }
};

TYPED_TEST_SUITE(Replay, Backends, BackendNames);

TYPED_TEST(Replay, ASeedGivesTheSameFaultsAgain) {
  for (const uint64_t seed : Seeds(5)) {
    SCOPED_TRACE("RINGSIDE_FAULT_SEED=" + std::to_string(seed));
    const std::vector<Fault> once = this->Faults(seed);
    EXPECT_GT(once.size(), 20u);
    EXPECT_TRUE(once == this->Faults(seed));
  }
}

TYPED_TEST(Replay, AnotherSeedGivesOthers) { EXPECT_FALSE(this->Faults(1) == this->Faults(2)); }

}  // namespace
}  // namespace faults
