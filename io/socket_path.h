#pragma once

#include <sys/types.h>

#include <string>

namespace io {

// Removes the file at the path where it is the one of this device and inode, and nothing else,
// whoever puts another there at the same time: unlink(2) can't be told which. It is renamed first,
// looked at, and put back where it is another's. Whether that file is gone; false with errno set
// (of rename(2)), or with EEXIST: it was another's.
bool RemoveSocketPath(const std::string& path, dev_t device, ino_t inode);

}  // namespace io
