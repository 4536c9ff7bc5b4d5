#include "report/files.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <iostream>

#include "absl/strings/str_cat.h"

namespace report {
namespace {

absl::Status FileError(const std::string& path, const char* what, int error) {
  return absl::InternalError(absl::StrCat("can't ", what, " ", path, ": ", strerrorname_np(error),
                                          " (", strerror(error), ")"));
}

int WriteAll(int fd, const std::string& text) {
  for (size_t done = 0; done < text.size();) {
    const ssize_t n = write(fd, text.data() + done, text.size() - done);
    if (n < 0 && errno != EINTR) return errno;
    if (n > 0) done += n;
  }
  return fsync(fd) == 0 || errno == EINVAL ? 0 : errno;
}

// Into a temporary file beside it, then in its place by `place`, which returns an errno.
absl::Status WriteBeside(const std::string& path, const std::string& text,
                         int (*place)(const char* temporary, const char* path)) {
  const std::string temporary = absl::StrCat(path, ".", getpid(), ".tmp");
  const int fd = open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (fd < 0) return FileError(path, "create", errno);
  int error = WriteAll(fd, text);
  if (close(fd) != 0 && error == 0) error = errno;
  if (error == 0) error = place(temporary.c_str(), path.c_str());
  if (error == 0) return absl::OkStatus();
  unlink(temporary.c_str());
  if (error == EEXIST) return absl::AlreadyExistsError(absl::StrCat(path, " is there already"));
  return FileError(path, "write", error);
}

}  // namespace

absl::Status WriteFile(const std::string& path, const std::string& text) {
  if (path == "-") {
    std::cout << text << std::flush;
    return std::cout.good() ? absl::OkStatus()
                            : absl::InternalError("can't write to standard output");
  }
  return WriteBeside(path, text, [](const char* temporary, const char* in_place) {
    return rename(temporary, in_place) == 0 ? 0 : errno;
  });
}

absl::Status WriteNewFile(const std::string& path, const std::string& text) {
  return WriteBeside(path, text, [](const char* temporary, const char* in_place) {
    if (link(temporary, in_place) != 0) return errno;  // unlike rename(2) it replaces nothing
    unlink(temporary);
    return 0;
  });
}

}  // namespace report
