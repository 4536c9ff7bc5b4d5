#include "loadgen/source_ports.h"

#include <algorithm>
#include <charconv>
#include <fstream>
#include <iterator>
#include <optional>
#include <string>
#include <system_error>

#include "absl/strings/str_cat.h"

namespace loadgen {
namespace {

constexpr char kRangePath[] = "/proc/sys/net/ipv4/ip_local_port_range";
constexpr char kReservedPath[] = "/proc/sys/net/ipv4/ip_local_reserved_ports";

std::optional<uint16_t> ParsePort(std::string_view text) {
  uint16_t port = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  if (error != std::errc() || end != text.data() + text.size() || port == 0) return std::nullopt;
  return port;
}

// "LOW-HIGH", or a single port.
std::optional<std::pair<uint16_t, uint16_t>> ParseReserved(std::string_view text) {
  const size_t dash = text.find('-');
  const auto low = ParsePort(text.substr(0, dash));
  const auto high = dash == text.npos ? low : ParsePort(text.substr(dash + 1));
  if (!low || !high || *low > *high) return std::nullopt;
  return std::pair(*low, *high);
}

// The parts of `text` between any of `separators`, empty ones left out.
std::vector<std::string_view> Split(std::string_view text, std::string_view separators) {
  std::vector<std::string_view> parts;
  while (true) {
    text.remove_prefix(std::min(text.find_first_not_of(separators), text.size()));
    if (text.empty()) return parts;
    parts.push_back(text.substr(0, text.find_first_of(separators)));
    text.remove_prefix(parts.back().size());
  }
}

absl::Status Unreadable(const char* what, std::string_view text) {
  return absl::InvalidArgumentError(
      absl::StrCat("net.ipv4.", what, " reads \"", std::string(text.substr(0, text.find('\n'))),
                   "\", which is no list of ports; see: sysctl net.ipv4.", what));
}

absl::StatusOr<std::string> ReadSysctl(const char* path) {
  std::ifstream file(path);
  if (!file) {
    return absl::NotFoundError(
        absl::StrCat(path, " can't be read; is /proc mounted, and the kernel one with IPv4?"));
  }
  return std::string(std::istreambuf_iterator<char>(file), {});
}

// All addresses of the destination's family.
io::Endpoint Wildcard(const io::Endpoint& to) {
  if (to.family() == AF_INET) {
    const sockaddr_in any = {.sin_family = AF_INET};
    return {to.transport(), reinterpret_cast<const sockaddr*>(&any), sizeof(any)};
  }
  const sockaddr_in6 any = {.sin6_family = AF_INET6};
  return {to.transport(), reinterpret_cast<const sockaddr*>(&any), sizeof(any)};
}

absl::Status CheckSource(const io::Endpoint& source, const io::Endpoint& to) {
  if (source.family() == to.family() && source.transport() == to.transport()) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrCat("the source ", source.ToString(), " is of another kind than the destination ",
                   to.ToString(), "; choose one of the same family and transport"));
}

}  // namespace

std::vector<uint16_t> LocalPorts::Usable() const {
  std::vector<uint16_t> usable;
  for (uint32_t port = first; port <= last; ++port) {
    const bool is_reserved = std::any_of(reserved.begin(), reserved.end(), [port](const auto& r) {
      return r.first <= port && port <= r.second;
    });
    if (!is_reserved) usable.push_back(static_cast<uint16_t>(port));
  }
  return usable;
}

absl::StatusOr<LocalPorts> ParseLocalPorts(std::string_view range, std::string_view reserved) {
  LocalPorts ports;
  const std::vector<std::string_view> ends = Split(range, " \t\n");
  const auto first = ends.size() == 2 ? ParsePort(ends[0]) : std::nullopt;
  const auto last = ends.size() == 2 ? ParsePort(ends[1]) : std::nullopt;
  if (!first || !last || *first > *last) return Unreadable("ip_local_port_range", range);
  ports.first = *first;
  ports.last = *last;
  for (const std::string_view part : Split(reserved, ",\n")) {
    const auto bounds = ParseReserved(part);
    if (!bounds) return Unreadable("ip_local_reserved_ports", reserved);
    ports.reserved.push_back(*bounds);
  }
  return ports;
}

std::string_view MorePorts() {
  return "more addresses (--source 127.0.0.1,127.0.0.2), a wider range (sysctl -w "
         "net.ipv4.ip_local_port_range='1024 65535'), sysctl -w net.ipv4.tcp_tw_reuse=1";
}

