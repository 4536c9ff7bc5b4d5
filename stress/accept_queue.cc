#include "stress/accept_queue.h"

#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <utility>

#include "absl/strings/str_cat.h"
#include "io/errors.h"
#include "io/threads.h"
#include "stats/proc_file.h"

namespace stress {
namespace {

constexpr auto kLookEvery = std::chrono::milliseconds(10);
constexpr size_t kConnectionsMax = 4'000'000;

// Whether an address is of this machine's: only such a one can be bound. A UDP socket sends nothing
// by that.
absl::StatusOr<bool> IsOurAddress(const io::Endpoint& at) {
  if (at.is_unix() || at.is_loopback() || at.is_wildcard()) return true;
  const int fd = socket(at.family(), SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) {
    return absl::ResourceExhaustedError(
        absl::StrCat("no socket to look for the server: ", io::ErrnoName(errno)));
  }
  const io::Endpoint any_port = at.WithPort(0);
  const bool bound = bind(fd, any_port.address(), any_port.size()) == 0;
  const int error = bound ? 0 : errno;
  close(fd);
  return bound || error == EADDRINUSE;  // EADDRINUSE: all ports of it are taken
}

// The port at the end of "127.0.0.1:9999"; 0: there is none.
uint16_t PortOf(const std::string& address) {
  const size_t colon = address.rfind(':');
  if (colon == std::string::npos) return 0;
  return stats::ParseNumber<uint16_t>(std::string_view(address).substr(colon + 1)).value_or(0);
}

}  // namespace

absl::StatusOr<AcceptQueueReader> AcceptQueueReader::Find(const io::Endpoint& at) {
  const auto ours = IsOurAddress(at);
  if (!ours.ok()) return ours.status();
  if (!*ours) {
    return absl::FailedPreconditionError(
        absl::StrCat(at.ToString(), " is another machine's, whose queue can't be seen from here"));
  }
  AcceptQueueReader reader;
  reader.name_ = io::AddressText(at.address(), at.size());
  reader.v4_ = at.family() == AF_INET;
  if (at.is_unix()) {
    reader.query_ = {.protocols = {stats::SocketProtocol::kUnix}, .unix_names = {reader.name_}};
  } else {
    reader.query_ = {.protocols = {stats::SocketProtocol::kTcp}, .ports = {at.port()}};
  }
  // A socket with the address of its own is met before one that takes any.
  const auto exact = reader.Read();
  if (exact.ok() || !absl::IsNotFound(exact.status()) || at.is_unix()) {
    if (!exact.ok()) return exact.status();
    return reader;
  }
  reader.exact_ = false;
  const auto any = reader.Read();
  if (!any.ok()) return any.status();
  return reader;
}

bool AcceptQueueReader::IsMet(const stats::SocketInfo& info) const {
  if (exact_) return info.local == name_;
  if (info.local.starts_with("[::]:")) return !v4_ || !info.v6_only;
  return v4_ && info.local.starts_with("0.0.0.0:");
}

absl::StatusOr<AcceptQueue> AcceptQueueReader::Read() const {
  const auto list = stats::Listeners(query_);
  if (!list.ok()) return list.status();
  AcceptQueue queue;
  for (const stats::SocketInfo& info : list->sockets) {
    if (info.state != "LISTEN" || !IsMet(info)) continue;
    ++queue.listeners;
    queue.backlog = std::max<uint64_t>(queue.backlog, info.send_queue);
    queue.length += info.recv_queue;
    queue.limit += uint64_t{info.send_queue} + 1;
  }
  if (queue.listeners > 0) return queue;
  return absl::NotFoundError(absl::StrCat("nobody listens at ", name_));
}

absl::StatusOr<uint64_t> AcceptQueueReader::CountOpen(const std::set<uint16_t>& clients) const {
  stats::SocketQuery query = query_;
  query.max = kConnectionsMax;
  const auto list = stats::Connections(query);
  if (!list.ok()) return list.status();
  return std::ranges::count_if(list->sockets, [&](const stats::SocketInfo& info) {
    return info.state != "SYN-RECV" && info.state != "TIME-WAIT" &&
           clients.contains(PortOf(info.remote));
  });
}

absl::Status AcceptQueueSeries::Start() {
  return io::StartThread(
      "watching the accept queue", [this] { Run(); }, &thread_);
}

AcceptQueueSeries::~AcceptQueueSeries() { End(); }

void AcceptQueueSeries::Run() {
  std::unique_lock lock(mutex_);
  while (!end_) {
    lock.unlock();
    Sample();
    lock.lock();
    ending_.wait_for(lock, kLookEvery, [this] { return end_; });
  }
}

void AcceptQueueSeries::Sample() {
  const auto queue = reader_.Read();
  if (!queue.ok()) {
    problem_ = std::string(queue.status().message());
    return;
  }
  problem_.clear();
  const std::chrono::duration<double> at = std::chrono::steady_clock::now() - begin_;
  const Look look = {.at_s = at.count(), .length = queue->length, .limit = queue->limit};
  longest_ = std::max(longest_.value_or(0), look.length);
  // Of many looks alike, the first and the last are kept.
  const size_t have = looks_.size();
  const auto alike = [&](size_t i) {
    return looks_[i].length == look.length && looks_[i].limit == look.limit;
  };
  if (have >= 2 && alike(have - 1) && alike(have - 2)) looks_.pop_back();
  looks_.push_back(look);
  if (looks_.size() > kLooksMax) Thin();
}

// Drops every second look but the first and the last.
void AcceptQueueSeries::Thin() {
  std::vector<Look> kept;
  for (size_t i = 0; i < looks_.size(); ++i) {
    if (i % 2 == 0 || i + 1 == looks_.size()) kept.push_back(looks_[i]);
  }
  looks_ = std::move(kept);
}

std::optional<uint64_t> AcceptQueueSeries::End() {
  if (!thread_.joinable()) return longest_;
  {
    const std::lock_guard lock(mutex_);
    end_ = true;
  }
  ending_.notify_all();
  thread_.join();
  Sample();
  return longest_;
}

Json AcceptQueueSeries::ToJson() const {
  Json looks = Json::array();
  for (const Look& look : looks_) {
    looks.push_back({{"at_s", look.at_s}, {"length", look.length}, {"limit", look.limit}});
  }
  return looks;
}

}  // namespace stress
