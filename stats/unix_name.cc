#include "stats/unix_name.h"

#include "absl/strings/str_format.h"

namespace stats {

std::string UnixName(std::span<const char> name) {
  const bool abstract = !name.empty() && name.front() == '\0';
  if (!abstract && !name.empty() && name.back() == '\0') name = name.first(name.size() - 1);
  std::string text;
  for (const char c : name) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte == 0) {
      text += '@';
    } else if (c == '\\') {
      text += "\\\\";
    } else if (byte < 0x20 || byte == 0x7f) {
      absl::StrAppendFormat(&text, "\\x%02x", byte);
    } else {
      text += c;
    }
  }
  return text;
}

}  // namespace stats
