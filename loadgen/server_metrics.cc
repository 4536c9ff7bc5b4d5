#include "loadgen/server_metrics.h"

#include <time.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <map>
#include <optional>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "io/http_get.h"
#include "io/resolve.h"

namespace loadgen {
namespace {

int64_t MonotonicNanos() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1'000'000'000 + now.tv_nsec;
}

bool IsNameCharacter(char c) { return absl::ascii_isalnum(c) || c == '_' || c == ':'; }

// Reads a line from left to right.
class LineReader {
 public:
  explicit LineReader(std::string_view line) : rest_(line) {}

  void SkipBlanks() {
    while (!rest_.empty() && (rest_[0] == ' ' || rest_[0] == '\t')) rest_.remove_prefix(1);
  }

  bool Take(char c) {
    SkipBlanks();
    if (rest_.empty() || rest_[0] != c) return false;
    rest_.remove_prefix(1);
    return true;
  }

  std::string Name() {
    SkipBlanks();
    const auto end = std::find_if_not(rest_.begin(), rest_.end(), IsNameCharacter);
    std::string name(rest_.begin(), end);
    rest_.remove_prefix(name.size());
    return name;
  }

  // A number up to the next blank: "1", "+Inf", "NaN", "1e-7".
  template <class T>
  bool Number(T* number) {
    SkipBlanks();
    const std::string_view word = rest_.substr(0, rest_.find_first_of(" \t"));
    const char* begin = word.data() + (word.starts_with('+') ? 1 : 0);
    const char* const end = word.data() + word.size();
    const auto [read, error] = std::from_chars(begin, end, *number);
    rest_.remove_prefix(word.size());
    return error == std::errc() && read == end;
  }

  bool AtEnd() {
    SkipBlanks();
    return rest_.empty();
  }

  // "…" with \\, \" and \n.
  std::optional<std::string> Quoted() {
    if (!Take('"')) return std::nullopt;
    std::string text;
    while (!rest_.empty()) {
      char c = rest_[0];
      rest_.remove_prefix(1);
      if (c == '"') return text;
      if (c == '\\') {
        if (rest_.empty()) return std::nullopt;
        c = rest_[0] == 'n' ? '\n' : rest_[0];
        rest_.remove_prefix(1);
      }
      text.push_back(c);
    }
    return std::nullopt;
  }

 private:
  std::string_view rest_;
};

std::optional<MetricSample> ParseLine(std::string_view line) {
  LineReader reader(line);
  MetricSample sample;
  sample.name = reader.Name();
  if (sample.name.empty() || absl::ascii_isdigit(sample.name[0])) return std::nullopt;
  if (reader.Take('{')) {
    while (!reader.Take('}')) {
      std::string label = reader.Name();
      if (label.empty() || !reader.Take('=')) return std::nullopt;
      auto value = reader.Quoted();
      if (!value) return std::nullopt;
      sample.labels.emplace_back(std::move(label), *std::move(value));
      if (reader.Take(',')) continue;  // one may also follow the last
      if (!reader.Take('}')) return std::nullopt;
      break;
    }
  }
  if (!reader.Number(&sample.value)) return std::nullopt;
  int64_t time_ms;
  if (!reader.AtEnd() && (!reader.Number(&time_ms) || !reader.AtEnd())) return std::nullopt;
  return sample;
}

uint64_t Count(double value) {
  constexpr double kMost = 9e18;  // as far as llround(3) goes; NaN is no count either
  return value > 0 && value < kMost ? static_cast<uint64_t>(std::llround(value)) : 0;
}

// Calls f(sample) for each of a page. Lines that are none are left out.
template <class F>
void ForEachSample(std::string_view page, F&& f) {
  while (!page.empty()) {
    std::string_view line = page.substr(0, page.find('\n'));
    page.remove_prefix(std::min(page.size(), line.size() + 1));
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (auto sample = ParseLine(line)) f(*std::move(sample));
  }
}

// What is picked so far.
class Picker {
 public:
  void Add(const MetricSample& sample) {
    const std::string& name = sample.name;
    const bool finite = std::isfinite(sample.value);
    if (name == "process_cpu_seconds_total" && finite) process_ = sample.value;
    if (name == "ringside_cpu_seconds_total" && finite) {
      workers_ = std::max(0.0, workers_) + sample.value;
    }
    if (name == "ringside_info") metrics_.is_ringside = true;
    if (name == "ringside_uptime_seconds" && finite) metrics_.uptime_s = sample.value;
    if (name == "ringside_connections_accepted_total") metrics_.accepted += Count(sample.value);
    if (name == "ringside_connections") metrics_.open += Count(sample.value);
    if (name == "ringside_received_bytes_total") metrics_.received_bytes += Count(sample.value);
    if (name == "ringside_sent_bytes_total") metrics_.sent_bytes += Count(sample.value);
    if (name == "ringside_truncated_messages_total") metrics_.truncated += Count(sample.value);
    if (name == "ringside_requests_total") {
      if (auto* listener = ListenerOf(sample)) listener->requests += Count(sample.value);
    }
    if (name == "ringside_listener_info") {
      if (auto* listener = ListenerOf(sample)) listener->unit = sample.Label("unit");
    }
  }

