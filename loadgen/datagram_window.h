#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "loadgen/request_times.h"

namespace loadgen {

// The requests of one datagram connection: those that wait for a reply, and the last of those that
// no longer do. A datagram can be lost, come late, twice or out of order, so a reply is matched
// with the request that it answers by what is in it.
//
// Requests are numbered from 0, in the order in which they were sent.
class DatagramWindow {
 public:
  // What a datagram turned out to be.
  enum class Kind : uint8_t {
    kReply,      // of a request that waits
    kReordered,  // likewise, but a later request's came before it (RFC 4737)
    kLate,       // of a request that was given up
    kDoubled,    // of a request that has had its reply
    kUnknown,    // of no request that is remembered
  };
  struct Match {
    Kind kind = Kind::kUnknown;
    uint64_t number = 0;      // of the request; not for kUnknown
    RequestTimes times = {};  // kReply and kReordered
  };
  static constexpr uint32_t kRemembered = 16;  // of each: given up, and answered

  // Begins a connection. No more than `depth` requests will wait at once.
  void Reset(uint32_t depth) {
    waiting_.resize(depth);
    head_ = size_ = cursor_ = 0;
    next_ = highest_ = 0;
    lost_ = answered_ = {};
  }

  uint32_t waiting() const { return size_; }
  uint64_t next() const { return next_; }  // the number of the next request

  // A request is sent. REQUIRES: waiting() < depth.
  void Sent(RequestTimes times) { At(size_++) = {next_++, times}; }

  // Finds the request that a datagram answers, for which is_reply(number) is true: among those that
  // wait, starting with the one after the last that was answered; then among those given up, and
  // those answered. A match with one that waits ends its waiting.
  template <class F>
  Match Take(F&& is_reply) {
    for (uint32_t i = 0; i < size_; ++i) {
      const uint32_t at = cursor_ + i < size_ ? cursor_ + i : cursor_ + i - size_;
      if (is_reply(At(at).number)) return TakeWaiting(at);
    }
    uint64_t number = 0;
    if (lost_.Take(is_reply, &number)) {
      answered_.Add(number);  // should it come once more
      return {.kind = Kind::kLate, .number = number};
    }
    if (answered_.Find(is_reply, &number)) return {.kind = Kind::kDoubled, .number = number};
    return {};
  }

  // Gives up the requests that were sent at sent_ns or before, with f(their times); returns how
  // many they are.
  template <class F>
  uint32_t GiveUp(int64_t sent_ns, F&& f) {
    uint32_t count = 0;
    for (; size_ > 0 && At(0).times.sent_ns <= sent_ns; ++count) {
      f(At(0).times);
      lost_.Add(At(0).number);
      PopFront();
    }
    return count;
  }

  // Calls f(its times) for each request that waits.
  template <class F>
  void ForEachWaiting(F&& f) const {
    for (uint32_t i = 0; i < size_; ++i) f(At(i).times);
  }

  // Calls f(number) for the requests that a reply may still come for.
  template <class F>
  void ForEachOpen(F&& f) const {
    for (uint32_t i = 0; i < size_; ++i) f(At(i).number);
    lost_.ForEach(f);
  }

 private:
  struct Request {
    uint64_t number;
    RequestTimes times;
  };

  // The last few numbers.
  class Recent {
   public:
    void Add(uint64_t number) {
      numbers_[at_] = number;
      at_ = (at_ + 1) % kRemembered;
      if (size_ < kRemembered) ++size_;
    }
    // The oldest first.
    template <class F>
    bool Find(F&& is_it, uint64_t* number) const {
      for (uint32_t i = 0; i < size_; ++i) {
        *number = numbers_[Place(i)];
        if (is_it(*number)) return true;
      }
      return false;
    }
    template <class F>
    bool Take(F&& is_it, uint64_t* number) {
      if (!Find(is_it, number)) return false;
      uint32_t i = 0;
      while (numbers_[Place(i)] != *number) ++i;
      for (; i + 1 < size_; ++i) numbers_[Place(i)] = numbers_[Place(i + 1)];
      at_ = (at_ + kRemembered - 1) % kRemembered;
      --size_;
      return true;
    }
    template <class F>
    void ForEach(F&& f) const {
      for (uint32_t i = 0; i < size_; ++i) f(numbers_[Place(i)]);
    }

   private:
    uint32_t Place(uint32_t i) const { return (at_ + kRemembered - size_ + i) % kRemembered; }

    std::array<uint64_t, kRemembered> numbers_;
    uint32_t at_ = 0, size_ = 0;
  };

  Request& At(uint32_t i) { return waiting_[Place(i)]; }
  const Request& At(uint32_t i) const { return waiting_[Place(i)]; }
  size_t Place(uint32_t i) const {
    const size_t at = size_t{head_} + i;
    return at < waiting_.size() ? at : at - waiting_.size();
  }

  Match TakeWaiting(uint32_t at) {
    const Request request = At(at);
    // What is before it moves up: usually nothing, or a few that are lost.
    for (uint32_t i = at; i > 0; --i) At(i) = At(i - 1);
    cursor_ = at + 1;
    PopFront();
    answered_.Add(request.number);
    const bool reordered = request.number < highest_;
    if (!reordered) highest_ = request.number;
    return {.kind = reordered ? Kind::kReordered : Kind::kReply,
            .number = request.number,
            .times = request.times};
  }

  void PopFront() {
    head_ = static_cast<uint32_t>(Place(1));
    --size_;
    if (cursor_ > 0) --cursor_;
  }

  std::vector<Request> waiting_;  // a ring, in the order of their numbers
  uint32_t head_ = 0, size_ = 0;
  uint32_t cursor_ = 0;  // whose reply is expected next, from the head; size_: the next one sent
  uint64_t next_ = 0;
  uint64_t highest_ = 0;  // of the requests that have had their reply
  Recent lost_, answered_;
};

}  // namespace loadgen
