#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <variant>

// As much of HTTP/1.1 (RFC 9110, RFC 9112) as a server needs that answers GET and HEAD and then
// closes the connection.
namespace server {

// A request's head, from its first byte to the empty line, is no longer than this.
inline constexpr size_t kHttpHeadMax = 8192;

struct HttpRequest {
  bool head = false;  // HEAD: the reply has no body
  std::string path;   // from the "/" on, without the query, not percent-decoded
};

struct HttpRefusal {
  int status;
  std::string why;  // one sentence
};

// How long the head at the beginning of `received` is, with its empty line; 0 when that has not
// come yet. Lines end in CR LF or in LF alone; empty lines before the request are part of it.
size_t HttpHeadSize(std::string_view received);

// Reads a whole head. 400: it breaks the grammar, or HTTP/1.1 without one Host; 405: not GET or
// HEAD; 505: another major version.
std::variant<HttpRequest, HttpRefusal> ParseHttpRequest(std::string_view head);

struct HttpReply {
  int status = 200;
  std::string content_type = "text/plain; charset=utf-8";
  std::string body;
};

// The reply as it is sent, which says that the connection closes. `date_s`: seconds since 1970.
std::string HttpReplyText(const HttpReply& reply, bool head, int64_t date_s);

// "Not Found"; the statuses of this file and of server/admin.h.
std::string_view HttpReason(int status);

}  // namespace server
