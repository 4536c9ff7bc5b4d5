#include "loadgen/text_client.h"

#include <cstring>

#include "absl/strings/str_cat.h"

namespace loadgen {
namespace {

using services::Bytes, services::Received;

constexpr size_t kRequestsBytes = 64 * 1024;  // of those that go out in one send

absl::Status Wrong(const std::string& what, const char* want) {
  return absl::InvalidArgumentError(absl::StrCat(what, "; ", want));
}

// The end that the options ask for.
ReplyEnd EndOf(const TextOptions& options) {
  ReplyEnd end = options.end;
  if (end.until.empty() && end.bytes == 0) end.bytes = options.is.size();
  return end;
}

// Where the first reply ends in a text; 0 where none does.
size_t EndIn(const ReplyEnd& end, const std::string& text) {
  if (text.empty()) return 0;
  ReplyEndFinder::State state;
  bool complete = false;
  const size_t size = ReplyEndFinder(end).Take(state, io::AsBytes(text), &complete);
  return complete ? size : 0;
}

absl::Status CheckEnd(const TextOptions& options) {
  constexpr char kWant[] = "give --reply-until with its last characters, or --reply-bytes";
  const ReplyEnd end = EndOf(options);
  if (end.until.empty() && end.bytes == 0) {
    return Wrong("nothing says where a reply ends", kWant);
  }
  if (!end.until.empty() && end.bytes > 0) {
    return Wrong("a reply would end in two ways", "give --reply-until or --reply-bytes, not both");
  }
  if (end.count == 0) {
    return Wrong("a reply would have no end at all", "give a --reply-count of 1 or more");
  }
  if (end.count > 1 && end.until.empty()) {
    return Wrong("--reply-count has nothing to count", "give --reply-until with it");
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status TextOptions::Check() const {
  if (request.empty()) {
    return Wrong("the request is empty", "give one such as --request 'PING\\r\\n'");
  }
  if (const absl::Status status = CheckEnd(*this); !status.ok()) return status;
  if (!is.empty() && !prefix.empty()) {
    return Wrong("a reply can't be held to two texts", "give --reply-is or --reply-prefix");
  }
  const ReplyEnd finds = EndOf(*this);
  if (!is.empty() && EndIn(finds, is) != is.size()) {
    return Wrong("no reply could be what --reply-is says, as replies end elsewhere",
                 "let it end as a reply does, and nowhere before");
  }
  const size_t prefix_end = EndIn(finds, prefix);
  const bool too_long = finds.bytes > 0 && prefix.size() > finds.bytes;
  if (too_long || (prefix_end > 0 && prefix_end < prefix.size())) {
    return Wrong("no reply could begin with what --reply-prefix says, as it would end before",
                 "give a shorter one");
  }
  return absl::OkStatus();
}

ReplyEndFinder::ReplyEndFinder(const ReplyEnd& end) : end_(end), fallback_(end.until.size(), 0) {
  const std::string& until = end_.until;
  for (uint32_t i = 1, matched = 0; i < until.size(); ++i) {
    fallback_[i] = matched;
    while (matched > 0 && until[i] != until[matched]) matched = fallback_[matched];
    if (until[i] == until[matched]) ++matched;
  }
}

size_t ReplyEndFinder::TakeText(State& state, std::string_view in, bool* complete) const noexcept {
  const std::string& until = end_.until;
  uint32_t matched = state.matched;
  for (size_t at = 0; at < in.size(); ++at) {
    if (matched == 0) {
      at = in.find(until[0], at);
      if (at == std::string_view::npos) break;
    }
    while (matched > 0 && in[at] != until[matched]) matched = fallback_[matched];
    if (in[at] == until[matched]) ++matched;
    if (matched < until.size()) continue;
    matched = 0;
    if (++state.found < end_.count) continue;
    *complete = true;
    return at + 1;
  }
  state.matched = matched;
  *complete = false;
  return in.size();
}

TextClient::TextClient(const TextOptions& options)
    : request_bytes_(options.request.size()),
      end_(EndOf(options)),
      expected_(options.is.empty() ? options.prefix : options.is),
      whole_(!options.is.empty()) {
  const size_t times = std::max<size_t>(1, kRequestsBytes / request_bytes_);
  for (size_t i = 0; i < times; ++i) requests_ += options.request;
}

void TextClient::Verify(Bytes part, uint64_t at, uint64_t offset, Received* result) noexcept {
  if (at < expected_.size()) {
    const size_t size = std::min<uint64_t>(part.size(), expected_.size() - at);
    const Bytes expected = io::AsBytes(expected_).subspan(at, size);
    if (std::memcmp(part.data(), expected.data(), size) != 0) {
      result->Compare(part.first(size), expected, offset);
    }
    part = part.subspan(size);
    offset += size;
  }
  if (!whole_ || part.empty()) return;
  // Longer than it may be. It differed before, too: the expected text would have ended it.
  if (result->corrupt_bytes == 0) {
    result->corrupt_offset = offset;
    result->got = std::to_integer<uint8_t>(part[0]);
  }
  result->corrupt_bytes += part.size();
}

}  // namespace loadgen
