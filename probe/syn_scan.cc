#include "probe/syn_scan.h"

#include <linux/errqueue.h>
#include <linux/filter.h>
#include <poll.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <random>
#include <utility>

#include "absl/strings/str_cat.h"
#include "io/errors.h"
#include "io/event_loop.h"

namespace probe {
namespace {

constexpr int kReceiveBufferBytes = 4 << 20;
constexpr int kAsksPerTurn = 8;  // as in connect_scan.h: their answers wait for the last of them

int64_t Now() {
  return std::chrono::steady_clock::now().time_since_epoch() / std::chrono::nanoseconds(1);
}

absl::Status SocketError(const char* what, int error) {
  const std::string name = io::ErrnoName(error);
  switch (error) {
    case EPERM:
    case EACCES:
      return absl::PermissionDeniedError(
          absl::StrCat("half-open probes need a raw socket, and this process may have none: ", name,
                       "; run it as root, give the program CAP_NET_RAW (setcap cap_net_raw=+ep), "
                       "or probe without --syn"));
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
    case ENOMEM:
      return absl::ResourceExhaustedError(
          absl::StrCat("no descriptor or memory is left for ", what, ": ", name));
    case EAFNOSUPPORT:
    case EPROTONOSUPPORT:
      return absl::UnavailableError(
          absl::StrCat("this kernel has no support for the address's family: ", name));
    case ENETUNREACH:
    case EHOSTUNREACH:
    case ENETDOWN:
    case EADDRNOTAVAIL:
      return absl::UnavailableError(absl::StrCat(
          "there is no way from this machine to the address: ", name, "; see: ip route get"));
    case EINVAL:
      return absl::UnavailableError(absl::StrCat(
          "the address is on no network of this machine: ", name,
          "; a link-local address needs its interface (fe80::1%eth0), see: ip route get"));
    default:
      return absl::InternalError(absl::StrCat(what, ": ", name));
  }
}

// Whether to send again a moment later: the device's queue is full, or memory lacks.
bool IsPassing(int error) { return error == ENOBUFS || error == EAGAIN || error == ENOMEM; }

void SetOption(int fd, int level, int option, int value) {
  setsockopt(fd, level, option, &value, sizeof(value));
}

std::vector<uint8_t> BytesOf(const sockaddr_storage& address) {
  if (address.ss_family == AF_INET) {
    const auto* first =
        reinterpret_cast<const uint8_t*>(&reinterpret_cast<const sockaddr_in&>(address).sin_addr);
    return {first, first + 4};
  }
  const uint8_t* first = reinterpret_cast<const sockaddr_in6&>(address).sin6_addr.s6_addr;
  return {first, first + 16};
}

uint16_t PortOf(const sockaddr_storage& address) {
  return ntohs(reinterpret_cast<const sockaddr_in&>(address).sin_port);  // the same place in IPv6's
}

// splitmix64 (Steele, Lea, Flood, OOPSLA 2014): its output is as random as its seed.
uint64_t Mix(uint64_t value) {
  value += 0x9e3779b97f4a7c15;
  value = (value ^ value >> 30) * 0xbf58476d1ce4e5b9;
  value = (value ^ value >> 27) * 0x94d049bb133111eb;
  return value ^ value >> 31;
}

}  // namespace

RawTcp::RawTcp(RawTcp&& other) noexcept
    : raw_(std::exchange(other.raw_, -1)),
      keeper_(std::exchange(other.keeper_, -1)),
      ipv4_(other.ipv4_),
      source_port_(other.source_port_),
      path_(std::move(other.path_)),
      received_(kBatch * kBytesMax) {}

RawTcp::~RawTcp() {
  if (raw_ >= 0) close(raw_);
  if (keeper_ >= 0) close(keeper_);
}

absl::StatusOr<RawTcp> RawTcp::Open(const io::Endpoint& at) {
  RawTcp tcp;
  tcp.ipv4_ = at.family() == AF_INET;
  absl::Status status = tcp.OpenRaw(at);
  if (status.ok()) status = tcp.KeepPort();
  if (status.ok()) status = tcp.AttachFilter();
  if (!status.ok()) return status;
  return tcp;
}

absl::Status RawTcp::OpenRaw(const io::Endpoint& at) {
  raw_ = socket(at.family(), SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_TCP);
  if (raw_ < 0) return SocketError("a raw socket", errno);
  if (setsockopt(raw_, SOL_SOCKET, SO_RCVBUFFORCE, &kReceiveBufferBytes, sizeof(int)) != 0) {
    SetOption(raw_, SOL_SOCKET, SO_RCVBUF, kReceiveBufferBytes);  // capped at net.core.rmem_max
  }
  if (ipv4_) SetOption(raw_, IPPROTO_IP, IP_RECVERR, 1);
  if (!ipv4_) SetOption(raw_, IPPROTO_IPV6, IPV6_RECVERR, 1);
  // Connected: it hears this host alone, and the kernel has chosen the address to send from.
  const io::Endpoint host = at.WithPort(0);
  if (connect(raw_, host.address(), host.size()) != 0) return SocketError("a raw socket", errno);
  path_.to = BytesOf(*reinterpret_cast<const sockaddr_storage*>(host.address()));
  return absl::OkStatus();
}

absl::Status RawTcp::KeepPort() {
  sockaddr_storage local = {};
  socklen_t size = sizeof(local);
  auto* address = reinterpret_cast<sockaddr*>(&local);
  if (getsockname(raw_, address, &size) != 0) return SocketError("a raw socket's address", errno);
  path_.from = BytesOf(local);
  reinterpret_cast<sockaddr_in&>(local).sin_port = 0;  // a raw socket's is its protocol
  keeper_ = socket(local.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (keeper_ < 0) return SocketError("a socket that keeps a port", errno);
  if (bind(keeper_, address, size) != 0 || getsockname(keeper_, address, &size) != 0) {
    return SocketError("a port to probe from", errno);
  }
  source_port_ = PortOf(local);
  return absl::OkStatus();
}

// Of all TCP segments of that host, those to our port. The filter sees an IPv4 packet from its IP
// header on, an IPv6 one from its TCP header on.
absl::Status RawTcp::AttachFilter() {
  const sock_filter length = BPF_STMT(BPF_LDX | BPF_B | BPF_MSH, 0);  // X: the IP header's
  const sock_filter at_x = BPF_STMT(BPF_LD | BPF_H | BPF_IND, 2);
  const sock_filter at_begin = BPF_STMT(BPF_LD | BPF_H | BPF_ABS, 2);
  std::vector<sock_filter> program = ipv4_ ? std::vector{length, at_x} : std::vector{at_begin};
  program.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, source_port_, 0, 1));
  program.push_back(BPF_STMT(BPF_RET | BPF_K, 0xffff));
  program.push_back(BPF_STMT(BPF_RET | BPF_K, 0));
  const sock_fprog filter = {.len = static_cast<unsigned short>(program.size()),
                             .filter = program.data()};
  if (setsockopt(raw_, SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof(filter)) == 0) {
    return absl::OkStatus();
  }
  return SocketError("a packet filter", errno);
}

