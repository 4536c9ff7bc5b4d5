#include "server/http_request.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"

namespace server {
namespace {

HttpRefusal Malformed(std::string why) { return {400, std::move(why)}; }

// RFC 9110, section 5.6.2.
bool IsToken(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           std::string_view("!#$%&'*+-.^_`|~").find(c) != std::string_view::npos;
  });
}

bool IsHost(std::string_view name) {
  return absl::EqualsIgnoreCase(absl::string_view(name.data(), name.size()), "host");
}

// The next line without its end, taken off `text`, which has one.
std::string_view TakeLine(std::string_view* text) {
  const size_t end = text->find('\n');
  std::string_view line = text->substr(0, end);
  text->remove_prefix(end + 1);
  if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
  return line;
}

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

// The path of a target in origin form ("/a?b") or absolute form ("http://host/a"); empty: neither.
std::string_view PathOf(std::string_view target) {
  constexpr std::string_view kScheme = "http://";
  if (target.starts_with(kScheme)) {
    const size_t slash = target.find('/', kScheme.size());
    if (slash == std::string_view::npos) return "/";
    target.remove_prefix(slash);
  }
  if (!target.starts_with("/")) return "";
  return target.substr(0, target.find('?'));
}

}  // namespace

size_t HttpHeadSize(std::string_view received) {
  size_t at = received.find_first_not_of("\r\n");
  if (at == std::string_view::npos) return 0;
  while ((at = received.find('\n', at)) != std::string_view::npos) {
    ++at;
    if (received.substr(at, 1) == "\n") return at + 1;
    if (received.substr(at, 2) == "\r\n") return at + 2;
  }
  return 0;
}

std::variant<HttpRequest, HttpRefusal> ParseHttpRequest(std::string_view head) {
  head.remove_prefix(std::min(head.find_first_not_of("\r\n"), head.size()));
  if (head.find('\n') == std::string_view::npos) return Malformed("there is no request line");
  for (size_t i = 0; i < head.size(); ++i) {
    if (head[i] == '\0') return Malformed("there is a NUL in it");
    if (head[i] == '\r' && head.substr(i + 1, 1) != "\n") {
      return Malformed("there is a CR without a LF in it");
    }
  }
  const std::string_view line = TakeLine(&head);
  const size_t first = line.find(' ');
  const size_t second = first == std::string_view::npos ? first : line.find(' ', first + 1);
  if (second == std::string_view::npos || line.find(' ', second + 1) != std::string_view::npos) {
    return Malformed("the first line is not METHOD TARGET VERSION");
  }
  const std::string_view method = line.substr(0, first);
  const std::string_view target = line.substr(first + 1, second - first - 1);
  const std::string_view version = line.substr(second + 1);
  if (!IsToken(method)) return Malformed("the method is not a token");
  if (version.size() != 8 || !version.starts_with("HTTP/") || !IsDigit(version[5]) ||
      version[6] != '.' || !IsDigit(version[7])) {
    return Malformed("the version is not HTTP/1.1 or the like");
  }
  if (version[5] != '1') return HttpRefusal{505, "only HTTP/1.0 and HTTP/1.1 are spoken here"};
  int hosts = 0;
  while (head.find('\n') != std::string_view::npos) {
    const std::string_view field = TakeLine(&head);
    if (field.empty()) break;
    const size_t colon = field.find(':');
    if (colon == std::string_view::npos || !IsToken(field.substr(0, colon))) {
      return Malformed("a header is not NAME: VALUE");
    }
    if (IsHost(field.substr(0, colon))) ++hosts;
  }
  if (hosts > 1 || (hosts == 0 && version[7] != '0')) {
    return Malformed("HTTP/1.1 wants one Host header");
  }
  if (method != "GET" && method != "HEAD")
    return HttpRefusal{405, "only GET and HEAD are answered"};
  const std::string_view path = PathOf(target);
  if (path.empty()) return Malformed("the target is not a path");
  return HttpRequest{.head = method == "HEAD", .path = std::string(path)};
}

std::string_view HttpReason(int status) {
  switch (status) {
    case 200:
      return "OK";
    case 400:
      return "Bad Request";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 408:
      return "Request Timeout";
    case 431:
      return "Request Header Fields Too Large";
    case 500:
      return "Internal Server Error";
    case 503:
      return "Service Unavailable";
    case 505:
      return "HTTP Version Not Supported";
    default:
      return "Unknown";
  }
}

std::string HttpReplyText(const HttpReply& reply, bool head, int64_t date_s) {
  const std::string_view reason = HttpReason(reply.status);
  return absl::StrCat(
      "HTTP/1.1 ", reply.status, " ", absl::string_view(reason.data(), reason.size()), "\r\nDate: ",
      absl::FormatTime("%a, %d %b %E4Y %H:%M:%S GMT", absl::FromUnixSeconds(date_s),
                       absl::UTCTimeZone()),
      "\r\nContent-Type: ", reply.content_type, "\r\nContent-Length: ", reply.body.size(),
      "\r\nCache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n",
      reply.status == 405 ? "Allow: GET, HEAD\r\n" : "", "Connection: close\r\n\r\n",
      head ? "" : reply.body);
}

}  // namespace server
