#include "cli/serve_flags.h"

#include <sys/resource.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "cli/common.h"
#include "cli/suggest.h"
#include "cli/values.h"
#include "io/backends.h"
#include "io/endpoint.h"
#include "server/privileges.h"

namespace cli {
namespace {

constexpr int64_t kHourNs = 3'600'000'000'000;
constexpr uint64_t kDirectTableMax = 1 << 20;  // IORING_MAX_FIXED_FILES, io_uring/filetable.h

// "SERVICE=ADDRESS".
absl::StatusOr<server::ListenSpec> ParseListen(const std::string& text) {
  const std::vector<std::string> services = server::ServiceNames();
  const size_t equals = text.find('=');
  const std::string service = text.substr(0, std::min(equals, text.size()));
  if (equals == std::string::npos) {
    return absl::InvalidArgumentError(
        absl::StrCat("'", text,
                     "' names no service; write SERVICE=ADDRESS, such as echo=9999 or "
                     "counter=unix:/run/c.sock"));
  }
  if (std::find(services.begin(), services.end(), service) == services.end()) {
    return absl::InvalidArgumentError(
        absl::StrCat("there is no service '", service, "'; it is ", absl::StrJoin(services, ", ")));
  }
  auto at = io::Resolve(text.substr(equals + 1));
  if (!at.ok()) return at.status();
  return server::ListenSpec{.service = service, .at = *at};
}

// How many accepted connections the table of each thread is to hold.
absl::Status SetDirect(const ServeFlags& f, server::ServerOptions* options) {
  if (!f.direct) return absl::OkStatus();
  if (f.backend == "epoll") {
    return absl::InvalidArgumentError(
        "--direct: epoll has no direct descriptors; leave one of the two out");
  }
  const auto listeners = static_cast<uint64_t>(std::count_if(
      options->listeners.begin(), options->listeners.end(),
      [](const server::ListenSpec& s) { return !s.at.is_unix() && !s.at.is_datagram(); }));
  if (listeners == 0) {
    return absl::InvalidArgumentError(
        "--direct is for TCP listeners, and there is none; leave it "
        "out");
  }
  rlimit limit = {};
  getrlimit(RLIMIT_NOFILE, &limit);
  const uint64_t largest = std::min<uint64_t>(limit.rlim_max, kDirectTableMax);
  // The accepts that each listener has armed keep descriptors from the others.
  const uint64_t spare = io::DirectAcceptsElsewhere(listeners);
  if (largest <= spare) {
    return absl::InvalidArgumentError(absl::StrCat(
        "--direct: RLIMIT_NOFILE bounds a thread's table to ", largest, ", too few for ", listeners,
        " TCP listeners; raise it (ulimit -n), or use fewer listeners"));
  }
  uint64_t each = options->loop.connections_max + spare;
  if (each > largest && f.flags != nullptr && f.flags->Given("connections-max")) {
    const uint64_t room = largest - spare;
    return absl::InvalidArgumentError(
        absl::StrCat("--direct: --connections-max ", f.connections_max, " on ", f.threads,
                     " threads needs tables of ", each, " descriptors, and RLIMIT_NOFILE allows ",
                     largest, " a thread; use --threads ", (f.connections_max + room - 1) / room,
                     " or more, or fewer connections"));
  }
  each = std::min(each, largest);
  options->loop.connections_max = options->loop.direct_accepts = static_cast<uint32_t>(each);
  return absl::OkStatus();
}

absl::Status SetListeners(const ServeFlags& f, bool address_given, server::ServerOptions* options) {
  if (address_given) {
    auto at = io::Resolve(f.address);
    if (!at.ok()) return at.status();
    options->listeners.push_back({.service = f.service, .at = *at});
  }
  for (const std::string& text : f.listen) {
    auto spec = ParseListen(text);
    if (!spec.ok()) return Named("--listen", spec.status());
    options->listeners.push_back(*spec);
  }
  return absl::OkStatus();
}

absl::Status SetUnixAccess(const ServeFlags& f, server::UnixAccess* access) {
  if (!f.unix_mode.empty()) {
    auto mode = server::ParseUnixMode(f.unix_mode);
    if (!mode.ok()) return Named("--unix-mode", mode.status());
    access->mode = *mode;
  }
  if (!f.unix_owner.empty()) {
    auto owner = server::ParseUnixOwner(f.unix_owner);
    if (!owner.ok()) return Named("--unix-owner", owner.status());
    access->owner = *owner;
  }
  if (!f.allow_uid.empty()) {
    auto users = server::ParseUsers(f.allow_uid);
    if (!users.ok()) return Named("--allow-uid", users.status());
    access->uids = *users;
  }
  if (!f.allow_gid.empty()) {
    auto groups = server::ParseGroups(f.allow_gid);
    if (!groups.ok()) return Named("--allow-gid", groups.status());
    access->gids = *groups;
  }
  return absl::OkStatus();
}

// A datagram comes without its sender's credentials: a list of users would be a promise not kept.
absl::Status CheckUnixLists(const ServeFlags& f, const server::ServerOptions& options) {
  const char* flag = !f.allow_uid.empty() ? "--allow-uid" : "--allow-gid";
  if (f.allow_uid.empty() && f.allow_gid.empty()) return absl::OkStatus();
  for (const server::ListenSpec& spec : options.listeners) {
    if (spec.at.transport() != io::Transport::kUnixDatagram) continue;
    return Named(flag,
                 absl::InvalidArgumentError(absl::StrCat(
                     "it can't hold on unix-dgram:, whose datagrams don't say who sent them (",
                     spec.at.ToString(),
                     "); protect a path by --unix-mode and --unix-owner, "
                     "or use unix-seqpacket:")));
  }
  return absl::OkStatus();
}

// What else is known to be wrong before anything is opened.
absl::Status CheckSurroundings(const ServeFlags& f) {
  if (!f.metrics.empty()) {
    const auto at = io::Resolve(f.metrics);
    if (!at.ok()) return Named("--metrics", at.status());
    if (at->keeps_messages()) {
      return Named("--metrics",
                   absl::InvalidArgumentError("HTTP needs a TCP address (HOST:PORT) or unix:PATH"));
    }
  }
  if (!f.user.empty()) {
    const absl::Status known = server::CheckUser(f.user);
    if (!known.ok()) return Named("--user", known);
  }
  if (f.takeover.empty()) return absl::OkStatus();
  const auto path = io::Resolve("unix:" + f.takeover);
  return path.ok() ? absl::OkStatus() : Named("--takeover", path.status());
}

}  // namespace

absl::Status Named(const char* flag, const absl::Status& status) {
  if (status.ok()) return status;
  return absl::Status(status.code(), absl::StrCat(flag, ": ", std::string(status.message())));
}

void DeclareServe(Flags& flags, ServeFlags& f) {
  f.flags = &flags;
  flags
      .Positional("ADDRESS", &f.address,
                  "where to listen: 9999 (loopback), HOST:PORT, [IPV6]:PORT, *:PORT (IPv6 and "
                  "IPv4), udp://HOST:PORT, mptcp://HOST:PORT, unix:PATH, unix:@NAME, "
                  "unix-seqpacket:PATH, unix-dgram:PATH; port 0 picks a free one")
      .Group("Serving")
      .Choice("-b,--backend", &f.backend, BackendChoices(),
              "the event loop; auto is io_uring where it runs, else epoll")
      .Choice("--service", &f.service, server::ServiceNames(),
              "echo: what came; counter: the next number for each line; greet: says hello, closes; "
              "reply: a fixed text; discard: nothing; chargen: characters without end; delay: an "
              "echo, later")
      .Repeated("--listen SERVICE=ADDRESS", &f.listen,
                "a listener more, or instead of ADDRESS; as often as you like")
      .Text("--reply-text TEXT", &f.reply_text, "what reply answers")
      .Text("--delay TIME", &f.delay,
            "how late delay answers: 5ms, 1ms..10ms (uniform), exp:5ms (mean), normal:5ms,1ms")
      .Count("-t,--threads", &f.threads, {1, 1024},
             "each has a loop, and a SO_REUSEPORT socket of each listener (Unix, and TCP with "
             "--direct: one for all)")
      .Text("--cpus LIST", &f.cpus, "pin thread i to the i-th of these CPUs (0,2-3)")
      .Bytes("-s,--size", &f.message_bytes, {1, 1ull << 40},
             "the size of a request (echo, reply, discard, chargen, delay), for counting them; "
             "without it, a receive is a request")
      .Switch("--udp-gro", &f.udp_gro,
              "take and answer datagrams of one peer several at a time (UDP_GRO, UDP_SEGMENT)")
      .Switch("--json", &f.json, "the ready line, status and summary as JSON, a line each")
      .Group("Limits")
      .Count(
          "--backlog", &f.backlog, {1, 1 << 30},
          "connections that may wait to be accepted, a listener; the kernel caps it at somaxconn")
      .Count("--connections-max", &f.connections_max, {1, 16'000'000},
             "stop accepting at so many; divided among the threads (--direct: what their tables "
             "hold, where that is less)")
      .Switch("--direct", &f.direct,
              "io_uring: accepted TCP connections take direct descriptors, which RLIMIT_NOFILE "
              "bounds for each thread only; all threads accept from one socket. Use more threads "
              "than CPUs for more connections")
      .Count("--connections-per-source", &f.connections_per_source, {0, 16'000'000},
             "from one IPv4 address, or IPv6 /64; 0: any number")
      .Duration("--idle-timeout", &f.idle_ns, {0, 1000 * kHourNs},
                "close a connection on which nothing came or left for so long; 0s: never")
      .Duration("--stall-timeout", &f.stall_ns, {0, 1000 * kHourNs},
                "reset a peer that reads nothing of what waits for it for so long; 0s: never")
      .Bytes("--pending-bytes", &f.pending_bytes, {1024, 1 << 30},
             "stop receiving from a connection that has so much unsent, and answering it")
      .Bytes("--delayed-bytes", &f.delayed_bytes, {1 << 20, uint64_t{1} << 40},
             "of replies that wait for their time, in all: whoever exceeds it is reset")
      .Bytes("--recv-buffer-bytes", &f.recv_buffer_bytes, {64, 16 << 20},
             "the size of a receive buffer: longer messages are dropped")
      .Duration("--drain", &f.drain_ns, {0, kHourNs},
                "on SIGTERM: how long connections may take to end")
      .Group("Access")
      .Repeated("--allow CIDR,...", &f.allow,
                "only these sources; a denied one gets no answer to its SYN")
      .Repeated("--deny CIDR,...", &f.deny, "not these sources; wins over --allow")
      .Text("--unix-mode MODE", &f.unix_mode, "of Unix paths, octal; 0600 without it")
      .Text("--unix-owner USER:GROUP", &f.unix_owner, "of Unix paths")
      .Text("--allow-uid LIST", &f.allow_uid, "only Unix peers of these users ...")
      .Text("--allow-gid LIST", &f.allow_gid, "... or of these groups")
      .Text("--user USER:GROUP", &f.user, "become this user once all is bound")
      .Group("Operation")
      .Text("--takeover PATH", &f.takeover,
            "take the listeners from the server that waits at this Unix path (or @NAME), if one "
            "does, and wait there for a successor")
      .Text("--metrics ADDRESS", &f.metrics, "serve /metrics for Prometheus and /status there")
      .Switch("--log-connections", &f.log_connections,
              "a line on stderr for each peer that comes or goes, at most 1000/s");
  DeclareLoopFlags(flags, f.loop);
  flags.Example("ringside serve", "echo on 127.0.0.1:9999")
      .Example("ringside serve '*:7' --backend epoll --threads 2", "on every interface")
      .Example("ringside serve --listen echo=udp://9999 --listen counter=unix:/run/c.sock",
               "several at once")
      .Example("ringside serve --direct --threads 53 --connections-per-source 0",
               "a million connections where ulimit -n is 20,000")
      .Example("ringside serve --backend io_uring --without multishot-receive,borrow",
               "what does it cost to do without?")
      .Example("ringside serve 0 --service counter --json", "a free port, told in the ready line")
      .Example("ringside serve 9999 --takeover @ringside",
               "again: replaces the first, losing nothing");
}

absl::StatusOr<server::ServerOptions> ToServerOptions(const ServeFlags& f, bool address_given) {
  server::ServerOptions options;
  absl::Status status = SetListeners(f, address_given, &options);
  if (!status.ok()) return status;
  if (!f.cpus.empty()) {
    auto cpus = ParseCpuList(f.cpus);
    if (!cpus.ok()) return cpus.status();
    options.cpus = *cpus;
  }
  const auto delay = ParseDelay(f.delay);
  if (!delay.ok()) return Named("--delay", delay.status());
  if (f.reply_text.empty()) {
    return absl::InvalidArgumentError(
        "--reply-text: the text is empty; give at least one character");
  }
  auto access = server::AccessList::Parse(f.allow, f.deny);
  if (!access.ok()) return access.status();
  options.access = *std::move(access);
  status = SetUnixAccess(f, &options.unix_access);
  if (status.ok()) status = CheckUnixLists(f, options);
  if (status.ok()) status = CheckSurroundings(f);
  if (!status.ok()) return status;

  options.threads = static_cast<uint32_t>(f.threads);
  options.busy_poll = f.loop.busy_poll;
  options.backlog = static_cast<int>(f.backlog);
  options.udp_gro = f.udp_gro;
  options.service = {.message_bytes = f.message_bytes, .text = f.reply_text, .delay = *delay};
  options.loop.recv_buffer_bytes = static_cast<uint32_t>(f.recv_buffer_bytes);
  options.loop.pending_bytes_max = static_cast<uint32_t>(f.pending_bytes);
  options.loop.connections_max =
      static_cast<uint32_t>((f.connections_max + f.threads - 1) / f.threads);
  options.connections_per_source = static_cast<uint32_t>(f.connections_per_source);
  options.delayed_bytes_max = f.delayed_bytes;
  options.idle_timeout = io::Nanos(f.idle_ns);
  options.stall_timeout = io::Nanos(f.stall_ns);
  options.drain_deadline = io::Nanos(f.drain_ns);
  status = SetDirect(f, &options);
  if (!status.ok()) return status;
  io::ShareMemory(options.threads, &options.loop);
  return options;
}

}  // namespace cli