std::string OutOfPorts(const LocalPorts& ports, size_t sources, bool each_once) {
  const size_t usable = ports.Usable().size(), addresses = std::max<size_t>(1, sources);
  const std::string_view more = MorePorts();
  return absl::StrCat(
      "no port was left to connect from: net.ipv4.ip_local_port_range is ", ports.first, " ",
      ports.last, ", which is ", usable * addresses, " ports of ",
      addresses == 1 ? std::string("one address") : absl::StrCat(addresses, " addresses"),
      each_once ? ", and each connection that we close keeps its own for a while (TIME_WAIT)" : "",
      "; use ", absl::string_view(more.data(), more.size()),
      each_once ? ", or a lower --rate" : ", or fewer connections (-c)");
}

absl::StatusOr<LocalPorts> ReadLocalPorts() {
  const auto range = ReadSysctl(kRangePath);
  if (!range.ok()) return range.status();
  const auto reserved = ReadSysctl(kReservedPath);
  if (!reserved.ok()) return reserved.status();
  return ParseLocalPorts(*range, *reserved);
}

absl::StatusOr<SourcePlan> SourcePlan::Make(const Options& options) {
  SourcePlan plan;
  plan.automatic_ = options.sources.empty();
  for (const io::Endpoint& source : options.sources) {
    const absl::Status fits = CheckSource(source, options.to);
    if (!fits.ok()) return fits;
    const io::Endpoint address = source.WithPort(0);
    const bool twice =
        std::find(plan.sources_.begin(), plan.sources_.end(), address) != plan.sources_.end();
    if (!twice) plan.sources_.push_back(address);
  }
  if (plan.automatic_) plan.sources_.push_back(Wildcard(options.to));
  std::vector<uint16_t> ports = options.ports.Usable();
  // A socket that connects to its own address reaches itself (RFC 9293, 3.5: simultaneous open).
  std::erase(ports, options.to.port());
  for (size_t i = options.thread; i < ports.size(); i += options.threads) {
    plan.ports_.push_back(ports[i]);
  }
  plan.pairs_in_all_ = ports.size() * plan.sources_.size();
  plan.states_.resize(plan.ports_.size() * plan.sources_.size(), State::kFree);
  plan.free_ = plan.states_.size();
  if (plan.free_ > 0) plan.next_ = options.seed % plan.states_.size();
  return plan;
}

bool SourcePlan::Pays(uint64_t connections, size_t sources, const LocalPorts& ports) {
  return connections > ports.Usable().size() * std::max<size_t>(sources, 1) / 4;
}

absl::StatusOr<io::Endpoint> SourcePlan::Next() {
  if (free_ == 0) return Exhausted();
  while (states_[next_] != State::kFree) next_ = (next_ + 1) % states_.size();
  const size_t n = next_;
  states_[n] = State::kInUse;
  --free_;
  next_ = (n + 1) % states_.size();
  return sources_[n % sources_.size()].WithPort(ports_[n / sources_.size()]);
}

void SourcePlan::Return(const io::Endpoint& source) {
  states_[IndexOf(source)] = State::kFree;
  ++free_;
}

void SourcePlan::Taken(const io::Endpoint& source) {
  states_[IndexOf(source)] = State::kTaken;
  ++taken_;
}

void SourcePlan::ForgetTaken() {
  std::replace(states_.begin(), states_.end(), State::kTaken, State::kFree);
  free_ += taken_;
  taken_ = 0;
}

size_t SourcePlan::IndexOf(const io::Endpoint& source) const {
  const size_t port =
      std::lower_bound(ports_.begin(), ports_.end(), source.port()) - ports_.begin();
  const size_t address =
      std::find(sources_.begin(), sources_.end(), source.WithPort(0)) - sources_.begin();
  return port * sources_.size() + address;
}

absl::Status SourcePlan::Exhausted() const {
  const size_t sources = sources_.size();
  return absl::ResourceExhaustedError(absl::StrCat(
      "no port is left to connect from: ",
      automatic_ ? std::string("the machine's own address")
                 : absl::StrCat(sources, sources == 1 ? " source address" : " source addresses"),
      " and net.ipv4.ip_local_port_range allow ", pairs_in_all_, " connections",
      taken_ > 0 ? absl::StrCat(", of which others have ", taken_, " of this thread's") : "",
      "; add source addresses with --source, or widen the range: sysctl "
      "net.ipv4.ip_local_port_range=\"1024 65535\""));
}

}  // namespace loadgen
