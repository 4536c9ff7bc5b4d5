#pragma once

// An echo server on a faulty kernel, and clients that verify every byte.

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <future>
#include <map>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "io/event_loop.h"
#include "tests/faults/backends.h"
#include "tests/loop_switches.h"

namespace faults {

struct Workload {
  std::string transport = "tcp";  // or "unix", or "unix-seqpacket", where each send is a message
  Plan server, client;            // what befalls each end
  int connections = 32;           // at a time
  int lives = 96;                 // connections in all
  int messages = 40;              // a connection
  size_t message_max = 200'000;
  io::LoopOptions options = {.recv_buffer_bytes = 16 * 1024, .pending_bytes_max = 64 * 1024};
};

// A free address of a transport; each call another one.
inline std::string AddressOn(const std::string& transport) {
  static std::atomic<int> number = 0;
  if (transport == "tcp") return "127.0.0.1:0";
  if (transport == "udp") return "udp://127.0.0.1:0";
  return absl::StrCat(transport, ":@ringside-faults-", getpid(), "-", number.fetch_add(1));
}

// What came of it.
struct Outcome {
  int completed = 0;                 // lives whose every byte came back, up to the peer's FIN
  int lost = 0;                      // lives that ended before
  std::map<int, int> server_closes;  // OnClose calls by errno
  std::map<int, int> client_closes;
  io::Counters server, client;
  std::shared_ptr<Injector> server_faults, client_faults;
};

// The bytes of life i: a window of one random text, which repeats after a prime number of bytes.
class Text {
 public:
  static constexpr size_t kPeriod = 1'048'573;

  io::Bytes At(uint32_t life, uint64_t position, size_t size) const {
    return {bytes_.data() + (life * 7919ull + position) % kPeriod, size};
  }

 private:
  std::vector<std::byte> bytes_ = [] {
    std::vector<std::byte> bytes(2 * kPeriod);
    std::mt19937_64 random(1);
    for (size_t i = 0; i < kPeriod; ++i) bytes[i] = bytes[i + kPeriod] = std::byte(random());
    return bytes;
  }();
};

// Checks that callbacks come in the order that the contract gives, and counts the closes.
class Lifecycle {
 public:
  void OnOpen(const io::Connection& c) {
    bool& open = Slot(c);
    EXPECT_FALSE(open) << "opened twice";
    open = true;
    ++opens_;
  }
  void OnAnything(const io::Connection& c) { EXPECT_TRUE(Slot(c)) << "not open"; }
  void OnClose(const io::Connection& c, int error) {
    if (Slot(c)) ++closes_of_open_;
    Slot(c) = false;
    ++closes_[error];
  }
  // An OnClose for each OnOpen.
  void ExpectAllClosed() const { EXPECT_EQ(opens_, closes_of_open_); }
  const std::map<int, int>& closes() const { return closes_; }

 private:
  bool& Slot(const io::Connection& c) { return open_[c.index]; }

  std::map<uint32_t, bool> open_;
  std::map<int, int> closes_;
  int opens_ = 0, closes_of_open_ = 0;
};

struct EchoHandler {
  Lifecycle life;

  void OnOpen(auto&, io::Connection& c) noexcept { life.OnOpen(c); }
  // Answers in one, two or three parts, the middle one copied: all the ways to send lent bytes.
  void OnReceive(auto& loop, io::Connection& c, io::Bytes in) noexcept {
    life.OnAnything(c);
    if (c.messages) return Answer(loop, c, in);
    const size_t third = in.size() / 3;
    switch (in.size() % 4) {
      case 0: {
        const std::vector<std::byte> copy(in.begin() + third, in.end() - third);
        loop.Send(c, in.first(third));
        loop.Send(c, copy);
        return loop.Send(c, in.last(third));
      }
      case 1:
        loop.Send(c, in.first(third));
        return loop.Send(c, in.subspan(third));
      default:
        return loop.Send(c, in);
    }
  }
  void OnEnd(auto& loop, io::Connection& c) noexcept {
    life.OnAnything(c);
    loop.Close(c);
  }
  void OnDrained(auto&, io::Connection& c) noexcept { life.OnAnything(c); }
  void OnClose(auto&, io::Connection& c, int error) noexcept { life.OnClose(c, error); }

