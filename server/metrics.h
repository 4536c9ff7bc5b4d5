#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "server/server.h"

namespace server {

// How a server stands, in the Prometheus text exposition format: what each thread did, what was
// refused and why, errors by errno, and the accept queues as the kernel sees them. Any thread; it
// asks the workers, and waits for them for up to 200 ms. `log_lines_lost`: of what the program says
// on stderr.
absl::StatusOr<std::string> MetricsPage(const ServerOptions& options, Server& server,
                                        uint64_t log_lines_lost);

// What each listener is called in a page: its address. Where two would be called the same, as they
// are written there, the second has "#2" after it: a page with two samples of one name is refused
// as a whole, by whoever reads it.
std::vector<std::string> ListenerNames(const std::vector<OpenedListener>& listeners);

}  // namespace server
