#include "server/takeover_wire.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "io/errors.h"

namespace server::wire {
namespace {

using Length = uint32_t;

// How long to wait where the kernel lacks something that only time brings.
constexpr io::Nanos kShortOf = std::chrono::milliseconds(5);

void Append(const void* from, size_t bytes, std::string* to) {
  to->append(static_cast<const char*>(from), bytes);
}

std::string HeaderOf(FrameType type, uint32_t total, uint32_t count, size_t bytes) {
  Header header = {.version = kVersion,
                   .type = static_cast<uint32_t>(type),
                   .total = total,
                   .count = count,
                   .bytes = static_cast<uint32_t>(bytes)};
  std::memcpy(header.magic, kMagic, sizeof(kMagic));
  std::string text;
  Append(&header, sizeof(header), &text);
  return text;
}

template <class... Parts>
absl::Status Malformed(const Parts&... parts) {
  return absl::DataLossError(absl::StrCat(parts...));
}

absl::StatusOr<std::vector<std::string>> DecodeLabels(std::string_view rest, uint32_t count) {
  std::vector<std::string> labels;
  for (uint32_t i = 0; i < count; ++i) {
    Length length = 0;
    if (rest.size() < sizeof(length)) {
      return Malformed("sent a message that ends before the label of its socket ", i + 1, " of ",
                       count);
    }
    std::memcpy(&length, rest.data(), sizeof(length));
    rest.remove_prefix(sizeof(length));
    if (length > kLabelBytesMax) {
      return Malformed("sent a label of ", length, " bytes; at most ", kLabelBytesMax,
                       " are allowed");
    }
    if (length > rest.size()) {
      return Malformed("sent a label of ", length, " bytes in a message that has ", rest.size(),
                       " left");
    }
    labels.emplace_back(rest.substr(0, length));
    rest.remove_prefix(length);
  }
  if (!rest.empty()) return Malformed("sent ", rest.size(), " bytes after its last label");
  return labels;
}

absl::StatusOr<Header> DecodeHeader(std::string_view bytes) {
  Header header = {};
  constexpr size_t kVersioned = offsetof(Header, version) + sizeof(header.version);
  if (bytes.size() < kVersioned) {
    return Malformed("sent a message of ", bytes.size(), " bytes, which has no header");
  }
  std::memcpy(&header, bytes.data(), std::min(bytes.size(), sizeof(header)));
  if (std::memcmp(header.magic, kMagic, sizeof(kMagic)) != 0) {
    return Malformed("does not speak the takeover protocol: its message starts otherwise");
  }
  // Before anything else of the header is read: another version may have another one.
  if (header.version != kVersion) {
    return absl::FailedPreconditionError(
        absl::StrCat("speaks version ", header.version, " of the takeover protocol, ",
                     header.version < kVersion ? "older" : "newer", " than our version ", kVersion,
                     "; stop it and start the new one afresh"));
  }
  if (bytes.size() < sizeof(header)) {
    return Malformed("sent a message of ", bytes.size(), " bytes; a header has ", sizeof(header));
  }
  if (header.bytes != bytes.size() - sizeof(header)) {
    return Malformed("sent a message of ", bytes.size() - sizeof(header),
                     " bytes after the header, which announced ", header.bytes);
  }
  return header;
}

}  // namespace

std::string Encode(FrameType type, std::string_view text) {
  text = text.substr(0, kLabelBytesMax);
  return HeaderOf(type, 0, 0, text.size()).append(text);
}

std::string EncodeSockets(uint32_t total, std::span<const std::string> labels, size_t* taken) {
  std::string body;
  size_t count = 0;
  while (count < labels.size() && count < kFdsMax) {
    const std::string& label = labels[count];
    if (sizeof(Header) + body.size() + sizeof(Length) + label.size() > kFrameBytesMax) break;
    const Length length = static_cast<Length>(label.size());
    Append(&length, sizeof(length), &body);
    body += label;
    ++count;
  }
  *taken = count;
  return HeaderOf(FrameType::kSockets, total, static_cast<uint32_t>(count), body.size()) + body;
}

absl::StatusOr<Frame> Decode(std::string_view bytes, std::vector<UniqueFd> fds) {
  const auto header = DecodeHeader(bytes);
  if (!header.ok()) return header.status();
  const std::string_view rest = bytes.substr(sizeof(Header));
  Frame frame;
  frame.type = static_cast<FrameType>(header->type);
  frame.total = header->total;
  switch (frame.type) {
    case FrameType::kSockets: {
      if (header->count != fds.size()) {
        return Malformed("sent ", fds.size(), " sockets in a message that announced ",
                         header->count);
      }
      if (header->total > kSocketsMax) {
        return Malformed("announced ", header->total, " sockets; at most ", kSocketsMax,
                         " are allowed");
      }
      if (header->count > header->total) {
        return Malformed("sent ", header->count, " sockets where it announced ", header->total,
                         " in all");
      }
      auto labels = DecodeLabels(rest, header->count);
      if (!labels.ok()) return labels.status();
      frame.labels = std::move(*labels);
      frame.fds = std::move(fds);
      return frame;
    }
    case FrameType::kHello:
    case FrameType::kReady:
    case FrameType::kReleased:
    case FrameType::kRefused:
      if (header->count != 0 || header->total != 0 || !fds.empty()) {
        return Malformed("sent sockets where none belong");
      }
      if (frame.type == FrameType::kRefused) {
        if (rest.size() > kLabelBytesMax) {
          return Malformed("gave a reason of ", rest.size(), " bytes; at most ", kLabelBytesMax,
                           " are allowed");
        }
        frame.text = rest;
      } else if (!rest.empty()) {
        return Malformed("sent ", rest.size(), " bytes where none belong");
      }
      return frame;
  }
  return Malformed("sent a message of an unknown type: ", header->type);
}

Channel::Channel(UniqueFd socket, std::string who, io::Nanos patience, int interrupt_fd)
    : socket_(std::move(socket)), who_(std::move(who)), interrupt_fd_(interrupt_fd) {
  SetPatience(patience);
}

void Channel::SetPatience(io::Nanos patience) { deadline_ = Clock::now() + patience; }

absl::Status Channel::Gone(int error) const {
  return absl::UnavailableError(error == 0
                                    ? absl::StrCat(who_, " closed the connection")
                                    : absl::StrCat(who_, " is gone: ", io::ErrnoName(error)));
}

absl::Status Channel::Wait(short events, std::optional<io::Nanos> at_most) {
  while (true) {
    const auto now = Clock::now();
    if (now >= deadline_) {
      return absl::DeadlineExceededError(absl::StrCat(who_, " stopped talking"));
    }
    io::Nanos left = deadline_ - now;
    if (at_most.has_value()) left = std::min(left, *at_most);
    const timespec timeout = io::ToTimespec(left);
    pollfd fds[2] = {{.fd = socket_.get(), .events = events, .revents = 0},
                     {.fd = interrupt_fd_, .events = POLLIN, .revents = 0}};
    const int ready = ppoll(fds, 2, &timeout, nullptr);
    if (ready < 0) {
      if (errno == EINTR) continue;
      return absl::ResourceExhaustedError(absl::StrCat("ppoll: ", io::ErrnoName(errno)));  // ENOMEM
    }
    if (fds[0].revents != 0) return absl::OkStatus();
    if (fds[1].revents != 0) return absl::CancelledError("a signal interrupted the takeover");
    if (at_most.has_value()) return absl::OkStatus();
  }
}

absl::Status Channel::Send(std::string_view frame, std::span<const int> fds) {
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * kFdsMax)] = {};
  iovec part = {.iov_base = const_cast<char*>(frame.data()), .iov_len = frame.size()};
  msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
  if (!fds.empty()) {
    message.msg_control = control;
    message.msg_controllen = CMSG_SPACE(fds.size_bytes());
    cmsghdr* rights = CMSG_FIRSTHDR(&message);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(fds.size_bytes());
    std::memcpy(CMSG_DATA(rights), fds.data(), fds.size_bytes());
  }
  while (true) {
    if (sendmsg(socket_.get(), &message, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0) return absl::OkStatus();
    absl::Status waited;
    switch (const int error = errno) {
      case EINTR:
        continue;
      case EAGAIN:
        waited = Wait(POLLOUT);
        break;
      // Too many descriptors are under way between processes of this user, or the kernel lacks
      // memory for the message: both pass, as the peer receives.
      case ETOOMANYREFS:
      case ENOBUFS:
      case ENOMEM:
        waited = Wait(0, kShortOf);
        if (absl::IsDeadlineExceeded(waited)) {
          return absl::ResourceExhaustedError(
              absl::StrCat("no sockets can be sent to ", who_, ": ", io::ErrnoName(error),
                           "; raise the limit of descriptors (ulimit -n)"));
        }
        break;
      case EPIPE:
      case ECONNRESET:
        return Gone(error);
      case EBADF:
        return absl::InvalidArgumentError(
            absl::StrCat("one of the sockets to hand over is not open: ", io::ErrnoName(error)));
      case EMSGSIZE:
        return absl::ResourceExhaustedError(
            absl::StrCat("a message of ", frame.size(), " bytes is too long for a Unix socket: ",
                         io::ErrnoName(error), "; raise net.core.wmem_default"));
      default:
        return absl::InternalError(absl::StrCat("sendmsg to ", who_, ": ", io::ErrnoName(error)));
    }
    if (!waited.ok()) return waited;
  }
}

