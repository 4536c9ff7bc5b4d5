#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "report/compare_words.h"
#include "report/escape.h"
#include "report/formats.h"
#include "report/hgrm.h"
#include "stats/hdr_codec.h"
#include "stats/histogram.h"

// Latencies for HdrHistogram's own tools. Source of the log's format: HistogramLogWriter.java of
// https://github.com/HdrHistogram/HdrHistogram, 2.1.11.
namespace report {
namespace hdr {
namespace {

using Json = nlohmann::ordered_json;

struct Entry {
  std::string tag;
  double begin_s, length_s;
  std::string hdr;
};

// A tag ends at a comma, and its readers end it at a space.
std::string Tag(const std::string& any) {
  std::string text = PlainLine(any);
  for (char& c : text) {
    if (c == ',' || absl::ascii_isspace(static_cast<unsigned char>(c))) c = '_';
  }
  return text;
}

void AddRounds(const Json& result, const Json& scenario, std::vector<Entry>* entries) {
  const double window_s = result["plan"]["window_s"];
  const bool several = result["scenarios"].size() > 1;
  for (const Json& round : scenario["rounds"]) {
    for (size_t arm = 0; arm < round["arms"].size(); ++arm) {
      const Json& figures = round["arms"][arm];
      if (figures.is_null() || !figures["void"].is_null()) continue;
      for (const char* part : {"full", "paced"}) {
        if (figures["hdr"][part].is_null()) continue;
        const std::string prefix =
            several ? absl::StrCat(scenario["name"].get<std::string>(), "/") : "";
        entries->push_back({Tag(absl::StrCat(prefix, ArmName(result, arm), "/", part)),
                            round["begin_s"].is_null() ? 0 : round["begin_s"].get<double>(),
                            window_s, figures["hdr"][part]});
      }
    }
  }
}

std::vector<Entry> EntriesOf(const Json& result) {
  std::vector<Entry> entries;
  if (result["schema"] == "ringside.compare/2") {
    for (const Json& scenario : result["scenarios"]) AddRounds(result, scenario, &entries);
  } else if (result["schema"] == "ringside.interval/1") {
    for (const Json& interval : result["intervals"]) {
      if (!interval.contains("hdr") || interval["hdr"].is_null()) continue;
      entries.push_back({Tag(interval.value("class", "")), interval["begin_s"],
                         interval["length_s"], interval["hdr"]});
    }
  } else {
    for (const Json* load : LoadsOf(result)) {
      entries.push_back({load->contains("name") ? Tag((*load)["name"]) : "", 0,
                         (*load)["duration_s"], (*load)["latency_ns"]["hdr"]});
    }
  }
  return entries;
}

absl::Status NoHistograms() {
  return absl::InvalidArgumentError(
      "it has no histograms: results of ringside.compare/1 and of --live have none, nor have "
      "rounds that don't count");
}

absl::StatusOr<std::string> Line(const Entry& entry) {
  const auto histogram = stats::DecodeHdr(entry.hdr);
  if (!histogram.ok()) {
    return absl::InvalidArgumentError(
        absl::StrCat("a histogram of it is damaged: ", histogram.status().message()));
  }
  return absl::StrFormat(
      "%s%.3f,%.3f,%.3f,%s\n", entry.tag.empty() ? "" : absl::StrCat("Tag=", entry.tag, ","),
      entry.begin_s, entry.length_s, static_cast<double>(histogram->max()) / 1e6, entry.hdr);
}

// What a distribution is of: each arm's rounds merged; at full speed, where that was played.
std::vector<std::string> Whole(const Json& result, const std::string& arm) {
  std::vector<std::string> all;
  if (result["schema"] != "ringside.compare/2") {
    for (const Json* load : LoadsOf(result)) all.push_back((*load)["latency_ns"]["hdr"]);
    return all;
  }
  for (const Json& scenario : result["scenarios"]) {
    for (size_t i = 0; i < result["arms"].size(); ++i) {
      if (!arm.empty() && ArmName(result, i) != arm) continue;
      const Json& latency = scenario["arms"][i]["latency"];
      const Json& part = latency["full"].is_null() ? latency["paced"] : latency["full"];
      if (!part.is_null()) all.push_back(part["hdr"]);
    }
  }
  return all;
}

}  // namespace
}  // namespace hdr

absl::StatusOr<std::string> HlogReport(std::span<const nlohmann::ordered_json> results,
                                       const RenderOptions&) {
  std::string text =
      "#[Histogram log format version 1.3]\n"
      "\"StartTimestamp\",\"Interval_Length\",\"Interval_Max\","
      "\"Interval_Compressed_Histogram\"\n";
  size_t lines = 0;
  for (const auto& result : results) {
    for (const hdr::Entry& entry : hdr::EntriesOf(result)) {
      const auto line = hdr::Line(entry);
      if (!line.ok()) return line.status();
      text += *line;
      ++lines;
    }
  }
  if (lines == 0) return hdr::NoHistograms();
  return text;
}

absl::StatusOr<std::string> HgrmReport(std::span<const nlohmann::ordered_json> results,
                                       const RenderOptions& options) {
  std::vector<std::string> all;
  for (const auto& result : results) {
    for (std::string& one : hdr::Whole(result, options.arm)) all.push_back(std::move(one));
  }
  if (all.empty()) return hdr::NoHistograms();
  if (all.size() > 1) {
    return absl::InvalidArgumentError(absl::StrCat(
        "hgrm holds one distribution, and here are ", all.size(),
        ": name one file of one scenario and an arm (--arm), or write hlog, which holds all"));
  }
  const auto histogram = stats::DecodeHdr(all[0]);
  if (!histogram.ok()) {
    return absl::InvalidArgumentError(
        absl::StrCat("its histogram is damaged: ", histogram.status().message()));
  }
  return HgrmText(DistributionOf(*histogram));
}

}  // namespace report
