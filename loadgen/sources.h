#pragma once

#include <optional>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "io/endpoint.h"
#include "io/event_loop.h"
#include "loadgen/load.h"
#include "loadgen/source_ports.h"

namespace loadgen {

// Where a thread's connections come from: addresses and ports of our own choice where addresses
// were given, or where the kernel's choice is slow (SourcePlan::Pays()); else the kernel's.
class Sources {
 public:
  // one_each: connections come and go, and leave their ports in TIME_WAIT, about which the kernel
  // knows better: it picks the ports, and addresses that were given take turns.
  absl::Status Plan(const LoadOptions& options, uint32_t thread, bool one_each, uint64_t random) {
    if (options.at.is_unix()) return absl::OkStatus();
    if (one_each) {
      addresses_ = options.sources;
      return absl::OkStatus();
    }
    auto ports = ReadLocalPorts();
    if (!ports.ok()) return options.sources.empty() ? absl::OkStatus() : ports.status();
    const bool pays = SourcePlan::Pays(options.connections, 1, *ports);
    if (options.sources.empty() && !pays) return absl::OkStatus();
    auto plan = SourcePlan::Make({.sources = options.sources,
                                  .to = options.at,
                                  .ports = *std::move(ports),
                                  .thread = thread,
                                  .threads = options.threads,
                                  .seed = random});
    if (!plan.ok()) return plan.status();
    plan_ = *std::move(plan);
    return absl::OkStatus();
  }

  bool chosen() const { return plan_.has_value(); }
  // Whether Connect() failed since no place was left.
  bool exhausted() const { return exhausted_; }

  // Connects, from the next place that nobody else has. Errors as Loop::Connect()'s, and
  // ResourceExhausted where no place is left.
  template <class Loop>
  absl::StatusOr<io::Connection*> Connect(Loop& loop, const io::Endpoint& to, uint64_t tag,
                                          io::ConnectOptions how) {
    if (!addresses_.empty()) how.from = &addresses_[next_++ % addresses_.size()];
    if (!plan_) return loop.Connect(to, tag, how);
    while (true) {
      const auto source = plan_->Next();
      if (!source.ok()) {
        exhausted_ = true;
        return source.status();
      }
      how.from = &*source;
      const auto connection = loop.Connect(to, tag, how);
      if (connection.ok()) {
        const uint32_t index = (*connection)->index;
        if (by_slot_.size() <= index) by_slot_.resize(index + 1);
        by_slot_[index] = *source;
        return connection;
      }
      if (connection.status().code() != absl::StatusCode::kAlreadyExists) return connection;
      plan_->Taken(*source);
    }
  }

  // The connection of a slot is gone. `taken`: it never was, for somebody else has its place.
  void Return(uint32_t slot, bool taken) {
    if (!plan_) return;
    taken ? plan_->Taken(by_slot_[slot]) : plan_->Return(by_slot_[slot]);
  }

 private:
  std::optional<SourcePlan> plan_;
  bool exhausted_ = false;
  std::vector<io::Endpoint> addresses_;  // one_each; their ports are 0
  size_t next_ = 0;
  std::vector<io::Endpoint> by_slot_;
};

}  // namespace loadgen
