#pragma once

// Where a reference server listens, in the words that compare fills in for {address}: a port of
// 127.0.0.1, 127.0.0.1:PORT, udp://127.0.0.1:PORT, and unix:, unix-seqpacket: and unix-dgram:, each
// with a path or @NAME (abstract, unix(7)).

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <csignal>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <tuple>

namespace reference {

constexpr int kOne = 1;

[[noreturn]] inline void Die(const char* call) {
  std::perror(call);
  std::exit(1);
}

struct Address {
  int family = AF_INET, type = SOCK_STREAM;
  sockaddr_storage storage = {};
  socklen_t size = 0;
};

inline Address ParseAddress(const std::string& text) {
  Address at;
  std::string rest = text;
  for (const auto& [scheme, family, type] : {std::tuple("udp://", AF_INET, SOCK_DGRAM),
                                             std::tuple("unix-seqpacket:", AF_UNIX, SOCK_SEQPACKET),
                                             std::tuple("unix-dgram:", AF_UNIX, SOCK_DGRAM),
                                             std::tuple("unix:", AF_UNIX, SOCK_STREAM)}) {
    if (text.rfind(scheme, 0) != 0) continue;
    at.family = family;
    at.type = type;
    rest = text.substr(std::strlen(scheme));
    break;
  }
  if (at.family == AF_UNIX) {
    auto& to = reinterpret_cast<sockaddr_un&>(at.storage);
    to.sun_family = AF_UNIX;
    if (rest.empty() || rest.size() >= sizeof to.sun_path) Die("the path's length");
    rest.copy(to.sun_path, rest.size());
    const bool abstract = rest[0] == '@';
    if (abstract) to.sun_path[0] = '\0';
    at.size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + rest.size() + !abstract);
  } else {
    auto& to = reinterpret_cast<sockaddr_in&>(at.storage);
    to.sin_family = AF_INET;
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    to.sin_port = htons(static_cast<uint16_t>(std::atoi(rest.substr(rest.find(':') + 1).c_str())));
    at.size = sizeof to;
  }
  return at;
}

// A socket there that takes connections, or datagrams.
inline int ListenOn(const Address& at) {
  const int fd = socket(at.family, at.type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) Die("socket");
  if (at.family == AF_INET && at.type == SOCK_STREAM) {
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &kOne, sizeof kOne);
  }
  if (bind(fd, reinterpret_cast<const sockaddr*>(&at.storage), at.size) != 0) Die("bind");
  if (at.type != SOCK_DGRAM && listen(fd, SOMAXCONN) != 0) Die("listen");
  return fd;
}

// What every one of them does first.
inline void Prepare() {
  std::signal(SIGTERM, [](int) { _exit(0); });
  std::signal(SIGINT, [](int) { _exit(0); });
  rlimit files = {};
  getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  setrlimit(RLIMIT_NOFILE, &files);
}

}  // namespace reference
