#include "stress/result.h"

#include <poll.h>

#include "loadgen/load_json.h"

namespace stress {

Json ToJson(const Result& result) {
  Json limit;
  if (result.limit) {
    limit = {
        {"name", result.limit->name}, {"value", result.limit->value}, {"mend", result.limit->mend}};
  }
  Json json = {{"schema", "ringside.stress/1"},
               {"version", RINGSIDE_VERSION},
               {"experiment", result.experiment},
               {"finding", result.finding},
               {"limit", limit},
               {"interrupted", result.interrupted},
               {"problem", result.problem.empty() ? Json() : Json(result.problem)},
               {"connections",
                {{"requested", result.connections.requested},
                 {"opened", result.connections.opened},
                 {"answered", result.connections.answered}}}};
  json[result.experiment] = result.own;
  json["kernel"] = loadgen::KernelJson(result.kernel);
  return json;
}

bool Context::Interrupted() const {
  pollfd fd = {.fd = interrupt_fd, .events = POLLIN, .revents = 0};
  return poll(&fd, 1, 0) > 0;
}

bool Context::Await(int fd, int timeout_ms) const {
  pollfd fds[2] = {{.fd = interrupt_fd, .events = POLLIN, .revents = 0},
                   {.fd = fd, .events = POLLIN, .revents = 0}};
  return poll(fds, 2, timeout_ms) > 0 && fds[1].revents != 0;
}

}  // namespace stress
