#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

namespace stats {

// A folder that stands in for /, removed at the end.
class FakeRoot {
 public:
  FakeRoot() {
    std::string pattern = testing::TempDir() + "ringside_root_XXXXXX";
    path_ = mkdtemp(pattern.data());
  }
  ~FakeRoot() { std::filesystem::remove_all(path_); }
  FakeRoot(const FakeRoot&) = delete;
  FakeRoot& operator=(const FakeRoot&) = delete;

  void Write(const std::string& file, const std::string& text) const {
    const std::filesystem::path path = path_ + file;
    std::filesystem::create_directories(path.parent_path());
    std::ofstream(path) << text;
  }

  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

}  // namespace stats