int RawTcp::Send(std::span<const uint8_t> segment) {
  while (send(raw_, segment.data(), segment.size(), 0) < 0) {
    if (errno != EINTR) return errno;
  }
  return 0;
}

bool RawTcp::FillBatch() {
  std::array<mmsghdr, kBatch> messages = {};
  std::array<iovec, kBatch> parts;
  for (size_t i = 0; i < kBatch; ++i) {
    parts[i] = {received_.data() + i * kBytesMax, kBytesMax};
    messages[i].msg_hdr.msg_iov = &parts[i];
    messages[i].msg_hdr.msg_iovlen = 1;
  }
  // An error here is that of an ICMP message, which the error queue tells more of.
  const int count = recvmmsg(raw_, messages.data(), kBatch, MSG_DONTWAIT, nullptr);
  next_ = 0;
  sizes_.clear();
  for (int i = 0; i < count; ++i) sizes_.push_back(messages[i].msg_len);
  return !sizes_.empty();
}

std::optional<Segment> RawTcp::Receive() {
  while (true) {
    if (next_ == sizes_.size() && !FillBatch()) return std::nullopt;
    const std::span<const uint8_t> packet(received_.data() + next_ * kBytesMax, sizes_[next_]);
    ++next_;
    if (auto segment = ParseSegment(ipv4_ ? SkipIpv4Header(packet) : packet)) return segment;
  }
}

