#pragma once

#include <string>
#include <vector>

#include "tests/cli/ringside.h"
#include "tests/report/sample.h"

// Results of `load`, as it writes them.
namespace report_tests {

// Runs of `load` at a server of the test, and what it wrote for each interval.
struct Runs {
  Json closed, open, again, mix;
  std::string timeseries;
};
inline const Runs& LoadRuns() {
  static const Runs runs = [] {
    cli_tests::Server server({"--backend", "epoll"});
    const TemporaryFile series("series.jsonl", "");
    const auto run = [&](std::vector<std::string> flags) {
      flags.insert(flags.begin(), {server.port(), "-c", "2", "-b", "epoll"});
      return Json::parse(cli_tests::LoadJson(flags).dump());
    };
    Runs all;
    all.closed = run({"-n", "3000"});
    all.again = run({"-n", "2000"});
    all.open = run(
        {"--rate", "2000", "-d", "300ms", "--interval", "100ms", "--timeseries", series.path()});
    all.timeseries = FileText(series.path());
    all.mix = run({"-d", "100ms", "--warmup", "0s", "--mix", "a: -c 2", "--mix", "b: -w crr -c 2"});
    server.Stop();
    return all;
  }();
  return runs;
}

}  // namespace report_tests
