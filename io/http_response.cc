#include "io/http_response.h"

#include <algorithm>
#include <charconv>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"

namespace io {
namespace {

// All of `text` as a number.
std::optional<uint64_t> Number(std::string_view text, int base) {
  uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number, base);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

std::string_view Trimmed(std::string_view text) {
  const size_t begin = text.find_first_not_of(" \t");
  if (begin == std::string_view::npos) return "";
  return text.substr(begin, text.find_last_not_of(" \t") + 1 - begin);
}

bool SameIgnoringCase(std::string_view a, std::string_view b) {
  return std::ranges::equal(
      a, b, [](char x, char y) { return absl::ascii_tolower(x) == absl::ascii_tolower(y); });
}

absl::Status NoHttp(std::string_view why) {
  return absl::DataLossError(absl::StrCat("what answers speaks no HTTP/1.1: ", std::string(why)));
}

}  // namespace

absl::Status HttpResponse::Add(std::string_view bytes) {
  waiting_.append(bytes);
  while (state_ != State::kComplete) {
    if (state_ == State::kBody) {
      const absl::Status taken = TakeBody();
      if (!taken.ok()) return taken;
      if (state_ == State::kBody) break;  // for more
      continue;
    }
    const size_t before = at_;
    const auto line = TakeLine();
    head_ += at_ - before;
    if (head_ + (line ? 0 : waiting_.size() - at_) > head_max_) {
      return absl::ResourceExhaustedError(
          absl::StrCat("the answer's head is longer than ", head_max_, " bytes"));
    }
    if (!line) break;
    const absl::Status read = OnLine(*line);
    if (!read.ok()) return read;
  }
  waiting_.erase(0, at_);
  at_ = 0;
  return absl::OkStatus();
}

// A line without its CR LF or LF.
std::optional<std::string_view> HttpResponse::TakeLine() {
  const size_t end = waiting_.find('\n', at_);
  if (end == std::string::npos) return std::nullopt;
  std::string_view line(waiting_.data() + at_, end - at_);
  if (line.ends_with('\r')) line.remove_suffix(1);
  at_ = end + 1;
  return line;
}

absl::Status HttpResponse::OnLine(std::string_view line) {
  switch (state_) {
    case State::kStatusLine:
      return OnStatusLine(line);
    case State::kFields:
      return line.empty() ? OnHeadEnd() : OnField(line);
    case State::kChunkSize:
      return OnChunkSize(line);
    case State::kChunkEnd:
      if (!line.empty()) return NoHttp("a chunk is longer than its size");
      state_ = State::kChunkSize;
      return absl::OkStatus();
    case State::kTrailer:
      if (line.empty()) state_ = State::kComplete;
      return absl::OkStatus();
    case State::kBody:
    case State::kComplete:
      break;
  }
  return absl::OkStatus();
}

absl::Status HttpResponse::OnStatusLine(std::string_view line) {
  // HTTP/1.1 200 OK
  constexpr size_t kVersion = 8, kCode = 3;
  const bool versioned = line.starts_with("HTTP/1.") && line.size() >= kVersion + 1 + kCode &&
                         line[kVersion] == ' ' &&
                         (line.size() == kVersion + 1 + kCode || line[kVersion + 1 + kCode] == ' ');
  const auto code = versioned ? Number(line.substr(kVersion + 1, kCode), 10) : std::nullopt;
  if (!code || *code < 100 || *code > 599) return NoHttp("its first line is no status line");
  status_ = static_cast<int>(*code);
  length_.reset();
  chunked_ = false;
  state_ = State::kFields;
  return absl::OkStatus();
}

absl::Status HttpResponse::OnField(std::string_view line) {
  const size_t colon = line.find(':');
  if (colon == std::string_view::npos) return NoHttp("a line of its head has no colon");
  const std::string_view name = line.substr(0, colon);
  const std::string_view value = Trimmed(line.substr(colon + 1));
  if (SameIgnoringCase(name, "Content-Length")) {
    const auto length = Number(value, 10);
    if (!length || (length_ && *length_ != *length)) return NoHttp("its Content-Length is none");
    length_ = length;
  }
  if (SameIgnoringCase(name, "Transfer-Encoding")) {
    // We offered no other coding, so there is none that we could undo.
    if (!SameIgnoringCase(value, "chunked")) return NoHttp("a coding that nobody asked for");
    chunked_ = true;
  }
  return absl::OkStatus();
}

absl::Status HttpResponse::OnHeadEnd() {
  if (status_ < 200) {  // interim: the real one follows
    status_ = 0;
    state_ = State::kStatusLine;
    return absl::OkStatus();
  }
  const bool bodiless = status_ == 204 || status_ == 304;
  if (chunked_ && !bodiless) {  // it overrides a length (RFC 9112, 6.3)
    state_ = State::kChunkSize;
    return absl::OkStatus();
  }
  if (bodiless) length_ = 0;
  left_ = length_.value_or(UINT64_MAX);
  if (length_ && left_ > body_max_) {
    return absl::ResourceExhaustedError(
        absl::StrCat("the answer has ", left_, " bytes, and may have ", body_max_));
  }
  state_ = State::kBody;
  return absl::OkStatus();
}

absl::Status HttpResponse::OnChunkSize(std::string_view line) {
  const auto size = Number(Trimmed(line.substr(0, line.find(';'))), 16);
  if (!size) return NoHttp("a chunk has no size");
  left_ = *size;
  state_ = left_ == 0 ? State::kTrailer : State::kBody;
  return absl::OkStatus();
}

absl::Status HttpResponse::TakeBody() {
  const size_t bytes = std::min<uint64_t>(left_, waiting_.size() - at_);
  if (bytes > body_max_ - body_.size()) {
    return absl::ResourceExhaustedError(
        absl::StrCat("the answer is longer than ", body_max_, " bytes"));
  }
  body_.append(waiting_, at_, bytes);
  at_ += bytes;
  if (chunked_ || length_) left_ -= bytes;
  if (left_ == 0) state_ = chunked_ ? State::kChunkEnd : State::kComplete;
  return absl::OkStatus();
}

absl::Status HttpResponse::End() {
  if (state_ == State::kBody && !chunked_ && !length_) state_ = State::kComplete;
  if (complete()) return absl::OkStatus();
  return absl::DataLossError(status_ == 0 ? "the connection was closed without an answer"
                                          : "the connection was closed in the midst of the answer");
}

}  // namespace io
