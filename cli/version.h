#pragma once

#include <string>

namespace cli {

// The git revision that was built: "1a2b3c4d5e6f", "-dirty" where the tree was.
std::string Revision();

// "0.1.0 (1a2b3c4d5e6f)".
std::string Version();

}  // namespace cli
