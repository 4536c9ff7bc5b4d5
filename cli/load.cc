#include "loadgen/load.h"

#include <unistd.h>

#include <cstdio>
#include <iostream>
#include <memory>

#include <nlohmann/json.hpp>

#include "cli/common.h"
#include "cli/live.h"
#include "cli/signals.h"
#include "cli/subcommands.h"
#include "cli/values.h"
#include "io/endpoint.h"
#include "io/threads.h"
#include "loadgen/load_json.h"
#include "report/files.h"
#include "report/text.h"
#include "stats/cpu_clock.h"

namespace cli {
namespace {

constexpr const char* kName = "load";

struct LoadFlags {
  Flags* flags = nullptr;
  std::string address = "127.0.0.1:9999";
  std::string backend = "auto";
  std::string service = "echo";
  std::string reply_text = loadgen::LoadOptions().reply_text;
  std::string delay;
  uint64_t connections = 64;
  uint64_t depth = 1;
  uint64_t threads = 1;
  std::string cpus;
  uint64_t message_bytes = 64;
  uint64_t requests = 0;
  int64_t duration_ns = 10'000'000'000;
  int64_t warmup_ns = 1'000'000'000;
  double pace = 0;
  int64_t connect_timeout_ns = 10'000'000'000;
  int64_t reply_timeout_ns = loadgen::LoadOptions().reply_timeout_ns;
  double loss_max = loadgen::LoadOptions().loss_max;
  uint64_t server_pid = 0;
  std::string json;
  bool quiet = false;
};

void Declare(Flags& flags, LoadFlags& f) {
  f.flags = &flags;
  flags
      .Positional(
          "ADDRESS", &f.address,
          "the server: 9999 (loopback), HOST:PORT, [IPV6]:PORT, HOST:SERVICE; with udp:// or "
          "mptcp:// before it; unix:PATH, unix-seqpacket:PATH, unix-dgram:PATH, where PATH "
          "may be an abstract @NAME")
      .Group("Load")
      .Count("-c,--connections", &f.connections, {1, 1'000'000}, "connections, all open at once")
      .Duration("-d,--duration TIME", &f.duration_ns, {1'000'000, 86'400'000'000'000},
                "how long to measure (10s, 1m30s)")
      .Count("-n,--requests", &f.requests, {1, 1'000'000'000'000},
             "send so many in all, instead of measuring for a time; without a warm-up")
      .Bytes("-s,--size SIZE", &f.message_bytes, {1, 1 << 30}, "of a request (64, 16KiB)")
      .Count("--depth", &f.depth, {1, 65536}, "requests in flight on each connection")
      .Rate(
          "--pace RATE", &f.pace, {0.001, 1e9},
          "requests a second (100k): bursts of one on each connection, evenly spaced; without it, "
          "each reply brings the next request (closed loop)")
      .Duration("--warmup TIME", &f.warmup_ns, {0, 3'600'000'000'000},
                "load that is not measured, first")
      .Choice("--service", &f.service, loadgen::ServiceNames(),
              "what the server speaks, so that each reply can be verified")
      .Text("--reply-text TEXT", &f.reply_text, "what a server of reply has to answer")
      .Text("--delay TIME", &f.delay,
            "what a server of delay was given: a reply before the least of it is an error")
      .Group("Datagrams (udp://, unix-dgram:)")
      .Duration("--timeout TIME", &f.reply_timeout_ns, {1'000'000, 300'000'000'000},
                "a request without a reply is lost after this, and the connection goes on")
      .Percent("--loss-max PERCENT", &f.loss_max, {0, 1},
               "the share of requests that may be lost, or answered twice, in a valid run")
      .Group("Client")
      .Choice("-b,--backend", &f.backend, BackendChoices(),
              "the event loop; auto is io_uring where it runs, else epoll")
      .Count("-t,--threads", &f.threads, {1, 1024},
             "each has a loop and its share of the connections")
      .Text("--cpus LIST", &f.cpus, "pin thread i to the i-th of these CPUs (0,2-3)")
      .Duration("--connect-timeout TIME", &f.connect_timeout_ns, {1'000'000, 3'600'000'000'000},
                "for all connections to open and be answered once")
      .Count("--server-pid PID", &f.server_pid, {1, 1 << 22},
             "measure the CPU time of this process, and of those below it, over the same window")
      .Group("Output")
      .Text("--json FILE", &f.json, "the result as JSON, into a file or - for standard output")
      .Switch("-q,--quiet", &f.quiet, "no progress and no table")
      .Example("ringside load", "64 connections of 64 B to 127.0.0.1:9999, 10 s")
      .Example("ringside load 9999 -c 1000 -s 16KiB -d 30s --json out.json", "")
      .Example("ringside load udp://127.0.0.1:9999", "datagrams: lost ones are counted")
      .Example("ringside load 9999 --pace 100k --server-pid $(pgrep myserver)",
               "CPU per request at a fixed rate, of any echo server");
}

// What only messages, and only datagrams, can't or can do.
absl::Status CheckTransport(const LoadFlags& f, const io::Endpoint& at) {
  const uint64_t bytes_max = loadgen::MessageBytesMax(at);
  if (at.keeps_messages() && f.message_bytes > bytes_max) {
    return absl::InvalidArgumentError(
        absl::StrCat("--size: a request of ", f.message_bytes, " bytes is no message that ",
                     at.ToString(), " can take; write --size ", bytes_max, " or less, or use ",
                     at.is_unix() ? "a stream (unix:PATH)" : "a stream (TCP)"));
  }
  for (const char* flag : {"timeout", "loss-max"}) {
    if (!at.is_datagram() && f.flags->Given(flag)) {
      return absl::InvalidArgumentError(
          absl::StrCat("--", flag, " has no meaning with ", at.ToString(),
                       ", which loses nothing; leave it out, or load udp:// or unix-dgram:"));
    }
  }
  const services::Exchange exchange = loadgen::ExchangeOf(f.service);
  if (at.is_datagram() &&
      (exchange == services::Exchange::kGreeting || exchange == services::Exchange::kSource)) {
    return absl::InvalidArgumentError(
        absl::StrCat("--service ", f.service,
                     " speaks first, which a server of datagrams can't; "
                     "choose a service that is asked (echo, counter, reply, discard, delay), or a ",
                     at.is_unix() ? "stream (unix:PATH)" : "TCP address"));
  }
  return absl::OkStatus();
}

absl::StatusOr<loadgen::LoadOptions> Options(const LoadFlags& f) {
  const auto at = io::Resolve(f.address);
  if (!at.ok()) return at.status();
  if (!at->is_unix() && at->port() == 0) {
    return absl::InvalidArgumentError("port 0 is not a port to connect to");
  }
  const absl::Status suited = CheckTransport(f, *at);
  if (!suited.ok()) return suited;
  std::vector<int> cpus;
  if (!f.cpus.empty()) {
    auto list = ParseCpuList(f.cpus);
    if (!list.ok()) return list.status();
    cpus = *list;
  }
  if (f.requests > 0 && f.flags->Given("warmup")) {
    return absl::InvalidArgumentError("--warmup has no meaning with -n/--requests; leave one out");
  }
  if (f.server_pid > 0) {
    const auto cpu = stats::ProcessCpuNanos(static_cast<pid_t>(f.server_pid));
    if (!cpu.ok()) {
      return absl::InvalidArgumentError(
          absl::StrCat("--server-pid: ", std::string(cpu.status().message())));
    }
  }
  const bool asked = loadgen::ExchangeOf(f.service) == services::Exchange::kRequestReply ||
                     loadgen::ExchangeOf(f.service) == services::Exchange::kSink;
  if (f.pace > 0 && !asked) {
    return absl::InvalidArgumentError(
        absl::StrCat("--pace has no meaning with --service ", f.service,
                     ", whose client sends nothing; leave ", "one out"));
  }
  if (f.reply_text.empty()) {
    return absl::InvalidArgumentError(
        "--reply-text: the text is empty; give at least one character");
  }
  services::Delay delay = loadgen::LoadOptions().delay;
  if (!f.delay.empty()) {
    const auto parsed = ParseDelay(f.delay);
    if (!parsed.ok()) {
      return absl::InvalidArgumentError(
          absl::StrCat("--delay: ", std::string(parsed.status().message())));
    }
    delay = *parsed;
  }
  const bool by_count_only = f.requests > 0 && !f.flags->Given("duration");
  return loadgen::LoadOptions{.at = *at,
                              .backend = f.backend,
                              .service = f.service,
                              .connections = static_cast<uint32_t>(f.connections),
                              .depth = static_cast<uint32_t>(f.depth),
                              .threads = static_cast<uint32_t>(f.threads),
                              .cpus = cpus,
                              .message_bytes = f.message_bytes,
                              .reply_text = f.reply_text,
                              .delay = delay,
                              .requests = f.requests,
                              .duration_ns = by_count_only ? 86'400'000'000'000 : f.duration_ns,
                              .warmup_ns = f.warmup_ns,
                              .pace = f.pace,
                              .connect_timeout_ns = f.connect_timeout_ns,
                              .reply_timeout_ns = f.reply_timeout_ns,
                              .loss_max = f.loss_max,
                              .server_pid = static_cast<pid_t>(f.server_pid)};
}

// Waits for the end of the run; returns the signal that ended it early, or 0.
int WaitForEnd(loadgen::Load& load, Signals& signals, Live& live) {
  int signal = 0;
  while (true) {
    const int event = signals.Wait(load.ended_fd(), live.interval_ms());
    if (event == Signals::kReadable) break;
    if (event == Signals::kTimeout) {
      live.Show(load.Progress());
      continue;
    }
    if (signal != 0) _exit(ExitBySignal(event));  // the second one ends at once
    signal = event;
    load.Interrupt();
  }
  live.Clear();
  return signal;
}

int Run(const LoadFlags& f) {
  auto options = Options(f);
  if (!options.ok()) return Fail(kName, options.status(), kExitUsage);
  const absl::Status backend = UseBackend(kName, &options->backend);
  if (!backend.ok()) return Fail(kName, backend, kExitFailed);
  constexpr uint64_t kOtherDescriptors = 32;
  const absl::Status allowed =
      io::AllowDescriptors(f.connections + kOtherDescriptors + 4 * f.threads);
  if (!allowed.ok()) {
    return Fail(kName,
                absl::ResourceExhaustedError(
                    absl::StrCat("-c ", f.connections, ": ", std::string(allowed.message()))),
                kExitFailed);
  }

  Signals signals;
  Live live(*options, f.quiet);
  loadgen::Load load(*options);
  const absl::Status started = load.Start();
  if (!started.ok()) return Fail(kName, started, kExitFailed);
  const int signal = WaitForEnd(load, signals, live);
  loadgen::LoadResult result;
  const absl::Status status = load.Wait(&result);

  const auto json = loadgen::ToJson(*options, result);
  if (!f.quiet && f.json != "-") std::cout << report::LoadText(json) << std::flush;
  if (!f.json.empty()) {
    const absl::Status written = report::WriteFile(f.json, json.dump(2) + "\n");
    if (!written.ok()) return Fail(kName, written, kExitFailed);
  }
  if (signal != 0) return ExitBySignal(signal);
  if (!status.ok()) return Fail(kName, status, kExitFailed);
  if (!result.valid()) return Fail(kName, report::LoadFailure(json), kExitFailed);
  return kExitOk;
}

}  // namespace

Subcommand LoadCommand() {
  auto f = std::make_shared<LoadFlags>();
  return {.name = kName,
          .summary = "the load generator: throughput, latency, every byte verified",
          .declare = [f](Flags& flags) { Declare(flags, *f); },
          .run = [f] { return Run(*f); }};
}

}  // namespace cli
