#include <algorithm>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "report/format.h"
#include "report/reader.h"
#include "report/rows.h"
#include "report/stress_text.h"

namespace report {
namespace {

std::string GoodClient(Reader good) {
  if (good.is_null()) return "not measured";
  const Reader times = good["latency_ns"];
  std::string text = absl::StrCat(FormatRate(good["throughput_rps"].get<double>()), " requests");
  if (times["count"] == 0) return text;
  for (const char* key : {"p50", "p99", "p99_9", "max"}) {
    const std::string name = key == std::string("p99_9") ? "p99.9" : key;
    absl::StrAppend(&text, ", ", name, " ", TimeText(times[key]));
  }
  return text;
}

std::string SlowOnes(Reader peers) {
  std::vector<std::string> parts;
  const auto add = [&](const char* key, const char* what) {
    const uint64_t count = peers[key].get<uint64_t>();
    if (count > 0) parts.push_back(absl::StrCat(FormatCount(count), " ", what));
  };
  add("opened", "connected");
  add("failed", "could not connect");
  add("answered", "fully answered");
  add("closed_by_server", "closed by the server");
  parts.push_back(FormatBytes(peers["sent_bytes"].get<uint64_t>()) + " sent");
  parts.push_back(FormatBytes(peers["received_bytes"].get<uint64_t>()) + " read");
  return absl::StrJoin(parts, ", ");
}

// "48 KiB", or what is known of it.
std::string Bytes(Reader number) {
  if (number.is_null()) return "unknown";
  const double bytes = number.get<double>();
  const std::string text = FormatBytes(static_cast<uint64_t>(std::abs(bytes)));
  return bytes < 0 ? "-" + text : text;
}

std::string Memory(Reader memory) {
  return absl::StrCat(Bytes(memory["rss_bytes_each"]), " of the server and ",
                      Bytes(memory["kernel"]["bytes_each"]),
                      " of the kernel (both ends, where both are here) a peer");
}

}  // namespace

std::string SlowRows(const Json& json) {
  const Reader stress = json;
  std::string text;
  for (const Reader row : stress["slow"]["rows"]) {
    const Reader backend = row["backend"];
    text += Row("kind", absl::StrCat(row["kind"].get<std::string>(), backend.is_null() ? "" : ", ",
                                     backend.is_null() ? "" : backend.get<std::string>()));
    text += Row("slow peers", SlowOnes(row["peers"]));
    text += Row("good without", GoodClient(row["good"]["without"]));
    text += Row("good with", GoodClient(row["good"]["with"]));
    text += Row("memory", Memory(row["memory"]));
  }
  return text;
}

}  // namespace report
