#pragma once

#include <sys/types.h>

#include <functional>
#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace report {

// A file that a command is to write, tried before the command begins, so that a path that can't be
// costs no run. "-" is standard output. What a path names is decided as a shell's redirection does
// it, through symbolic links:
//
// - Nothing, or a regular file: it is replaced as a whole, by rename(2) of a new file beside it
// that
//   has its mode and owner; links to it stay links. Where that can't be (the directory may not be
//   written to; several hard links; an access list or an owner that can't be kept; a mount point)
//   it is written in place.
// - A device, a FIFO or a pipe: opened and written through. A FIFO without a reader is waited for.
// - /dev/stdout, /dev/fd/N, /proc/self/fd/N: descriptor N, wherever it is at.
//
// Until something is written, what is there stays as it is, and nothing new is left. For one
// thread.
class OutputFile {
 public:
  OutputFile() = default;
  ~OutputFile();
  OutputFile(OutputFile&& other) noexcept;
  OutputFile& operator=(OutputFile&& other) noexcept;

  // Tries the path. `on_wait` is called, once, before it waits for the reader of a FIFO; signals
  // end that waiting as they end the process. InvalidArgument names the path, the errno (ENOENT,
  // EACCES, EISDIR, EROFS, ENXIO, EBADF, ...) and what to do; Internal is a machine in trouble
  // (ENOSPC, EMFILE, EIO, ...).
  absl::Status Open(const std::string& path, const std::function<void()>& on_wait = {});
  bool is_open() const { return !path_.empty(); }
  const std::string& path() const { return path_; }

  // Whether both would write to the same file. Devices may be shared.
  bool IsSameAs(const OutputFile& other) const;

  // All there is to write, at once: a regular file has all of it or what it had. Internal names the
  // path and the errno; OK where nothing is open. Nothing is open afterwards.
  absl::Status Write(std::string_view text);

  // Piece by piece, each in the file when this returns: the first empties it. Returns 0 or an
  // errno; of a regular file, a piece that found no room is cut off again. End() syncs, and makes a
  // file that nothing was written to empty; its errno is that of the end alone.
  int Append(std::string_view text);
  int End();

 private:
  absl::Status OpenDescriptor(int number);
  absl::Status OpenSpecial(const std::function<void()>& on_wait);
  int BeginAppending();

  std::string path_;    // as given
  std::string target_;  // where its links lead; "" of what is written through
  std::string identity_;
  int fd_ = -1;  // of what is written through, or appended to
  off_t appended_ = 0;
};

// The errors of Open() for a path that can't be written to.
absl::Status CannotWrite(const std::string& path, int error);

// All of `text` to a descriptor, waiting for room where somebody else made it non-blocking. Returns
// 0 or the errno of write(2) or poll(2).
int WriteAll(int fd, std::string_view text);

// An OutputFile that is opened and written at once.
absl::Status WriteFile(const std::string& path, std::string_view text);

// A whole regular file that must not be there yet: AlreadyExists where it is, whoever made it, and
// though several try at once.
absl::Status WriteNewFile(const std::string& path, std::string_view text);

}  // namespace report
