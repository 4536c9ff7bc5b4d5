#include "io/errors.h"

#include <cstring>

#include "absl/strings/str_cat.h"

namespace io {

std::string ErrnoSymbol(int error) {
  const char* name = strerrorname_np(error);
  return name != nullptr ? name : absl::StrCat("E", error);
}

std::string ErrnoName(int error) {
  return absl::StrCat(ErrnoSymbol(error), " (",
                      strerrordesc_np(error) ? strerrordesc_np(error) : "?", ")");
}

}  // namespace io
