#include "services/sizes.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "services/all.h"
#include "tests/tier.h"

namespace services {
namespace {

constexpr int kSamples = 400'000;

std::vector<uint32_t> Drawn(const SizePlan& plan, uint64_t connections = 100) {
  std::vector<uint32_t> all;
  for (uint64_t i = 0; i < kSamples; ++i) {
    all.push_back(plan.At(i % connections, i / connections));
  }
  std::sort(all.begin(), all.end());
  return all;
}

// The Kolmogorov-Smirnov distance between what was drawn and a continuous distribution that is
// rounded to whole bytes, and truncated; times the root of the number of samples.
double Distance(const SizePlan& plan, const std::function<double(double)>& cdf) {
  const std::vector<uint32_t> all = Drawn(plan);
  const double least = cdf(0.5), all_mass = cdf(SizePlan::kMax + 0.5) - least;
  double distance = 0;
  for (size_t i = 0; i + 1 < all.size(); ++i) {
    if (all[i] == all[i + 1]) continue;  // at the end of a size
    const double expected = (cdf(all[i] + 0.5) - least) / all_mass;
    distance = std::max(distance, std::abs(expected - (i + 1.0) / all.size()));
  }
  return distance * std::sqrt(static_cast<double>(all.size()));
}

// Of that distance, at a chance of one in 10'000; the samples are always the same.
constexpr double kDistanceMax = 2.23;

double MeanOf(const std::vector<uint32_t>& all) {
  double sum = 0;
  for (const uint32_t bytes : all) sum += bytes;
  return sum / static_cast<double>(all.size());
}

TEST(SizePlan, IsFixedUnlessToldOtherwise) {
  EXPECT_EQ(SizePlan().At(1, 2), 0u);
  EXPECT_FALSE(SizePlan().varies());
  const SizePlan plan = SizePlan::Fixed(64);
  EXPECT_FALSE(plan.varies());
  EXPECT_EQ(plan.At(0, 0), 64u);
  EXPECT_EQ(plan.At(~0ull, ~0ull), 64u);
  EXPECT_EQ(plan.Min(), 64u);
  EXPECT_EQ(plan.Max(), 64u);
  EXPECT_EQ(plan.Mean(), 64);
  EXPECT_FALSE(SizePlan::Uniform(7, 7).varies());
  EXPECT_EQ(SizePlan::Uniform(7, 7).At(3, 3), 7u);
}

TEST(SizePlan, OfAUniformOneHasEachSizeEquallyOften) {
  const SizePlan plan = SizePlan::Uniform(10, 59);
  EXPECT_EQ(plan.Min(), 10u);
  EXPECT_EQ(plan.Max(), 59u);
  EXPECT_EQ(plan.Mean(), 34.5);
  std::map<uint32_t, double> seen;
  for (const uint32_t bytes : Drawn(plan)) ++seen[bytes];
  ASSERT_EQ(seen.size(), 50u);
  double chi_square = 0;
  for (const auto& [bytes, times] : seen) {
    chi_square += std::pow(times - kSamples / 50.0, 2) / (kSamples / 50.0);
  }
  EXPECT_LT(chi_square, 95);  // 49 degrees of freedom: one in 10'000
  EXPECT_GT(chi_square, 19);  // too even is not random either
}

TEST(SizePlan, OfWeightsHasThemAll) {
  const std::vector<SizePlan::Weight> weights = {{64, 90}, {16'384, 9}, {1'000'000, 1}, {5, 0}};
  const SizePlan plan = SizePlan::Weighted(weights);
  EXPECT_EQ(plan.Min(), 64u);
  EXPECT_EQ(plan.Max(), 1'000'000u);
  EXPECT_NEAR(plan.Mean(), 0.9 * 64 + 0.09 * 16'384 + 0.01 * 1e6, 1e-6);
  std::map<uint32_t, double> seen;
  for (const uint32_t bytes : Drawn(plan)) ++seen[bytes];
  ASSERT_EQ(seen.size(), 3u);
  for (const auto& [bytes, weight] : weights) {
    const double share = weight / 100;
    EXPECT_NEAR(seen[bytes], kSamples * share, 4 * std::sqrt(kSamples * share) + 0.5) << bytes;
  }
}

TEST(SizePlan, FollowsExponentialLogNormalAndPareto) {
  LEFT_TO_ALL();
  EXPECT_LT(Distance(SizePlan::Exponential(1024), [](double x) { return 1 - std::exp(-x / 1024); }),
            kDistanceMax);
  EXPECT_LT(Distance(SizePlan::Exponential(1), [](double x) { return 1 - std::exp(-x); }),
            kDistanceMax);
  for (const double sigma : {0.1, 2.0}) {
    const auto cdf = [sigma](double x) {
      return 0.5 * std::erfc(-std::log(x / 1024) / sigma / std::sqrt(2));
    };
    EXPECT_LT(Distance(SizePlan::LogNormal(1024, sigma), cdf), kDistanceMax) << sigma;
  }
  const auto pareto = [](double x) { return x <= 64 ? 0 : 1 - std::pow(64 / x, 1.2); };
  EXPECT_LT(Distance(SizePlan::Pareto(64, 1.2), pareto), kDistanceMax);
  // And the other way round: the distance finds a distribution that is slightly another.
  const auto other = [](double x) { return x <= 64 ? 0 : 1 - std::pow(64 / x, 1.22); };
  EXPECT_GT(Distance(SizePlan::Pareto(64, 1.2), other), kDistanceMax);
}

TEST(SizePlan, KeepsItsBoundsAndItsMean) {
  LEFT_TO_ALL();
  const std::vector<SizePlan> plans = {
      SizePlan::Exponential(1),          SizePlan::Exponential(SizePlan::kMax),
      SizePlan::LogNormal(1, 0.01),      SizePlan::LogNormal(1, 100),
      SizePlan::LogNormal(1 << 20, 100), SizePlan::LogNormal(1 << 20, 0.01),
      SizePlan::Pareto(1, 0.01),         SizePlan::Pareto(1 << 20, 100),
      SizePlan::Pareto(1 << 20, 0.01),   SizePlan::Uniform(1, SizePlan::kMax)};
  for (size_t i = 0; i < plans.size(); ++i) {
    const std::vector<uint32_t> all = Drawn(plans[i]);
    EXPECT_GE(all.front(), std::max(plans[i].Min(), 1u)) << i;
    EXPECT_LE(all.back(), std::min(plans[i].Max(), SizePlan::kMax)) << i;
    const double spread = (plans[i].Max() - plans[i].Min()) / std::sqrt(kSamples);
    EXPECT_NEAR(MeanOf(all), plans[i].Mean(), 2 * spread + 1e-9) << i;
  }
  EXPECT_EQ(Drawn(SizePlan::Pareto(64, 1.2)).front(), 64u);
}

TEST(SizePlan, IsAPureFunctionOfConnectionRequestAndSeed) {
  SizePlan plan = SizePlan::Exponential(10'000), copy = plan, reseeded = plan;
  reseeded.set_seed(1);
  int differs_by_connection = 0, differs_by_request = 0, differs_by_seed = 0;
  for (uint64_t connection = 0; connection < 100; ++connection) {
    uint64_t place = plan.Start(connection);
    for (uint64_t request = 0; request < 100; ++request, SizePlan::Step(place)) {
      const uint32_t bytes = plan.At(connection, request);
      EXPECT_EQ(copy.At(connection, request), bytes);
      EXPECT_EQ(plan.AtPlace(place), bytes);
      differs_by_connection += plan.At(connection + 1, request) != bytes;
      differs_by_request += plan.At(connection, request + 1) != bytes;
      differs_by_seed += reseeded.At(connection, request) != bytes;
    }
  }
  EXPECT_GT(differs_by_connection, 9900);
  EXPECT_GT(differs_by_request, 9900);
  EXPECT_GT(differs_by_seed, 9900);
  reseeded.set_seed(0);
  EXPECT_EQ(reseeded.At(5, 5), plan.At(5, 5));
}

TEST(VaryingCount, CountsMessagesHoweverTheyAreCut) {
  const SizePlan plan = SizePlan::Uniform(1, 9);
  for (const uint64_t piece : {1, 2, 5, 9, 100}) {
    VaryingCount count;
    count.Begin(plan, 4);
    uint64_t came = 0, messages = 0, ends = plan.At(4, 0);
    while (messages < 1000) {
      const uint64_t before = messages;
      messages += count.Add(piece, plan);
      came += piece;
      for (uint64_t i = before; i < messages; ++i) {
        EXPECT_LE(ends, came);
        ends += plan.At(4, i + 1);
      }
      ASSERT_GT(ends, came) << "one more is complete";
    }
  }
}

// --- the clients --------------------------------------------------------------------------------

ServiceOptions Varying(uint32_t least, uint32_t most) {
  return {.sizes = SizePlan::Uniform(least, most)};
}

// Requests 0 to count-1 of a connection, as a generator asks for them.
template <class Client>
std::string Stream(Client& client, typename Client::Session& session, const SizePlan& plan,
                   uint64_t connection, uint64_t count) {
  std::string all;
  for (uint64_t i = 0; i < count; ++i) {
    const size_t bytes = plan.At(connection, i);
    const Bytes out = client.Next(session, bytes);
    EXPECT_EQ(out.size(), bytes);
    all += io::AsText(out);
  }
  return all;
}

TEST(VaryingEchoClient, VerifiesTheStreamHoweverItArrives) {
  const ServiceOptions options = Varying(1, 500);
  for (const size_t piece : {1, 7, 250, 5000, 1 << 20}) {
    Echo::Client client(options);
    Echo::Client::Session session;
    client.OnOpen(session, 3);
    const std::string all = Stream(client, session, options.sizes, 3, 1000);
    uint32_t replies = 0;
    for (size_t at = 0; at < all.size(); at += piece) {
      const std::string part = all.substr(at, piece);
      const Received received = client.OnReceive(session, io::AsBytes(part));
      replies += received.replies;
      EXPECT_EQ(received.corrupt_bytes, 0u);
    }
    EXPECT_EQ(replies, 1000u);
  }
}

TEST(VaryingEchoClient, FindsCorruptLostAndSwappedBytes) {
  const ServiceOptions options = Varying(50, 500);
  Echo::Client client(options);
  Echo::Client::Session session, other;
  client.OnOpen(session, 3);
  std::string all = Stream(client, session, options.sizes, 3, 100);
  all[2345] ^= 0x10;
  Received received = client.OnReceive(session, io::AsBytes(all));
  EXPECT_EQ(received.replies, 100u);
  EXPECT_EQ(received.corrupt_bytes, 1u);
  EXPECT_EQ(received.corrupt_offset, 2345u);
  EXPECT_EQ(received.expected, received.got ^ 0x10);

  client.OnOpen(session = {}, 3);
  all[2345] ^= 0x10;
  received = client.OnReceive(session, io::AsBytes(std::string(all).erase(700, 1)));
  EXPECT_GT(received.corrupt_bytes, all.size() / 2);
  EXPECT_GE(received.corrupt_offset, 700u);
  EXPECT_LT(received.corrupt_offset, 710u);

  client.OnOpen(session = {}, 3);
  client.OnOpen(other, 4);
  all = Stream(client, other, options.sizes, 4, 10);
  received = client.OnReceive(session, io::AsBytes(all));
  EXPECT_LT(received.corrupt_offset, 10u);
}

TEST(VaryingEchoClient, SwappedRequestsOfOneSizeAreFound) {
  const std::vector<SizePlan::Weight> weights = {{100, 1}, {101, 1e-9}};
  const ServiceOptions options = {.sizes = SizePlan::Weighted(weights)};
  Echo::Client client(options);
  Echo::Client::Session session;
  client.OnOpen(session, 0);
  const std::string all = Stream(client, session, options.sizes, 0, 2);
  ASSERT_EQ(all.size(), 200u);
  const Received received = client.OnReceive(session, io::AsBytes(all.substr(100)));
  EXPECT_GT(received.corrupt_bytes, 80u);
}

TEST(VaryingEchoClient, KnowsTheReplyToEachDatagram) {
  const ServiceOptions options = Varying(1, 1400);
  Echo::Client client(options);
  DelayedEcho::Client delayed(options);
  for (const uint64_t connection : {0, 1, 77}) {
    Echo::Client::Session session;
    client.OnOpen(session, connection);
    for (uint64_t request = 0; request < 500; ++request) {
      const Bytes out = client.Next(session, options.sizes.At(connection, request));
      const Bytes reply = client.Reply(connection, request);
      EXPECT_EQ(io::AsText(reply), io::AsText(out));
      EXPECT_EQ(io::AsText(delayed.Reply(connection, request)), io::AsText(out));
    }
  }
}

TEST(VaryingCounterClient, SendsLinesOfEachSize) {
  const ServiceOptions options = Varying(1, 40);
  Counter::Client client(options);
  Counter::Client::Session session;
  client.OnOpen(session, 0);
  for (uint64_t i = 0; i < 1000; ++i) {
    const size_t bytes = options.sizes.At(0, i);
    const std::string_view line = io::AsText(client.Next(session, bytes));
    ASSERT_EQ(line.size(), bytes);
    EXPECT_EQ(line.find('\n'), bytes - 1);
  }
}

TEST(VaryingReplyAndDiscardClients, SendWhatAnEchosWould) {
  const ServiceOptions options = Varying(1, 2000);
  Echo::Client echo(options);
  FixedReply::Client reply(options);
  Discard::Client discard(options);
  Echo::Client::Session a, c;
  FixedReply::Client::Session b;
  echo.OnOpen(a, 9);
  reply.OnOpen(b, 9);
  discard.OnOpen(c, 9);
  const std::string expected = Stream(echo, a, options.sizes, 9, 300);
  EXPECT_EQ(Stream(reply, b, options.sizes, 9, 300), expected);
  EXPECT_EQ(Stream(discard, c, options.sizes, 9, 300), expected);
  EXPECT_EQ(reply.OnReceive(b, io::AsBytes("I got your messageI got your message")).replies, 2u);
}

}  // namespace
}  // namespace services
