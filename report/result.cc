#include "report/result.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <iterator>
#include <string_view>

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "report/parse.h"
#include "report/schema.h"

namespace report {
namespace reading {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kBytesMax = size_t{256} << 20;  // results of hours have some MB

absl::Status Wrong(const std::string& path, const std::string& what) {
  return absl::InvalidArgumentError(absl::StrCat(path, ": ", what));
}

absl::Status Errno(const std::string& path) {
  if (errno == ENOENT) {
    return absl::NotFoundError(
        absl::StrCat(path, ": there is no such file; `compare` prints the path of its result"));
  }
  return absl::NotFoundError(
      absl::StrCat(path, ": can't read: ", strerrorname_np(errno), " (", strerror(errno), ")"));
}

absl::StatusOr<std::string> ReadAll(const std::string& path) {
  const int fd = path == "-" ? dup(STDIN_FILENO) : open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return Errno(path);
  std::string text;
  char piece[65536];
  ssize_t n = 0;
  while ((n = read(fd, piece, sizeof(piece))) != 0) {
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) break;
    text.append(piece, n);
    if (text.size() > kBytesMax) {
      close(fd);
      return Wrong(path, "larger than 256 MiB, which no result is");
    }
  }
  const int error = n < 0 ? errno : 0;
  close(fd);
  errno = error;
  if (error != 0) return Errno(path);
  return text;
}

// "ringside.compare/3" is {"ringside.compare", 3}; a version of 0 is none.
struct Schema {
  std::string name;
  int version = 0;
};

Schema SchemaOf(const Json& json) {
  if (!json.is_object() || !json.contains("schema") || !json["schema"].is_string()) return {};
  const std::string text = json["schema"];
  const size_t slash = text.rfind('/');
  Schema schema;
  if (!text.starts_with("ringside.") || slash == std::string::npos) return {};
  schema.name = text.substr(0, slash);
  std::from_chars(text.data() + slash + 1, text.data() + text.size(), schema.version);
  return schema;
}

struct Known {
  const char* name;
  int newest;
};
constexpr Known kKnown[] = {{"ringside.compare", 2},
                            {"ringside.load", 1},
                            {"ringside.load_mix", 1},
                            {"ringside.interval", 1}};

size_t LineOf(const std::string& text, size_t byte) {
  return 1 + std::count(text.begin(), text.begin() + std::min(byte, text.size()), '\n');
}

// JSON that ends before its end, that isn't any, or of which there is too much.
absl::Status Unparsed(const std::string& path, const std::string& text, const Parsed& parsed) {
  const size_t begin = text.find_first_not_of(" \t\r\n");
  const size_t line = LineOf(text, parsed.byte - 1);
  if (!parsed.damaged) {
    return Wrong(path, absl::StrCat("damaged: line ", line, " has ", parsed.problem,
                                    ", which no result has"));
  }
  if (parsed.byte > text.size() && text[begin] == '{') {
    return Wrong(path, absl::StrCat("cut off in line ", LineOf(text, text.size()),
                                    ": the file isn't whole; copy it again"));
  }
  return Wrong(path, absl::StrCat("not JSON: line ", line,
                                  " is damaged; a report is made of the .json that `compare` or "
                                  "`load --json` wrote"));
}

// The lines of `load --timeseries`, if the first one is of them.
bool IsSeries(const std::string& text) {
  const std::string_view first(text.data(), std::min(text.find('\n'), text.size()));
  if (first.find("ringside.interval") == std::string_view::npos) return false;
  size_t values_left = kParsedValuesMax;
  return SchemaOf(ParseJson(first, &values_left).json).name == "ringside.interval";
}

absl::StatusOr<Json> ParseSeries(const std::string& path, const std::string& text) {
  Json intervals = Json::array();
  size_t values_left = kParsedValuesMax;
  for (size_t at = 0, line = 1; at < text.size(); ++line) {
    const size_t end = std::min(text.find('\n', at), text.size());
    Parsed interval = ParseJson(std::string_view(text).substr(at, end - at), &values_left);
    if (!interval.problem.empty() && !interval.damaged) {
      return Wrong(path, absl::StrCat("damaged: line ", line, " has ", interval.problem));
    }
    if (!interval.problem.empty()) {
      return Wrong(path,
                   absl::StrCat("line ", line, end == text.size() ? " is cut off" : " is damaged",
                                ": it is no JSON object"));
    }
    if (SchemaOf(interval.json).name != "ringside.interval") {
      return Wrong(path, absl::StrCat("line ", line, " is not of `load --timeseries`"));
    }
    intervals.push_back(std::move(interval.json));
    if (intervals.back()["schema"] != intervals[0]["schema"]) {
      return Wrong(path, absl::StrCat("line ", line, " has another schema than the first"));
    }
    at = end + 1;
  }
  const std::string schema = intervals[0]["schema"];
  return Json{{"schema", schema}, {"intervals", std::move(intervals)}};
}

absl::Status CheckVersion(const std::string& path, const Json& json) {
  const Schema schema = SchemaOf(json);
  if (schema.version == 0) {
    return absl::UnimplementedError(absl::StrCat(
        path,
        ": not a result of ringside: it has no `schema`; a report is made of the .json that "
        "`compare` or `load --json` wrote"));
  }
  const auto* known = std::find_if(std::begin(kKnown), std::end(kKnown),
                                   [&](const Known& one) { return schema.name == one.name; });
  const std::string text = json["schema"];
  if (known == std::end(kKnown)) {
    return absl::UnimplementedError(absl::StrCat(
        path, ": of ", text, " there are no reports; there are of `compare` and `load`"));
  }
  if (schema.version > known->newest) {
    return absl::FailedPreconditionError(
        absl::StrCat(path, ": ", text, " was made by a newer ringside; use its report"));
  }
  return absl::OkStatus();
}

}  // namespace
}  // namespace reading

absl::StatusOr<nlohmann::ordered_json> ParseResult(const std::string& path,
                                                   const std::string& text) {
  using reading::Json;
  if (text.find_first_not_of(" \t\r\n") == std::string::npos) {
    return reading::Wrong(path, "the file is empty; what wrote it was stopped");
  }
  Json json;
  if (reading::IsSeries(text)) {
    auto series = reading::ParseSeries(path, text);
    if (!series.ok()) return series.status();
    json = std::move(*series);
  } else {
    size_t values_left = kParsedValuesMax;
    Parsed parsed = ParseJson(text, &values_left);
    if (!parsed.problem.empty()) return reading::Unparsed(path, text, parsed);
    json = std::move(parsed.json);
  }
  const absl::Status version = reading::CheckVersion(path, json);
  if (!version.ok()) return version;
  if (json["schema"] == "ringside.compare/1") {
    try {
      json = UpgradeCompare(json);
    } catch (const nlohmann::json::exception& error) {
      return reading::Wrong(
          path, absl::StrCat("damaged: no whole ringside.compare/1 (", error.what(), ")"));
    }
  }
  const absl::Status good = CheckSchema(json);
  if (!good.ok()) return reading::Wrong(path, absl::StrCat("damaged: ", good.message()));
  return json;
}

absl::StatusOr<nlohmann::ordered_json> ReadResult(const std::string& path) {
  const auto text = reading::ReadAll(path);
  if (!text.ok()) return text.status();
  return ParseResult(path, *text);
}

}  // namespace report
