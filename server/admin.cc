#include "server/admin.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <ctime>
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "io/errors.h"
#include "io/sockets.h"
#include "io/threads.h"
#include "server/http_request.h"

namespace server {
namespace {

using Clock = std::chrono::steady_clock;

// How long accepting rests when there is no descriptor or memory for it.
constexpr std::chrono::milliseconds kAcceptPause{100};
// How many are accepted before the others are looked at again.
constexpr int kAcceptsPerTurn = 64;
// How much a peer may send after the reply: AdminOptions::linger.
constexpr size_t kLingerBytes = 1 << 20;

struct Connection {
  // In the order in which they give their place to others.
  enum class State { kOver, kReading, kLingering, kWriting };
  int fd;
  uint64_t number;  // in the order of their coming
  State state = State::kReading;
  Clock::time_point deadline;
  std::string in, out;
  size_t sent = 0, discarded = 0;
};

bool IsNotYet(int error) { return error == EAGAIN || error == EWOULDBLOCK || error == EINTR; }

std::string Index(const std::vector<AdminPage>& pages) {
  std::string text = "ringside\n\n";
  for (const AdminPage& page : pages)
    absl::StrAppendFormat(&text, "%-12s %s\n", page.path, page.about);
  return text;
}

std::string RefusalText(const HttpRefusal& refusal, bool head) {
  const std::string_view reason = HttpReason(refusal.status);
  const HttpReply reply = {
      .status = refusal.status,
      .body = absl::StrCat(refusal.status, " ", absl::string_view(reason.data(), reason.size()),
                           ": ", refusal.why, "\n")};
  return HttpReplyText(reply, head, std::time(nullptr));
}

}  // namespace

// What the thread runs.
class AdminServer::Loop {
 public:
  explicit Loop(AdminServer& server) : server_(server) {}
  ~Loop() {
    for (const Connection& connection : connections_) close(connection.fd);
  }

  void Run() {
    while (!server_.stopping_.load(std::memory_order_acquire)) {
      Wait();
      const Clock::time_point now = Clock::now();
      for (size_t i = 0; i < connections_.size(); ++i) {
        if (events_[kFixed + i].revents != 0) Progress(connections_[i], now);
        if (connections_[i].deadline <= now) CutOff(connections_[i]);
      }
      if (events_[1].revents != 0) Accept(now);
      const auto over = [](const Connection& c) {
        if (c.state == Connection::State::kOver) close(c.fd);
        return c.state == Connection::State::kOver;
      };
      std::erase_if(connections_, over);
    }
  }

 private:
  static constexpr size_t kFixed = 2;  // places in events_: the wake-up, the listener

  void Wait() {
    const Clock::time_point now = Clock::now();
    const bool accepting = now >= accept_again_;
    auto until = Clock::time_point::max();
    if (now < accept_again_) until = accept_again_;
    events_.clear();
    events_.push_back({.fd = server_.wake_, .events = POLLIN});
    events_.push_back({.fd = accepting ? server_.listener_ : -1, .events = POLLIN});
    for (const Connection& c : connections_) {
      const short wanted = c.state == Connection::State::kWriting ? POLLOUT : POLLIN;
      events_.push_back({.fd = c.fd, .events = wanted});
      until = std::min(until, c.deadline);
    }
    int timeout_ms = -1;
    if (until != Clock::time_point::max()) {
      const auto left = std::chrono::ceil<std::chrono::milliseconds>(until - now).count();
      timeout_ms = static_cast<int>(std::clamp<int64_t>(left, 0, 1'000'000));
    }
    // EINTR, and ENOMEM for a moment, tell nothing: what poll left in revents is 0 then.
    if (poll(events_.data(), events_.size(), timeout_ms) < 0 && errno != EINTR) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }

