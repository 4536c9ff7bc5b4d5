#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "absl/status/status.h"
#include "loadgen/interval.h"

namespace loadgen {

// What a line says beyond the interval itself.
struct TimeseriesFormat {
  std::string name;        // of the class, where there are several: the key "class"
  bool open_loop = false;  // requests were due at given times, so there is an offered rate
  // Makes the text of `hdr`; empty: there is none.
  std::function<std::string(const stats::Histogram&)> encode_histogram;
};

// An interval as one line of JSON ("ringside.interval/1"), newline included. Keys: schema, number,
// begin_s (since the window's begin), length_s, offered_rps (null in closed loop), achieved_rps,
// requests, errors, connections (open at its end), bytes_received, bytes_sent, latency_ns {count,
// min, p50, p90, p99, p99_9, max} (all but count null where count is 0), and hdr, the latencies'
// histogram, where format.encode_histogram is set. Doesn't fail.
std::string TimeseriesLine(const Interval& interval, const TimeseriesFormat& format = {});

// A file with a line for each interval. Lines are written whole and at once, so a run that is cut
// off leaves a valid file. For one thread.
class TimeseriesWriter {
 public:
  TimeseriesWriter() = default;
  ~TimeseriesWriter();
  TimeseriesWriter(const TimeseriesWriter&) = delete;
  TimeseriesWriter& operator=(const TimeseriesWriter&) = delete;

  // Creates the file, or empties it; "-" is standard output. InvalidArgument names the path and the
  // errno (ENOENT, EACCES, EISDIR, EROFS, ...). May wait where the path is a FIFO, see fifo(7).
  absl::Status Open(const std::string& path);

  // Writes the interval's line. After the first failure (ENOSPC, EDQUOT, EFBIG, EIO, EPIPE, ...)
  // nothing more is written, and Close() tells it; the file ends with its last whole line.
  void Add(const Interval& interval, const TimeseriesFormat& format);

  // Closes the file, synced to its device. The first failure since Open(), with the path, the errno
  // and how many lines the file has. OK where nothing is open.
  absl::Status Close();

 private:
  std::string path_;
  int fd_ = -1;
  int error_ = 0;              // the first failure's errno
  uint64_t lines_ = 0;         // written whole
  int64_t bytes_written_ = 0;  // of these
};

}  // namespace loadgen
