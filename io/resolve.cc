#include "io/resolve.h"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>

#include "io/sockets.h"

namespace io {

int TryConnect(const Endpoint& at, int timeout_ms) {
  const int fd = socket(at.family(), at.type() | SOCK_CLOEXEC | SOCK_NONBLOCK, at.protocol());
  if (fd < 0) return errno;
  int error = connect(fd, at.address(), at.size()) == 0 ? 0 : errno;
  if (error == EINPROGRESS) {
    pollfd connected = {.fd = fd, .events = POLLOUT, .revents = 0};
    int ready = 0;
    do {
      ready = poll(&connected, 1, timeout_ms);
    } while (ready < 0 && errno == EINTR);
    error = ready > 0 ? SocketError(fd) : ETIMEDOUT;
  }
  close(fd);
  return error;
}

Answer FirstThatAnswers(const std::vector<Endpoint>& addresses) {
  constexpr int kPatienceMs = 1000;
  if (addresses.size() == 1) return {.index = 0, .errors = {0}};
  Answer answer;
  for (size_t i = 0; i < addresses.size(); ++i) {
    answer.errors.push_back(TryConnect(addresses[i], kPatienceMs));
    if (answer.errors.back() != 0) continue;
    answer.index = i;
    break;
  }
  return answer;
}

}  // namespace io
