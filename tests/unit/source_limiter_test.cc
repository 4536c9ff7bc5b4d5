#include "server/source_limiter.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/un.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

namespace server {
namespace {

sockaddr_storage PeerAt(const std::string& address, uint16_t port = 1024, uint32_t scope = 0) {
  sockaddr_storage storage = {};
  if (address.find(':') == std::string::npos) {
    sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(port)};
    EXPECT_EQ(inet_pton(AF_INET, address.c_str(), &in.sin_addr), 1) << address;
    std::memcpy(&storage, &in, sizeof(in));
  } else {
    sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
    in6.sin6_flowinfo = htonl(port);
    in6.sin6_scope_id = scope;
    EXPECT_EQ(inet_pton(AF_INET6, address.c_str(), &in6.sin6_addr), 1) << address;
    std::memcpy(&storage, &in6, sizeof(in6));
  }
  return storage;
}

const sockaddr* AsSockaddr(const sockaddr_storage& storage) {
  return reinterpret_cast<const sockaddr*>(&storage);
}

SourceKey KeyOf(const std::string& address, uint32_t scope = 0) {
  const sockaddr_storage peer = PeerAt(address, 1024, scope);
  return SourceKey::Of(AsSockaddr(peer));
}

bool Admit(SourceLimiter& limiter, const std::string& address, SourceKey* key) {
  static std::atomic<uint16_t> port = 1;  // each connection has its own
  const sockaddr_storage peer = PeerAt(address, ++port);
  return limiter.Admit(AsSockaddr(peer), key);
}

TEST(SourceKey, IsAnAddressOrANetwork) {
  EXPECT_EQ(KeyOf("10.0.0.1"), KeyOf("10.0.0.1"));
  EXPECT_FALSE(KeyOf("10.0.0.1") == KeyOf("10.0.0.2"));
  EXPECT_EQ(KeyOf("::ffff:10.0.0.1"), KeyOf("10.0.0.1"));
  EXPECT_FALSE(KeyOf("::10.0.0.1") == KeyOf("10.0.0.1"));
  EXPECT_EQ(KeyOf("2001:db8:1:2::1"), KeyOf("2001:db8:1:2:ffff:ffff:ffff:ffff"));
  EXPECT_FALSE(KeyOf("2001:db8:1:2::1") == KeyOf("2001:db8:1:3::1"));
  EXPECT_FALSE(KeyOf("::1") == KeyOf("0.0.0.0"));
}

TEST(SourceKey, TellsTheHostsOfALinkApart) {
  EXPECT_EQ(KeyOf("fe80::1", 2), KeyOf("fe80::1", 2));
  EXPECT_FALSE(KeyOf("fe80::1", 2) == KeyOf("fe80::2", 2));
  EXPECT_FALSE(KeyOf("fe80::1", 2) == KeyOf("fe80::1", 3)) << "another link";
  EXPECT_EQ(KeyOf("2001:db8::1", 2), KeyOf("2001:db8::1", 3));
}

TEST(SourceLimiter, RefusesBeyondTheLimit) {
  SourceLimiter limiter(2);
  SourceKey a, b, c, other;
  EXPECT_TRUE(Admit(limiter, "10.0.0.1", &a));
  EXPECT_TRUE(Admit(limiter, "::ffff:10.0.0.1", &b));
  EXPECT_FALSE(Admit(limiter, "10.0.0.1", &c));
  EXPECT_EQ(c.kind, SourceKey::Kind::kNone);
  EXPECT_TRUE(Admit(limiter, "10.0.0.2", &other));
  EXPECT_EQ(limiter.refused(), 1u);
  EXPECT_EQ(limiter.sources(), 2u);
  limiter.Release(c);  // none: gives nothing back
  EXPECT_FALSE(Admit(limiter, "10.0.0.1", &c));
  limiter.Release(a);
  EXPECT_TRUE(Admit(limiter, "10.0.0.1", &c));
  EXPECT_EQ(limiter.refused(), 2u);
}

TEST(SourceLimiter, ForgetsASourceWithItsLastConnection) {
  SourceLimiter limiter(3);
  std::vector<SourceKey> keys(3000);
  for (size_t i = 0; i < keys.size(); ++i) {
    ASSERT_TRUE(Admit(limiter, "2001:db8:0:" + std::to_string(i / 3) + "::1", &keys[i]));
  }
  EXPECT_EQ(limiter.sources(), 1000u);
  for (const SourceKey& key : keys) limiter.Release(key);
  EXPECT_EQ(limiter.sources(), 0u);
  EXPECT_EQ(limiter.refused(), 0u);
}

TEST(SourceLimiter, LimitsNoUnixPeers) {
  SourceLimiter limiter(1);
  const sockaddr_un local = {.sun_family = AF_UNIX};
  SourceKey key;
  for (int i = 0; i < 3; ++i) {
    EXPECT_TRUE(limiter.Admit(reinterpret_cast<const sockaddr*>(&local), &key));
  }
  EXPECT_EQ(limiter.sources(), 0u);
  limiter.Release(key);
}

TEST(SourceLimiter, WithoutALimitCountsNothing) {
  SourceLimiter limiter(0);
  SourceKey key;
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(Admit(limiter, "10.0.0.1", &key));
  EXPECT_EQ(limiter.sources(), 0u);
  limiter.Release(key);
}

// Threads open and close connections of the same few sources: no source ever has more than the
// limit, what is refused is counted, and nothing is left.
TEST(SourceLimiter, CountsOverThreads) {
  constexpr uint32_t kLimit = 3;
  constexpr int kThreads = 4, kSources = 5, kTurns = 3000;
  SourceLimiter limiter(kLimit);
  std::atomic<uint32_t> open[kSources] = {};
  std::atomic<uint64_t> refused = 0;
  std::atomic<bool> exceeded = false;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (int turn = 0; turn < kTurns; ++turn) {
        // Two connections at once from each thread: eight want what three may have.
        const int source = (turn * 7 + t) % kSources;
        SourceKey keys[2];
        bool admitted[2];
        for (int i = 0; i < 2; ++i) {
          admitted[i] = Admit(limiter, "10.0.0." + std::to_string(source), &keys[i]);
          if (!admitted[i]) {
            ++refused;
          } else if (++open[source] > kLimit) {
            exceeded = true;
          }
        }
        for (int i = 0; i < 2; ++i) {
          if (!admitted[i]) continue;
          --open[source];
          limiter.Release(keys[i]);
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_FALSE(exceeded);
  EXPECT_EQ(limiter.refused(), refused);
  EXPECT_EQ(limiter.sources(), 0u);
  SourceKey keys[kLimit + 1];
  for (uint32_t i = 0; i <= kLimit; ++i) {
    EXPECT_EQ(Admit(limiter, "10.0.0.1", &keys[i]), i < kLimit) << "a count was left behind";
  }
}

}  // namespace
}  // namespace server
