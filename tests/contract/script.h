#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "io/event_loop.h"
#include "services/pattern.h"

namespace contract {

// A place in a pseudo-random stream: what one end sends next, or has to receive next. Streams of
// different ids differ everywhere, so a byte that is lost, doubled, moved or another connection's
// is seen.
class Stream {
 public:
  static constexpr size_t kTakeMax = services::Pattern::kSliceMax;

  explicit Stream(uint64_t id) : at_(services::Pattern::Phase(id)) {}

  uint64_t bytes() const { return bytes_; }  // taken or matched so far

  // The next bytes; they stay valid for ever. REQUIRES: size <= kTakeMax.
  io::Bytes Take(size_t size) {
    const io::Bytes out = services::Pattern::Get().Slice(at_, size);
    Advance(size);
    return out;
  }

  // Whether `in` is what comes next.
  bool Matches(io::Bytes in) {
    while (!in.empty()) {
      const io::Bytes part = in.first(std::min(in.size(), kTakeMax));
      const io::Bytes expected = services::Pattern::Get().Slice(at_, part.size());
      if (io::AsText(part) != io::AsText(expected)) return false;
      Advance(part.size());
      in = in.subspan(part.size());
    }
    return true;
  }

 private:
  void Advance(size_t size) {
    at_ = services::Pattern::Advance(at_, size);
    bytes_ += size;
  }
  uint32_t at_;
  uint64_t bytes_ = 0;
};

// The handler of the tests. It plays both ends, does what the test says in `server` (for accepted
// connections) and `client`, and watches that the loop calls as it promised: Problems().
template <class Backend>
class Script {
 public:
  using Loop = typename Backend::template Loop<Script>;

  // One connection's end, from OnOpen on. It outlives the connection.
  struct Peer {
    Peer(Loop& its_loop, io::Connection& c)
        : loop(its_loop), connection(&c), tag(c.tag), accepted(c.accepted), out(c.tag), in(c.tag) {}

    void Send(io::Bytes bytes) { loop.Send(*connection, bytes); }
    void SendStable(io::Bytes bytes) { loop.SendStable(*connection, bytes); }
    void End() { loop.End(*connection); }
    void Close() { loop.Close(*connection); }
    void Abort() { loop.Abort(*connection); }
    void PauseReceive() { loop.PauseReceive(*connection); }
    void ResumeReceive() { loop.ResumeReceive(*connection); }

    Loop& loop;
    io::Connection* connection;  // nullptr once closed
    uint64_t tag;
    bool accepted;
    bool opened = false, ended = false;
    int error = -1;  // OnClose's
    uint64_t received = 0, drains = 0;
    Stream out, in;  // the test's own: streams with the tag as id
    uint64_t count = 0;
  };

  struct Role {
    std::function<void(Peer&)> open, end, drained, close;
    std::function<void(Peer&, io::Bytes)> receive;
  };

  explicit Script(uint32_t recv_buffer_bytes) : recv_buffer_bytes_(recv_buffer_bytes) {}

  Role server, client;
  std::function<void(Loop&, const io::Datagram&)> datagram;

  void OnDatagram(Loop& loop, const io::Datagram& in) noexcept {
    const Callback callback(*this, "OnDatagram");
    if (in.bytes.size() > recv_buffer_bytes_) Problem("OnDatagram of more than a buffer");
    Call(datagram, loop, in);
  }

  void OnOpen(Loop& loop, io::Connection& c) noexcept {
    const Callback callback(*this, "OnOpen");
    if (c.index >= current_.size()) current_.resize(c.index + 1);
    if (current_[c.index] != nullptr) Problem("OnOpen for a slot that another connection has");
    Peer& peer = Add(loop, c);
    current_[c.index] = &peer;
    peer.opened = true;
    ++open_;
    Call(RoleOf(c).open, peer);
  }

