#include "loadgen/timeseries.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <string_view>
#include <utility>

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "io/errors.h"

namespace loadgen {
namespace {

using Json = nlohmann::ordered_json;

// Without a single latency, its figures are null: 0 ns would be a claim.
Json Latency(const stats::Histogram& latency) {
  Json json = {{"count", latency.count()}, {"min", nullptr},   {"p50", nullptr}, {"p90", nullptr},
               {"p99", nullptr},           {"p99_9", nullptr}, {"max", nullptr}};
  if (latency.count() == 0) return json;
  json["min"] = latency.min();
  json["p50"] = latency.Percentile(50);
  json["p90"] = latency.Percentile(90);
  json["p99"] = latency.Percentile(99);
  json["p99_9"] = latency.Percentile(99.9);
  json["max"] = latency.max();
  return json;
}

double PerSecond(uint64_t count, int64_t length_ns) {
  return length_ns > 0 ? static_cast<double>(count) * 1e9 / static_cast<double>(length_ns) : 0;
}

// Writes all of `text`, or fails with an errno; `*done` is how far it came.
int WriteAll(int fd, std::string_view text, size_t* done) {
  for (*done = 0; *done < text.size();) {
    const ssize_t n = write(fd, text.data() + *done, text.size() - *done);
    if (n >= 0) {
      *done += static_cast<size_t>(n);
    } else if (errno == EAGAIN) {  // somebody else made standard output non-blocking
      pollfd writable = {.fd = fd, .events = POLLOUT, .revents = 0};
      if (poll(&writable, 1, -1) < 0 && errno != EINTR) return errno;
    } else if (errno != EINTR) {
      return errno;
    }
  }
  return 0;
}

const char* OpenAdvice(int error) {
  switch (error) {
    case ENOENT:
    case ENOTDIR:
      return "; create its directory first, or correct the path";
    case EISDIR:
      return "; name a file in it";
    case EACCES:
    case EPERM:
    case EROFS:
      return "; choose a path that this user may write to";
    default:
      return "";
  }
}

const char* WriteAdvice(int error) {
  switch (error) {
    case ENOSPC:
    case EDQUOT:
      return "; make room, or choose another path";
    case EFBIG:
      return "; raise the limit (ulimit -f), or use longer intervals";
    case EPIPE:
      return "; its reader has gone";
    default:
      return "";
  }
}

}  // namespace

std::string TimeseriesLine(const Interval& interval, const TimeseriesFormat& format) {
  Json json = {
      {"schema", "ringside.interval/1"},
      {"number", interval.number},
      {"begin_s", static_cast<double>(interval.begin_ns) / 1e9},
      {"length_s", static_cast<double>(interval.length_ns) / 1e9},
      {"offered_rps",
       format.open_loop ? Json(PerSecond(interval.offered, interval.length_ns)) : Json()},
      {"achieved_rps", PerSecond(interval.requests, interval.length_ns)},
      {"requests", interval.requests},
      {"errors", interval.errors},
      {"connections", interval.connections},
      {"bytes_received", interval.bytes_received},
      {"bytes_sent", interval.bytes_sent},
      {"latency_ns", Latency(interval.latency)},
  };
  if (!format.name.empty()) json["class"] = format.name;
  if (format.encode_histogram) json["hdr"] = format.encode_histogram(interval.latency);
  return json.dump() + "\n";
}

TimeseriesWriter::~TimeseriesWriter() { Close().IgnoreError(); }

absl::Status TimeseriesWriter::Open(const std::string& path) {
  Close().IgnoreError();
  const int fd = path == "-" ? fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 0)
                             : open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (fd < 0) {
    const int error = errno;
    return absl::InvalidArgumentError(absl::StrCat("can't write intervals to '", path,
                                                   "': ", io::ErrnoName(error), OpenAdvice(error)));
  }
  path_ = path;
  fd_ = fd;
  error_ = 0;
  lines_ = 0;
  bytes_written_ = 0;
  return absl::OkStatus();
}

void TimeseriesWriter::Add(const Interval& interval, const TimeseriesFormat& format) {
  if (fd_ < 0 || error_ != 0) return;
  const std::string line = TimeseriesLine(interval, format);
  size_t done = 0;
  error_ = WriteAll(fd_, line, &done);
  if (error_ == 0) {
    ++lines_;
    bytes_written_ += static_cast<int64_t>(line.size());
  } else if (done > 0 && path_ != "-") {
    // Half a line is not JSON. What is no file can't be cut, and then there is nothing to do.
    [[maybe_unused]] const int cut = ftruncate(fd_, bytes_written_);
  }
}

absl::Status TimeseriesWriter::Close() {
  if (fd_ < 0) return absl::OkStatus();
  // EINVAL and EROFS: a pipe or a device, which has nothing to sync.
  if (error_ == 0 && fsync(fd_) != 0 && errno != EINVAL && errno != EROFS) error_ = errno;
  if (close(fd_) != 0 && error_ == 0 && errno != EINTR) error_ = errno;  // EINTR: closed, on Linux
  fd_ = -1;
  if (error_ == 0) return absl::OkStatus();
  return absl::InternalError(absl::StrCat(
      "writing intervals to '", path_, "' failed after ", lines_,
      lines_ == 1 ? " line: " : " lines: ", io::ErrnoName(error_), WriteAdvice(error_)));
}

}  // namespace loadgen
