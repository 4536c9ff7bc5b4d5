#pragma once

#include <cstddef>
#include <span>
#include <string_view>

namespace io {

// Bytes that are lent: valid until the call or callback that carries them returns.
using Bytes = std::span<const std::byte>;

inline Bytes AsBytes(std::string_view text) {
  return {reinterpret_cast<const std::byte*>(text.data()), text.size()};
}

inline std::string_view AsText(Bytes bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace io
