#include <iostream>
#include <memory>

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "cli/common.h"
#include "cli/signals.h"
#include "cli/subcommands.h"
#include "cli/values.h"
#include "io/endpoint.h"
#include "io/threads.h"
#include "report/text.h"
#include "server/server.h"
#include "server/server_json.h"

namespace cli {
namespace {

constexpr const char* kName = "serve";

struct ServeFlags {
  std::string address = "127.0.0.1:9999";
  std::string backend = "auto";
  std::string service = "echo";
  std::string reply_text = server::ServerOptions().reply_text;
  std::string delay = "1ms";
  uint64_t threads = 1;
  std::string cpus;
  uint64_t backlog = 4096;
  uint64_t message_bytes = 0;
  uint64_t recv_buffer_bytes = 64 * 1024;
  uint64_t recv_buffers = 1024;
  uint64_t pending_bytes = 256 * 1024;
  uint64_t connections_max = 1'000'000;
  int64_t drain_ns = 5'000'000'000;
  bool json = false;
};

void Declare(Flags& flags, ServeFlags& f) {
  flags
      .Positional(
          "ADDRESS", &f.address,
          "where to listen: 9999 (loopback), HOST:PORT, [IPV6]:PORT; port 0 picks a free one")
      .Group("Serving")
      .Choice("-b,--backend", &f.backend, BackendChoices(),
              "the event loop; auto is io_uring where it runs, else epoll")
      .Choice("--service", &f.service, server::ServiceNames(),
              "echo: what came; counter: the next number for each line; greet: says hello, closes; "
              "reply: a fixed text; discard: nothing; chargen: characters without end; delay: an "
              "echo, later")
      .Text("--reply-text TEXT", &f.reply_text, "what reply answers")
      .Text("--delay TIME", &f.delay,
            "how late delay answers: 5ms, 1ms..10ms (uniform), exp:5ms (mean), normal:5ms,1ms")
      .Count("-t,--threads", &f.threads, {1, 1024}, "each has a loop and a SO_REUSEPORT listener")
      .Text("--cpus LIST", &f.cpus, "pin thread i to the i-th of these CPUs (0,2-3)")
      .Bytes("-s,--size", &f.message_bytes, {1, 1ull << 40},
             "the size of a request (echo, reply, discard, chargen, delay), for counting them; "
             "without it, a receive is a request")
      .Switch("--json", &f.json, "the ready line and the summary as JSON, a line each")
      .Group("Limits")
      .Count(
          "--backlog", &f.backlog, {1, 1 << 30},
          "connections that may wait to be accepted, a listener; the kernel caps it at somaxconn")
      .Count("--connections-max", &f.connections_max, {1, 16'000'000},
             "stop accepting at so many, a thread")
      .Bytes("--recv-buffer-bytes", &f.recv_buffer_bytes, {64, 16 << 20},
             "the size of a receive buffer")
      .Count("--recv-buffers", &f.recv_buffers, {1, 32768},
             "io_uring: receive buffers, a thread (epoll has one)")
      .Bytes("--pending-bytes", &f.pending_bytes, {1024, 1 << 30},
             "stop receiving from a connection that has so much unsent")
      .Duration("--drain", &f.drain_ns, {0, 3'600'000'000'000},
                "on SIGTERM: how long connections may take to end")
      .Example("ringside serve", "echo on 127.0.0.1:9999")
      .Example("ringside serve 0.0.0.0:7 --backend epoll --threads 2", "on every interface")
      .Example("ringside serve 0 --service counter --json", "a free port, told in the ready line");
}

// Waits for the signals that end a server: the first drains, the second ends at once.
void RunUntilSignal(server::Server& server, Signals& signals) {
  if (signals.Wait(server.ended_fd(), -1) == Signals::kReadable) return server.Abort();
  server.Drain();
  if (signals.Wait(server.ended_fd(), -1) != Signals::kReadable) server.Abort();
}

int Run(const ServeFlags& f) {
  const auto at = io::Resolve(f.address);
  if (!at.ok()) return Fail(kName, at.status(), kExitUsage);
  std::vector<int> cpus;
  if (!f.cpus.empty()) {
    auto list = ParseCpuList(f.cpus);
    if (!list.ok()) return Fail(kName, list.status(), kExitUsage);
    cpus = *list;
  }
  const auto delay = ParseDelay(f.delay);
  if (!delay.ok()) {
    return Fail(kName, absl::StrCat("--delay: ", std::string(delay.status().message())),
                kExitUsage);
  }
  if (f.reply_text.empty()) {
    return Fail(kName, "--reply-text: the text is empty; give at least one character", kExitUsage);
  }
  std::string backend = f.backend;
  const absl::Status available = UseBackend(kName, &backend);
  if (!available.ok()) return Fail(kName, available, kExitFailed);
  (void)io::AllowDescriptors(~0u);  // as many as the hard limit gives; fewer is no error here

  Signals signals;
  const server::ServerOptions options = {
      .at = *at,
      .backend = backend,
      .service = f.service,
      .threads = static_cast<uint32_t>(f.threads),
      .cpus = cpus,
      .backlog = static_cast<int>(f.backlog),
      .message_bytes = f.message_bytes,
      .reply_text = f.reply_text,
      .delay = *delay,
      .loop = {.recv_buffer_bytes = static_cast<uint32_t>(f.recv_buffer_bytes),
               .recv_buffers = static_cast<uint32_t>(f.recv_buffers),
               .pending_bytes_max = static_cast<uint32_t>(f.pending_bytes),
               .connections_max = static_cast<uint32_t>(f.connections_max)},
      .drain_deadline = io::Nanos(f.drain_ns)};
  server::Server server(options);
  const absl::Status started = server.Start();
  if (!started.ok()) return Fail(kName, started, kExitFailed);
  const auto ready = server::ReadyJson(options, server);
  std::cout << (f.json ? ready.dump() + "\n" : report::ReadyText(ready)) << std::flush;

  RunUntilSignal(server, signals);
  server::ServerSummary summary;
  const absl::Status status = server.Wait(&summary);
  const auto json = server::SummaryJson(options, server, summary);
  std::cout << (f.json ? json.dump() + "\n" : report::ServeText(json)) << std::flush;
  return status.ok() ? kExitOk : Fail(kName, status, kExitFailed);
}

}  // namespace

Subcommand ServeCommand() {
  auto f = std::make_shared<ServeFlags>();
  return {.name = kName,
          .summary = "the server: echo, counter, greet and the other services",
          .declare = [f](Flags& flags) { Declare(flags, *f); },
          .run = [f] { return Run(*f); }};
}

}  // namespace cli
