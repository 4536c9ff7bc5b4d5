#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "absl/status/status.h"
#include "loadgen/interval.h"
#include "report/files.h"

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
  // Takes the file, which is open. It has what it had until the first line is written.
  void Begin(report::OutputFile file);

  // Writes the interval's line. After the first failure (ENOSPC, EDQUOT, EFBIG, EIO, EPIPE, ...)
  // nothing more is written, and Close() tells it; the file ends with its last whole line.
  void Add(const Interval& interval, const TimeseriesFormat& format);

  // Closes the file, synced to its device; without a line it is empty now. The first failure since
  // Begin(), with the path, the errno and how many lines the file has. OK where nothing is open.
  absl::Status Close();

 private:
  report::OutputFile file_;
  int error_ = 0;       // the first failure's errno
  uint64_t lines_ = 0;  // written whole
};

}  // namespace loadgen
