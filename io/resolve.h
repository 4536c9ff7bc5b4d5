#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "io/endpoint.h"

namespace io {

// All addresses that Resolve() (io/endpoint.h) could have given for `text`, each once, at least
// one: those of a name in getaddrinfo(3)'s order (RFC 6724), of "localhost" IPv4 first. Errors: as
// Resolve()'s.
absl::StatusOr<std::vector<Endpoint>> ResolveAll(const std::string& text);

// Connects, and lets go at once: 0, or why it could not within `timeout_ms`, an errno (ETIMEDOUT).
// Blocks the caller. Of UDP and Unix datagrams it asks for the route, or the path, only.
int TryConnect(const Endpoint& at, int timeout_ms);

// Which of several addresses answers: they are tried in order, a silent one for a second.
struct Answer {
  size_t index = 0;         // the first that does; where none does, 0
  std::vector<int> errors;  // of those that were tried, an errno each; 0: it answers

  bool any() const { return !errors.empty() && errors.back() == 0; }
};
// Of one there is no choice: nothing is tried, and errors is {0}.
Answer FirstThatAnswers(const std::vector<Endpoint>& addresses);

}  // namespace io
