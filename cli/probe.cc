#include <sys/socket.h>

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "cli/common.h"
#include "cli/outputs.h"
#include "cli/signals.h"
#include "cli/subcommands.h"
#include "cli/target_guard.h"
#include "cli/version.h"
#include "io/endpoint.h"
#include "io/threads.h"
#include "probe/listeners.h"
#include "probe/ports.h"
#include "probe/probe_json.h"
#include "probe/scan.h"
#include "report/files.h"
#include "report/json_text.h"
#include "report/text.h"
#include "stats/socket_diag.h"

namespace cli {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kProbe = "probe";
constexpr uint64_t kInFlightHere = 1024, kInFlightElsewhere = 256, kInFlightMax = 50'000;
constexpr uint16_t kLastPort = 65535, kLastPrivileged = 1024;
constexpr int64_t kSecondNs = 1'000'000'000;

struct ProbeFlags {
  std::string address = "127.0.0.1", ports, backend = "auto", json;
  bool syn = false, listeners = false, owned = false, quiet = false;
  uint64_t in_flight = 0, retries = 0, peers = 0;
  int64_t timeout_ns = kSecondNs;
  double rate = 0;
  const Flags* flags = nullptr;  // what was given
};

// Where to look, and for what.
struct Target {
  io::Endpoint at;
  bool here = false;
  std::vector<uint16_t> ports;
};

absl::Status Usage(const std::string& sentence) { return absl::InvalidArgumentError(sentence); }

// Whether an address as typed names a port: "9999", "host:80", "[::1]:80".
bool NamesPort(const std::string& text) {
  if (text.find_first_not_of("0123456789") == std::string::npos) return true;
  if (text.front() == '[') return text.find("]:") != std::string::npos;
  return std::count(text.begin(), text.end(), ':') == 1;
}

// As io::Resolve() reads it, whose addresses have a port.
std::string WithAnyPort(const std::string& text) {
  const bool bare_ipv6 = text.front() != '[' && std::count(text.begin(), text.end(), ':') > 1;
  return bare_ipv6 ? absl::StrCat("[", text, "]:1") : absl::StrCat(text, ":1");
}

// 0.0.0.0 and [::] are where Linux connects to itself.
io::Endpoint WithoutWildcard(const io::Endpoint& at) {
  if (!at.is_wildcard()) return at;
  const bool ipv6 = at.family() == AF_INET6 && !at.dual_stack();
  const auto loopback = io::Resolve(absl::StrCat(ipv6 ? "[::1]:" : "127.0.0.1:", at.port()));
  return loopback.ok() ? *loopback : at;
}

// A port that is named can be asked which address of a name answers; else the first is probed.
absl::StatusOr<io::Endpoint> ChooseAddress(const std::string& text, bool named_port, bool owned) {
  if (named_port) return ChooseTarget(kProbe, text, owned);
  const auto at = io::Resolve(WithAnyPort(text));
  if (!at.ok()) return at.status();
  const absl::Status allowed = CheckTarget(*at, owned);
  if (!allowed.ok()) return allowed;
  return *at;
}

absl::StatusOr<io::Endpoint> ParseTarget(const std::string& text, bool named_port, bool owned) {
  if (text.empty()) return Usage("the address is empty; write a host or an IP address");
  for (const char* other : {"unix", "udp:", "mptcp:", "tcp:"}) {
    if (text.starts_with(other)) {
      return Usage(absl::StrCat("'", text,
                                "': TCP ports are what is probed; write a host or an IP "
                                "address (see --listeners for other sockets of this machine)"));
    }
  }
  const auto at = ChooseAddress(text, named_port, owned);
  if (!at.ok()) return at.status();
  if (at->port() == 0) return Usage(absl::StrCat("'", text, "': port 0 is no port to probe"));
  return WithoutWildcard(*at);
}

absl::StatusOr<Target> MakeTarget(const ProbeFlags& f) {
  const bool named_port = !f.address.empty() && NamesPort(f.address);
  auto at = ParseTarget(f.address, named_port, f.owned);
  if (!at.ok()) return at.status();
  Target target = {.at = *at, .here = IsThisMachine(*at), .ports = {}};
  if (named_port && f.flags->Given("--ports")) {
    return Usage(absl::StrCat("'", f.address, "' names a port, and --ports others; give one"));
  }
  if (named_port) {
    target.ports = {at->port()};
  } else if (f.flags->Given("--ports")) {
    auto ports = probe::ParsePorts(f.ports);
    if (!ports.ok()) return Usage(absl::StrCat("--ports: ", std::string(ports.status().message())));
    target.ports = *std::move(ports);
  } else {
    target.ports = probe::PortRange(1, target.here ? kLastPort : kLastPrivileged);
  }
  return target;
}

absl::Status CheckFlags(const ProbeFlags& f) {
  if (f.syn && f.flags->Given("--backend")) {
    return Usage("--backend has no meaning with --syn: a raw socket is used; leave one out");
  }
  if (!f.syn && f.flags->Given("--retries")) {
    return Usage(
        "--retries has no meaning without --syn: connect(2) repeats by itself within "
        "--timeout; add --syn, or leave it out");
  }
  if (!f.listeners) return absl::OkStatus();
  for (const char* name : {"ADDRESS", "--ports", "--syn", "--backend", "--in-flight", "--timeout",
                           "--rate", "--retries", "--i-own-this-target"}) {
    if (f.flags->Given(name)) {
      return Usage(absl::StrCat(name,
                                " has no meaning with --listeners, which probes no port; "
                                "leave one out"));
    }
  }
  return absl::OkStatus();
}

probe::ScanOptions OptionsFor(const ProbeFlags& f, const Target& target) {
  const uint64_t in_flight = target.here ? kInFlightHere : kInFlightElsewhere;
  return {.at = target.at,
          .ports = target.ports,
          .backend = f.backend,
          .in_flight = static_cast<uint32_t>(
              std::min<uint64_t>(f.in_flight > 0 ? f.in_flight : in_flight, target.ports.size())),
          .timeout_ns = f.timeout_ns,
          .rate = f.rate,
          .retries = static_cast<uint32_t>(f.retries)};
}

// Who listens. Where it can't be told, the probe is worth something without.
void LookForListeners(const probe::ListenerQuery& query, probe::Report* report) {
  auto found = probe::FindListening(query);
  if (!found.ok()) {
    report->listeners_problem = std::string(found.status().message());
    return;
  }
  report->listeners = *std::move(found);
}

int Tell(const ProbeFlags& f, const probe::Report& report, report::OutputFile& file) {
  Json json = probe::ToJson(report);
  json["version"] = Version();
  const absl::Status written = file.Write(report::JsonText(json, 2) + "\n");
  if (!f.quiet && f.json != "-") Print(kProbe, report::ProbeText(json));
  return written.ok() ? kExitOk : Fail(kProbe, written, kExitFailed);
}

int RunListeners(const ProbeFlags& f, report::OutputFile& file) {
  using stats::SocketProtocol;
  probe::Report report = {.host = "this machine", .here = true};
  LookForListeners(
      {.protocols = {SocketProtocol::kTcp, SocketProtocol::kUdp, SocketProtocol::kUnix},
       .peers_max = f.peers},
      &report);
  if (!report.listeners) return Fail(kProbe, report.listeners_problem, kExitFailed);
  return Tell(f, report, file);
}

absl::Status AllowDescriptors(const probe::ScanOptions& options) {
  constexpr uint64_t kOtherDescriptors = 48;
  const absl::Status allowed = io::AllowDescriptors(options.in_flight + kOtherDescriptors);
  if (allowed.ok()) return allowed;
  return absl::ResourceExhaustedError(
      absl::StrCat("--in-flight ", options.in_flight, ": ", std::string(allowed.message())));
}

// Whether a port answered that nobody listened on when the scan began.
bool HasUnlisted(const probe::Report& report) {
  return std::any_of(
      report.scan.ports.begin(), report.scan.ports.end(), [&](const probe::PortResult& port) {
        return port.state == probe::PortState::kOpen &&
               probe::ListenersAt(report.options->at.WithPort(port.port), *report.listeners)
                   .empty();
      });
}

int RunScan(const ProbeFlags& f, Target target, report::OutputFile& file) {
  probe::Report report = {.host = f.address, .half_open = f.syn, .here = target.here};
  report.options = OptionsFor(f, target);
  probe::ScanOptions& options = *report.options;
  if (!f.syn) {
    const absl::Status backend = UseBackend(kProbe, &options.backend, &options.backend_fallback);
    if (!backend.ok()) return Fail(kProbe, backend, kExitSkipped);
    const absl::Status allowed = AllowDescriptors(options);
    if (!allowed.ok()) return Fail(kProbe, allowed, kExitFailed);
  }
  const probe::ListenerQuery query = {
      .protocols = {stats::SocketProtocol::kTcp},
      .ports = target.ports.size() <= stats::kPortsMax ? target.ports : std::vector<uint16_t>(),
      .peers_max = f.peers};
  // Before: our own connections would stand in the accept queues of who doesn't accept.
  if (target.here) LookForListeners(query, &report);
  Signals signals;
  int signal = 0;
  options.stop = [&] { return (signal = signals.Take()) != 0; };
  auto scan = f.syn ? probe::SynScan(options) : probe::ConnectScan(options);
  if (f.backend == "auto" && !f.syn &&
      FallBack(kProbe, scan.status(), &options.backend, &options.backend_fallback)) {
    scan = probe::ConnectScan(options);
  }
  if (!scan.ok()) return Fail(kProbe, scan.status(), StartFailed(scan.status()));
  report.scan = *std::move(scan);
  if (report.listeners && HasUnlisted(report)) LookForListeners(query, &report);
  const int told = Tell(f, report, file);
  if (told != kExitOk) return told;
  return signal != 0 ? ExitBySignal(signal) : kExitOk;
}

int Run(const ProbeFlags& f) {
  const absl::Status checked = CheckFlags(f);
  if (!checked.ok()) return Fail(kProbe, checked, kExitUsage);
  auto target = f.listeners ? Target() : MakeTarget(f);
  if (!target.ok()) return Fail(kProbe, target.status(), kExitUsage);
  report::OutputFile file;
  const absl::Status opened = OpenOutputs(kProbe, {{"--json", f.json, &file}});
  if (!opened.ok()) return OutputsFailed(kProbe, opened);
  return f.listeners ? RunListeners(f, file) : RunScan(f, *std::move(target), file);
}

void DeclareProbe(Flags& flags, ProbeFlags& f) {
  f.flags = &flags;
  flags.Group("What to probe")
      .Positional("ADDRESS", &f.address,
                  "a host, an IPv4 or IPv6 address; with a port (host:22, [::1]:22, 22), that port "
                  "only")
      .Text("-p,--ports LIST", &f.ports,
            "ports, ranges and services: 22,80-90,https; by default 1-65535 of this machine, "
            "1-1024 of another")
      .Switch("--listeners", &f.listeners,
              "probe nothing: list this machine's TCP, UDP and Unix sockets that wait for peers")
      .Switch("--i-own-this-target", &f.owned, "probe a public address, with its owner's consent")
      .Group("How")
      .Choice("-b,--backend", &f.backend, BackendChoices(),
              "the event loop that connects; auto: io_uring where it runs")
      .Switch(
          "--syn", &f.syn,
          "half-open: one SYN a port from a raw socket (CAP_NET_RAW); servers see no connection")
      .Count("--in-flight", &f.in_flight, {.min = 1, .max = kInFlightMax},
             "ports waited for at once; by default 1024 on this machine, 256 on another")
      .Duration("--timeout", &f.timeout_ns, {.min = 1'000'000, .max = 600 * kSecondNs},
                "a port that has not answered by then is filtered")
      .Count("--retries", &f.retries, {.min = 0, .max = 3},
             "with --syn: how often a silent port is asked again")
      .Rate("--rate", &f.rate, {.min = 0.1, .max = 1e7},
            "ports asked a second; by default as --in-flight allows")
      .Group("Output")
      .Count("--connections", &f.peers, {.min = 0, .max = 1000},
             "name so many peers of each listener of this machine")
      .Text("--json FILE", &f.json, "the result as JSON, into a file or - for standard output")
      .Switch("-q,--quiet", &f.quiet, "no table")
      .Example("ringside probe", "each TCP port of 127.0.0.1: which are open, how fast, whose")
      .Example("ringside probe 192.168.1.7 --ports 22,80-90,https", "some ports of another machine")
      .Example("ringside probe ::1 --syn", "by half-open probes, as root")
      .Example("ringside probe --listeners --connections 3",
               "who listens here, with what backlog, and who is connected");
}

}  // namespace

Subcommand ProbeCommand() {
  auto f = std::make_shared<ProbeFlags>();
  return {.name = kProbe,
          .summary = "which TCP ports answer, how fast; and who listens on this machine",
          .declare = [f](Flags& flags) { DeclareProbe(flags, *f); },
          .run = [f] { return Run(*f); }};
}

}  // namespace cli
