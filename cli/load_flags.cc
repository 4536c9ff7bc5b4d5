#include "cli/load_flags.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "cli/common.h"
#include "cli/load_values.h"
#include "cli/target_guard.h"
#include "cli/values.h"
#include "io/backends.h"
#include "io/endpoint.h"
#include "stats/cpu_clock.h"

namespace cli {
namespace {

using loadgen::LoadOptions;
using loadgen::Workload;
using services::Exchange;

constexpr uint64_t kStreamBytes = 128 * 1024;  // of one write, where a stream is measured
constexpr uint64_t kMessageBytes = 64 * 1024;  // of one that `serve` by default has buffers for
constexpr uint64_t kDatagramBytes = 1400;      // that goes through an Ethernet whole
constexpr uint64_t kDuplexDepth = 8;
constexpr int64_t kHeartbeatNs = 1'000'000'000;
constexpr int64_t kDatagramTimeoutNs = 1'000'000'000;
constexpr int64_t kForeverNs = 86'400'000'000'000;

absl::Status Wrong(const std::string& what) { return absl::InvalidArgumentError(what); }

// The status with the flag in front that it is about.
absl::Status Wrong(const char* flag, const absl::Status& status) {
  return Wrong(absl::StrCat(flag, ": ", std::string(status.message())));
}

std::vector<std::string> ServiceChoices() { return loadgen::ServiceNames(); }

std::vector<std::string> WorkloadChoices() {
  return {loadgen::kWorkloadNames.begin(), loadgen::kWorkloadNames.end()};
}

void DeclareClass(Flags& flags, ClassFlags& f) {
  flags
      .Choice(
          "-w,--workload", &f.workload, WorkloadChoices(),
          "request and reply in closed loop (the default); open loop (the default with --rate); "
          "connect, one request, close; a stream to discard, from chargen, there and back; idle "
          "connections with a heartbeat")
      .Count("-c,--connections", &f.connections, {1, 1'000'000}, "connections, all open at once")
      .Text("-s,--size SIZES", &f.size,
            "of a request: 64, 16KiB, 64..16KiB (uniform), 64:90,16KiB:10 (weighted), exp:1KiB, "
            "lognormal:1KiB,2, pareto:64,1.2; default: 64, of streams 128KiB")
      .Count("--depth", &f.depth, {1, 65536},
             "requests in flight on each connection (1; duplex: 8)")
      .Text("--requests-per-connection COUNT", &f.requests_per_connection,
            "close a connection when it has had so many requests, and open another: 100, 50..200 "
            "(uniform); default: it has all")
      .Text("-r,--rate PLAN", &f.rate,
            "open loop: requests are due at this rate, whatever the replies do: 200k, 100/conn (on "
            "each connection), 10k:100k/60s (a ramp), 10k/10s,50k/10s (steps)")
      .Choice(
          "--arrivals", &f.arrivals, {"constant", "poisson", "bursts"},
          "how they are spread: evenly; as of independent users; one on each connection at once")
      .Text("--think TIME", &f.think,
            "closed loop: from a reply to the next request; as --delay of serve (10ms, exp:5ms)")
      .Duration("--heartbeat TIME", &f.heartbeat_ns, {1'000'000, 3'600'000'000'000},
                "hold: each connection sends a request this often (1s)")
      .Count("-t,--threads", &f.threads, {1, 1024},
             "threads; each has an event loop and its share of the connections")
      .Text("--cpus LIST", &f.cpus, "pin thread i to the i-th of these CPUs (0,2-3)")
      .Choice("-b,--backend", &f.backend, BackendChoices(),
              "the event loop; auto is io_uring where it runs, else epoll")
      .Group("Protocol")
      .Choice(
          "--service", &f.service, ServiceChoices(),
          "what the server speaks, so that each reply can be verified; default: echo, for upload "
          "discard, for download chargen")
      .Text("--reply-text TEXT", &f.reply_text, "what a server of reply has to answer")
      .Text("--delay TIME", &f.delay,
            "what a server of delay was given: a reply before the least of it is an error")
      .Text("--request TEXT", &f.request,
            "any other protocol: send this ('PING\\r\\n'; \\r \\n \\t \\0 \\\\ \\xHH)")
      .Text("--reply-until TEXT", &f.reply_until, "--request: a reply ends with this")
      .Count("--reply-count", &f.reply_count, {1, 1'000'000},
             "--request: with so many of these (1)")
      .Bytes("--reply-bytes SIZE", &f.reply_bytes, {1, 1 << 30}, "--request: a reply has this size")
      .Text("--reply-is TEXT", &f.reply_is,
            "--request: a reply has to be exactly this, so every byte is verified")
      .Text("--reply-prefix TEXT", &f.reply_prefix, "--request: a reply has to begin with this");
}

absl::StatusOr<Workload> WorkloadFor(const ClassFlags& f) {
  if (!f.workload.empty()) return *loadgen::WorkloadOf(f.workload);
  if (!f.rate.empty()) return Workload::kRate;
  if (f.service.empty()) return Workload::kRequestReply;
  switch (loadgen::ExchangeOf(f.service)) {
    case Exchange::kRequestReply:
      return Workload::kRequestReply;
    case Exchange::kGreeting:
      return Workload::kConnect;
    case Exchange::kSink:
      return Workload::kUpload;
    case Exchange::kSource:
      return Workload::kDownload;
  }
  return Workload::kRequestReply;
}

std::string DefaultService(Workload workload) {
  if (workload == Workload::kUpload) return "discard";
  if (workload == Workload::kDownload) return "chargen";
  return "echo";
}

bool IsStream(Workload workload) {
  return workload == Workload::kUpload || workload == Workload::kDownload ||
         workload == Workload::kDuplex;
}

// Whether the service goes with what is to be done.
absl::Status CheckService(const LoadOptions& o) {
  const Exchange exchange = loadgen::ExchangeOf(o.service);
  const auto wrong = [&](const char* needed) {
    return Wrong(absl::StrCat("--workload ", std::string(loadgen::Name(o.workload)), " needs ",
                              needed, ", which ", o.service,
                              " is not; write another --service, or ", "leave one of them out"));
  };
  switch (o.workload) {
    case Workload::kUpload:
      if (exchange != Exchange::kSink) return wrong("a service that only takes (discard)");
      break;
    case Workload::kDownload:
      if (exchange != Exchange::kSource) return wrong("a service that only sends (chargen)");
      break;
    case Workload::kConnect:
      if (!services::HasLatency(exchange)) return wrong("a service that answers");
      break;
    case Workload::kDuplex:
    case Workload::kHold:
      if (exchange != Exchange::kRequestReply) return wrong("a service that answers requests");
      break;
    case Workload::kRequestReply:
      if (exchange == Exchange::kGreeting || exchange == Exchange::kSource) {
        return wrong("a service that is asked");
      }
      break;
    case Workload::kRate:
      if (exchange == Exchange::kGreeting || exchange == Exchange::kSource) {
        return wrong("a service whose client sends something");
      }
      break;
  }
  if (o.at.is_datagram() && (exchange == Exchange::kGreeting || exchange == Exchange::kSource)) {
    return Wrong(absl::StrCat("--service ", o.service,
                              " speaks first, which a server of datagrams can't; choose a service "
                              "that is asked (echo, counter, reply, discard, delay), or a ",
                              o.at.is_unix() ? "stream (unix:PATH)" : "TCP address"));
  }
  return absl::OkStatus();
}

absl::Status SetText(const ClassFlags& f, LoadOptions* o) {
  if (f.request.empty()) {
    for (const auto& [flag, given] : {std::pair("--reply-until", !f.reply_until.empty()),
                                      std::pair("--reply-bytes", f.reply_bytes > 0),
                                      std::pair("--reply-count", f.reply_count > 0),
                                      std::pair("--reply-is", !f.reply_is.empty()),
                                      std::pair("--reply-prefix", !f.reply_prefix.empty())}) {
      if (given) return Wrong(absl::StrCat(flag, " belongs to --request; write what to send"));
    }
    return absl::OkStatus();
  }
  if (!f.service.empty()) {
    return Wrong("--request speaks a protocol that is none of ours; leave --service out");
  }
  if (!f.size.empty()) return Wrong("--request is as long as its text; leave --size out");
  auto bytes = [](const char* flag, const std::string& text, std::string* into) -> absl::Status {
    const auto parsed = ParseEscapes(text);
    if (!parsed.ok()) return Wrong(flag, parsed.status());
    *into = *parsed;
    return absl::OkStatus();
  };
  absl::Status status = bytes("--request", f.request, &o->text.request);
  status.Update(bytes("--reply-until", f.reply_until, &o->text.end.until));
  status.Update(bytes("--reply-is", f.reply_is, &o->text.is));
  status.Update(bytes("--reply-prefix", f.reply_prefix, &o->text.prefix));
  o->text.end.bytes = f.reply_bytes;
  o->text.end.count = std::max<uint64_t>(1, f.reply_count);
  if (status.ok()) status = o->text.Check();
  o->service = loadgen::kTextService;
  return status;
}

absl::Status SetSizes(const ClassFlags& f, LoadOptions* o) {
  if (f.size.empty()) {
    if (IsStream(o->workload)) {
      o->message_bytes = o->at.is_datagram()      ? kDatagramBytes
                         : o->at.keeps_messages() ? kMessageBytes
                                                  : kStreamBytes;
    }
  } else {
    auto sizes = ParseSizes(f.size);
    if (!sizes.ok()) return Wrong("--size", sizes.status());
    o->sizes = *sizes;
    o->message_bytes = o->sizes.Max();
  }
  const uint64_t most = loadgen::MessageBytesMax(o->at);
  if (o->at.keeps_messages() && o->message_bytes > most) {
    return Wrong(absl::StrCat("--size: a request of ", o->message_bytes,
                              " bytes is no message that ", o->at.ToString(),
                              " can take; write --size ", most, " or less, or use ",
                              o->at.is_unix() ? "a stream (unix:PATH)" : "a stream (TCP)"));
  }
  const uint64_t longest = loadgen::RequestBytesMax(o->service);
  if (longest > 0 && o->message_bytes > longest) {
    return Wrong(absl::StrCat("--size: a request of ", o->message_bytes, " bytes is none that ",
                              o->service, " takes; write --size ", longest, " or less"));
  }
  if (o->sizes.varies() && loadgen::ExchangeOf(o->service) == Exchange::kSource) {
    return Wrong("--size: a source is asked for nothing, so its sizes can't vary; write one size");
  }
  return absl::OkStatus();
}

absl::Status SetRate(const LoadFlags& f, const ClassFlags& one, LoadOptions* o) {
  const bool closed = o->workload != Workload::kRate && o->workload != Workload::kConnect &&
                      o->workload != Workload::kHold;
  if (one.arrivals == "poisson") o->arrivals = loadgen::Arrivals::kPoisson;
  if (one.arrivals == "bursts") o->arrivals = loadgen::Arrivals::kBursts;
  if (one.heartbeat_ns > 0 && o->workload != Workload::kHold) {
    return Wrong("--heartbeat is for --workload hold; leave one out");
  }
  if (o->workload == Workload::kHold) {
    if (!one.rate.empty()) return Wrong("--rate: hold has a --heartbeat; leave one out");
    const int64_t heartbeat = one.heartbeat_ns > 0 ? one.heartbeat_ns : kHeartbeatNs;
    const double rate = static_cast<double>(o->connections) * 1e9 / heartbeat;
    o->rate.segments = {{rate, rate}};
    return absl::OkStatus();
  }
  if (one.rate.empty()) {
    if (o->workload == Workload::kRate) {
      return Wrong("--workload rate needs the rate; write --rate 10k");
    }
    if (one.arrivals != "constant") {
      return Wrong("--arrivals is about --rate, which isn't there; write --rate 10k");
    }
    return absl::OkStatus();
  }
  if (closed) {
    return Wrong(absl::StrCat("--rate has no meaning with --workload ",
                              std::string(loadgen::Name(o->workload)),
                              ", which goes as fast as it can; leave one out"));
  }
  auto plan = ParseRates(one.rate);
  if (!plan.ok()) return Wrong("--rate", plan.status());
  o->rate = plan->per_connection ? plan->plan.Times(o->connections) : plan->plan;
  const absl::Status possible = o->rate.Check();
  if (!possible.ok()) return Wrong("--rate", possible);
  const int64_t length = o->rate.length_ns();
  if (length != loadgen::kNever && f.requests == 0 && !f.flags->Given("duration")) {
    o->duration_ns = length;
  }
  return absl::OkStatus();
}

absl::Status SetThink(const ClassFlags& f, LoadOptions* o) {
  if (f.think.empty()) return absl::OkStatus();
  const auto think = ParseDelay(f.think);
  if (!think.ok()) return Wrong("--think", think.status());
  const bool asks = loadgen::ExchangeOf(o->service) == Exchange::kRequestReply;
  if (o->open_loop() || o->workload == Workload::kConnect || !asks) {
    return Wrong(absl::StrCat(
        "--think is the time from a reply to the next request, which ",
        o->open_loop() ? "the schedule decides here" : "there is none of here", "; leave it out"));
  }
  o->think = *think;
  return absl::OkStatus();
}

absl::Status SetDelay(const ClassFlags& f, LoadOptions* o) {
  if (f.delay.empty()) return absl::OkStatus();
  const auto delay = ParseDelay(f.delay);
  if (!delay.ok()) return Wrong("--delay", delay.status());
  if (o->service != "delay") return Wrong("--delay is for --service delay; leave one out");
  o->delay = *delay;
  return absl::OkStatus();
}

absl::Status SetWarmup(const LoadFlags& f, LoadOptions* o) {
  if (f.requests > 0 && f.flags->Given("warmup")) {
    return Wrong("--warmup has no meaning with -n/--requests; leave one out");
  }
  if (f.warmup == "auto") {
    o->warmup_auto = true;
    o->warmup_ns = LoadOptions().warmup_ns;
    return absl::OkStatus();
  }
  const auto warmup = ParseDuration(f.warmup);
  if (!warmup.ok()) {
    return Wrong(
        absl::StrCat("--warmup: ", std::string(warmup.status().message()), ", or write auto"));
  }
  constexpr int64_t kMax = 3'600'000'000'000;
  if (*warmup > kMax) return Wrong("--warmup: that is over an hour; write 1h or less");
  o->warmup_ns = *warmup;
  return absl::OkStatus();
}

// What only messages, and only datagrams, can or can't do.
absl::Status SetTrouble(const LoadFlags& f, LoadOptions* o) {
  if (!o->at.is_datagram() && f.flags->Given("loss-max")) {
    return Wrong(
        absl::StrCat("--loss-max has no meaning with ", o->at.ToString(),
                     ", which loses nothing; leave it out, or load udp:// or unix-dgram:"));
  }
  if (o->at.is_datagram() && o->workload == Workload::kConnect) {
    return Wrong("--workload crr: datagrams have no connections to open; load a stream");
  }
  const Exchange exchange = loadgen::ExchangeOf(o->service);
  const bool timed = services::HasLatency(exchange);
  if (f.reply_timeout_ns > 0 && !timed) {
    return Wrong(absl::StrCat("--timeout has no meaning with --service ", o->service,
                              ", which answers nothing; leave it out"));
  }
  o->reply_timeout_ns = f.reply_timeout_ns > 0 ? f.reply_timeout_ns
                        : o->at.is_datagram()  ? kDatagramTimeoutNs
                                               : 0;
  if (f.deadline_ns > 0 && !o->open_loop()) {
    return Wrong("--deadline is about a schedule, and there is none; write --rate 10k");
  }
  o->deadline_ns = f.deadline_ns;
  if (f.reconnect_ns > 0) o->reconnect_ns = f.reconnect_ns;
  o->errors_max = f.errors_max;
  o->loss_max = f.loss_max;
  return absl::OkStatus();
}

absl::Status SetConnecting(const LoadFlags& f, LoadOptions* o) {
  if (f.ramp_ns > 0 && f.connect_rate > 0) {
    return Wrong("--ramp and --connect-rate both say how fast to connect; leave one out");
  }
  o->connect_rate = f.ramp_ns > 0 ? o->connections * 1e9 / f.ramp_ns : f.connect_rate;
  o->connect_timeout_ns = f.connect_timeout_ns;
  if (o->connect_rate > 0) {  // the time is for each connection then
    o->connect_timeout_ns += static_cast<int64_t>(o->connections / o->connect_rate * 1e9);
  }
  if (f.sources.empty()) return absl::OkStatus();
  auto sources = ParseSources(f.sources, o->at);
  if (!sources.ok()) return Wrong("--source", sources.status());
  o->sources = *std::move(sources);
  return absl::OkStatus();
}

absl::Status SetTimestamps(const LoadFlags& f, LoadOptions* o) {
  if (f.timestamps == "off") {
    o->timestamp_every = 0;
    return absl::OkStatus();
  }
  const auto every = ParseCount(f.timestamps);
  if (!every.ok() || *every == 0 || *every > 1'000'000) {
    return Wrong(absl::StrCat("--timestamps: '", f.timestamps,
                              "' is no number from 1 to 1000000; write how many connections share "
                              "one with timestamps (64), or off"));
  }
  o->timestamp_every = static_cast<uint32_t>(*every);
  return absl::OkStatus();
}

absl::Status SetRequestsPerConnection(const ClassFlags& f, LoadOptions* o) {
  if (f.requests_per_connection.empty()) return absl::OkStatus();
  const auto counts = ParseCounts(f.requests_per_connection);
  if (!counts.ok()) return Wrong("--requests-per-connection", counts.status());
  const auto wrong = [](const std::string& why) {
    return Wrong(absl::StrCat("--requests-per-connection: ", why, "; leave it out"));
  };
  if (o->at.is_datagram()) {
    return wrong(absl::StrCat(o->at.ToString(), " has no connections to close"));
  }
  const Exchange exchange = loadgen::ExchangeOf(o->service);
  if (o->workload == Workload::kConnect || exchange == Exchange::kGreeting) {
    return wrong("crr sends one request on each connection");
  }
  if (exchange == Exchange::kSource) return wrong("a source is sent no requests");
  o->requests_per_connection = {.least = counts->first, .most = counts->second};
  return absl::OkStatus();
}

absl::StatusOr<LoadOptions> ClassOptions(const LoadFlags& f, const ClassFlags& one,
                                         const io::Endpoint& at) {
  LoadOptions o;
  o.name = one.name;
  o.at = at;
  const auto workload = WorkloadFor(one);
  if (!workload.ok()) return workload.status();
  o.workload = *workload;
  o.backend = one.backend;
  o.service = one.service.empty() ? DefaultService(o.workload) : one.service;
  if (one.reply_text.empty()) return Wrong("--reply-text: an empty reply can't be waited for");
  o.reply_text = one.reply_text;
  o.connections = static_cast<uint32_t>(one.connections);
  o.threads = static_cast<uint32_t>(one.threads);
  const uint64_t usual = o.workload == Workload::kDuplex ? kDuplexDepth : 1;
  o.depth = static_cast<uint32_t>(one.depth > 0 ? one.depth : usual);
  if (o.workload == Workload::kConnect && o.depth > 1) {
    return Wrong("--depth: crr sends one request on each connection; leave one out");
  }
  if (o.service != "reply" && one.reply_text != LoadOptions().reply_text) {
    return Wrong("--reply-text is for --service reply; leave one out");
  }
  o.requests = f.requests;
  o.duration_ns = f.requests > 0 && !f.flags->Given("duration") ? kForeverNs : f.duration_ns;
  o.seed = f.seed;
  o.sizes.set_seed(f.seed);
  o.spin = f.loop.busy_poll;
  const absl::Status loop = SetLoop(f.loop, one.backend, &o.loop);
  if (!loop.ok()) return loop;
  if (f.direct) {
    if (one.backend == "epoll")
      return Wrong("--direct: epoll has no direct descriptors; leave one out");
    if (at.is_unix()) return Wrong("--direct is for TCP and UDP; leave it out");
    o.loop.direct_descriptors = o.connections / o.threads + 1;
  }
  io::ShareMemory(o.threads, &o.loop);
  o.interval_ns = f.interval_ns;
  o.server_pid = static_cast<pid_t>(f.server_pid);
  if (!one.cpus.empty()) {
    auto cpus = ParseCpuList(one.cpus);
    if (!cpus.ok()) return cpus.status();
    o.cpus = *cpus;
  }
  for (const absl::Status& status :
       {SetText(one, &o), CheckService(o), SetSizes(one, &o), SetRate(f, one, &o),
        SetThink(one, &o), SetDelay(one, &o), SetWarmup(f, &o), SetTrouble(f, &o),
        SetConnecting(f, &o), SetRequestsPerConnection(one, &o), SetTimestamps(f, &o)}) {
    if (!status.ok()) return status;
  }
  return o;
}

// "small: -c 8 -s 64" as the flags of a class.
absl::StatusOr<ClassFlags> ParseClass(const LoadFlags& f, const std::string& text) {
  const std::pair<std::string, std::string> parts = absl::StrSplit(text, absl::MaxSplits(':', 1));
  if (!absl::StrContains(text, ':') || parts.first.empty() || absl::StrContains(parts.first, ' ')) {
    return Wrong(absl::StrCat(
        "--mix: '", text, "' has no name; write 'NAME: FLAGS', as in --mix 'small: -c 8 -s 64'"));
  }
  ClassFlags one = f.all;
  one.name = parts.first;
  Flags flags;
  DeclareClass(flags, one);
  bool help = false;
  const std::vector<std::string> args = absl::StrSplit(parts.second, ' ', absl::SkipWhitespace());
  const auto wrong = flags.Parse(absl::StrCat("load --mix ", one.name), args, &help);
  if (wrong) return Wrong(absl::StrCat("--mix ", one.name, ": ", *wrong));
  if (help) return Wrong("--mix: --help is a flag of load itself");
  return one;
}

}  // namespace

void DeclareLoad(Flags& flags, LoadFlags& f) {
  f.flags = &flags;
  flags
      .Positional(
          "ADDRESS", &f.address,
          "the server: 9999 (loopback), HOST:PORT, [IPV6]:PORT, HOST:SERVICE; with udp:// or "
          "mptcp:// before it; unix:PATH, unix-seqpacket:PATH, unix-dgram:PATH, where PATH "
          "may be an abstract @NAME")
      .Group("Load");
  DeclareClass(flags, f.all);
  flags.Group("Mixed load")
      .Repeated("--mix CLASS", &f.mix,
                "a class of connections with flags of its own from the two groups above, and a row "
                "of its own: --mix 'small: -c 8 -s 64' --mix 'bulk: -w upload -c 2'")
      .Group("Run")
      .Duration("-d,--duration TIME", &f.duration_ns, {1'000'000, kForeverNs},
                "how long to measure (10s, 1m30s); default: a --rate plan's length, or 10s")
      .Count("-n,--requests", &f.requests, {1, 1'000'000'000'000},
             "send so many in all, instead of measuring for a time; without a warm-up")
      .Text("--warmup TIME", &f.warmup,
            "load that is not measured, first; auto: until the rate has settled, 1s to 10s")
      .Count("--seed", &f.seed, {1, UINT64_MAX},
             "of all that is random: sizes, arrivals, think times")
      .Group("Connecting")
      .Duration("--ramp TIME", &f.ramp_ns, {1'000'000, 3'600'000'000'000},
                "open the connections evenly over this time")
      .Rate("--connect-rate RATE", &f.connect_rate, {0.01, 1e7},
            "open so many connections a second")
      .Text("--source LIST", &f.sources,
            "addresses to connect from, by turns (127.0.0.1,127.0.0.2): each has all ports")
      .Duration("--connect-timeout TIME", &f.connect_timeout_ns, {1'000'000, 3'600'000'000'000},
                "for all connections to open and be answered once, and for each that is opened "
                "later")
      .Switch("--direct", &f.direct,
              "io_uring: connections take direct descriptors, which RLIMIT_NOFILE bounds for each "
              "thread only")
      .Switch("--i-own-this-target", &f.owned, "load a public address, with its owner's consent")
      .Group("Errors and time-outs")
      .Duration("--timeout TIME", &f.reply_timeout_ns, {1'000'000, 300'000'000'000},
                "give up a request without a reply after this: over datagrams it is lost (default: "
                "1s), on a stream it is an error and ends its connection (default: never); of crr "
                "also a connect")
      .Duration("--deadline TIME", &f.deadline_ns, {1, 300'000'000'000},
                "open loop: what is later than this by the schedule is not sent, and counted")
      .Duration("--reconnect TIME", &f.reconnect_ns, {1, 300'000'000'000},
                "open a broken connection again, this much later (without it, it stays lost); one "
                "that the server closes between requests is no error then")
      .Count("--max-errors", &f.errors_max, {1, UINT64_MAX},
             "end the run after more errors than this; default: never")
      .Percent("--loss-max PERCENT", &f.loss_max, {0, 1},
               "datagrams: the share of requests that may be lost, or answered twice")
      .Group("Measuring")
      .Text("--timestamps N", &f.timestamps,
            "one in N connections has kernel receive timestamps, which tell how long replies "
            "waited for this client; off: none")
      .Count("--server-pid", &f.server_pid, {1, 1 << 22},
             "measure the CPU time of this process, and of those below it; default: who listens at "
             "ADDRESS on this machine")
      .Text("--server-metrics ADDRESS", &f.server_metrics,
            "the server's metrics (HOST:PORT, HOST:PORT/PATH): of `ringside serve --metrics`, what "
            "both ends counted is compared, and a difference is an error; of any Prometheus "
            "exporter, and where nobody's process is known, the server's CPU time")
      .Duration("--interval TIME", &f.interval_ns, {10'000'000, 60'000'000'000},
                "of the series, of --timeseries and --live json");
  DeclareLoopFlags(flags, f.loop);
  flags.Group("Exit code")
      .Repeated("--fail-if CONDITION", &f.fail_if,
                "exit 3 where it holds: 'p99>1ms', 'service.p99.9>5ms', 'rps<100k', 'errors>0', "
                "'silent>0', 'loss>0.1%', 'cpu_us_per_request>5'")
      .Switch("--strict", &f.strict, "exit 3 where the run accuses itself")
      .Group("Output")
      .Text("--json FILE", &f.json, "the result as JSON, into a file or - for standard output")
      .Text("--timeseries FILE", &f.timeseries, "one line of JSON an interval, as they end")
      .Text("--hgrm FILE", &f.hgrm, "the percentiles as HdrHistogram's plotters read them")
      .Choice("--live", &f.live, {"auto", "panel", "json", "off"},
              "the run as it goes, on standard error: auto is a panel on a terminal")
      .Switch("-q,--quiet", &f.quiet, "no progress and no table")
      .Example("ringside load", "64 connections of 64 B to 127.0.0.1:9999, 10 s")
      .Example("ringside load 9999 --rate 100k --arrivals poisson --fail-if 'p99>1ms'",
               "open loop: response times as users feel them")
      .Example("ringside load 9999 --rate 10k:200k/60s --timeseries ramp.jsonl",
               "latency against load, in one run")
      .Example(
          "ringside load 6379 --request 'PING\\r\\n' --reply-until '\\r\\n' --reply-is "
          "'+PONG\\r\\n'",
          "Redis, with every reply verified")
      .Example("ringside load udp://127.0.0.1:9999", "datagrams: lost ones are counted");
}

absl::StatusOr<std::vector<LoadOptions>> LoadClasses(const LoadFlags& f) {
  const auto at = ChooseTarget("load", f.address, f.owned);
  if (!at.ok()) return at.status();
  if (!at->is_unix() && at->port() == 0) return Wrong("port 0 is not a port to connect to");
  if (f.server_pid > 0) {
    const auto cpu = stats::ProcessCpuNanos(static_cast<pid_t>(f.server_pid));
    if (!cpu.ok()) return Wrong("--server-pid", cpu.status());
  }
  std::vector<LoadOptions> classes;
  if (f.mix.empty()) {
    auto options = ClassOptions(f, f.all, *at);
    if (!options.ok()) return options.status();
    classes.push_back(*std::move(options));
    return classes;
  }
  for (const std::string& text : f.mix) {
    const auto one = ParseClass(f, text);
    if (!one.ok()) return one.status();
    const auto same = [&](const LoadOptions& other) { return other.name == one->name; };
    if (std::any_of(classes.begin(), classes.end(), same)) {
      return Wrong(
          absl::StrCat("--mix: there are two classes '", one->name, "'; name one otherwise"));
    }
    auto options = ClassOptions(f, *one, *at);
    if (!options.ok()) {
      return Wrong(
          absl::StrCat("--mix ", one->name, ": ", std::string(options.status().message())));
    }
    classes.push_back(*std::move(options));
  }
  return classes;
}

}  // namespace cli