 private:
  // A message is answered by one: lent, or copied.
  static void Answer(auto& loop, io::Connection& c, io::Bytes in) {
    if (in.size() % 4 != 0) return loop.Send(c, in);
    const std::vector<std::byte> copy(in.begin(), in.end());
    loop.Send(c, copy);
  }
};

// The clients: each life sends its messages, a few at a time, and compares what comes back.
class VerifyingHandler {
 public:
  VerifyingHandler(const Workload& workload, uint64_t seed) {
    std::mt19937_64 random(seed);
    lives_.resize(workload.lives);
    for (Life& life : lives_) {
      for (int i = 0; i < workload.messages; ++i) {
        // Half of them below 64 bytes, a few as large as is allowed.
        const size_t most = i == 0 ? workload.message_max
                                   : std::min<size_t>(workload.message_max, 64 << random() % 12);
        const size_t size = 1 + random() % (random() % 2 == 0 ? 64 : most);
        life.ends.push_back((life.ends.empty() ? 0 : life.ends.back()) + size);
      }
    }
  }

  void OnOpen(auto& loop, io::Connection& c) noexcept {
    cycle.OnOpen(c);
    Continue(loop, c);
  }
  void OnReceive(auto& loop, io::Connection& c, io::Bytes in) noexcept {
    cycle.OnAnything(c);
    Life& life = lives_[c.tag];
    const io::Bytes wanted = text_.At(c.tag, life.received, in.size());
    const bool same = life.received + in.size() <= life.sent &&
                      std::memcmp(in.data(), wanted.data(), in.size()) == 0;
    EXPECT_TRUE(same) << "life " << c.tag << " got other bytes than it sent, in the " << in.size()
                      << " from " << life.received;
    if (!same) return loop.Abort(c);
    if (c.messages) {
      EXPECT_EQ(life.received + in.size(), life.ends[life.answered])
          << "not a message, or not whole";
    }
    life.received += in.size();
    if (c.tag % 3 == 0 && in.size() % 2 == 0) {
      loop.PauseReceive(c);  // until after this turn, which is not to sleep
      loop.Wake();
      paused_.insert(&c);
    }
    Continue(loop, c);
  }
  void OnEnd(auto& loop, io::Connection& c) noexcept {
    cycle.OnAnything(c);
    loop.Close(c);
  }
  void OnDrained(auto& loop, io::Connection& c) noexcept {
    cycle.OnAnything(c);
    lives_[c.tag].drained = true;
    Continue(loop, c);
  }
  void OnClose(auto& loop, io::Connection& c, int error) noexcept {
    cycle.OnClose(c, error);
    paused_.erase(&c);
    loop.Wake();  // the next life can begin
    const Life& life = lives_[c.tag];
    const bool all = error == 0 && life.received == life.ends.back();
    ++(all ? completed : lost);
  }

  // Between turns: those who paused go on.
  void ResumeAll(auto& loop) {
    for (io::Connection* c : paused_) loop.ResumeReceive(*c);
    paused_.clear();
  }

  Lifecycle cycle;
  int completed = 0, lost = 0;

 private:
  static constexpr size_t kInFlight = 3;  // messages

  struct Life {
    std::vector<uint64_t> ends;  // of each message
    size_t next = 0;             // message to be sent
    size_t answered = 0;         // messages
    uint64_t sent = 0, received = 0;
    bool drained = true;
  };

  // Half of the lives send without copies, which is only allowed when all before has drained.
  static bool SendsStable(const io::Connection& c) { return c.tag % 2 == 1; }

  void Continue(auto& loop, io::Connection& c) {
    Life& life = lives_[c.tag];
    while (life.answered < life.next && life.received >= life.ends[life.answered]) ++life.answered;
    while (life.next < life.ends.size() && life.next - life.answered < kInFlight &&
           (life.drained || !SendsStable(c))) {
      const uint64_t end = life.ends[life.next++];
      const io::Bytes message = text_.At(c.tag, life.sent, end - life.sent);
      life.sent = end;
      life.drained = false;
      SendsStable(c) ? loop.SendStable(c, message) : loop.Send(c, message);
    }
    if (life.received == life.ends.back()) loop.End(c);
  }

  Text text_;
  std::vector<Life> lives_;
  std::set<io::Connection*> paused_;
};

inline constexpr std::chrono::seconds kHang{10};  // a turn without any event: a test that hangs

// Checks that a loop that was shut down left nothing behind.
template <class Loop>
void ExpectNothingLeft(const Loop& loop) {
  EXPECT_EQ(loop.connections(), 0u);
  EXPECT_EQ(loop.operations_in_kernel(), 0u);
  EXPECT_EQ(loop.buffers_lent(), 0u);
  EXPECT_EQ(loop.counters().stale_completions, 0u);
}

// The server, in a thread of its own, whose loop waits without a timeout: whoever forgets a
// connection is found out.
template <class Backend>
class EchoServer {
 public:
  EchoServer(const Workload& workload, Outcome* outcome)
      : thread_([this, &workload, outcome] { Run(workload, outcome); }) {
    address_ = started_.get_future().get();
  }
  ~EchoServer() {
    stop_ = true;
    if (address_.ok()) loop_.load()->Wake();
    woken_.set_value();
    thread_.join();
  }
  const absl::StatusOr<io::Endpoint>& address() const { return address_; }

