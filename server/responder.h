#pragma once

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

  template <class L>
  void OnOpen(L& loop, io::Connection& c) noexcept {
    if (c.index >= sessions_.size()) sessions_.resize(c.index + 1);
    sessions_[c.index] = {};
    Reply<L> reply{loop, c};
    requests_ += service_.OnOpen(sessions_[c.index], reply);
  }
  template <class L>
  void OnReceive(L& loop, io::Connection& c, io::Bytes in) noexcept {
    Reply<L> reply{loop, c};
    requests_ += service_.OnReceive(sessions_[c.index], in, reply);
  }
  template <class L>
  void OnEnd(L& loop, io::Connection& c) noexcept {
    loop.Close(c);  // once all is sent
  }
  template <class L>
  void OnDrained(L&, io::Connection&) noexcept {}
  template <class L>
  void OnClose(L&, io::Connection&, int) noexcept {}

 private:
  template <class L>
  struct Reply {
    L& loop;
    io::Connection& connection;
    void Write(io::Bytes out) noexcept { loop.Send(connection, out); }
    void Close() noexcept { loop.Close(connection); }
  };

  Service& service_;
  std::vector<typename Service::Session> sessions_;
  uint64_t requests_ = 0;
};

}  // namespace server
