#pragma once

#include <cstdint>
#include <vector>

#include "io/event_loop.h"

namespace loadgen {

// The connections of one thread that are connecting, and since when. A kernel gives a connect up
// after minutes only (tcp_syn_retries, tcp(7)), and one to a Unix socket never, so whoever connects
// has to have a time limit of its own. One thread's.
//
// An entry names its connection from Loop::Connect() until that one's OnOpen or OnClose: so long it
// is valid.
class Connecting {
 public:
  // Those that are not given up.
  uint32_t waiting() const { return waiting_; }

  // Returns its place, for Remove().
  uint32_t Add(io::Connection& c, int64_t since_ns) {
    ++waiting_;
    if (free_.empty()) {
      entries_.push_back({&c, since_ns});
      free_.reserve(entries_.capacity());
      return static_cast<uint32_t>(entries_.size() - 1);
    }
    const uint32_t place = free_.back();
    free_.pop_back();
    entries_[place] = {&c, since_ns};
    return place;
  }

  void Remove(uint32_t place) {
    if (!entries_[place].given_up) --waiting_;
    entries_[place] = {};
    free_.push_back(place);
  }

  // Calls give_up(connection) for each that began at `since_ns` or before, once.
  template <class F>
  void GiveUp(int64_t since_ns, F&& give_up) {
    for (Entry& entry : entries_) {
      if (entry.connection == nullptr || entry.given_up || entry.since_ns > since_ns) continue;
      entry.given_up = true;
      --waiting_;
      give_up(*entry.connection);
    }
  }

 private:
  struct Entry {
    io::Connection* connection = nullptr;  // nullptr: the place is free
    int64_t since_ns = 0;
    bool given_up = false;
  };
  std::vector<Entry> entries_;
  std::vector<uint32_t> free_;
  uint32_t waiting_ = 0;
};

}  // namespace loadgen
