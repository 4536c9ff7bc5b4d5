#include "cli/version.h"

#include "revision.h"

namespace cli {

std::string Revision() { return RINGSIDE_REVISION; }

std::string Version() { return std::string(RINGSIDE_VERSION) + " (" + Revision() + ")"; }

}  // namespace cli
