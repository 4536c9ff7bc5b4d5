#include "report/files.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace report {
namespace {

constexpr mode_t kMode = 0644;  // of a new file, but for the umask

std::string ErrnoText(int error) {
  const char* name = strerrorname_np(error);
  return absl::StrCat(name == nullptr ? "errno" : name, " (", strerror(error), ")");
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
    case ENXIO:
      return "; it is a socket, or a device that isn't there: name a file";
    case EBADF:
      return "; that descriptor isn't open for writing";
    case ETXTBSY:
      return "; it is a program that runs: name another file";
    default:
      return "";
  }
}

// Whether it is the path that is wrong, and not the machine.
bool IsPaths(int error) {
  return *OpenAdvice(error) != 0 || error == ELOOP || error == ENAMETOOLONG || error == EINVAL;
}

absl::Status WriteError(const std::string& path, int error) {
  return absl::InternalError(absl::StrCat(
      "can't write to ", path == "-" ? "standard output" : absl::StrCat("'", path, "'"), ": ",
      ErrnoText(error),
      error == ENOSPC || error == EDQUOT ? "; make room, or choose another path"
      : error == EFBIG                   ? "; raise the limit (ulimit -f)"
      : error == EPIPE                   ? "; its reader has gone"
                                         : OpenAdvice(error)));
}

// All of `text`, or an errno; `*done` is how far it came.
int WriteCounted(int fd, std::string_view text, size_t* done) {
  for (*done = 0; *done < text.size();) {
    const ssize_t n = write(fd, text.data() + *done, text.size() - *done);
    if (n >= 0) {
      *done += static_cast<size_t>(n);
    } else if (errno == EAGAIN) {  // somebody else made it non-blocking
      pollfd writable = {.fd = fd, .events = POLLOUT, .revents = 0};
      if (poll(&writable, 1, -1) < 0 && errno != EINTR) return errno;
    } else if (errno != EINTR) {
      return errno;
    }
  }
  return 0;
}

}  // namespace

int WriteAll(int fd, std::string_view text) {
  size_t done;
  return WriteCounted(fd, text, &done);
}

