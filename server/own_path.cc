#include "server/own_path.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <utility>

#include "io/endpoint.h"
#include "io/socket_path.h"

namespace server {

OwnPath OwnPath::Of(int socket) {
  OwnPath own;
  const auto at = io::LocalEndpoint(socket);
  if (!at.ok() || at->path().empty()) return own;
  const std::string path = at->path();
  own.held_.Reset(open(path.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
  struct stat file = {};
  const int error = own.held_ ? fstat(own.held_.get(), &file) : lstat(path.c_str(), &file);
  if (error != 0 || !S_ISSOCK(file.st_mode)) return {};
  own.path_ = path;
  own.device_ = file.st_dev;
  own.inode_ = file.st_ino;
  return own;
}

void OwnPath::Remove() {
  const std::string path = std::exchange(path_, {});
  if (!path.empty()) io::RemoveSocketPath(path, device_, inode_);
  held_.Reset();
}

}  // namespace server
