#pragma once

#include <chrono>
#include <cstdint>
#include <vector>

#include "io/bytes.h"
#include "io/event_loop.h"

namespace server {

// The server's end of a service, as the handler of a loop: a session for each connection, replies
// through the loop, requests counted. One a thread; the service is shared.
template <class Service>
class Responder {
 public:
  explicit Responder(Service& service) : service_(service) {}

  uint64_t requests() const { return requests_; }
  uint64_t violations() const { return violations_; }

  template <class L>
  void OnOpen(L& loop, io::Connection& c) noexcept {
    if (c.index >= sessions_.size()) sessions_.resize(c.index + 1);
    sessions_[c.index] = {};
    Reply<L> reply{loop, c, violations_};
    requests_ += service_.OnOpen(sessions_[c.index], reply);
  }
  template <class L>
  void OnReceive(L& loop, io::Connection& c, io::Bytes in) noexcept {
    Reply<L> reply{loop, c, violations_};
    requests_ += service_.OnReceive(sessions_[c.index], in, reply);
  }
  template <class L>
  void OnEnd(L& loop, io::Connection& c) noexcept {
    loop.Close(c);  // once all is sent
  }
  template <class L>
  void OnDrained(L& loop, io::Connection& c) noexcept {
    Reply<L> reply{loop, c, violations_};
    if constexpr (requires { service_.OnDrained(sessions_[c.index], reply); }) {
      requests_ += service_.OnDrained(sessions_[c.index], reply);
    }
  }
  template <class L>
  void OnClose(L&, io::Connection&, int) noexcept {}

 private:
  template <class L>
  struct Reply {
    L& loop;
    io::Connection& connection;
    uint64_t& violations;
    void Write(io::Bytes out) noexcept { loop.Send(connection, out); }
    void WriteStable(io::Bytes out) noexcept { loop.SendStable(connection, out); }
    // Not delayed: this end has no queue of what is due later.
    void WriteAfter(std::chrono::nanoseconds, io::Bytes out) noexcept { Write(out); }
    void Close() noexcept { loop.Close(connection); }
    void Violation() noexcept {
      ++violations;
      Close();
    }
  };

  Service& service_;
  std::vector<typename Service::Session> sessions_;
  uint64_t requests_ = 0, violations_ = 0;
};

}  // namespace server