absl::StatusOr<std::string> Channel::ReceiveMessage(std::vector<UniqueFd>* fds) {
  // A byte more than any frame has: what fills it is too long.
  std::string bytes(kFrameBytesMax + 1, '\0');
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * kFdsMax)];
  bool was_reset = false;
  while (true) {
    iovec part = {.iov_base = bytes.data(), .iov_len = bytes.size()};
    msghdr message = {.msg_iov = &part,
                      .msg_iovlen = 1,
                      .msg_control = control,
                      .msg_controllen = sizeof(control)};
    const ssize_t n = recvmsg(socket_.get(), &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    if (n < 0) {
      const int error = errno;
      switch (error) {
        case EINTR:
          continue;
        case EAGAIN: {
          const absl::Status waited = Wait(POLLIN);
          if (!waited.ok()) return waited;
          continue;
        }
        case ECONNRESET:
          // The peer closed without having read all of ours. That error comes before what it sent
          // and is told once: its last words are still to be had.
          if (was_reset) return Gone(error);
          was_reset = true;
          continue;
        case ENOMEM:
          return absl::ResourceExhaustedError(
              absl::StrCat("no memory to receive from ", who_, ": ", io::ErrnoName(error)));
        default:
          return absl::InternalError(
              absl::StrCat("recvmsg from ", who_, ": ", io::ErrnoName(error)));
      }
    }
    // First of all each descriptor gets an owner: whatever is wrong, it is closed.
    for (cmsghdr* c = CMSG_FIRSTHDR(&message); c != nullptr; c = CMSG_NXTHDR(&message, c)) {
      if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
      const size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
      for (size_t i = 0; i < count; ++i) {
        int fd = -1;
        std::memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
        fds->emplace_back(fd);
      }
    }
    if (message.msg_flags & MSG_CTRUNC) {
      return absl::ResourceExhaustedError(
          absl::StrCat("only ", fds->size(), " of the sockets that ", who_,
                       " sent could be received: no descriptor is left; raise the limit "
                       "(ulimit -n)"));
    }
    if (message.msg_flags & MSG_TRUNC || static_cast<size_t>(n) > kFrameBytesMax) {
      return Malformed(who_, " sent a message of more than ", kFrameBytesMax, " bytes");
    }
    bytes.resize(n);
    if (bytes.empty() && was_reset) return Gone(ECONNRESET);
    return bytes;
  }
}

