#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "io/endpoint.h"

namespace server {

// A page of the admin address.
struct AdminPage {
  std::string path;   // "/metrics"
  std::string about;  // one line, for the index at "/"
  std::string content_type;
  // Makes the page, on the admin thread. Until it returns nobody else is answered. An error is
  // answered with 500 and its message.
  std::function<absl::StatusOr<std::string>()> body;
};

struct AdminOptions {
  // What a peer has for everything: sending its request and taking the reply. Then it is cut off.
  std::chrono::milliseconds deadline{5000};
  // How long of that, after the reply, the peer may still send what is then thrown away. Closing
  // with bytes unread sends a reset, which can take the reply away from the peer (RFC 9112, 9.6).
  std::chrono::milliseconds linger{1000};
  // Connections at once. Who comes when all places are taken gets that of another: of the one that
  // has been longest without a whole request, else of one that has its reply, else of the one that
  // takes its reply longest. So no number of idle or slow peers delays a good one.
  size_t connections_max = 128;
};

// What an AdminServer did so far.
struct AdminCounts {
  uint64_t connections = 0;
  uint64_t answered = 0;       // with 200
  uint64_t refused = 0;        // with another status
  uint64_t cut_off = 0;        // at the deadline
  uint64_t displaced = 0;      // gave their place to another
  uint64_t accept_pauses = 0;  // no descriptor or memory: accepting stopped for 100 ms
};

// A socket for AdminServer::Start() at a TCP or Unix stream address. Errors: as of
// io::OpenListener(); InvalidArgument for datagrams and messages, which carry no HTTP.
absl::StatusOr<int> OpenAdminListener(const io::Endpoint& at);

// HTTP/1.1 for people and scrapers: GET and HEAD of its pages and of "/", which lists them; each
// connection closes after one reply. 404 for another path, 405 for another method, 431 for a head
// beyond kHttpHeadMax, 400 for what is no HTTP. It has a thread of its own and never touches a
// worker's loop; no input, and no number of peers, stops it. It is meant for an address that only
// those may reach who may read it: there is no password.
class AdminServer {
 public:
  // Serves on `listener`, a listening stream socket of any family, which is closed in the end, here
  // too if this fails: InvalidArgument where it doesn't listen, ResourceExhausted without a
  // descriptor or thread left. The thread inherits the caller's signal mask.
  static absl::StatusOr<std::unique_ptr<AdminServer>> Start(int listener,
                                                            std::vector<AdminPage> pages,
                                                            AdminOptions options = {});
  // Closes all connections, whatever their state, and ends the thread.
  ~AdminServer();
  AdminServer(const AdminServer&) = delete;
  AdminServer& operator=(const AdminServer&) = delete;

  // Any thread.
  AdminCounts counts() const;

 private:
  class Loop;
  struct Counters {
    std::atomic<uint64_t> connections{0}, answered{0}, refused{0}, cut_off{0}, displaced{0},
        accept_pauses{0};
  };

  AdminServer(int listener, int wake, std::vector<AdminPage> pages, AdminOptions options);

  const int listener_, wake_;
  const std::vector<AdminPage> pages_;
  const AdminOptions options_;
  Counters counters_;
  std::atomic<bool> stopping_{false};
  std::thread thread_;
};

}  // namespace server