  absl::StatusOr<ServerMetrics> Finish() {
    if (too_many_) {
      return absl::ResourceExhaustedError(
          absl::StrCat("the page of metrics names more than ", kListenersMax, " listeners"));
    }
    metrics_.cpu_seconds = workers_ >= 0 ? workers_ : process_;
    return std::move(metrics_);
  }

 private:
  // nullptr: there are too many.
  ServerMetrics::Listener* ListenerOf(const MetricSample& sample) {
    const std::pair<std::string, std::string> key(sample.Label("listener"),
                                                  sample.Label("service"));
    const auto found = listeners_.find(key);
    if (found != listeners_.end()) return &metrics_.listeners[found->second];
    too_many_ = too_many_ || metrics_.listeners.size() == kListenersMax;
    if (too_many_) return nullptr;
    listeners_.emplace(key, metrics_.listeners.size());
    metrics_.listeners.push_back({.address = key.first, .service = key.second});
    return &metrics_.listeners.back();
  }

  ServerMetrics metrics_;
  double process_ = -1, workers_ = -1;
  std::map<std::pair<std::string, std::string>, size_t> listeners_;  // by address and service
  bool too_many_ = false;
};

}  // namespace

std::string Shown(std::string_view said) {
  constexpr size_t kMost = 200;
  std::string shown;
  for (const char c : said.substr(0, kMost)) {
    if (absl::ascii_isprint(static_cast<unsigned char>(c)) && c != '\\') {
      shown.push_back(c);
    } else {
      absl::StrAppend(&shown, "\\x", absl::Hex(static_cast<unsigned char>(c), absl::kZeroPad2));
    }
  }
  if (said.size() > kMost) shown += "...";
  return shown;
}

absl::StatusOr<MetricsAddress> MetricsAddress::Parse(const std::string& text) {
  MetricsAddress address;
  std::string host = text;
  constexpr char kScheme[] = "http://";
  if (absl::StartsWith(host, "https://")) {
    return absl::InvalidArgumentError("https is not spoken here; write http://, or HOST:PORT");
  }
  if (absl::StartsWith(host, kScheme)) host.erase(0, sizeof(kScheme) - 1);
  // A Unix path is all path; with another transport before it, the address has "//" itself.
  const size_t scheme = host.find("://");
  const size_t path = absl::StartsWith(host, "unix")
                          ? std::string::npos
                          : host.find('/', scheme == std::string::npos ? 0 : scheme + 3);
  if (path != std::string::npos) {
    if (path + 1 < host.size()) address.path = host.substr(path);
    host.resize(path);
  }
  const auto addresses = io::ResolveAll(host);
  if (!addresses.ok()) return addresses.status();
  const io::Endpoint* at = &addresses->front();
  if (at->keeps_messages()) {
    return absl::InvalidArgumentError(
        absl::StrCat(at->ToString(),
                     " is no stream, which HTTP needs; write HOST:PORT or "
                     "unix:PATH"));
  }
  if (!at->is_unix() && at->port() == 0) {
    return absl::InvalidArgumentError("port 0 is not a port to connect to; write HOST:PORT");
  }
  address.at = (*addresses)[io::FirstThatAnswers(*addresses).index];
  return address;
}

std::string_view MetricSample::Label(std::string_view label) const {
  for (const auto& [its_name, its_value] : labels) {
    if (its_name == label) return its_value;
  }
  return "";
}

std::vector<MetricSample> ParseMetrics(std::string_view page) {
  std::vector<MetricSample> samples;
  ForEachSample(page, [&](MetricSample sample) { samples.push_back(std::move(sample)); });
  return samples;
}

absl::StatusOr<ServerMetrics> PickMetrics(std::string_view page) {
  Picker picker;
  ForEachSample(page, [&](const MetricSample& sample) { picker.Add(sample); });
  return picker.Finish();
}

absl::StatusOr<ServerMetrics> ReadServerMetrics(const MetricsAddress& from, int64_t timeout_ns) {
  const int64_t begin = MonotonicNanos();
  const auto page = io::HttpGet(from.at, from.path, {.timeout_ns = timeout_ns});
  if (!page.ok()) return page.status();
  const int64_t end = MonotonicNanos();
  auto picked = PickMetrics(*page);
  if (!picked.ok()) return picked.status();
  ServerMetrics metrics = *std::move(picked);
  if (!metrics.is_ringside && metrics.cpu_seconds < 0) {
    return absl::FailedPreconditionError(absl::StrCat(
        from.at.ToString(), from.path,
        " has neither ringside_info nor process_cpu_seconds_total: give the address of `ringside "
        "serve --metrics`, or of an exporter that tells the server's CPU time"));
  }
  metrics.at_ns = begin + (end - begin) / 2;
  return metrics;
}

}  // namespace loadgen