 private:
  using Loop = typename Backend::template Loop<EchoHandler>;

  void Run(const Workload& workload, Outcome* outcome) {
    EchoHandler handler;
    Loop loop(handler, workload.options, FaultyKernel(outcome->server_faults));
    loop_ = &loop;
    const absl::Status opened = loop.Open();
    auto at = opened.ok() ? loop.Listen(*io::Resolve(AddressOn(workload.transport)), {}) : opened;
    const bool ok = at.ok();
    started_.set_value(std::move(at));
    while (ok && !stop_) {
      const absl::Status turned = loop.RunOnce(io::kForever);
      EXPECT_TRUE(turned.ok()) << std::string(turned.message());
      if (!turned.ok()) break;
    }
    loop.Shutdown();
    ExpectNothingLeft(loop);
    handler.life.ExpectAllClosed();
    outcome->server_closes = handler.life.closes();
    outcome->server = loop.counters();
    woken_.get_future().wait();  // the loop stays until nobody wakes it any more
  }

  std::promise<absl::StatusOr<io::Endpoint>> started_;
  std::promise<void> woken_;
  absl::StatusOr<io::Endpoint> address_;
  std::atomic<Loop*> loop_ = nullptr;
  std::atomic<bool> stop_ = false;
  std::thread thread_;  // the last member: it uses the others
};

template <class Backend>
void RunClients(const Workload& workload, uint64_t seed, const io::Endpoint& at, Outcome* outcome) {
  using Clock = std::chrono::steady_clock;
  VerifyingHandler handler(workload, seed);
  io::LoopOptions options = workload.options;
  // A Unix socket holds less than the clients have under way: bounded both, the two ends would wait
  // for each other, as the contract says of bounds.
  if (workload.transport != "tcp") options.pending_bytes_max = 1 << 20;
  typename Backend::template Loop<VerifyingHandler> loop(handler, options,
                                                         FaultyKernel(outcome->client_faults));
  ASSERT_TRUE(loop.Open().ok());
  int begun = 0, ended = 0;
  bool hangs = false;
  while ((ended = handler.completed + handler.lost) < workload.lives && !hangs) {
    for (; begun < workload.lives && begun - ended < workload.connections; ++begun) {
      ASSERT_TRUE(loop.Connect(at, begun, {.receive_timestamps = begun % 3 == 0}).ok());
    }
    handler.ResumeAll(loop);
    const auto before = Clock::now();
    ASSERT_TRUE(loop.RunOnce(kHang).ok());
    hangs = Clock::now() - before >= kHang;
  }
  EXPECT_FALSE(hangs) << "nothing happens any more: " << loop.connections() << " connections, "
                      << ended << " lives have ended";
  loop.Shutdown();
  ExpectNothingLeft(loop);
  handler.cycle.ExpectAllClosed();
  outcome->completed = handler.completed;
  outcome->lost = handler.lost;
  outcome->client_closes = handler.cycle.closes();
  outcome->client = loop.counters();
}

// Runs all lives to their end. Faults of both ends follow from `seed`; which features the loops
// use, from the environment too (tests/loop_switches.h).
template <class Backend>
Outcome RunEcho(Workload workload, uint64_t seed) {
  workload.options = loop_switches::Switched(workload.options);
  const size_t descriptors = OpenDescriptors();
  Outcome outcome;
  outcome.server_faults = std::make_shared<Injector>(seed, workload.server);
  outcome.client_faults = std::make_shared<Injector>(~seed, workload.client);
  if (workload.options.features.Uses(io::Feature::kIncrementalBuffers)) {
    outcome.server_faults->KeepReceivesInOrder();
    outcome.client_faults->KeepReceivesInOrder();
  }
  {
    const EchoServer<Backend> server(workload, &outcome);
    EXPECT_TRUE(server.address().ok());
    if (server.address().ok()) {
      RunClients<Backend>(workload, seed, *server.address(), &outcome);
    }
  }
  EXPECT_EQ(OpenDescriptors(), descriptors) << "descriptors leaked";
  if (testing::Test::HasFailure()) ADD_FAILURE() << outcome.server_faults->Describe();
  return outcome;
}

}  // namespace faults
