#pragma once

#include <sys/types.h>

#include <string>

#include "server/unique_fd.h"

namespace server {

// The file of a Unix socket that we listen on, to be removed in the end where it is still ours: not
// if somebody has put another in its place. It is held open (O_PATH, open(2)), since a file system
// may give the number of an inode that is gone to the next file. Costs a descriptor; without one
// left the number alone has to do.
class OwnPath {
 public:
  OwnPath() = default;  // of nothing
  // That of a bound socket; of nothing where it is no Unix socket, or has no file. REQUIRES: asked
  // when it is bound, or adopted: whatever is at the path then is taken for the socket's.
  static OwnPath Of(int socket);

  // Removes the file, if it is still the one; once.
  void Remove();

 private:
  std::string path_;  // "": of nothing
  UniqueFd held_;
  dev_t device_ = 0;
  ino_t inode_ = 0;
};

}  // namespace server
