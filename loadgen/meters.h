#pragma once

#include <algorithm>
#include <cstdint>
#include <map>

#include "io/counters.h"
#include "loadgen/load.h"
#include "stats/cpu_clock.h"
#include "stats/cpu_usage.h"

namespace loadgen {

// What a thread of load, and the server, used between two moments. The thread's own.
class Meters {
 public:
  // server_pid 0: no server's.
  void Begin(const io::Counters& loop, uint64_t received_bytes, pid_t server_pid) {
    server_pid_ = server_pid;
    server_before_ns_ = ServerNanos();
    if (server_pid_ > 0) threads_before_ = stats::ThreadsRan(server_pid_);
    before_ = Read(loop, received_bytes);
  }

  void End(const io::Counters& loop, uint64_t received_bytes, LoadResult* out) const {
    const Readings after = Read(loop, received_bytes);
    out->cpu_ns = after.cpu_ns - before_.cpu_ns;
    out->cpu_share_max = out->duration_s > 0 ? out->cpu_ns / 1e9 / out->duration_s : 0;
    out->system_calls = after.system_calls - before_.system_calls;
    out->usage = after.usage - before_.usage;
    out->window_bytes = {.sent = after.sent_bytes - before_.sent_bytes,
                         .received = after.received_bytes - before_.received_bytes};
    if (server_before_ns_ < 0) return;
    const int64_t server = ServerNanos();
    if (server < 0) return;
    out->server_cpu_ns = server - server_before_ns_;
    for (const auto& [tid, ran_ns] : stats::ThreadsRan(server_pid_)) {
      const auto before = threads_before_.find(tid);
      const int64_t used = ran_ns - (before != threads_before_.end() ? before->second : 0);
      out->server_thread_share_max =
          std::max(out->server_thread_share_max, used / 1e9 / out->duration_s);
    }
  }

 private:
  struct Readings {
    stats::ThreadUsage usage;
    int64_t cpu_ns = 0;
    uint64_t system_calls = 0, sent_bytes = 0, received_bytes = 0;
  };

  static Readings Read(const io::Counters& loop, uint64_t received_bytes) {
    return {.usage = stats::ThreadUsage::Now(),
            .cpu_ns = stats::ThreadCpuNanos(),
            .system_calls = loop.system_calls,
            .sent_bytes = loop.sent_bytes,
            .received_bytes = received_bytes};
  }

  // -1: there is none, or it is gone.
  int64_t ServerNanos() const {
    if (server_pid_ <= 0) return -1;
    const auto cpu = stats::ProcessTreeCpuNanos(server_pid_);
    return cpu.ok() ? *cpu : -1;
  }

  Readings before_;
  pid_t server_pid_ = 0;
  int64_t server_before_ns_ = -1;
  std::map<pid_t, int64_t> threads_before_;  // of the server
};

}  // namespace loadgen
