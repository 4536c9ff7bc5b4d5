#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace io {

// Reads the response to a GET as its bytes come (RFC 9112). Interim responses (1xx) are passed
// over; header fields that don't frame the body are not looked at; what follows the response is
// not read. One thread.
class HttpResponse {
 public:
  HttpResponse(size_t head_max, size_t body_max) : head_max_(head_max), body_max_(body_max) {}

  // Takes the bytes that came next. DataLoss: this is no HTTP/1.x; ResourceExhausted: it is larger
  // than it may be. The object is spent then.
  absl::Status Add(std::string_view bytes);
  // The connection ended. DataLoss: in the midst of the response.
  absl::Status End();

  bool complete() const { return state_ == State::kComplete; }
  int status() const { return status_; }  // 0 until the head is complete
  const std::string& body() const { return body_; }

 private:
  enum class State { kStatusLine, kFields, kBody, kChunkSize, kChunkEnd, kTrailer, kComplete };

  std::optional<std::string_view> TakeLine();
  absl::Status OnLine(std::string_view line);
  absl::Status OnStatusLine(std::string_view line);
  absl::Status OnField(std::string_view line);
  absl::Status OnHeadEnd();
  absl::Status OnChunkSize(std::string_view line);
  absl::Status TakeBody();

  const size_t head_max_, body_max_;
  State state_ = State::kStatusLine;
  std::string waiting_;  // came, and isn't read yet
  size_t at_ = 0;        // where that begins
  size_t head_ = 0;      // bytes that were not of the body
  int status_ = 0;
  std::optional<uint64_t> length_;
  bool chunked_ = false;
  uint64_t left_ = 0;  // bytes of the chunk, or of the body where its length is known
  std::string body_;
};

}  // namespace io
