#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "io/event_loop.h"
#include "server/unique_fd.h"

// What server/takeover.h says on its socket: a frame is one message of a SOCK_SEQPACKET socket
// (unix(7)), which keeps the boundaries and the descriptors of a message together.
//
//   new process                                     running process
//        | ---- hello --------------------------------> |   is it of our user? of our version?
//        | <--- sockets (as many frames as they need) - |
//        | ---- ready: "I can serve" -----------------> |   stops accepting
//        | <--- released -------------------------------|
//        | accepts                                      |
//        | ---- closes, having taken over the path ---> |
//
// "refused", with a sentence, can come from the running process at any time. A frame is a header
// and `bytes` more: for each of `count` sockets a length (4 bytes) and its label; the sockets
// themselves are the message's SCM_RIGHTS, in the same order. Numbers have the byte order of the
// machine, which both ends share. The magic and the version stay where they are in each version to
// come, so that a version that isn't ours is told from garbage.
namespace server::wire {

inline constexpr char kMagic[8] = {'r', 'i', 'n', 'g', 't', 'a', 'k', 'e'};
inline constexpr uint32_t kVersion = 1;

inline constexpr size_t kLabelBytesMax = 4096;
inline constexpr uint32_t kSocketsMax = 16384;  // in a takeover
inline constexpr uint32_t kFdsMax = 253;        // in a message: SCM_MAX_FD of the kernel, unix(7)
// Well below net.core.wmem_default, which bounds a message of a socket of this kind (EMSGSIZE).
inline constexpr size_t kFrameBytesMax = 32 * 1024;

enum class FrameType : uint32_t {
  kHello = 1,
  kSockets = 2,
  kReady = 3,
  kReleased = 4,
  kRefused = 5,
};

// As it is on the wire.
struct Header {
  char magic[8];
  uint32_t version;
  uint32_t type;
  uint32_t total;  // sockets in all frames of this takeover; only in a "sockets" frame
  uint32_t count;  // sockets in this frame; only in a "sockets" frame
  uint32_t bytes;  // that follow the header
};
static_assert(sizeof(Header) == 28);

struct Frame {
  FrameType type = FrameType::kHello;
  uint32_t total = 0;
  std::vector<std::string> labels;  // of "sockets"
  std::vector<UniqueFd> fds;        // as many
  std::string text;                 // of "refused": why
};

// Hello, ready or released, and "refused" with its sentence (cut at kLabelBytesMax).
std::string Encode(FrameType type, std::string_view text = {});
// As many of the labels as fit a frame, at least one where there is one; `taken` says how many.
// REQUIRES: no label is longer than kLabelBytesMax.
std::string EncodeSockets(uint32_t total, std::span<const std::string> labels, size_t* taken);

// Reads a message that came with these descriptors, and believes none of its numbers. Every error
// is one sentence without a subject, such as "sent a message of 3 bytes, which has no header", with
// FailedPrecondition for another version and DataLoss for what is malformed; `fds` are closed then.
absl::StatusOr<Frame> Decode(std::string_view bytes, std::vector<UniqueFd> fds);

// One end of the conversation. All its calls together end by the deadline.
class Channel {
 public:
  // `who` names the peer in errors: "the running server". `socket` doesn't block.
  // `interrupt_fd` (-1: none) ends a wait when it becomes readable.
  Channel(UniqueFd socket, std::string who, io::Nanos patience, int interrupt_fd);

  // Sends a frame, with these descriptors. Unavailable: the peer is gone (EPIPE, ECONNRESET).
  absl::Status Send(std::string_view frame, std::span<const int> fds = {});
  // The next frame of this type. Aborted, with the peer's sentence, where it refused; Unavailable
  // where it is gone; DeadlineExceeded where it says nothing in time; Cancelled by interrupt_fd;
  // DataLoss and FailedPrecondition as Decode() has them. No descriptor is left open then.
  absl::StatusOr<Frame> Receive(FrameType type);
  // Waits until the peer closed its end.
  absl::Status ReceiveEnd();
  // Says why it ends, if that takes no waiting, and closes.
  void Refuse(const absl::Status& why);
  // Gives the waits to come `patience` from now on.
  void SetPatience(io::Nanos patience);

  bool open() const { return bool(socket_); }
  void Close() { socket_.Reset(); }

 private:
  using Clock = std::chrono::steady_clock;

  absl::Status Wait(short events, std::optional<io::Nanos> at_most = {});
  // A message; no bytes: the peer's end.
  absl::StatusOr<std::string> ReceiveMessage(std::vector<UniqueFd>* fds);
  absl::Status Gone(int error) const;

  UniqueFd socket_;
  std::string who_;
  int interrupt_fd_;
  Clock::time_point deadline_;
};

}  // namespace server::wire
