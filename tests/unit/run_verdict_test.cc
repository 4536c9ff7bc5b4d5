#include "loadgen/run_verdict.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>

namespace loadgen {
namespace {

constexpr int64_t kMs = 1'000'000;

// A run with nothing to say against itself.
class RunVerdictTest : public testing::Test {
 protected:
  RunVerdictTest() {
    options_.at = *io::Resolve("127.0.0.1:9999");
    options_.rate.segments = {{10'000, 10'000}};
    options_.server_pid = 1;
    result_.duration_s = 10;
    result_.requests = 100'000;
    result_.throughput_rps = 10'000;
    result_.requests_total = 110'000;
    result_.connections = {.requested = 64,
                           .opened = 64,
                           .answered = 64,
                           .silent = 0,
                           .requests_min = 1500,
                           .requests_median = 1562,
                           .requests_max = 1600};
    result_.schedule.offered = 100'000;
    for (int i = 0; i < 100'000; ++i) {
      result_.latency.Record(100'000 + i);
      result_.service.Record(100'000 + i);
      result_.lag.Record(1000);
    }
    for (int i = 0; i < 100; ++i) {
      result_.series.push_back({i * 0.1, 0.1, 1000, 1000u + i % 3, 0, 1, 1, 1, 1, 1});
      result_.loop_lag.Record(10'000);
    }
    result_.cpu_ns = 3'000 * kMs;
    result_.cpu_share_max = 0.3;
    result_.server_cpu_ns = 4'000 * kMs;
    result_.server_thread_share_max = 0.4;
    result_.usage.waited_ns = 10 * kMs;
    evidence_.window = evidence_.others_known = true;
    evidence_.window_s = 10;
    evidence_.others_error_cpus = 0.002;
  }

  RunVerdict Verdict() const { return Judge(options_, result_, evidence_); }
  bool Accused(const std::string& code) const {
    const RunVerdict verdict = Verdict();
    return std::any_of(verdict.accusations.begin(), verdict.accusations.end(),
                       [&](const Accusation& one) {
                         EXPECT_FALSE(one.mend.empty());
                         return one.code == code;
                       });
  }

  LoadOptions options_;
  LoadResult result_;
  Evidence evidence_;
};

TEST_F(RunVerdictTest, AGoodRunSaysNothingAgainstItself) {
  const RunVerdict verdict = Verdict();
  for (const Accusation& one : verdict.accusations) ADD_FAILURE() << one.code << ": " << one.text;
  EXPECT_EQ(Name(verdict.kind), "valid") << verdict.reason;
}

TEST_F(RunVerdictTest, AFullClientIsTheLimitUnlessTheServerIsFullToo) {
  result_.cpu_share_max = 0.99;
  EXPECT_TRUE(Accused("client_cpu_full"));
  EXPECT_EQ(Verdict().kind, RunKind::kClientBound);
  result_.server_thread_share_max = 0.99;
  EXPECT_EQ(Verdict().kind, RunKind::kServerBound);
  options_.spin = true;  // it is full by intention
  EXPECT_FALSE(Accused("client_cpu_full"));
}

TEST_F(RunVerdictTest, SeesAClientThatCostsMore) {
  result_.cpu_ns = 5'000 * kMs;
  EXPECT_TRUE(Accused("client_costs_more"));
  result_.server_cpu_ns = -1;  // not known
  EXPECT_FALSE(Accused("client_costs_more"));
}

TEST_F(RunVerdictTest, SeesCpusThatWereNotOurs) {
  evidence_.steal_share = 0.02;
  EXPECT_TRUE(Accused("steal"));
  EXPECT_EQ(Verdict().kind, RunKind::kNoisy);
  evidence_.steal_share = 0;
  evidence_.others_cpus = 0.5;
  EXPECT_TRUE(Accused("others_cpu"));
  EXPECT_EQ(Verdict().kind, RunKind::kNoisy);
  evidence_.others_known = false;  // it may have been the server
  EXPECT_FALSE(Accused("others_cpu"));
  result_.usage.waited_ns = 1'000 * kMs;
  EXPECT_TRUE(Accused("cpu_taken"));
  EXPECT_EQ(Verdict().kind, RunKind::kNoisy);
}

// A quota that stops the client is its own accusation, and nobody else is blamed for the waiting.
TEST_F(RunVerdictTest, AQuotaIsAccusedAndNobodyElse) {
  result_.usage.waited_ns = 5'000 * kMs;
  evidence_.throttled = {.group = "/box", .cpus = 0.5, .periods = 0, .ns = 0};
  EXPECT_FALSE(Accused("cpu_quota"));
  EXPECT_TRUE(Accused("cpu_taken"));
  evidence_.throttled.periods = 40;
  evidence_.throttled.ns = 1'500 * kMs;
  const RunVerdict verdict = Verdict();
  EXPECT_EQ(verdict.kind, RunKind::kNoisy);
  EXPECT_EQ(
      verdict.reason,
      "this process' control group (/box) used up its CPU quota of 0.5 CPUs (cpu.max) and was "
      "stopped in 40 periods, its threads together for 1.5 s");
  EXPECT_FALSE(Accused("cpu_taken"));
  EXPECT_FALSE(Accused("others_cpu"));
  evidence_.throttled = {};
  evidence_.server_throttled = {.group = "/server", .cpus = 1, .periods = 1, .ns = 1};
  EXPECT_TRUE(Accused("cpu_quota"));
  EXPECT_TRUE(Accused("cpu_taken"));  // ours waited for somebody else
}

TEST_F(RunVerdictTest, SeesAClientThatWasStopped) {
  result_.stopped_ns = 90 * kMs;  // of 10 s
  EXPECT_FALSE(Accused("client_stopped"));
  result_.stopped_ns = 5'000 * kMs;
  EXPECT_TRUE(Accused("client_stopped"));
  EXPECT_EQ(Verdict().kind, RunKind::kNoisy);
  EXPECT_NE(Verdict().reason.find("stood still for 5.00 s of 10.00 s"), std::string::npos);
}

TEST_F(RunVerdictTest, SaysNothingOfAServerThatItDoesNotKnow) {
  EXPECT_EQ(Verdict().reason, "the rate offered was reached, and neither end was at its limit");
  result_.server_thread_share_max = -1;  // by its metrics only its CPU time is known
  for (const int64_t cpu_ns : {int64_t{-1}, 4'000 * kMs}) {
    result_.server_cpu_ns = cpu_ns;
    EXPECT_EQ(Verdict().kind, RunKind::kValid);
    EXPECT_EQ(Verdict().reason,
              "the rate offered was reached, and the client was not at its limit; what the server "
              "had left is not known");
  }
}

TEST_F(RunVerdictTest, SeesARateThatWasNotReached) {
  result_.schedule.unsent = 5'000;
  EXPECT_TRUE(Accused("rate_not_reached"));
  EXPECT_EQ(Verdict().kind, RunKind::kServerBound);
  result_.cpu_share_max = 1;
  EXPECT_EQ(Verdict().kind, RunKind::kClientBound);
}

TEST_F(RunVerdictTest, SeesALateClient) {
  for (int i = 0; i < 5'000; ++i) result_.lag.Record(50'000);
  EXPECT_TRUE(Accused("schedule_lag"));
  for (int i = 0; i < 5; ++i) result_.loop_lag.Record(50 * kMs);
  EXPECT_TRUE(Accused("loop_lag"));
}

TEST_F(RunVerdictTest, SeesStarvedConnections) {
  result_.connections.requests_min = 0;
  EXPECT_TRUE(Accused("unequal_shares"));
  result_.connections.requests_min = 1500;
  result_.connections.requests_max = 10'000;
  EXPECT_TRUE(Accused("unequal_shares"));
  result_.connections = {.requested = 64,
                         .opened = 64,
                         .answered = 2,
                         .silent = 62,
                         .requests_min = 0,
                         .requests_median = 0,
                         .requests_max = 50'000};
  EXPECT_TRUE(Accused("unequal_shares"));
  EXPECT_TRUE(Accused("silent_connections"));
  EXPECT_EQ(Verdict().kind, RunKind::kIncomplete);
}

TEST_F(RunVerdictTest, SeesTheClientsShareInClosedLoop) {
  for (int i = 0; i < 1000; ++i) {
    result_.client_wait.Record(60'000);
    result_.client_sample.Record(100'000);
  }
  EXPECT_FALSE(Accused("client_share")) << "in open loop it is a column, no fault";
  options_.rate.segments.clear();
  EXPECT_TRUE(Accused("client_share"));
}

TEST_F(RunVerdictTest, KnowsTheDelayedAcknowledgment) {
  result_.latency.Reset();
  for (int i = 0; i < 1000; ++i) result_.latency.Record(44 * kMs);
  EXPECT_TRUE(Accused("delayed_ack"));
  options_.at = *io::Resolve("unix:@x");
  EXPECT_FALSE(Accused("delayed_ack"));
}

TEST_F(RunVerdictTest, SeesARunThatDidNotSettle) {
  for (size_t i = 0; i < result_.series.size(); ++i) result_.series[i].requests = 1000 + 10 * i;
  EXPECT_TRUE(Accused("not_settled"));
  options_.rate.segments = {{10'000, 20'000, 10'000 * kMs}};  // a ramp is not meant to
  EXPECT_FALSE(Accused("not_settled"));
}

TEST_F(RunVerdictTest, TellsAWarmupThatWasTooShort) {
  for (size_t i = 0; i < result_.series.size(); ++i) {
    result_.series[i].requests = 1000 + i % 3;
    if (i < result_.series.size() / 5) result_.series[i].requests = 400 + 50 * i;
  }
  const RunVerdict verdict = Verdict();
  const auto found = std::find_if(verdict.accusations.begin(), verdict.accusations.end(),
                                  [](const Accusation& one) { return one.code == "not_settled"; });
  ASSERT_NE(found, verdict.accusations.end());
  EXPECT_NE(found->mend.find("look like a warm-up: --warmup "), std::string::npos) << found->mend;
}

TEST_F(RunVerdictTest, AFewRequestsAnIntervalAreTakenTogether) {
  for (size_t i = 0; i < result_.series.size(); ++i)
    result_.series[i].requests = i % 3 == 0 ? 60 : 0;
  result_.requests = 2040;
  EXPECT_FALSE(Accused("not_settled"));
}

TEST_F(RunVerdictTest, AnInterruptedRunIsIncomplete) {
  result_.interrupted = true;
  EXPECT_EQ(Name(Verdict().kind), "incomplete");
  EXPECT_EQ(Verdict().reason, "it was interrupted");
}

}  // namespace
}  // namespace loadgen
