#include "loadgen/server_metrics.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <cmath>
#include <limits>
#include <string>

#include "loadgen/reconciliation.h"
#include "loadgen/server_witness.h"
#include "server/prometheus.h"
#include "tests/unit/page_server.h"

namespace loadgen {
namespace {

TEST(ParseMetrics, ReadsSamplesAndLeavesOutTheRest) {
  const auto samples = ParseMetrics(
      "# HELP a_total What.\n# TYPE a_total counter\na_total 12\n"
      "b{x=\"1\",y=\"a \\\"q\\\" \\\\ \\n, }\"} -1.5e-3 1700000000000\r\n"
      "\n  c { x = \"\" , } +Inf\nd NaN\n"
      "e{x=\"1\" 3\nf\ng 1 2 3\nh one\n9i 1\n{x=\"1\"} 1\nj{x=1} 1\nk{x=\"\\\nl{=\"1\"} 2\n"
      "last 7");
  ASSERT_EQ(samples.size(), 5u);
  EXPECT_EQ(samples[0].name, "a_total");
  EXPECT_EQ(samples[0].value, 12);
  EXPECT_EQ(samples[1].Label("x"), "1");
  EXPECT_EQ(samples[1].Label("y"), "a \"q\" \\ \n, }");
  EXPECT_EQ(samples[1].Label("z"), "");
  EXPECT_EQ(samples[1].value, -1.5e-3);
  EXPECT_EQ(samples[2].value, std::numeric_limits<double>::infinity());
  EXPECT_EQ(samples[2].labels.size(), 1u);
  EXPECT_TRUE(std::isnan(samples[3].value));
  EXPECT_EQ(samples[4].name, "last");
  EXPECT_TRUE(ParseMetrics("").empty());
}

// What our own pages say is read as it was meant, whatever is in a label.
TEST(ParseMetrics, ReadsWhatOurPagesSay) {
  rc::check([](uint64_t count, double value) {
    RC_PRE(std::isfinite(value));
    const auto label = *rc::gen::container<std::string>(rc::gen::inRange<char>(1, 127));
    server::PrometheusPage page;
    page.Counter("a_total", "A.");
    page.Sample(count, {{"x", label}});
    page.Gauge("b", "B.");
    page.Sample(value);
    const auto samples = ParseMetrics(*page.Finish());
    RC_ASSERT(samples.size() == 2u);
    RC_ASSERT(samples[0].Label("x") == label);
    RC_ASSERT(samples[0].value == static_cast<double>(count));
    RC_ASSERT(samples[1].value == value);
  });
}

TEST(ParseMetrics, NothingBreaksIt) {
  rc::check([](const std::string& text) {
    for (const MetricSample& sample : ParseMetrics(text)) RC_ASSERT(!sample.name.empty());
    (void)PickMetrics("ringside_requests_total{" + text + "} " + text);
  });
}

TEST(PickMetrics, OfOurs) {
  const ServerMetrics metrics = *PickMetrics(R"(
ringside_info{version="1"} 1
ringside_uptime_seconds 1.5
ringside_requests_total{listener="127.0.0.1:9",service="echo"} 7
ringside_requests_total{listener="unix:@a",service="counter"} 8
ringside_listener_info{listener="127.0.0.1:9",service="echo",unit="64 bytes"} 1
ringside_connections{thread="0"} 1
ringside_connections{thread="1"} 2
ringside_cpu_seconds_total{thread="0"} 0.25
ringside_cpu_seconds_total{thread="1"} 0.5
process_cpu_seconds_total 9
ringside_connections_accepted_total{thread="0"} 10
ringside_connections_accepted_total{thread="1"} 20
ringside_received_bytes_total{thread="0"} 100
ringside_sent_bytes_total{thread="0"} 200
ringside_truncated_messages_total{thread="0"} NaN
)");
  EXPECT_TRUE(metrics.is_ringside);
  EXPECT_EQ(metrics.cpu_seconds, 0.75);
  EXPECT_EQ(metrics.uptime_s, 1.5);
  EXPECT_EQ(metrics.accepted, 30u);
  EXPECT_EQ(metrics.open, 3u);
  EXPECT_EQ(metrics.received_bytes, 100u);
  EXPECT_EQ(metrics.sent_bytes, 200u);
  EXPECT_EQ(metrics.truncated, 0u);
  ASSERT_EQ(metrics.listeners.size(), 2u);
  EXPECT_EQ(metrics.listeners[0], (ServerMetrics::Listener{"127.0.0.1:9", "echo", "64 bytes", 7}));
  EXPECT_EQ(metrics.listeners[1], (ServerMetrics::Listener{"unix:@a", "counter", "", 8}));
}

// However many lines name a listener, and however many listeners a page names.
TEST(PickMetrics, BoundsWhatAPageNames) {
  std::string page, other;
  for (int i = 0; i < 20'000; ++i) {
    const std::string name = std::to_string(i);
    page +=
        "ringside_requests_total{listener=\"host" + std::to_string(i % kListenersMax) + ":1\"} 1\n";
    other += "ringside_listener_info{listener=\"host" + name + ":1\",unit=\"line\"} 1\n";
  }
  const auto picked = PickMetrics(page);
  ASSERT_TRUE(picked.ok()) << picked.status();
  ASSERT_EQ(picked->listeners.size(), kListenersMax);
  EXPECT_EQ(picked->listeners.front().requests, 20'000 / kListenersMax + 1);
  EXPECT_EQ(PickMetrics(other).status().code(), absl::StatusCode::kResourceExhausted);
}

TEST(Shown, IsPrintableAndShort) {
  EXPECT_EQ(Shown("127.0.0.1:9 echo"), "127.0.0.1:9 echo");
  EXPECT_EQ(Shown("\x1b[2J\xfc\\\n"), "\\x1b[2J\\xfc\\x5c\\x0a");
  EXPECT_EQ(Shown(std::string(1000, 'a')).size(), 203u);
}

TEST(PickMetrics, OfAnyExporter) {
  const ServerMetrics metrics = *PickMetrics("process_cpu_seconds_total 2.5\n");
  EXPECT_FALSE(metrics.is_ringside);
  EXPECT_EQ(metrics.cpu_seconds, 2.5);
  EXPECT_EQ(PickMetrics("")->cpu_seconds, -1);
}

TEST(MetricsAddress, IsReadAsItIsTyped) {
  const auto parse = [](const char* text) {
    const auto parsed = MetricsAddress::Parse(text);
    return parsed.ok() ? parsed->at.ToString() + " " + parsed->path
                       : std::string(absl::StatusCodeToString(parsed.status().code()));
  };
  EXPECT_EQ(parse("9100"), "127.0.0.1:9100 /metrics");
  EXPECT_EQ(parse("127.0.0.1:9100"), "127.0.0.1:9100 /metrics");
  EXPECT_EQ(parse("127.0.0.1:9100/"), "127.0.0.1:9100 /metrics");
  EXPECT_EQ(parse("127.0.0.1:9100/a/b?c"), "127.0.0.1:9100 /a/b?c");
  EXPECT_EQ(parse("http://[::1]:9100/x"), "[::1]:9100 /x");
  EXPECT_EQ(parse("tcp://127.0.0.1:9100/x"), "127.0.0.1:9100 /x");
  EXPECT_EQ(parse("unix:/run/m.sock"), "unix:/run/m.sock /metrics");
  for (const char* wrong : {"", "https://127.0.0.1:9100", "udp://127.0.0.1:9", "127.0.0.1:0",
                            "unix-dgram:/run/x", "/metrics"}) {
    EXPECT_EQ(parse(wrong), "INVALID_ARGUMENT") << wrong;
  }
}

TEST(ReadServerMetrics, SaysWhereAPageTellsNothing) {
  PageServer server([](int fd, int) {
    PageServer::Send(fd, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\na 1\n");
  });
  const auto read = ReadServerMetrics({.at = server.at()}, 60'000'000'000);
  EXPECT_EQ(read.status().code(), absl::StatusCode::kFailedPrecondition);
}

// --- the comparison -----------------------------------------------------------------------------

// A run of 10 requests of 64 bytes on 2 connections that both ends counted alike.
struct BothEnds {
  std::vector<LoadOptions> classes = {LoadOptions{.at = *io::Resolve("127.0.0.1:9999")}};
  std::vector<LoadResult> results = std::vector<LoadResult>(1);
  ServerMetrics before{.is_ringside = true,
                       .uptime_s = 5,
                       .accepted = 3,
                       .received_bytes = 100,
                       .sent_bytes = 50,
                       .listeners = {{"127.0.0.1:9999", "echo", "64 bytes", 4}}};
  ServerMetrics after{.is_ringside = true,
                      .uptime_s = 6,
                      .accepted = 5,
                      .received_bytes = 740,
                      .sent_bytes = 690,
                      .listeners = {{"127.0.0.1:9999", "echo", "64 bytes", 14}}};

  BothEnds() {
    results[0].connections.opened = 2;
    results[0].requests_total = 10;
    results[0].bytes.sent = results[0].bytes.received = 640;
  }
  void MoveTo(const char* address, const char* service, const char* unit) {
    classes[0].at = *io::Resolve(address);
    classes[0].service = service;
    for (ServerMetrics* metrics : {&before, &after}) {
      metrics->listeners[0].address = address;
      metrics->listeners[0].service = service;
      metrics->listeners[0].unit = unit;
    }
  }
  Reconciliation Compare() const { return Reconcile(classes, results, before, after); }
  size_t Differences() const { return Compare().differences.size(); }
};

const std::vector<std::string> kAll = {"connections", "requests", "bytes"};

TEST(Reconcile, FindsNothingWhereAllIsTheSame) {
  const Reconciliation found = BothEnds().Compare();
  EXPECT_EQ(found.checked, kAll);
  EXPECT_TRUE(found.differences.empty());
  EXPECT_TRUE(found.unchecked.empty());
  EXPECT_EQ(found.listener, "127.0.0.1:9999");
}

TEST(Reconcile, FindsEachDifferenceInBothDirections) {
  for (const uint64_t by : {uint64_t{1}, ~uint64_t{0}}) {
    BothEnds connections, requests, received, sent;
    connections.after.accepted += by;
    requests.after.listeners[0].requests += by;
    received.after.received_bytes += by;
    sent.after.sent_bytes += by;
    for (const BothEnds* run : {&connections, &requests, &received, &sent}) {
      EXPECT_EQ(run->Differences(), 1u);
    }
  }
}

TEST(Reconcile, ComparesRequestsWhereBothCountTheSame) {
  const auto compares = [](const char* address, const char* service, const char* unit) {
    BothEnds run;
    run.MoveTo(address, service, unit);
    return run.Compare().checked.size() + (run.classes[0].at.is_datagram() ? 1 : 0) == 3;
  };
  EXPECT_FALSE(compares("127.0.0.1:9", "echo", "receive"));
  EXPECT_FALSE(compares("127.0.0.1:9", "echo", "65 bytes"));
  EXPECT_FALSE(compares("127.0.0.1:9", "echo", ""));
  EXPECT_FALSE(compares("127.0.0.1:9", "chargen", "64 bytes"));
  EXPECT_FALSE(compares("unix-seqpacket:@a", "echo", "65 bytes"));
  EXPECT_TRUE(compares("127.0.0.1:9", "counter", "line"));
  EXPECT_TRUE(compares("127.0.0.1:9", "greet", "connection"));
  EXPECT_TRUE(compares("unix-seqpacket:@a", "reply", "receive"));
  EXPECT_TRUE(compares("udp://127.0.0.1:9", "echo", "receive"));
  EXPECT_TRUE(compares("unix-dgram:@a", "delay", ""));
  BothEnds varies;
  varies.classes[0].sizes = services::SizePlan::Uniform(1, 64);
  EXPECT_EQ(varies.Compare().checked.size(), 2u);
}

TEST(Reconcile, FindsTheListener) {
  const auto found = [](std::vector<ServerMetrics::Listener> listeners) {
    BothEnds run;
    run.before.listeners = run.after.listeners = std::move(listeners);
    return run.Compare().listener;
  };
  EXPECT_EQ(found({{"*:9999", "echo"}, {"127.0.0.1:9999", "echo"}}), "127.0.0.1:9999");
  EXPECT_EQ(found({{"mptcp://127.0.0.1:9999", "echo"}, {"*:9998", "echo"}}),
            "mptcp://127.0.0.1:9999");
  EXPECT_EQ(found({{"*:9998", "echo"}, {"*:9999", "discard"}}), "*:9999");
  EXPECT_EQ(found({{"192.0.2.1:80", "echo"}, {"192.0.2.1:81", "counter"}}), "192.0.2.1:80");
  EXPECT_EQ(found({{"192.0.2.1:80", "echo"}, {"192.0.2.1:81", "echo"}}), "");
  EXPECT_EQ(found({{"udp://127.0.0.1:9999", "echo"}}), "");
  EXPECT_EQ(found({}), "");
}

// Names are the server's to choose: nobody is asked for them, and they control no terminal.
TEST(Reconcile, LooksNothingUpThatAServerNames) {
  BothEnds ends;
  ends.classes[0].at = *io::Resolve("127.0.0.1:80");
  for (ServerMetrics* metrics : {&ends.before, &ends.after}) {
    metrics->listeners[0].address = "localhost:http";  // which is this, by name
    metrics->listeners[0].service = "other\x1b[31m";
    metrics->listeners.push_back({"127.0.0.1:80", "\x1b]0;x\x07", "64 bytes", 4});
  }
  const Reconciliation found = ends.Compare();
  EXPECT_EQ(found.listener, "127.0.0.1:80");
  ASSERT_EQ(found.unchecked.size(), 1u);
  EXPECT_EQ(found.unchecked[0], "requests: the server's are of \\x1b]0;x\\x07, not of echo");
  for (ServerMetrics* metrics : {&ends.before, &ends.after}) metrics->listeners.pop_back();
  EXPECT_EQ(ends.Compare().listener, "");
}

TEST(Reconcile, AllowsForLostDatagramsAndNoMore) {
  BothEnds run;
  run.MoveTo("udp://127.0.0.1:9999", "echo", "receive");
  run.results[0].datagrams.lost = 2;
  run.results[0].bytes.sent += 128;
  EXPECT_EQ(run.Differences(), 0u);  // both requests were lost
  run.after.received_bytes += 128;
  run.after.listeners[0].requests += 2;
  run.after.sent_bytes += 128;
  EXPECT_EQ(run.Differences(), 0u);  // both replies were
  run.after.listeners[0].requests += 1;
  EXPECT_EQ(run.Differences(), 1u);
  run.after.received_bytes += 1;
  EXPECT_EQ(run.Differences(), 2u);
  run.after.received_bytes -= 130;
  EXPECT_EQ(run.Differences(), 2u);
  run.after.sent_bytes -= 129;
  EXPECT_EQ(run.Differences(), 3u);
}

TEST(Reconcile, ASourceMaySendWhatItsClientNeverReads) {
  BothEnds run;
  run.MoveTo("127.0.0.1:9999", "chargen", "63270 bytes");
  run.after.sent_bytes += 1000;
  EXPECT_EQ(run.Differences(), 0u);
  run.after.sent_bytes -= 1001;
  EXPECT_EQ(run.Differences(), 1u);
}

TEST(Reconcile, SaysWhyItDoesntCompare) {
  BothEnds errors, interrupted, foreign, again;
  errors.results[0].errors.unanswered = 1;
  interrupted.results[0].interrupted = true;
  foreign.after.is_ringside = false;
  for (BothEnds* run : {&errors, &interrupted, &foreign}) {
    run->after.accepted += 1;
    EXPECT_TRUE(run->Compare().checked.empty());
    EXPECT_TRUE(run->Compare().differences.empty());
    EXPECT_EQ(run->Compare().unchecked.size(), 1u);
  }
  again.after.uptime_s = 1;
  EXPECT_EQ(again.Differences(), 1u);
  EXPECT_TRUE(again.Compare().checked.empty());
}

// --- the readings -------------------------------------------------------------------------------

std::string Page(const std::string& metrics) {
  return "HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(metrics.size()) + "\r\n\r\n" +
         metrics;
}

// CPU time grows by half a second from each question to the next, so the rate is given by when they
// were asked.
TEST(ServerWitness, GivesTheCpuTimeOfTheWindow) {
  PageServer server([](int fd, int number) {
    PageServer::Send(fd, Page("process_cpu_seconds_total " + std::to_string(number * 0.5) + "\n"));
  });
  ServerWitness witness(MetricsAddress{.at = server.at()});
  ASSERT_TRUE(witness.RunBegins().ok());
  witness.WindowBegins();
  witness.WindowEnds();
  witness.WindowEnds();  // the first counts
  std::vector<LoadResult> results(2);
  results[0].duration_s = 1;
  results[1].server_cpu_ns = 77;  // known already
  const Reconciliation found = witness.RunEnds(std::vector<LoadOptions>(2), &results);
  EXPECT_TRUE(results[0].server_cpu_by_metrics);
  EXPECT_GT(results[0].server_cpu_ns, 0);
  EXPECT_FALSE(results[1].server_cpu_by_metrics);
  EXPECT_EQ(results[1].server_cpu_ns, 77);
  EXPECT_TRUE(found.differences.empty());
  EXPECT_EQ(found.unchecked.size(), 1u);
}

// The server's counts lag behind: it is asked until they are ours.
TEST(ServerWitness, WaitsUntilTheServerHasCounted) {
  PageServer server([](int fd, int number) {
    PageServer::Send(fd, Page("ringside_info 1\nringside_connections_accepted_total " +
                              std::to_string(number < 4 ? 0 : 2) + "\n"));
  });
  ServerWitness witness(MetricsAddress{.at = server.at()});
  ASSERT_TRUE(witness.RunBegins().ok());
  std::vector<LoadResult> results(1);
  results[0].connections.opened = 2;
  const Reconciliation found = witness.RunEnds(BothEnds().classes, &results);
  EXPECT_TRUE(found.differences.empty());
  EXPECT_EQ(results[0].errors.reconciliation, 0u);
  EXPECT_EQ(results[0].server_cpu_ns, -1);
}

TEST(ServerWitness, AServerThatIsGoneIsADifference) {
  std::vector<LoadResult> results(1);
  auto server = std::make_unique<PageServer>(
      [](int fd, int) { PageServer::Send(fd, Page("ringside_info 1\n")); });
  ServerWitness witness(MetricsAddress{.at = server->at()});
  ASSERT_TRUE(witness.RunBegins().ok());
  server.reset();
  const Reconciliation found = witness.RunEnds(BothEnds().classes, &results);
  ASSERT_EQ(found.differences.size(), 1u);
  EXPECT_NE(found.differences[0].find("can't be asked any more"), std::string::npos);
  EXPECT_EQ(results[0].errors.reconciliation, 1u);
}

TEST(ServerWitness, DoesntBeginWhereNobodyAnswers) {
  PageServer server([](int fd, int) { PageServer::Send(fd, "no\r\n"); });
  ServerWitness witness(MetricsAddress{.at = server.at()});
  EXPECT_FALSE(witness.RunBegins().ok());
}

}  // namespace
}  // namespace loadgen
