#pragma once

#include <string>

namespace cli {

// The git revision that was built: "1a2b3c4d5e6f", "-dirty" where the tree was.
std::string Revision();

// "0.1.0 (1a2b3c4d5e6f)".
std::string Version();

// How it was built, and which backends run on this machine, with what of the kernel: lines of
// "name:" and text, in columns. Asks the kernel, so it opens descriptors for a moment.
std::string VersionDetails();

// All of that as JSON, "ringside.version/1" (results/SCHEMA.md), with a newline.
std::string VersionJson();

}  // namespace cli
