#include "loadgen/reconciliation.h"

#include <algorithm>
#include <optional>

#include "absl/strings/str_cat.h"

namespace loadgen {
namespace {

using Listener = ServerMetrics::Listener;

// All classes' counts.
struct Counts {
  uint64_t opened = 0, requests = 0, sent = 0, received = 0;
  uint64_t lost = 0;        // requests, over datagrams
  uint64_t lost_bytes = 0;  // that these had at most
};

Counts Sum(const std::vector<LoadOptions>& classes, const std::vector<LoadResult>& results) {
  Counts sum;
  for (size_t i = 0; i < results.size(); ++i) {
    const LoadResult& result = results[i];
    sum.opened += result.connections.opened;
    sum.requests += result.requests_total;
    sum.sent += result.bytes.sent;
    sum.received += result.bytes.received;
    sum.lost += result.datagrams.lost;
    const uint64_t largest = std::max<uint64_t>(
        {classes[i].message_bytes, classes[i].sizes.Max(), classes[i].text.request.size()});
    sum.lost_bytes += result.datagrams.lost * largest;
  }
  return sum;
}

bool SameTransport(io::Transport a, io::Transport b) {
  const auto plain = [](io::Transport t) {
    return t == io::Transport::kMptcp ? io::Transport::kTcp : t;
  };
  return plain(a) == plain(b);
}

bool SameAddress(const io::Endpoint& a, const io::Endpoint& b) {
  return io::AddressText(a.address(), a.size()) == io::AddressText(b.address(), b.size());
}

// The listener that somebody who connects to `at` reaches: of this address, or of all addresses
// with this port, or, where the address is another one on the way there, the only one that it can
// be.
const Listener* FindListener(const ServerMetrics& server, const LoadOptions& load) {
  const Listener *wildcard = nullptr, *alike = nullptr;
  size_t alikes = 0;
  for (const Listener& listener : server.listeners) {
    if (listener.address == load.at.ToString()) return &listener;
    const auto at = io::ParseNumeric(listener.address);  // nothing is looked up that it names
    if (!at.ok() || !SameTransport(at->transport(), load.at.transport())) continue;
    const bool same_port = at->port() == load.at.port();
    if (SameAddress(*at, load.at)) return &listener;  // of MPTCP, by TCP or the other way
    if (same_port && at->is_wildcard()) wildcard = &listener;
    if (listener.service != load.service) continue;
    alike = &listener;
    ++alikes;
  }
  if (wildcard != nullptr) return wildcard;
  return alikes == 1 ? alike : nullptr;
}

// Whether the listener counts this class's requests as the class does.
bool SameUnit(const Listener& listener, const LoadOptions& load) {
  if (listener.service != load.service) return false;
  if (ExchangeOf(load.service) == services::Exchange::kSource) return false;
  if (ExchangeOf(load.service) == services::Exchange::kGreeting) return true;
  if (load.service == "counter" || load.at.is_datagram()) return true;
  if (listener.unit == "receive") return load.at.keeps_messages();
  return !load.sizes.varies() && listener.unit == absl::StrCat(load.message_bytes, " bytes");
}

// What isn't the same, where that is so; and the mend, where there is one.
std::string OtherUnit(const Listener& listener, const LoadOptions& load) {
  if (listener.service != load.service) {
    return absl::StrCat("the server's are of ", Shown(listener.service), ", not of ", load.service);
  }
  const bool sized = !load.sizes.varies() && load.workload != Workload::kDownload;
  return absl::StrCat(
      "the server counts another unit",
      listener.unit.empty() ? "" : absl::StrCat(" (", Shown(listener.unit), ")"),
      sized ? absl::StrCat("; serve --size ", load.message_bytes, " counts these") : "");
}

// Why such a run can't be compared; "" where it can.
std::string WhyNot(const std::vector<LoadResult>& results) {
  for (const LoadResult& result : results) {
    if (result.errors.total() > 0) return "the run had errors, which are differences themselves";
    if (result.interrupted) return "the run was interrupted";
  }
  return "";
}

bool BeganAnew(const ServerMetrics& before, const ServerMetrics& after) {
  return after.uptime_s < before.uptime_s || after.accepted < before.accepted ||
         after.received_bytes < before.received_bytes || after.sent_bytes < before.sent_bytes;
}

class Comparison {
 public:
  Comparison(const std::vector<LoadOptions>& classes, const std::vector<LoadResult>& results,
             const ServerMetrics& before, const ServerMetrics& after)
      : classes_(classes),
        client_(Sum(classes, results)),
        before_(before),
        after_(after),
        datagrams_(classes.front().at.is_datagram()) {}

  Reconciliation Run() {
    Connections();
    Requests();
    Bytes();
    return std::move(found_);
  }