  void OnReceive(Loop&, io::Connection& c, io::Bytes in) noexcept {
    const Callback callback(*this, "OnReceive");
    Peer* peer = Find(c, "OnReceive");
    if (peer == nullptr) return;
    if (peer->ended) Problem("OnReceive after OnEnd");
    if (in.empty() || in.size() > recv_buffer_bytes_) {
      Problem(absl::StrCat("OnReceive of ", in.size(), " bytes"));
    }
    peer->received += in.size();
    Call(RoleOf(c).receive, *peer, in);
  }

  void OnEnd(Loop&, io::Connection& c) noexcept {
    const Callback callback(*this, "OnEnd");
    Peer* peer = Find(c, "OnEnd");
    if (peer == nullptr) return;
    if (std::exchange(peer->ended, true)) Problem("OnEnd a second time");
    Call(RoleOf(c).end, *peer);
  }

  void OnDrained(Loop&, io::Connection& c) noexcept {
    const Callback callback(*this, "OnDrained");
    Peer* peer = Find(c, "OnDrained");
    if (peer == nullptr) return;
    ++peer->drains;
    Call(RoleOf(c).drained, *peer);
  }

  void OnClose(Loop& loop, io::Connection& c, int error) noexcept {
    const Callback callback(*this, "OnClose");
    Peer* peer = c.index < current_.size() ? std::exchange(current_[c.index], nullptr) : nullptr;
    if (peer == nullptr) {
      if (c.accepted) Problem("OnClose of an accepted connection without its OnOpen");
      peer = &Add(loop, c);  // a Connect() that failed
    } else {
      if (peer->connection != &c) Problem("OnClose names another connection than OnOpen");
      --open_;
    }
    ++closes_;
    peer->error = error;
    Call(RoleOf(c).close, *peer);
    peer->connection = nullptr;
  }

  // All ends that ever were, in the order of their OnOpen.
  std::deque<Peer>& peers() { return peers_; }
  // The ends of one kind.
  std::vector<Peer*> Ends(bool accepted) {
    std::vector<Peer*> ends;
    for (Peer& peer : peers_) {
      if (peer.accepted == accepted) ends.push_back(&peer);
    }
    return ends;
  }
  uint32_t open() const { return open_; }
  uint64_t closes() const { return closes_; }
  const std::vector<std::string>& Problems() const { return problems_; }
  void Problem(std::string what) {
    if (problems_.size() < 10) problems_.push_back(std::move(what));
  }

  // Whether callbacks are due: the loop is in RunOnce() or Shutdown().
  void SetRunning(bool running) { running_ = running; }

 private:
  // Holds, while a callback runs, that no other does.
  class Callback {
   public:
    Callback(Script& script, const char* name) : script_(script) {
      if (!script_.running_) script_.Problem(absl::StrCat(name, " outside of RunOnce()"));
      if (script_.in_callback_) script_.Problem(absl::StrCat(name, " inside another callback"));
      script_.in_callback_ = true;
    }
    ~Callback() { script_.in_callback_ = false; }

   private:
    Script& script_;
  };

  Peer& Add(Loop& loop, io::Connection& c) { return peers_.emplace_back(loop, c); }

  Peer* Find(io::Connection& c, const char* callback) {
    Peer* peer = c.index < current_.size() ? current_[c.index] : nullptr;
    if (peer == nullptr) Problem(absl::StrCat(callback, " for a connection that is not open"));
    return peer;
  }

  Role& RoleOf(const io::Connection& c) { return c.accepted ? server : client; }

  template <class F, class... Arguments>
  static void Call(const F& f, Arguments&&... arguments) {
    if (f) f(std::forward<Arguments>(arguments)...);
  }

  const uint32_t recv_buffer_bytes_;
  std::deque<Peer> peers_;
  std::vector<Peer*> current_;  // by slot
  uint32_t open_ = 0;
  uint64_t closes_ = 0;
  bool running_ = false, in_callback_ = false;
  std::vector<std::string> problems_;
};

}  // namespace contract
