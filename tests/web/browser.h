#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <stdexcept>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "tests/cli/ringside.h"

// A real browser, without a screen, driven by WebDriver (https://www.w3.org/TR/webdriver2/).
namespace web_tests {

// A directory that goes with its owner.
class ScratchDirectory {
 public:
  ScratchDirectory() {
    std::string pattern = std::filesystem::temp_directory_path() / "ringside-web-XXXXXX";
    if (mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("no directory: " + pattern);
    path_ = pattern;
  }
  ~ScratchDirectory() {
    std::error_code ignored;  // the browser may still be writing its last
    std::filesystem::remove_all(path_, ignored);
  }
  ScratchDirectory(const ScratchDirectory&) = delete;
  ScratchDirectory& operator=(const ScratchDirectory&) = delete;

  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

// What a page could do to its reader's browser: Json() where there is no value.
class Browser {
 public:
  using Json = nlohmann::json;

  static bool Available() {
    return cli_tests::Installed("chromium") && cli_tests::Installed("chromedriver") &&
           cli_tests::Installed("curl");
  }

  Browser() : driver_(cli_tests::Start({"chromedriver", "--port=0"})) {
    const std::string before = "started successfully on port ";
    const bool started = cli_tests::Until([&] {
      driver_.Wait(1'000'000, -1);
      const std::string said = driver_.Output();
      const size_t at = said.find(before);
      if (at == std::string::npos || said.find('\n', at) == std::string::npos) return false;
      port_ = std::to_string(std::stoi(said.substr(at + before.size())));
      return true;
    });
    if (!started) throw std::runtime_error("chromedriver doesn't start: " + driver_.Errors());
    const Json arguments = {"--headless=new",
                            "--no-sandbox",
                            "--disable-gpu",
                            "--no-first-run",
                            "--disable-sync",
                            "--disable-background-networking",
                            "--disable-component-update",
                            "--window-size=1200,900",
                            absl::StrCat("--user-data-dir=", profile_.path().string())};
    const Json wanted = {{"browserName", "chrome"},
                         {"goog:chromeOptions", {{"args", arguments}}},
                         {"goog:loggingPrefs", {{"browser", "ALL"}, {"performance", "ALL"}}}};
    const Json session = Ask("POST", "/session", {{"capabilities", {{"alwaysMatch", wanted}}}});
    session_ = "/session/" + session.at("sessionId").get<std::string>();
  }
  ~Browser() {
    if (!session_.empty()) cli_tests::RunToEnd({"curl", "-s", "-X", "DELETE", Url(session_)});
  }
  Browser(const Browser&) = delete;
  Browser& operator=(const Browser&) = delete;

  void Open(const std::filesystem::path& file) {
    Post("/url", {{"url", "file://" + file.string()}});
  }

  // What a function's body returns in the page.
  Json Run(const std::string& script) {
    return Post("/execute/sync", {{"script", script}, {"args", Json::array()}});
  }

  std::string TextOf(const std::string& selector) {
    return Run("return document.querySelector(" + Json(selector).dump() + ").textContent");
  }

  // As a person does: the element is scrolled to, and has to be reachable.
  void Click(const std::string& selector) { Post(Element(selector) + "/click", Json::object()); }
  void Type(const std::string& selector, const std::string& keys) {
    Post(Element(selector) + "/value", {{"text", keys}});
  }

  // Moves the pointer to a place in the window.
  void PointTo(int x, int y) {
    const Json move = {
        {"type", "pointerMove"}, {"duration", 0}, {"x", x}, {"y", y}, {"origin", "viewport"}};
    Post("/actions", {{"actions",
                       {{{"type", "pointer"},
                         {"id", "mouse"},
                         {"parameters", {{"pointerType", "mouse"}}},
                         {"actions", {move}}}}}});
  }

  // A command of the DevTools protocol.
  void Command(const std::string& name, const Json& parameters) {
    Post("/goog/cdp/execute", {{"cmd", name}, {"params", parameters}});
  }

  // What the console has said since the last call: warnings and errors.
  std::vector<std::string> Complaints() {
    std::vector<std::string> lines;
    for (const Json& entry : Post("/se/log", {{"type", "browser"}})) {
      lines.push_back(entry.at("message"));
    }
    return lines;
  }

  // What the page has asked for since the last call.
  std::vector<std::string> Requests() {
    std::vector<std::string> urls;
    for (const Json& entry : Post("/se/log", {{"type", "performance"}})) {
      const Json message = Json::parse(entry.at("message").get<std::string>()).at("message");
      if (message.at("method") != "Network.requestWillBeSent") continue;
      urls.push_back(message.at("params").at("request").at("url"));
    }
    return urls;
  }

 private:
  std::string Url(const std::string& path) const {
    return absl::StrCat("http://127.0.0.1:", port_, path);
  }

  std::string Element(const std::string& selector) {
    const Json found = Post("/element", {{"using", "css selector"}, {"value", selector}});
    return "/element/" + found.begin().value().get<std::string>();
  }

  Json Post(const std::string& path, const Json& body) {
    return Ask("POST", session_ + path, body);
  }

  // The value of the answer; throws with what the driver says against it.
  Json Ask(const std::string& method, const std::string& path, const Json& body) {
    const cli_tests::Ended ended =
        cli_tests::RunToEnd({"curl", "-sS", "--noproxy", "*", "-X", method, "-H",
                             "Content-Type: application/json", "-d", body.dump(), Url(path)});
    const Json answer = Json::parse(ended.out, nullptr, false);
    if (!answer.is_object() || !answer.contains("value")) {
      throw std::runtime_error(path + ": " + ended.out + ended.err);
    }
    const Json& value = answer.at("value");
    if (value.is_object() && value.contains("error")) {
      throw std::runtime_error(path + ": " + value.at("message").get<std::string>());
    }
    return value;
  }

  ScratchDirectory profile_;
  bench::Process driver_;
  std::string port_, session_;
};

}  // namespace web_tests
