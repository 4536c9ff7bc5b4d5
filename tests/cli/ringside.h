#pragma once

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <iostream>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <nlohmann/json.hpp>

#include "bench/process.h"

// The program as its users see it: started from outside, by its arguments, output and exit code.
namespace cli_tests {

using Json = nlohmann::json;

inline constexpr int64_t kHangNs = 60'000'000'000;  // ends a hung test; decides nothing else

inline bench::Process Start(std::vector<std::string> argv) {
  auto process = bench::Process::Start(argv, {});
  if (!process.ok()) throw std::runtime_error(std::string(process.status().message()));
  return std::move(*process);
}

struct Ended {
  int exit_code;
  std::string out, err;
};

inline Ended WaitFor(bench::Process& process) {
  if (process.Wait(kHangNs, -1) != bench::Process::Waited::kEnded) {
    ADD_FAILURE() << "the program hangs; it said: " << process.Output() << process.Errors();
  }
  return {process.exit_code(), process.Output(), process.Errors()};
}

// Runs a command to its end.
inline Ended RunToEnd(std::vector<std::string> argv) {
  bench::Process process = Start(std::move(argv));
  return WaitFor(process);
}

inline Ended Ringside(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), RINGSIDE_BINARY);
  return RunToEnd(std::move(arguments));
}

// Whether every connection was answered when it was opened, and in the time that is measured
// nothing was sent.
inline bool SentNothing(const Ended& ended) {
  const Json json = Json::parse(ended.out, nullptr, false);
  return json.is_object() && json.value("requests", 1) == 0 && json["requests_total"] > 0 &&
         json["connections"]["silent"] == 0 && json["errors"]["total"] == 0;
}

// The result of `ringside load ADDRESS ... --json -`. Runs are short: one whose time was over
// before a machine that others keep busy let it send anything is void, and played again.
inline Json LoadJson(std::vector<std::string> arguments, int exit_code = 0) {
  constexpr int kTries = 5;
  arguments.insert(arguments.begin(), {RINGSIDE_BINARY, "load"});
  arguments.insert(arguments.end(), {"--json", "-"});
  Ended ended = RunToEnd(arguments);
  for (int i = 1; i < kTries && exit_code == 0 && ended.exit_code == 1 && SentNothing(ended); ++i) {
    std::cout << "sent nothing in its time, so again: " << ended.err;
    ended = RunToEnd(arguments);
  }
  EXPECT_EQ(ended.exit_code, exit_code) << ended.err;
  return Json::parse(ended.out, nullptr, false);
}

// Waits until it holds, or this hangs.
template <class F>
bool Until(F holds) {
  const auto give_up = std::chrono::steady_clock::now() + std::chrono::nanoseconds(kHangNs);
  while (!holds()) {
    if (std::chrono::steady_clock::now() > give_up) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return true;
}

// The JSON object on the `index`-th line.
inline Json Line(const std::string& text, int index) {
  size_t at = 0;
  for (; index > 0; --index) at = text.find('\n', at) + 1;
  return Json::parse(text.substr(at, text.find('\n', at) - at));
}

// A `ringside serve --json`, ready.
class Server {
 public:
  // On a free port of 127.0.0.1, unless an address is given.
  explicit Server(std::vector<std::string> arguments, const std::string& address = "0")
      : Server(With({RINGSIDE_BINARY, "serve", address, "--json"}, std::move(arguments)), 0) {}
  // By the whole command, which has --json: for a server that something else starts.
  static Server By(std::vector<std::string> command) { return Server(std::move(command), 0); }

  const Json& ready() const { return ready_; }
  std::string port() const { return std::to_string(ready_["port"].get<int>()); }
  bench::Process& process() { return process_; }

  // What it says to SIGUSR1.
  Json Status() {
    const int lines = Lines(process_.Output());
    process_.Signal(SIGUSR1);
    while (Lines(process_.Output()) == lines) {
      if (process_.Wait(1'000'000, -1) == bench::Process::Waited::kEnded) {
        throw std::runtime_error("serve ended: " + process_.Errors());
      }
    }
    return Line(process_.Output(), lines);
  }

  // Ends it by SIGTERM; its summary.
  Json Stop() {
    process_.Signal(SIGTERM);
    const Ended ended = WaitFor(process_);
    EXPECT_EQ(ended.exit_code, 0) << ended.err;
    return Line(ended.out, Lines(ended.out) - 1);
  }

 private:
  Server(std::vector<std::string> command, int) : process_(Start(std::move(command))) {
    while (process_.Output().find('\n') == std::string::npos) {
      if (process_.Wait(1'000'000, -1) == bench::Process::Waited::kEnded) {
        throw std::runtime_error("serve ended: " + process_.Errors());
      }
    }
    ready_ = Line(process_.Output(), 0);
  }

  static std::vector<std::string> With(std::vector<std::string> command,
                                       std::vector<std::string> arguments) {
    command.insert(command.end(), arguments.begin(), arguments.end());
    return command;
  }
  static int Lines(const std::string& text) {
    return static_cast<int>(std::count(text.begin(), text.end(), '\n'));
  }

  bench::Process process_;
  Json ready_;
};

// Characters `from` to `to` of what chargen sends, by RFC 864's words.
inline std::string ChargenText(size_t from, size_t to) {
  std::string text;
  for (size_t i = from; i < to; ++i) {
    const size_t line = i / 74, column = i % 74;
    text.push_back(column == 72   ? '\r'
                   : column == 73 ? '\n'
                                  : static_cast<char>(' ' + (line + column) % 95));
  }
  return text;
}

// A port that nobody listens on, and that nobody is given meanwhile: below those that the kernel
// picks from, and in a part of these that is this process's own, of the tests that run now.
inline std::string FreePort() {
  constexpr int kFirst = 10'000, kParts = 2'000, kEach = 10;  // to 29,999; the kernel's from 32,768
  static int next = 0;
  while (true) {
    const int port = kFirst + getpid() % kParts * kEach + next++ % kEach;
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in at = {};
    at.sin_family = AF_INET;
    at.sin_port = htons(static_cast<uint16_t>(port));
    const int on = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    const bool free = bind(fd, reinterpret_cast<const sockaddr*>(&at), sizeof(at)) == 0;
    close(fd);
    if (free) return std::to_string(port);
    if (next > 100 * kEach) throw std::runtime_error("no port is free");
  }
}

// Each backend of this machine; a test that needs one which doesn't run here skips by its name.
inline bool Available(const std::string& backend) {
  bench::Process probe = Start({RINGSIDE_BINARY, "serve", "0", "--json", "--backend", backend});
  while (probe.Output().empty()) {
    if (probe.Wait(1'000'000, -1) == bench::Process::Waited::kEnded) return false;
  }
  probe.Signal(SIGTERM);
  WaitFor(probe);
  return true;
}

class EachBackend : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    if (!Available(GetParam())) GTEST_SKIP() << GetParam() << " is not available here";
  }
};

inline bool Installed(const std::string& program) {
  return RunToEnd({"sh", "-c", "command -v " + program}).exit_code == 0;
}

}  // namespace cli_tests
