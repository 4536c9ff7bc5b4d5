#pragma once

#include <string>
#include <vector>

#include "loadgen/load.h"
#include "loadgen/server_metrics.h"

namespace loadgen {

// What both ends of a run counted, held against each other. A stream loses nothing, so that each
// difference is an error: of ours, or because somebody else used the server meanwhile.
struct Reconciliation {
  std::string listener;                  // that was loaded, as the server writes it; "": not known
  std::vector<std::string> checked;      // of "connections", "requests", "bytes"
  std::vector<std::string> differences;  // a sentence each
  std::vector<std::string> unchecked;    // what was not checked and why: a sentence each
};

// Compares the differences of the server's counters over a run with what all classes of the run
// counted.
//
//   * Connections: accepted and opened; datagrams have none.
//   * Requests of the listener that was loaded, where its unit is the client's request: a greeting,
//     a line, a message or datagram, or as many bytes as each request has.
//   * Bytes, in both directions. Of a source, which the client ends by a reset, and of datagrams
//     that were lost, one end may have counted less: that much is allowed, and no more.
//
// Counters are of the server, not of a listener, but for requests: whoever else uses any of its
// listeners makes a difference. A run with errors of its own is not compared.
Reconciliation Reconcile(const std::vector<LoadOptions>& classes,
                         const std::vector<LoadResult>& results, const ServerMetrics& before,
                         const ServerMetrics& after);

}  // namespace loadgen