namespace {

// EINVAL, EROFS, ENOTSUP: a pipe or a device, which has nothing to sync.
int Sync(int fd) {
  if (fsync(fd) == 0 || errno == EINVAL || errno == EROFS || errno == ENOTSUP) return 0;
  return errno;
}

int Close(int fd) { return close(fd) == 0 || errno == EINTR ? 0 : errno; }  // EINTR: it is closed

std::string FolderOf(const std::string& path) {
  const size_t slash = path.rfind('/');
  return slash == std::string::npos ? "." : slash == 0 ? "/" : path.substr(0, slash);
}

std::string NameOf(const std::string& path) { return path.substr(path.rfind('/') + 1); }

std::string RealPath(const std::string& path) {
  char* real = realpath(path.c_str(), nullptr);
  const std::string text = real == nullptr ? "" : real;
  std::free(real);
  return text;
}

// Where a path leads when its last part is a link, and that, and so on; whether or not something is
// there. A link of /proc is no path to follow: it stays.
int Follow(std::string* path) {
  constexpr int kLinksMax = 40;  // as path_resolution(7)
  for (int i = 0; i < kLinksMax; ++i) {
    char text[PATH_MAX];
    const ssize_t size = readlink(path->c_str(), text, sizeof(text));
    if (size < 0) return errno == EINVAL || errno == ENOENT ? 0 : errno;  // no link; nothing
    if (static_cast<size_t>(size) == sizeof(text)) return ENAMETOOLONG;
    if (RealPath(FolderOf(*path)).starts_with("/proc/")) return 0;
    const std::string link(text, static_cast<size_t>(size));
    *path = link.starts_with("/") ? link : absl::StrCat(FolderOf(*path), "/", link);
  }
  return ELOOP;
}

// N of a path that is this process's /proc/PID/fd/N; -1 of others.
int DescriptorOf(const std::string& path) {
  const std::string folder = RealPath(FolderOf(path));
  int number;
  const bool ours =
      folder.starts_with(absl::StrCat("/proc/", getpid(), "/")) && folder.ends_with("/fd");
  return ours && absl::SimpleAtoi(NameOf(path), &number) && number >= 0 ? number : -1;
}

std::string IdentityOf(const struct stat& status) {
  if (S_ISCHR(status.st_mode)) return "";
  return absl::StrCat("inode ", status.st_dev, " ", status.st_ino);
}

// Creates a file of a name of its own in the folder; `*name` is its path.
int CreateBeside(const std::string& target, std::string* name) {
  constexpr int kTries = 1000;
  const std::string folder = FolderOf(target);
  for (int i = 0; i < kTries; ++i) {
    *name = absl::StrCat(folder, "/.ringside-", getpid(), "-", i, ".tmp");
    const int fd = open(name->c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, kMode);
    if (fd >= 0 || errno != EEXIST) return fd;
  }
  return -1;
}

// Whether a file can take this one's place and nobody notices, but for its inode.
bool KeepsAttributes(const std::string& target, const struct stat& old, int fd) {
  struct stat mine;
  if (old.st_nlink > 1 || fstat(fd, &mine) != 0) return false;
  if (getxattr(target.c_str(), "system.posix_acl_access", nullptr, 0) > 0) return false;
  const bool same_owner = mine.st_uid == old.st_uid && mine.st_gid == old.st_gid;
  if (!same_owner && fchown(fd, old.st_uid, old.st_gid) != 0) return false;
  return fchmod(fd, old.st_mode & 07777) == 0;
}

int WriteInPlace(const std::string& target, std::string_view text) {
  const int fd = open(target.c_str(), O_WRONLY | O_TRUNC | O_CLOEXEC | O_NOCTTY);
  if (fd < 0) return errno;
  int error = WriteAll(fd, text);
  if (error == 0) error = Sync(fd);
  const int closed = Close(fd);
  return error != 0 ? error : closed;
}

// Puts a regular file there, or a new one in its place. Where it fails, what was there is there.
int Replace(const std::string& target, std::string_view text) {
  struct stat old;
  const bool exists = stat(target.c_str(), &old) == 0;
  if (exists && !S_ISREG(old.st_mode)) return WriteInPlace(target, text);
  if (exists && faccessat(AT_FDCWD, target.c_str(), W_OK, AT_EACCESS) != 0) return errno;
  std::string temporary;
  const int fd = CreateBeside(target, &temporary);
  if (fd < 0) return exists ? WriteInPlace(target, text) : errno;
  if (exists && !KeepsAttributes(target, old, fd)) {
    close(fd);
    unlink(temporary.c_str());
    return WriteInPlace(target, text);
  }
  int error = WriteAll(fd, text);
  if (error == 0) error = Sync(fd);
  const int closed = Close(fd);
  if (error == 0) error = closed;
  const bool refused = error == 0 && rename(temporary.c_str(), target.c_str()) != 0;
  if (refused) error = errno;  // EBUSY: a mount point; EPERM: a sticky directory
  if (error != 0) unlink(temporary.c_str());
  return refused && exists ? WriteInPlace(target, text) : error;
}

// Whether Replace() has a chance, from the start. Leaves nothing behind.
int TryPlace(const std::string& target, bool exists) {
  if (exists) {
    const int fd = open(target.c_str(), O_WRONLY | O_CLOEXEC | O_NOCTTY);
    return fd < 0 ? errno : Close(fd);
  }
  if (NameOf(target).empty()) return EISDIR;
  if (NameOf(target).size() > NAME_MAX) return ENAMETOOLONG;
  std::string temporary;
  const int fd = CreateBeside(target, &temporary);
  if (fd < 0) return errno;
  unlink(temporary.c_str());
  return Close(fd);
}

}  // namespace

absl::Status CannotWrite(const std::string& path, int error) {
  const std::string what =
      absl::StrCat("can't write to '", path, "': ", ErrnoText(error), OpenAdvice(error));
  return IsPaths(error) ? absl::InvalidArgumentError(what) : absl::InternalError(what);
}

OutputFile::~OutputFile() {
  if (fd_ >= 0) close(fd_);
}

OutputFile::OutputFile(OutputFile&& other) noexcept { *this = std::move(other); }

OutputFile& OutputFile::operator=(OutputFile&& other) noexcept {
  if (this == &other) return *this;
  if (fd_ >= 0) close(fd_);
  path_ = std::exchange(other.path_, "");
  target_ = std::exchange(other.target_, "");
  identity_ = std::exchange(other.identity_, "");
  fd_ = std::exchange(other.fd_, -1);
  appended_ = std::exchange(other.appended_, 0);
  return *this;
}

absl::Status OutputFile::Open(const std::string& path, const std::function<void()>& on_wait) {
  *this = OutputFile();
  path_ = path;
  absl::Status status;
  if (path == "-") {
    status = OpenDescriptor(STDOUT_FILENO);
  } else {
    std::string target = path;
    const int error = path.find('\0') == std::string::npos ? Follow(&target) : EINVAL;
    const int number = error == 0 ? DescriptorOf(target) : -1;
    struct stat there;
    const bool exists = error == 0 && stat(path.c_str(), &there) == 0;
    const bool in_proc = RealPath(FolderOf(target)).starts_with("/proc/");
    if (error != 0) {
      status = CannotWrite(path, error);
    } else if (number >= 0) {
      status = OpenDescriptor(number);
    } else if (exists && (!S_ISREG(there.st_mode) || in_proc)) {
      status = OpenSpecial(on_wait);
    } else if (const int placed = TryPlace(target, exists); placed != 0) {
      status = CannotWrite(path, placed);
    } else {
      target_ = target;
      const std::string folder = RealPath(FolderOf(target));
      identity_ = exists ? IdentityOf(there) : absl::StrCat(folder, "/", NameOf(target));
    }
  }
  if (!status.ok()) *this = OutputFile();
  return status;
}