 private:
  void Differs(std::string sentence) { found_.differences.push_back(std::move(sentence)); }

  void Connections() {
    if (datagrams_) return;
    found_.checked.push_back("connections");
    const uint64_t accepted = after_.accepted - before_.accepted;
    if (accepted == client_.opened) return;
    std::string text = absl::StrCat("this client opened ", client_.opened,
                                    " connections, and the server accepted ", accepted);
    if (accepted > client_.opened) {
      absl::StrAppend(&text, ": another client used it meanwhile (or somebody in between)");
    }
    Differs(std::move(text));
  }

  void Requests() {
    const LoadOptions& first = classes_.front();
    const Listener* now = FindListener(after_, first);
    const Listener* then = FindListener(before_, first);
    if (now == nullptr || then == nullptr || now->address != then->address) {
      found_.unchecked.push_back(absl::StrCat(
          "requests: none of the server's listeners can be told to be ", first.at.ToString()));
      return;
    }
    found_.listener = Shown(now->address);
    for (const LoadOptions& load : classes_) {
      if (SameUnit(*now, load)) continue;
      found_.unchecked.push_back(absl::StrCat("requests: ", OtherUnit(*now, load)));
      return;
    }
    found_.checked.push_back("requests");
    const uint64_t served = now->requests - then->requests;
    const bool right =
        LostOnTheWay() ? served <= client_.requests
                       : served >= client_.requests && served <= client_.requests + client_.lost;
    if (right) return;
    Differs(absl::StrCat("this client counts ", client_.requests, " requests", Lost(),
                         ", and the server ", served, Others(served > client_.requests)));
  }

  void Bytes() {
    found_.checked.push_back("bytes");
    const uint64_t received = after_.received_bytes - before_.received_bytes;
    const uint64_t missing = LostOnTheWay() ? client_.sent : client_.lost_bytes;
    if (received > client_.sent || client_.sent - received > missing) {
      Differs(absl::StrCat("this client sent ", client_.sent, " bytes", Lost(),
                           ", and the server received ", received,
                           Others(received > client_.sent)));
    }
    const uint64_t sent = after_.sent_bytes - before_.sent_bytes;
    const bool may_be_less = client_.lost > 0 || HasSource();
    if (sent < client_.received || (sent > client_.received && !may_be_less)) {
      Differs(absl::StrCat("the server sent ", sent, " bytes, and this client received ",
                           client_.received, Lost(), Others(sent > client_.received)));
    }
  }

  // Datagrams that nobody answers may be lost without a sign. Unix sockets lose none.
  bool LostOnTheWay() const {
    return std::any_of(classes_.begin(), classes_.end(), [](const LoadOptions& load) {
      return load.at.transport() == io::Transport::kUdp &&
             ExchangeOf(load.service) == services::Exchange::kSink;
    });
  }

  bool HasSource() const {
    return std::any_of(classes_.begin(), classes_.end(), [](const LoadOptions& load) {
      return ExchangeOf(load.service) == services::Exchange::kSource;
    });
  }

  std::string Lost() const {
    return client_.lost == 0 ? "" : absl::StrCat(" (", client_.lost, " were lost)");
  }
  // Connections tell of other clients; datagrams have none.
  std::string Others(bool more) const {
    return datagrams_ && more ? ": another client used it meanwhile (or somebody in between)" : "";
  }

  const std::vector<LoadOptions>& classes_;
  const Counts client_;
  const ServerMetrics &before_, &after_;
  const bool datagrams_;
  Reconciliation found_;
};

}  // namespace

Reconciliation Reconcile(const std::vector<LoadOptions>& classes,
                         const std::vector<LoadResult>& results, const ServerMetrics& before,
                         const ServerMetrics& after) {
  Reconciliation found;
  if (!before.is_ringside || !after.is_ringside) {
    found.unchecked = {"all: the server is not ringside's, and its counts are not known"};
    return found;
  }
  const std::string why_not = WhyNot(results);
  if (!why_not.empty()) {
    found.unchecked = {absl::StrCat("all: ", why_not)};
    return found;
  }
  if (BeganAnew(before, after)) {
    found.differences = {"the server's counters began anew: it was started again meanwhile"};
    return found;
  }
  found = Comparison(classes, results, before, after).Run();
  if (after.truncated > before.truncated) {
    found.differences.push_back(absl::StrCat("the server dropped ",
                                             after.truncated - before.truncated,
                                             " messages, longer than its receive buffers: choose "
                                             "a smaller --size"));
  }
  if (!found.differences.empty() && before.open > 0) {
    found.differences.push_back(
        absl::StrCat("the server had ", before.open, " connections of others when the run began"));
  }
  return found;
}

}  // namespace loadgen
