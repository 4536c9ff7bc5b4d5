#include "stats/tcp_sample.h"

#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <set>
#include <vector>

#include "absl/strings/str_join.h"

namespace stats {
namespace {

using internal::TcpInfo;

static_assert(sizeof(tcp_info) <= sizeof(TcpInfo::bytes));

struct Field {
  size_t offset;
  size_t size;  // 4 or 8
};

#define RINGSIDE_TCP_FIELD(name) \
  Field { offsetof(tcp_info, name), sizeof(tcp_info::name) }
constexpr Field kRtt = RINGSIDE_TCP_FIELD(tcpi_rtt);
constexpr Field kRttVar = RINGSIDE_TCP_FIELD(tcpi_rttvar);
constexpr Field kMinRtt = RINGSIDE_TCP_FIELD(tcpi_min_rtt);
constexpr Field kCwnd = RINGSIDE_TCP_FIELD(tcpi_snd_cwnd);
constexpr Field kDeliveryRate = RINGSIDE_TCP_FIELD(tcpi_delivery_rate);
constexpr Field kRetransmits = RINGSIDE_TCP_FIELD(tcpi_total_retrans);
constexpr Field kUnacked = RINGSIDE_TCP_FIELD(tcpi_unacked);
constexpr Field kReordering = RINGSIDE_TCP_FIELD(tcpi_reord_seen);
constexpr Field kBusy = RINGSIDE_TCP_FIELD(tcpi_busy_time);
constexpr Field kRwndLimited = RINGSIDE_TCP_FIELD(tcpi_rwnd_limited);
constexpr Field kSndbufLimited = RINGSIDE_TCP_FIELD(tcpi_sndbuf_limited);
#undef RINGSIDE_TCP_FIELD

constexpr uint64_t kNotMeasured = UINT32_MAX;  // tcpi_min_rtt before the first measurement

bool Has(const TcpInfo& info, const Field& field) { return info.size >= field.offset + field.size; }

// 0 where the kernel doesn't tell.
uint64_t ValueOf(const TcpInfo& info, const Field& field) {
  if (!Has(info, field)) return 0;
  uint32_t narrow = 0;
  uint64_t wide = 0;
  if (field.size == sizeof(wide)) {
    std::memcpy(&wide, info.bytes + field.offset, sizeof(wide));
    return wide;
  }
  std::memcpy(&narrow, info.bytes + field.offset, sizeof(narrow));
  return narrow;
}

bool AnyHas(std::span<const TcpInfo> infos, const Field& field) {
  return std::ranges::any_of(infos, [&](const TcpInfo& info) { return Has(info, field); });
}

// Of the sockets that have measured it: 0 is no measurement of what a Spread is made of, and
// neither is `unmeasured`.
Spread SpreadOf(std::span<const TcpInfo> infos, const Field& field, uint64_t unmeasured = 0) {
  std::vector<uint64_t> values;
  for (const TcpInfo& info : infos) {
    const uint64_t value = ValueOf(info, field);
    if (value != 0 && value != unmeasured) values.push_back(value);
  }
  if (values.empty()) return {};
  std::ranges::sort(values);
  return {.min = values.front(), .median = values[(values.size() - 1) / 2], .max = values.back()};
}

std::optional<Spread> OptionalSpread(std::span<const TcpInfo> infos, const Field& field,
                                     uint64_t unmeasured = 0) {
  if (!AnyHas(infos, field)) return std::nullopt;
  return SpreadOf(infos, field, unmeasured);
}

uint64_t SumOf(std::span<const TcpInfo> infos, const Field& field) {
  uint64_t sum = 0;
  for (const TcpInfo& info : infos) sum += ValueOf(info, field);
  return sum;
}

std::optional<uint64_t> OptionalSum(std::span<const TcpInfo> infos, const Field& field) {
  return AnyHas(infos, field) ? std::optional(SumOf(infos, field)) : std::nullopt;
}

double Share(std::optional<uint64_t> part, std::optional<uint64_t> whole) {
  if (!part || whole.value_or(0) == 0) return 0;
  return std::min(static_cast<double>(*part) / static_cast<double>(*whole), 1.0);
}

std::string CongestionControlOf(int fd) {
  char name[16] = {};  // TCP_CA_NAME_MAX, include/net/tcp.h
  socklen_t size = sizeof(name);
  if (getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, &size) != 0) return "";
  return {name, strnlen(name, size)};
}

}  // namespace

double TcpSample::rwnd_limited_share() const { return Share(rwnd_limited_us, busy_us); }

double TcpSample::sndbuf_limited_share() const { return Share(sndbuf_limited_us, busy_us); }

TcpSample SampleTcp(std::span<const int> fds) {
  std::vector<TcpInfo> infos;
  infos.reserve(fds.size());
  std::set<std::string> names;
  for (const int fd : fds) {
    TcpInfo info{.size = sizeof(info.bytes)};
    // EBADF, ENOTSOCK, EOPNOTSUPP (a Unix socket), ENOPROTOOPT (UDP): it isn't to be sampled.
    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, info.bytes, &info.size) != 0) continue;
    infos.push_back(info);
    names.insert(CongestionControlOf(fd));
  }
  names.erase("");
  TcpSample sample = internal::Aggregate(infos);
  sample.skipped = fds.size() - infos.size();
  sample.congestion_control = absl::StrJoin(names, ", ");
  return sample;
}

namespace internal {

TcpSample Aggregate(std::span<const TcpInfo> infos) {
  return {.sockets = infos.size(),
          .rtt_us = SpreadOf(infos, kRtt),
          .rtt_var_us = SpreadOf(infos, kRttVar),
          .min_rtt_us = OptionalSpread(infos, kMinRtt, kNotMeasured),
          .cwnd = SpreadOf(infos, kCwnd),
          .delivery_rate = OptionalSpread(infos, kDeliveryRate),
          .retransmits = SumOf(infos, kRetransmits),
          .unacked = SumOf(infos, kUnacked),
          .reordering_events = OptionalSum(infos, kReordering),
          .busy_us = OptionalSum(infos, kBusy),
          .rwnd_limited_us = OptionalSum(infos, kRwndLimited),
          .sndbuf_limited_us = OptionalSum(infos, kSndbufLimited)};
}

}  // namespace internal
}  // namespace stats