absl::Status OutputFile::OpenDescriptor(int number) {
  const int flags = fcntl(number, F_GETFL);
  if (flags < 0) return CannotWrite(path_, errno);
  if ((flags & O_ACCMODE) == O_RDONLY) return CannotWrite(path_, EBADF);
  fd_ = fcntl(number, F_DUPFD_CLOEXEC, 3);
  struct stat status;
  if (fd_ < 0 || fstat(fd_, &status) != 0) return CannotWrite(path_, errno);
  identity_ = IdentityOf(status);
  return absl::OkStatus();
}

absl::Status OutputFile::OpenSpecial(const std::function<void()>& on_wait) {
  constexpr int kFlags = O_WRONLY | O_CLOEXEC | O_NOCTTY;
  fd_ = open(path_.c_str(), kFlags | O_NONBLOCK);
  struct stat status;
  if (fd_ < 0 && errno == ENXIO && stat(path_.c_str(), &status) == 0 && S_ISFIFO(status.st_mode)) {
    if (on_wait) on_wait();
    do {
      fd_ = open(path_.c_str(), kFlags);
    } while (fd_ < 0 && errno == EINTR);
  }
  if (fd_ < 0 || fstat(fd_, &status) != 0) return CannotWrite(path_, errno);
  const int flags = fcntl(fd_, F_GETFL);
  if (flags < 0 || fcntl(fd_, F_SETFL, flags & ~O_NONBLOCK) != 0) return CannotWrite(path_, errno);
  identity_ = IdentityOf(status);
  return absl::OkStatus();
}

bool OutputFile::IsSameAs(const OutputFile& other) const {
  return !identity_.empty() && identity_ == other.identity_;
}

absl::Status OutputFile::Write(std::string_view text) {
  if (!is_open()) return absl::OkStatus();
  int error = 0;
  if (target_.empty()) {
    error = WriteAll(fd_, text);
    if (error == 0) error = Sync(fd_);
  } else {
    error = Replace(target_, text);
  }
  if (fd_ >= 0) {  // a reader of a pipe waits for that
    const int closed = Close(std::exchange(fd_, -1));
    if (error == 0) error = closed;
  }
  const std::string path = path_;
  *this = OutputFile();
  return error == 0 ? absl::OkStatus() : WriteError(path, error);
}

int OutputFile::BeginAppending() {
  if (target_.empty() || fd_ >= 0) return 0;
  fd_ = open(target_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOCTTY, kMode);
  return fd_ < 0 ? errno : 0;
}

int OutputFile::Append(std::string_view text) {
  if (!is_open()) return 0;
  int error = BeginAppending();
  if (error != 0) return error;
  size_t done = 0;
  error = WriteCounted(fd_, text, &done);
  if (error == 0) {
    appended_ += static_cast<off_t>(text.size());
  } else if (done > 0 && !target_.empty()) {
    // Half a piece is none. If it can't be cut either, there is nothing to do.
    [[maybe_unused]] const int cut = ftruncate(fd_, appended_);
  }
  return error;
}

int OutputFile::End() {
  if (!is_open()) return 0;
  int error = BeginAppending();
  if (fd_ >= 0) {
    if (error == 0) error = Sync(fd_);
    const int closed = Close(std::exchange(fd_, -1));
    if (error == 0) error = closed;
  }
  *this = OutputFile();
  return error;
}

absl::Status WriteFile(const std::string& path, std::string_view text) {
  OutputFile file;
  const absl::Status opened = file.Open(path);
  return opened.ok() ? file.Write(text) : opened;
}

absl::Status WriteNewFile(const std::string& path, std::string_view text) {
  std::string temporary;
  const int fd = CreateBeside(path, &temporary);
  if (fd < 0) return CannotWrite(path, errno);
  int error = WriteAll(fd, text);
  if (error == 0) error = Sync(fd);
  const int closed = Close(fd);
  if (error == 0) error = closed;
  // Unlike rename(2) neither replaces anything; not every file system has the first, or the second.
  if (error == 0 &&
      renameat2(AT_FDCWD, temporary.c_str(), AT_FDCWD, path.c_str(), RENAME_NOREPLACE) != 0) {
    error = errno;
    if (error == EINVAL || error == ENOSYS) {
      error = link(temporary.c_str(), path.c_str()) == 0 ? 0 : errno;
      unlink(temporary.c_str());
    }
  }
  if (error == 0) return absl::OkStatus();
  unlink(temporary.c_str());
  if (error == EEXIST) return absl::AlreadyExistsError(absl::StrCat(path, " is there already"));
  return WriteError(path, error);
}

}  // namespace report
