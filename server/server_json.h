#pragma once

#include <nlohmann/json_fwd.hpp>

#include "server/kernel_view.h"
#include "server/server.h"

namespace server {

// The line that says a server is ready, and where: schema "ringside.serve/1", event "ready".
nlohmann::ordered_json ReadyJson(const ServerOptions& options, const Server& server);

// What a server did: schema "ringside.serve/1", event "summary" (results/SCHEMA.md).
nlohmann::ordered_json SummaryJson(const ServerOptions& options, const Server& server,
                                   const ServerSummary& summary);

// How a server stands: the summary so far, event "status", with what the kernel says about its
// listeners and connections ("kernel"), the largest queues first.
nlohmann::ordered_json StatusJson(const ServerOptions& options, Server& server,
                                  ConnectionsView& view);

}  // namespace server
