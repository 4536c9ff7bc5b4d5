#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "server/server.h"

namespace server {

// How a server stands, in the Prometheus text exposition format: what each thread did, what was
// refused and why, errors by errno, and the accept queues as the kernel sees them. Any thread; it
// asks the workers, and waits for them for up to 200 ms.
absl::StatusOr<std::string> MetricsPage(const ServerOptions& options, Server& server);

}  // namespace server
