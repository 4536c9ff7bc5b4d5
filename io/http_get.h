#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "io/endpoint.h"

namespace io {

// What is put up with from an HTTP server.
struct HttpLimits {
  int64_t timeout_ns = 2'000'000'000;  // for all of it, from connect(2) to the last byte
  size_t head_max = 64 << 10;          // bytes: of all heads, and of what frames the chunks
  size_t body_max = 16 << 20;          // bytes
};

// The body of `path` at `at`, a TCP or Unix stream address, by one GET of HTTP/1.1 (RFC 9112) that
// asks to close the connection. Blocks the caller for up to timeout_ns. A body ends where its
// Content-Length, its last chunk or the connection does; a cut one is an error. Redirects are not
// followed.
//
// Errors are one sentence that names the address: InvalidArgument (no stream address, or a path
// that no request line can hold), DeadlineExceeded, Unavailable (refused, unreachable, reset; by
// errno), NotFound (any status but 200), ResourceExhausted (larger than the limits, or no
// descriptor), DataLoss (what came isn't HTTP/1.x, or is cut).
absl::StatusOr<std::string> HttpGet(const Endpoint& at, std::string_view path,
                                    const HttpLimits& limits = {});

}  // namespace io
