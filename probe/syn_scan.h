#pragma once

#include <netinet/in.h>
#include <sys/socket.h>

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "probe/scan.h"
#include "probe/schedule.h"
#include "probe/tcp_packet.h"

namespace probe {

// The sockets of half-open probes of one host: a raw one that sends and hears TCP segments, and
// one that keeps the port that they are sent from.
class RawTcp {
 public:
  // Errors: SynScan()'s.
  static absl::StatusOr<RawTcp> Open(const io::Endpoint& at);
  RawTcp(RawTcp&& other) noexcept;
  RawTcp& operator=(RawTcp&&) = delete;
  ~RawTcp();

  uint16_t source_port() const { return source_port_; }
  const SegmentPath& path() const { return path_; }  // from us to the host
  int fd() const { return raw_; }

  // 0 or an errno: this segment's, or that of an earlier one for which an ICMP error came.
  int Send(std::span<const uint8_t> segment);
  // What came, one at a time; nothing where nothing is there.
  std::optional<Segment> Receive();

  struct Failure {
    Segment sent;  // source and destination port and sequence number are known
    int error;
  };
  // What ICMP said of a segment of ours; nothing where there is no more.
  std::optional<Failure> ReceiveFailure();

 private:
  RawTcp() = default;
  absl::Status OpenRaw(const io::Endpoint& at);
  absl::Status KeepPort();
  absl::Status AttachFilter();

  static constexpr size_t kBatch = 64;
  static constexpr size_t kBytesMax = 256;  // the headers; a probe's answers have no data

  bool FillBatch();

  int raw_ = -1, keeper_ = -1;
  bool ipv4_ = true;
  uint16_t source_port_ = 0;
  SegmentPath path_;
  std::vector<uint8_t> received_;  // kBatch packets
  std::vector<size_t> sizes_;      // of those
  size_t next_ = 0;                // of those, to be given out
};

// SynScan(), as a class of small functions.
class SynScanner {
 public:
  SynScanner(const ScanOptions& options, RawTcp raw);
  ScanResult Run();

 private:
  void Ask();
  void Send(uint32_t index);
  void TakeAnswers();
  void TakeFailures();
  void Wait();
  Segment SynOf(uint32_t index) const;

  const ScanOptions& options_;
  RawTcp raw_;
  Schedule schedule_;
  uint64_t secret_;  // what sequence numbers are made from
};

}  // namespace probe
