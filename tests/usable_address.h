#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <stdexcept>
#include <string>
#include <thread>

// An address that was just added isn't usable at once, even without duplicate address detection:
// the kernel makes its route later, by a worker (addrconf_dad_work), and until then connect(2) to
// it fails with ENETUNREACH and bind(2) with EADDRNOTAVAIL. The same holds for ::1 when lo comes
// up.
namespace network_tests {

// Whether a socket can have this address and another can reach it.
inline bool Usable(const std::string& address) {
  const bool v6 = address.find(':') != std::string::npos;
  sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(9)};
  sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(9)};
  const int parsed = v6 ? inet_pton(AF_INET6, address.c_str(), &in6.sin6_addr)
                        : inet_pton(AF_INET, address.c_str(), &in.sin_addr);
  const int from = socket(v6 ? AF_INET6 : AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  const int to = socket(v6 ? AF_INET6 : AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  const auto* at = v6 ? reinterpret_cast<sockaddr*>(&in6) : reinterpret_cast<sockaddr*>(&in);
  const socklen_t size = v6 ? sizeof(in6) : sizeof(in);
  const bool usable = parsed == 1 && connect(to, at, size) == 0;
  in6.sin6_port = in.sin_port = 0;
  const bool bindable = usable && bind(from, at, size) == 0;
  close(from);
  close(to);
  return bindable;
}

// "2001:db8::1" or "2001:db8::1/64". Waits until the address is usable.
inline void AwaitUsable(const std::string& address) {
  const std::string plain = address.substr(0, address.find('/'));
  const auto hung = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (!Usable(plain)) {
    if (std::chrono::steady_clock::now() > hung) {
      throw std::runtime_error(plain + " does not become usable");
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

// Whether this network has IPv6, so that lo has ::1 once it is up.
inline bool HasIpv6() {
  const int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd >= 0) close(fd);
  return fd >= 0;
}

// What `ip link set lo up` brings.
inline void AwaitLoopback() {
  AwaitUsable("127.0.0.1");
  if (HasIpv6()) AwaitUsable("::1");
}

}  // namespace network_tests
