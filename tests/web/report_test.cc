#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "report/html.h"
#include "tests/tier.h"
#include "tests/web/browser.h"
#include "tests/web/sample_results.h"

// The HTML report in a browser.
namespace web_tests {
namespace {

class Report : public testing::Test {
 protected:
  // One browser for all of them: to start it takes longer than a test.
  static void SetUpTestSuite() {
    if (Browser::Available()) browser_ = std::make_unique<Browser>();
  }
  static void TearDownTestSuite() { browser_.reset(); }

  void SetUp() override {
    if (!browser_) GTEST_SKIP() << "chromium, chromium-driver or curl is not installed here";
    browser_->Command("Emulation.setEmulatedMedia", {{"features", nlohmann::json::array()}});
  }

  void Open(const std::vector<Json>& results) {
    const std::filesystem::path file = folder_.path() / "report.html";
    std::ofstream(file) << report::HtmlReport(results);
    browser_->Complaints();
    browser_->Requests();
    browser_->Open(file);
  }

  // Nothing went wrong in the page, and nothing left it. The browser's own pages aren't ours.
  void ExpectQuiet() {
    for (const std::string& complaint : browser_->Complaints()) ADD_FAILURE() << complaint;
    bool itself = false;
    for (const std::string& url : browser_->Requests()) {
      itself = itself || url.ends_with("/report.html");
      EXPECT_TRUE(url.starts_with("file:") || url.starts_with("data:") ||
                  url.starts_with("chrome:"))
          << url;
    }
    EXPECT_TRUE(itself) << "the log of requests hasn't even the page";
  }

  void ExpectFitsPhone() {
    browser_->Command(
        "Emulation.setDeviceMetricsOverride",
        {{"width", 375}, {"height", 800}, {"deviceScaleFactor", 1}, {"mobile", true}});
    EXPECT_EQ(browser_->Run("return window.innerWidth"), 375);
    EXPECT_LE(browser_->Run("return document.documentElement.scrollWidth"), 375);
    browser_->Command("Emulation.clearDeviceMetricsOverride", nlohmann::json::object());
  }

  // What the tooltip of the first chart says over a point of it, in the middle of its series.
  std::string HoverText() {
    const auto at = browser_->Run(
        "const canvas = document.querySelector('.chart canvas');"
        "canvas.scrollIntoView({block: 'center'});"
        "const chart = Chart.getChart(canvas), points = chart.getDatasetMeta(0).data;"
        "const box = canvas.getBoundingClientRect(), point = points[points.length >> 1];"
        "return [Math.round(box.left + point.x), Math.round(box.top + point.y)]");
    browser_->PointTo(at[0], at[1]);
    std::string text;
    const bool shown = cli_tests::Until([&] {
      const auto said = browser_->Run(
          "const tip = Chart.getChart(document.querySelector('.chart canvas')).tooltip;"
          "return tip && tip.opacity > 0 ? tip.title.concat(...tip.body.map((b) => b.lines))"
          ".join('|') : null");
      if (said.is_string()) text = said;
      return said.is_string();
    });
    EXPECT_TRUE(shown);
    return text;
  }

