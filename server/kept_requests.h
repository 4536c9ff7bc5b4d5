#pragma once

#include <cstddef>
#include <cstdint>
#include <new>
#include <vector>

#include "io/bytes.h"

namespace server {

// What a connection sent and nobody answered yet, because too much waits to be sent to it: at most
// what its loop still receives after PauseReceive(). Of a connection of messages each is a piece by
// itself.
class KeptRequests {
 public:
  // False: there is no memory for it.
  [[nodiscard]] bool Add(io::Bytes in, bool message) noexcept {
    try {
      if (message) messages_.push_back(in.size());
      bytes_.insert(bytes_.end(), in.begin(), in.end());
    } catch (const std::bad_alloc&) {
      return false;
    }
    return true;
  }

  bool empty() const { return at_ == bytes_.size(); }
  // The first piece; it stays where it is until the next Add().
  io::Bytes Front() const {
    const io::Bytes all = io::Bytes(bytes_).subspan(at_);
    return messages_.empty() ? all : all.first(messages_[first_]);
  }
  // Of Front(), the last `left` bytes stay.
  void Take(size_t left) {
    at_ += Front().size() - left;
    if (messages_.empty()) return;
    messages_[first_] = left;
    if (left == 0) ++first_;
  }

 private:
  std::vector<std::byte> bytes_;
  size_t at_ = 0;                 // so many are taken
  std::vector<size_t> messages_;  // how long each is, where they are messages
  size_t first_ = 0;              // of them: the first that is left
};

}  // namespace server
