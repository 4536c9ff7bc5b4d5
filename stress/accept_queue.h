#pragma once

#include <sys/types.h>

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"
#include "io/endpoint.h"
#include "stats/socket_diag.h"
#include "stress/result.h"

// The queue of connections that the kernel has opened and the server hasn't accepted: listen(2),
// and sk_acceptq_is_full() of include/net/sock.h (Linux 6.12), which lets in one more than the
// backlog.
namespace stress {

struct AcceptQueue {
  uint64_t listeners = 0;  // sockets that listen at the address (SO_REUSEPORT); a queue each
  uint64_t backlog = 0;    // of one, as net.core.somaxconn capped it
  uint64_t length = 0;     // of all
  uint64_t limit = 0;      // what they hold, at most: of each its backlog and one more
};

// The queue at an address as sock_diag(7) shows it. One thread.
class AcceptQueueReader {
 public:
  // Errors: FailedPrecondition where the address isn't of this machine's, and those of Read().
  static absl::StatusOr<AcceptQueueReader> Find(const io::Endpoint& at);

  // Some 100 us. Errors: NotFound where nobody listens there; those of stats::Listeners().
  absl::StatusOr<AcceptQueue> Read() const;

  // The server's ends of connections from the ports in `clients`, those in its accept queue
  // included, and those half open not. TCP only. Errors: those of stats::Connections().
  absl::StatusOr<uint64_t> CountOpen(const std::set<uint16_t>& clients) const;

 private:
  bool IsMet(const stats::SocketInfo& info) const;

  stats::SocketQuery query_;
  std::string name_;  // of the listener, as SocketInfo::local
  // Whether it has its own address, or takes any ("0.0.0.0:9").
  bool exact_ = true;
  bool v4_ = false;
};

// Looks at a queue all the time, from a thread of its own.
class AcceptQueueSeries {
 public:
  // The reader must outlive it.
  explicit AcceptQueueSeries(const AcceptQueueReader& reader) : reader_(reader) {}
  ~AcceptQueueSeries();
  AcceptQueueSeries(const AcceptQueueSeries&) = delete;
  AcceptQueueSeries& operator=(const AcceptQueueSeries&) = delete;

  // From now until it goes. Errors: io::StartThread()'s.
  absl::Status Start();

  // Looks once more, and ends. The longest that was seen; nothing: it couldn't be read.
  std::optional<uint64_t> End();
  // After End(): the looks, of many alike the first and the last: "at_s", "length", "limit".
  Json ToJson() const;
  // After End(): why the last look failed; "" where it didn't.
  const std::string& problem() const { return problem_; }

 private:
  struct Look {
    double at_s;
    uint64_t length, limit;
  };
  void Run();
  void Sample();
  void Thin();

  static constexpr size_t kLooksMax = 1000;
  const AcceptQueueReader& reader_;
  const std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
  std::vector<Look> looks_;
  std::optional<uint64_t> longest_;
  std::string problem_;
  std::mutex mutex_;
  std::condition_variable ending_;
  bool end_ = false;  // under mutex_
  std::thread thread_;
};

}  // namespace stress