  ScratchDirectory folder_;
  static std::unique_ptr<Browser> browser_;
};

std::unique_ptr<Browser> Report::browser_;

TEST_F(Report, SaysWhatWasFoundAndShowsIt) {
  Open({Comparison({"epoll", "io_uring"})});
  EXPECT_EQ(browser_->Run("return document.title"),
            "io_uring is faster than epoll: 6.0 % less server CPU a request at 100k/s – ringside");
  EXPECT_EQ(browser_->TextOf(".verdicts .sentence"),
            "io_uring is faster than epoll: 6.0 % less server CPU a request at 100k/s (98.2 % "
            "interval −7.9 to −4.1 %, 10 pairs).");
  EXPECT_EQ(browser_->TextOf(".verdicts .badge"), "▲faster");
  EXPECT_EQ(browser_->TextOf("h2"), "Verdict");  // before all else
  EXPECT_NE(browser_->TextOf(".verdicts + .facts").find("1 of 6 rounds was void"),
            std::string::npos);

  const std::string hover = HoverText();
  EXPECT_EQ(hover.front(), 'p') << hover;
  EXPECT_NE(hover.find("epoll: "), std::string::npos) << hover;
  EXPECT_NE(hover.find("io_uring: "), std::string::npos) << hover;
  EXPECT_NE(hover.find(" µs"), std::string::npos) << hover;

  // The heat map draws something, and tells the value under the pointer.
  const auto at = browser_->Run(
      "const canvas = document.querySelector('.heat canvas');"
      "canvas.scrollIntoView({block: 'center'});"
      "const box = canvas.getBoundingClientRect(), image = canvas.getContext('2d')"
      ".getImageData(0, 0, canvas.width, canvas.height).data;"
      "const colours = new Set();"
      "for (let i = 0; i < image.length; i += 4) "
      "if (image[i + 3] === 255) colours.add(image[i] + ',' + image[i + 1]);"
      "return [Math.round(box.left + box.width / 2), Math.round(box.top + 120), colours.size]");
  EXPECT_GT(at[2], 10);
  browser_->PointTo(at[0], at[1]);
  EXPECT_TRUE(cli_tests::Until(
      [&] { return browser_->TextOf(".readout").find("requests (") != std::string::npos; }));
  ExpectFitsPhone();
  ExpectQuiet();
}

TEST_F(Report, SwitchesSeriesViewsAndThemes) {
  LEFT_TO_ALL();
  Json compare = Comparison({"epoll", "io_uring", "bare"});
  compare["scenarios"].push_back(Scenario("64 × 16 KiB", nullptr, 3, "cannot tell", 1.01));
  Open({compare});
  const auto visible = [&](int series) {
    return browser_->Run(
        "return Chart.getChart(document.querySelector('.chart canvas')).isDatasetVisible(" +
        std::to_string(series) + ")");
  };
  const std::string key = ".keys .key:nth-child(2)";
  const auto pressed = [&] {
    return browser_->Run("return document.querySelector('" + key +
                         "').getAttribute('aria-pressed')");
  };
  EXPECT_EQ(pressed(), "true");
  browser_->Click(key);
  EXPECT_EQ(pressed(), "false");
  EXPECT_EQ(visible(0), true);
  EXPECT_EQ(visible(1), false);

  // The theme is what the system wants until the button says otherwise; what is off stays off.
  const auto paper = [&] {
    return browser_->Run("return getComputedStyle(document.documentElement).backgroundColor");
  };
  const auto light = paper();
  browser_->Command("Emulation.setEmulatedMedia",
                    {{"features", {{{"name", "prefers-color-scheme"}, {"value", "dark"}}}}});
  EXPECT_TRUE(cli_tests::Until([&] { return paper() != light; }));
  EXPECT_EQ(visible(1), false);
  browser_->Run("window.dispatchEvent(new Event('beforeprint'))");
  EXPECT_EQ(paper(), light) << "paper is white";
  browser_->Run("window.dispatchEvent(new Event('afterprint'))");
  EXPECT_NE(paper(), light);
  browser_->Click("#theme");
  EXPECT_EQ(paper(), light);

  // By the keyboard.
  browser_->Type(key, " ");
  EXPECT_EQ(pressed(), "true");
  EXPECT_EQ(visible(1), true);

  const std::string before = browser_->TextOf("#r0s1 table");
  browser_->Run(
      "const select = document.querySelector('#r0s1 select');"
      "select.value = 1; select.dispatchEvent(new Event('change'))");
  EXPECT_NE(browser_->TextOf("#r0s1 table"), before);
  ExpectFitsPhone();
  ExpectQuiet();
}

TEST_F(Report, KeepsNamesText) {
  LEFT_TO_ALL();
  const std::string hostile =
      "</script><script>window.broken = 1</script><!--<img src=x "
      "onerror=window.broken=1>";
  Json compare = Comparison({hostile, "{{script}} & \"quotes\" \xff"});
  compare["scenarios"][0]["name"] = hostile;
  compare["arms"][1]["command"] = std::string(600, 'x');
  compare["problem"] = hostile;
  Open({compare});
  EXPECT_EQ(browser_->TextOf("#r0s1 tbody td"), hostile);
  EXPECT_NE(browser_->TextOf("h1").find("{{script}} & \"quotes\" \xef\xbf\xbd"), std::string::npos);
  EXPECT_EQ(browser_->Run("return [window.broken, document.querySelectorAll('img').length, "
                          "document.scripts.length]"),
            nlohmann::json::array({nullptr, 0, 3}));
  ExpectFitsPhone();
  ExpectQuiet();
  // And were it otherwise, a script that isn't the page's own would not run.
  EXPECT_EQ(browser_->Run("const script = document.createElement('script');"
                          "script.textContent = 'window.broken = 1';"
                          "document.body.append(script); return window.broken"),
            nullptr);
}

TEST_F(Report, ShowsALoadWithItsTimeseries) {
  LEFT_TO_ALL();
  cli_tests::Server server({});
  const std::filesystem::path lines = folder_.path() / "load.jsonl";
  const nlohmann::json load = cli_tests::LoadJson(
      {server.port(), "-c", "4", "-d", "1s", "--warmup", "0s", "--timeseries", lines.string()});
  std::vector<Json> results = {Json::parse(load.dump())};
  std::ifstream file(lines);
  for (std::string line; std::getline(file, line);) results.push_back(Json::parse(line));
  ASSERT_GT(results.size(), 2u);
  const size_t intervals = results.size() - 1;
  results.push_back(Comparison({"epoll", "io_uring"}));  // a page may have several results
  Open(results);

  EXPECT_NE(browser_->TextOf("h1").find("requests/s, p99 "), std::string::npos);
  EXPECT_EQ(browser_->TextOf(".verdicts .badge span:last-child"),
            load["verdict"]["kind"].get<std::string>());
  EXPECT_EQ(browser_->TextOf(".verdicts .sentence"), load["verdict"]["reason"].get<std::string>());
  EXPECT_NE(HoverText().find("service time: "), std::string::npos);
  EXPECT_EQ(browser_->Run("return Chart.getChart(document.querySelectorAll('.chart canvas')[1])"
                          ".data.datasets[0].data.length"),
            intervals);
  EXPECT_EQ(browser_->Run("return document.querySelectorAll('.heat canvas').length"), 3);
  EXPECT_EQ(browser_->Run("return document.querySelectorAll('h1').length"), 2);
  ExpectFitsPhone();
  ExpectQuiet();
}

}  // namespace
}  // namespace web_tests