absl::StatusOr<Frame> Channel::Receive(FrameType type) {
  std::vector<UniqueFd> fds;
  const auto bytes = ReceiveMessage(&fds);
  if (!bytes.ok()) return bytes.status();
  if (bytes->empty()) return Gone(0);
  auto frame = Decode(*bytes, std::move(fds));
  if (!frame.ok()) {
    return absl::Status(frame.status().code(), absl::StrCat(who_, " ", frame.status().message()));
  }
  if (frame->type == FrameType::kRefused) {
    return absl::AbortedError(absl::StrCat(who_, " refused: ", frame->text));
  }
  if (frame->type != type) {
    return Malformed(who_, " sent a message of type ", static_cast<uint32_t>(frame->type),
                     " where type ", static_cast<uint32_t>(type), " was due");
  }
  return frame;
}

absl::Status Channel::ReceiveEnd() {
  std::vector<UniqueFd> fds;
  const auto bytes = ReceiveMessage(&fds);
  if (!bytes.ok()) return absl::IsUnavailable(bytes.status()) ? absl::OkStatus() : bytes.status();
  if (bytes->empty()) return absl::OkStatus();
  return Malformed(who_, " spoke where it had nothing more to say");
}

void Channel::Refuse(const absl::Status& why) {
  if (!socket_) return;
  const std::string frame = Encode(FrameType::kRefused, std::string(why.message()));
  // Best effort: the peer sees the end in any case.
  (void)send(socket_.get(), frame.data(), frame.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
  Close();
}

}  // namespace server::wire
