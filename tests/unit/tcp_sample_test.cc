#include "stats/tcp_sample.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "tests/unit/descriptors.h"

namespace stats::tcp_sample_tests {
namespace {

using internal::Aggregate;
using internal::TcpInfo;

// Where the fields of struct tcp_info begin, and how wide they are: the kernel's ABI,
// include/uapi/linux/tcp.h. That header and <netinet/tcp.h> can't be included together.
enum Field4 : size_t {
  kUnacked = 24,
  kRtt = 68,
  kRttVar = 72,
  kCwnd = 80,
  kTotalRetrans = 100,
  kMinRtt = 148,
  kReordSeen = 220,
};
enum Field8 : size_t {
  kDeliveryRate = 160,
  kBusyTime = 168,
  kRwndLimited = 176,
  kSndbufLimited = 184
};
constexpr size_t kLinux54Bytes = 232;
constexpr int kTcpCongestion = 13;  // TCP_CONGESTION, tcp(7)

void Set(TcpInfo* info, Field4 field, uint32_t value) {
  std::memcpy(info->bytes + field, &value, sizeof(value));
}
void Set(TcpInfo* info, Field8 field, uint64_t value) {
  std::memcpy(info->bytes + field, &value, sizeof(value));
}

// As a kernel tells it that has all of the fields.
TcpInfo Full(uint32_t rtt_us, uint32_t retransmits = 0) {
  TcpInfo info{.size = kLinux54Bytes};
  Set(&info, kRtt, rtt_us);
  Set(&info, kRttVar, rtt_us / 2);
  Set(&info, kMinRtt, rtt_us / 4);
  Set(&info, kCwnd, 10);
  Set(&info, kTotalRetrans, retransmits);
  return info;
}

TEST(TcpSample, OfNothingIsEmpty) {
  const TcpSample sample = Aggregate({});
  EXPECT_EQ(sample.sockets, 0u);
  EXPECT_EQ(sample.rtt_us.max, 0u);
  EXPECT_FALSE(sample.busy_us.has_value());
  EXPECT_EQ(sample.rwnd_limited_share(), 0);
}

TEST(TcpSample, SpreadsAreOfThoseThatMeasured) {
  const std::vector<TcpInfo> infos = {Full(400, 3), Full(100), Full(0), Full(200, 4), Full(300)};
  const TcpSample sample = Aggregate(infos);
  EXPECT_EQ(sample.sockets, 5u);
  EXPECT_EQ(sample.rtt_us.min, 100u);
  EXPECT_EQ(sample.rtt_us.median, 200u);  // the lower of the two in the middle
  EXPECT_EQ(sample.rtt_us.max, 400u);
  EXPECT_EQ(sample.rtt_var_us.max, 200u);
  ASSERT_TRUE(sample.min_rtt_us.has_value());
  EXPECT_EQ(sample.min_rtt_us->min, 25u);
  EXPECT_EQ(sample.cwnd.median, 10u);
  EXPECT_EQ(sample.retransmits, 7u);
}

TEST(TcpSample, AnUnmeasuredMinimumIsLeftOut) {
  std::vector<TcpInfo> infos = {Full(400), Full(400)};
  Set(&infos[0], kMinRtt, ~uint32_t{0});
  EXPECT_EQ(Aggregate(infos).min_rtt_us->max, 100u);
}

TEST(TcpSample, LimitsArePartsOfTheBusyTime) {
  std::vector<TcpInfo> infos = {Full(1), Full(1)};
  Set(&infos[0], kBusyTime, 600);
  Set(&infos[1], kBusyTime, 400);
  Set(&infos[0], kRwndLimited, 250);
  Set(&infos[1], kSndbufLimited, 100);
  Set(&infos[0], kUnacked, 2);
  Set(&infos[1], kUnacked, 3);
  Set(&infos[1], kReordSeen, 5);
  Set(&infos[1], kDeliveryRate, 5'000'000'000);
  const TcpSample sample = Aggregate(infos);
  EXPECT_EQ(sample.busy_us, 1000u);
  EXPECT_DOUBLE_EQ(sample.rwnd_limited_share(), 0.25);
  EXPECT_DOUBLE_EQ(sample.sndbuf_limited_share(), 0.1);
  EXPECT_EQ(sample.unacked, 5u);
  EXPECT_EQ(sample.reordering_events, 5u);
  EXPECT_EQ(sample.delivery_rate->min, 5'000'000'000u);
}

// Linux 4.8 had no delivery rate and no times; 3.x ended with the retransmissions.
TEST(TcpSample, OlderKernelsTellLess) {
  TcpInfo info = Full(400, 7);
  Set(&info, kDeliveryRate, 9);  // not the kernel's: behind its end
  Set(&info, kBusyTime, 9);
  info.size = kDeliveryRate;
  TcpSample sample = Aggregate({{info}});
  EXPECT_EQ(sample.rtt_us.min, 400u);
  EXPECT_EQ(sample.min_rtt_us->min, 100u);
  EXPECT_FALSE(sample.delivery_rate.has_value());
  EXPECT_FALSE(sample.busy_us.has_value());
  EXPECT_FALSE(sample.reordering_events.has_value());
  info.size = kTotalRetrans + sizeof(uint32_t);
  sample = Aggregate({{info}});
  EXPECT_EQ(sample.retransmits, 7u);
  EXPECT_FALSE(sample.min_rtt_us.has_value());
  info.size -= 1;  // a field that is there in part isn't there
  EXPECT_EQ(Aggregate({{info}}).retransmits, 0u);
}

class TcpSampleSockets : public unit_tests::LeavesNothingOpen {
 protected:
  TcpSampleSockets() {
    listener_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    auto* generic = reinterpret_cast<sockaddr*>(&at_);
    socklen_t size = sizeof(at_);
    EXPECT_EQ(bind(listener_, generic, size), 0);
    EXPECT_EQ(getsockname(listener_, generic, &size), 0);
    EXPECT_EQ(listen(listener_, 8), 0);
  }
  ~TcpSampleSockets() override {
    for (const auto* fds : {&clients_, &served_}) {
      for (const int fd : *fds) close(fd);
    }
    if (listener_ >= 0) close(listener_);
  }
  void Connect() {
    clients_.push_back(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    ASSERT_EQ(connect(clients_.back(), reinterpret_cast<const sockaddr*>(&at_), sizeof(at_)), 0);
    served_.push_back(accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC));
    ASSERT_GE(served_.back(), 0);
  }
  // Until the clients' sample is as it should be; the limit ends a hang.
  template <class IsRight>
  TcpSample Until(IsRight is_right) {
    const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    TcpSample sample = SampleTcp(clients_);
    while (!is_right(sample) && std::chrono::steady_clock::now() < give_up) {
      std::this_thread::yield();
      sample = SampleTcp(clients_);
    }
    EXPECT_TRUE(is_right(sample));
    return sample;
  }

  sockaddr_in at_{.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
  int listener_ = -1;
  std::vector<int> clients_, served_;
};

TEST_F(TcpSampleSockets, TellsOfLoopbackConnections) {
  for (int i = 0; i < 3; ++i) Connect();
  const std::string bytes(20'000, 'x');
  std::string buffer(bytes.size(), '\0');
  for (size_t i = 0; i < clients_.size(); ++i) {
    ASSERT_EQ(send(clients_[i], bytes.data(), bytes.size(), 0), 20'000);
    ASSERT_EQ(recv(served_[i], buffer.data(), buffer.size(), MSG_WAITALL), 20'000);
  }
  const TcpSample sample = Until([](const TcpSample& s) { return s.unacked == 0; });
  EXPECT_EQ(sample.sockets, 3u);
  EXPECT_EQ(sample.skipped, 0u);
  EXPECT_GT(sample.rtt_us.min, 0u);
  EXPECT_LE(sample.rtt_us.min, sample.rtt_us.median);
  EXPECT_LE(sample.rtt_us.median, sample.rtt_us.max);
  EXPECT_GT(sample.cwnd.min, 0u);
  ASSERT_TRUE(sample.min_rtt_us.has_value());
  EXPECT_LE(sample.min_rtt_us->min, sample.rtt_us.max);
  ASSERT_TRUE(sample.delivery_rate.has_value());
  EXPECT_GT(sample.delivery_rate->max, 0u);
  std::ifstream setting("/proc/sys/net/ipv4/tcp_congestion_control");
  std::string congestion_control;
  ASSERT_TRUE(setting >> congestion_control);
  EXPECT_EQ(sample.congestion_control, congestion_control);
}

TEST_F(TcpSampleSockets, CongestionControlsAreAllNamed) {
  for (int i = 0; i < 2; ++i) Connect();
  ASSERT_EQ(setsockopt(clients_[0], IPPROTO_TCP, kTcpCongestion, "reno", 4), 0);
  const std::string other = SampleTcp({{clients_[1]}}).congestion_control;
  if (other == "reno") GTEST_SKIP() << "reno is the default here";
  EXPECT_EQ(SampleTcp(clients_).congestion_control,
            other < "reno" ? other + ", reno" : "reno, " + other);
}

TEST_F(TcpSampleSockets, AReaderThatDoesNotReadLimitsByItsWindow) {
  Connect();
  const std::string bytes(1 << 16, 'x');
  while (send(clients_[0], bytes.data(), bytes.size(), MSG_DONTWAIT) > 0) {
  }
  const TcpSample sample = Until([](const TcpSample& s) {
    return s.rwnd_limited_us.value_or(0) > 0 && s.rwnd_limited_share() > 0;
  });
  EXPECT_LE(sample.rwnd_limited_share(), 1);
  EXPECT_GE(*sample.busy_us, *sample.rwnd_limited_us);
}

TEST_F(TcpSampleSockets, OthersAreSkipped) {
  Connect();
  const int udp = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  const int local = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  const std::vector<int> fds = {udp, clients_[0], local, ends[0], -1};
  const TcpSample sample = SampleTcp(fds);
  EXPECT_EQ(sample.sockets, 1u);
  EXPECT_EQ(sample.skipped, 4u);
  for (const int fd : {udp, local, ends[0], ends[1]}) close(fd);
}

}  // namespace
}  // namespace stats::tcp_sample_tests
