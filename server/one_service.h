#pragma once

#include <string>

#include "server/responder.h"

namespace server {

// A responder of one service alone, on one listener with tag 0: what a loop needs as its handler
// where there is no Server. For benchmarks and tests.
struct OneService {
  OneService(std::string_view name, const services::ServiceOptions& service)
      : options{.service = service}, common(options) {
    common.listeners.push_back({.service = ServiceHost::NumberOf(name)});
    responder = std::make_unique<Responder>(common, 0);
  }

  uint64_t requests() const { return responder->requests()[0]; }
  uint64_t violations() const { return responder->refusals().violations; }

  const ServerOptions options;
  Common common;
  std::unique_ptr<Responder> responder;
};

}  // namespace server