std::optional<RawTcp::Failure> RawTcp::ReceiveFailure() {
  while (true) {
    std::array<uint8_t, kBytesMax> bytes;
    alignas(cmsghdr) char control[512];
    iovec part = {bytes.data(), bytes.size()};
    msghdr message = {.msg_iov = &part,
                      .msg_iovlen = 1,
                      .msg_control = control,
                      .msg_controllen = sizeof(control)};
    const ssize_t size = recvmsg(raw_, &message, MSG_ERRQUEUE | MSG_DONTWAIT);
    if (size < 0) return std::nullopt;
    // ICMP brings at least 8 bytes of what it is about (RFC 792): ports and sequence number.
    if (size < 8) continue;
    std::array<uint8_t, kTcpHeaderBytes> header = {};
    std::memcpy(header.data(), bytes.data(), 8);
    header[12] = kTcpHeaderBytes / 4 << 4;
    for (cmsghdr* c = CMSG_FIRSTHDR(&message); c != nullptr; c = CMSG_NXTHDR(&message, c)) {
      const bool v4 = c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_RECVERR;
      const bool v6 = c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_RECVERR;
      if (!v4 && !v6) continue;
      sock_extended_err why;
      std::memcpy(&why, CMSG_DATA(c), sizeof(why));
      return Failure{*ParseSegment(header), static_cast<int>(why.ee_errno)};
    }
  }
}

SynScanner::SynScanner(const ScanOptions& options, RawTcp raw)
    : options_(options), raw_(std::move(raw)), schedule_(options) {
  std::random_device random;
  secret_ = static_cast<uint64_t>(random()) << 32 | random();
}

Segment SynScanner::SynOf(uint32_t index) const {
  const uint64_t attempt = schedule_.attempt(index);
  return {.source_port = raw_.source_port(),
          .destination_port = options_.ports[index],
          .sequence = static_cast<uint32_t>(Mix(secret_ ^ Mix(attempt << 32 | index))),
          .syn = true,
          .window = kSynWindow};
}

ScanResult SynScanner::Run() {
  ScanResult result;
  const int64_t begin = Now();
  while (!schedule_.finished()) {
    result.interrupted = options_.stop && options_.stop();
    if (result.interrupted) break;
    Ask();
    TakeAnswers();
    while (schedule_.Expire(Now())) {
    }
    Wait();
  }
  result.duration_ns = Now() - begin;
  result.ports = schedule_.results();
  return result;
}

void SynScanner::Ask() {
  for (int i = 0; i < kAsksPerTurn; ++i) {
    const auto index = schedule_.Next(Now());
    if (!index) break;
    Send(*index);
    if (!schedule_.waits(*index)) break;  // put back, or failed: look at what came first
  }
}

void SynScanner::Send(uint32_t index) {
  const std::vector<uint8_t> syn = BuildSegment(raw_.path(), SynOf(index));
  int error = raw_.Send(syn);
  // It may be the error of an earlier segment, which is read, and then is over.
  for (int i = 0; error != 0 && !IsPassing(error) && i < kAsksPerTurn; ++i) {
    TakeFailures();
    error = raw_.Send(syn);
  }
  if (IsPassing(error)) {
    schedule_.PutBack(index);
  } else if (error != 0) {
    schedule_.Answered(index, StateOf(error), error, Now());
  }
}

void SynScanner::TakeAnswers() {
  while (const auto answer = raw_.Receive()) {
    const auto index = schedule_.IndexOf(answer->source_port);
    if (!index || !schedule_.waits(*index) || !Answers(SynOf(*index), *answer)) continue;
    const PortState state = answer->rst ? PortState::kClosed : PortState::kOpen;
    schedule_.Answered(*index, state, 0, Now());
  }
  TakeFailures();
}

void SynScanner::TakeFailures() {
  while (const auto failure = raw_.ReceiveFailure()) {
    const auto index = schedule_.IndexOf(failure->sent.destination_port);
    if (!index || !schedule_.waits(*index)) continue;
    const Segment syn = SynOf(*index);
    if (failure->sent.source_port != syn.source_port || failure->sent.sequence != syn.sequence) {
      continue;
    }
    // "Refused" by ICMP (port unreachable) is a packet filter's word, not that of TCP.
    const bool refused = failure->error == ECONNREFUSED;
    const PortState state = refused ? PortState::kFiltered : StateOf(failure->error);
    schedule_.Answered(*index, state, failure->error, Now());
  }
}

void SynScanner::Wait() {
  const timespec until = io::ToTimespec(io::Nanos(schedule_.WaitNs(Now())));
  pollfd raw = {.fd = raw_.fd(), .events = POLLIN, .revents = 0};
  if (until.tv_sec != 0 || until.tv_nsec != 0) ppoll(&raw, 1, &until, nullptr);
}

absl::StatusOr<ScanResult> SynScan(const ScanOptions& options) {
  auto raw = RawTcp::Open(options.at);
  if (!raw.ok()) return raw.status();
  return SynScanner(options, *std::move(raw)).Run();
}

}  // namespace probe