  void Accept(Clock::time_point now) {
    for (int i = 0; i < kAcceptsPerTurn; ++i) {
      const int fd = accept4(server_.listener_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
      if (fd >= 0) {
        server_.counters_.connections.fetch_add(1, std::memory_order_relaxed);
        if (connections_.size() >= server_.options_.connections_max) Displace();
        connections_.push_back(
            {.fd = fd, .number = ++accepted_, .deadline = now + server_.options_.deadline});
        // Most have sent their request by now: who is answered has no place to lose.
        Progress(connections_.back(), now);
        continue;
      }
      switch (errno) {
        case EAGAIN:
          return;
        // The connection was over before it was accepted: accept(2).
        case EINTR:
        case ECONNABORTED:
        case EPROTO:
        case EPERM:  // a firewall's rule
        case ENETDOWN:
        case ENOPROTOOPT:
        case EHOSTDOWN:
        case ENONET:
        case EHOSTUNREACH:
        case ENETUNREACH:
        case ETIMEDOUT:
          continue;
        case EMFILE:
        case ENFILE:
          if (Displace()) continue;
          [[fallthrough]];
        // And ENOBUFS, ENOMEM: the connection stays in the backlog, and poll would tell of it
        // without end.
        default:
          server_.counters_.accept_pauses.fetch_add(1, std::memory_order_relaxed);
          accept_again_ = now + kAcceptPause;
          return;
      }
    }
  }

  // Ends a connection for another one's sake. False: there is none.
  bool Displace() {
    const auto victim = std::min_element(
        connections_.begin(), connections_.end(), [](const Connection& a, const Connection& b) {
          return a.state != b.state ? a.state < b.state : a.number < b.number;
        });
    if (victim == connections_.end()) return false;
    if (victim->state != Connection::State::kOver) {
      server_.counters_.displaced.fetch_add(1, std::memory_order_relaxed);
    }
    if (victim->state == Connection::State::kReading && !victim->in.empty()) {
      Say(*victim, {503, "another request took this one's place, which took too long"});
    }
    close(victim->fd);
    connections_.erase(victim);
    return true;
  }

  void Progress(Connection& c, Clock::time_point now) {
    if (c.state == Connection::State::kReading) Read(c);
    if (c.state == Connection::State::kWriting) Write(c, now);
    if (c.state == Connection::State::kLingering) Linger(c);
  }

  void Read(Connection& c) {
    char buffer[kHttpHeadMax];
    const ssize_t size = recv(c.fd, buffer, kHttpHeadMax - c.in.size(), 0);
    if (size < 0) {
      // ECONNRESET, ETIMEDOUT and the like: the peer is gone.
      if (!IsNotYet(errno)) c.state = Connection::State::kOver;
      return;
    }
    c.in.append(buffer, static_cast<size_t>(size));
    const size_t head = HttpHeadSize(c.in);
    if (head > 0) {
      Answer(c, std::string_view(c.in).substr(0, head));
    } else if (size == 0 && c.in.empty()) {
      c.state = Connection::State::kOver;  // a look whether the port is open
    } else if (size == 0) {
      Refuse(c, {400, "the request ends before its empty line"});
    } else if (c.in.size() == kHttpHeadMax) {
      Refuse(c, {431, absl::StrCat("a request's head has ", kHttpHeadMax, " bytes at most")});
    }
  }

  void Answer(Connection& c, std::string_view head) {
    const auto parsed = ParseHttpRequest(head);
    if (const auto* refusal = std::get_if<HttpRefusal>(&parsed)) return Refuse(c, *refusal);
    const auto& request = std::get<HttpRequest>(parsed);
    HttpReply reply;
    if (request.path == "/") {
      reply.body = Index(server_.pages_);
    } else {
      const auto page = std::find_if(server_.pages_.begin(), server_.pages_.end(),
                                     [&](const AdminPage& p) { return p.path == request.path; });
      if (page == server_.pages_.end()) {
        return Refuse(c, {404, "there is no such page; / lists those that are"}, request.head);
      }
      absl::StatusOr<std::string> body = page->body();
      if (!body.ok()) {
        return Refuse(c, {500, std::string(body.status().message())}, request.head);
      }
      reply.content_type = page->content_type;
      reply.body = *std::move(body);
    }
    server_.counters_.answered.fetch_add(1, std::memory_order_relaxed);
    Reply(c, HttpReplyText(reply, request.head, std::time(nullptr)));
  }

  void Refuse(Connection& c, const HttpRefusal& refusal, bool head = false) {
    server_.counters_.refused.fetch_add(1, std::memory_order_relaxed);
    Reply(c, RefusalText(refusal, head));
  }

  static void Reply(Connection& c, std::string text) {
    c.out = std::move(text);
    c.state = Connection::State::kWriting;
  }

  void Write(Connection& c, Clock::time_point now) {
    while (c.sent < c.out.size()) {
      const ssize_t size = send(c.fd, c.out.data() + c.sent, c.out.size() - c.sent, MSG_NOSIGNAL);
      if (size < 0) {
        // EPIPE, ECONNRESET, ETIMEDOUT and the like: the peer is gone.
        if (!IsNotYet(errno)) c.state = Connection::State::kOver;
        return;
      }
      c.sent += static_cast<size_t>(size);
    }
    shutdown(c.fd, SHUT_WR);
    c.state = Connection::State::kLingering;
    c.deadline = std::min(c.deadline, now + server_.options_.linger);
  }

  // Reads once per turn, so that a peer that never stops sending holds up nobody.
  static void Linger(Connection& c) {
    char buffer[16 * 1024];
    const ssize_t size = recv(c.fd, buffer, sizeof(buffer), 0);
    if (size < 0 && IsNotYet(errno)) return;
    c.discarded += size > 0 ? static_cast<size_t>(size) : 0;
    if (size <= 0 || c.discarded > kLingerBytes) c.state = Connection::State::kOver;
  }

  void CutOff(Connection& c) {
    if (c.state == Connection::State::kOver) return;
    if (c.state != Connection::State::kLingering) {
      server_.counters_.cut_off.fetch_add(1, std::memory_order_relaxed);
    }
    if (c.state == Connection::State::kReading && !c.in.empty()) {
      Say(c, {408, "the request took too long"});
    }
    c.state = Connection::State::kOver;
  }

  // Once, as far as it goes: this peer has had its time.
  static void Say(const Connection& c, const HttpRefusal& refusal) {
    const std::string text = RefusalText(refusal, /*head=*/false);
    (void)send(c.fd, text.data(), text.size(), MSG_NOSIGNAL);
  }

  AdminServer& server_;
  std::vector<Connection> connections_;
  std::vector<pollfd> events_;  // of the last Wait(): kFixed, then the connections in their order
  Clock::time_point accept_again_ = Clock::time_point::min();
  uint64_t accepted_ = 0;
};

AdminServer::AdminServer(int listener, int wake, std::vector<AdminPage> pages, AdminOptions options)
    : listener_(listener), wake_(wake), pages_(std::move(pages)), options_(options) {}

absl::StatusOr<int> OpenAdminListener(const io::Endpoint& at) {
  if (at.keeps_messages()) {
    return absl::InvalidArgumentError(
        absl::StrCat(at.ToString(), " can't carry HTTP; give a TCP or unix: address"));
  }
  return io::OpenListener(at, {.backlog = 64}, /*nonblocking=*/true);
}

absl::StatusOr<std::unique_ptr<AdminServer>> AdminServer::Start(int listener,
                                                                std::vector<AdminPage> pages,
                                                                AdminOptions options) {
  const int wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  const int wake_error = errno;
  // From here on the destructor closes both.
  std::unique_ptr<AdminServer> server(new AdminServer(listener, wake, std::move(pages), options));
  if (wake < 0) {
    return absl::ResourceExhaustedError(
        absl::StrCat("the admin address needs an eventfd: ", io::ErrnoName(wake_error)));
  }
  int listens = 0;
  socklen_t size = sizeof(listens);
  if (getsockopt(listener, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("the admin address's listener is no socket: ", io::ErrnoName(errno)));
  }
  if (listens == 0) return absl::InvalidArgumentError("the admin address's socket does not listen");
  const int flags = fcntl(listener, F_GETFL);
  if (flags < 0 || fcntl(listener, F_SETFL, flags | O_NONBLOCK) != 0) {
    return absl::InternalError(absl::StrCat("fcntl: ", io::ErrnoName(errno)));
  }
  const absl::Status started = io::StartThread(
      "the admin address",
      [s = server.get()] {
        pthread_setname_np(pthread_self(), "admin");
        Loop(*s).Run();
      },
      &server->thread_);
  if (!started.ok()) return started;
  return server;
}

AdminServer::~AdminServer() {
  stopping_.store(true, std::memory_order_release);
  if (thread_.joinable()) {
    eventfd_write(wake_, 1);
    thread_.join();
  }
  if (wake_ >= 0) close(wake_);
  if (listener_ >= 0) close(listener_);
}

AdminCounts AdminServer::counts() const {
  const auto read = [](const std::atomic<uint64_t>& count) {
    return count.load(std::memory_order_relaxed);
  };
  return {.connections = read(counters_.connections),
          .answered = read(counters_.answered),
          .refused = read(counters_.refused),
          .cut_off = read(counters_.cut_off),
          .displaced = read(counters_.displaced),
          .accept_pauses = read(counters_.accept_pauses)};
}

}  // namespace server
