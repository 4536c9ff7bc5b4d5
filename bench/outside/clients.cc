// What a request costs the client: `ringside load` beside a client with nothing around it, and
// beside the generators of the distribution, each on the server that it is made for.
//
//   clients BUILD_DIRECTORY RESULT_FILE [ROUNDS [SECONDS]]
//
// The cost is the CPU time of the client's whole process, start and end included, divided by all
// requests that it made. Every reply to `ringside load` is verified, but where the name says
// otherwise. The last sets measure ringside against itself: what verification costs, and the live
// view.
#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "bench/outside/harness.h"

namespace bench {
namespace {

constexpr uint64_t kSeed = 1;
constexpr int kRequestsASecond = 100'000;  // of clients that are told a number of requests

// A client of a set. In its command {port}, {dir}, {seconds} and {count} are filled in.
struct Client {
  std::string name;
  Words command;
  // What finds the number of requests in its output; "": it is {count}. Of ringside, no matter.
  std::string requests_regex;
  bool round_trip_half = false;  // the regex finds half a round trip in us instead
};

struct Set {
  std::string name, note;
  Words server;  // {build}, {port}, {dir}
  Words prime;   // a `ringside load` before each client; none: empty
  std::vector<Client> clients;
};

// Where and how a run goes.
struct Setting {
  std::string build, dir;
  int rounds, seconds;
};

Client Ringside(const std::string& name, const Words& flags) {
  Client client = {.name = name, .command = {"{build}/ringside", "load", "{port}"}};
  client.command.insert(client.command.end(), flags.begin(), flags.end());
  for (const char* word : {"--json", "{dir}/load.json"}) client.command.push_back(word);
  return client;
}

// On both backends.
std::vector<Client> RingsideTwice(const Words& flags) {
  std::vector<Client> clients;
  for (const char* backend : {"epoll", "io_uring"}) {
    Words all = {"-b", backend, "--quiet"};
    all.insert(all.end(), flags.begin(), flags.end());
    clients.push_back(Ringside(absl::StrCat("ringside ", backend), all));
  }
  return clients;
}

std::vector<Client> With(std::vector<Client> clients, const std::vector<Client>& others) {
  clients.insert(clients.end(), others.begin(), others.end());
  return clients;
}

const Words kEchoServer = {"{build}/bench/reference/bare_epoll", "{port}"};

// A request of sockperf: its number, flags and length, then anything.
std::string SockperfRequest() {
  return "\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x01\\x00\\x03\\x00\\x00\\x00\\x40" +
         std::string(50, 'x');
}
std::string SockperfReply() {
  return absl::StrReplaceAll(SockperfRequest(), {{"\\x00\\x03", "\\x00\\x02"}});
}

std::vector<Set> EchoSets() {
  return {
      {.name = "echo",
       .note = "64 connections of 64 B, closed loop, to bare_epoll; bare_client looks at no byte",
       .server = kEchoServer,
       .clients = With(RingsideTwice({"-c", "64", "-s", "64", "-d", "{seconds}s"}),
                       {{.name = "bare_client",
                         .command = {"{build}/bench/reference/bare_client", "{port}", "rr", "64",
                                     "64", "{seconds}"},
                         .requests_regex = "\"requests\": ([0-9]+)"}})},
      {.name = "sockperf",
       .note = "one connection of 64 B, to sockperf's server: the same bytes but for the number",
       .server = {"sockperf", "server", "--tcp", "-i", "127.0.0.1", "-p", "{port}"},
       .clients = With(RingsideTwice({"-c", "1", "-d", "{seconds}s", "--request", SockperfRequest(),
                                      "--reply-is", SockperfReply()}),
                       {{.name = "sockperf",
                         .command = {"sockperf", "ping-pong", "--tcp", "-i", "127.0.0.1", "-p",
                                     "{port}", "-m", "64", "-t", "{seconds}"},
                         .requests_regex = "Total Run.*SentMessages=([0-9]+)"}})},
      {.name = "bare_epoll with one connection",
       .note = "64 B, closed loop; what qperf asks of its own server",
       .server = kEchoServer,
       .clients = RingsideTwice({"-c", "1", "-s", "64", "-d", "{seconds}s"})},
      {.name = "qperf",
       .note = "tcp_lat on one connection of 64 B, to qperf's server, whose protocol is its own: "
               "compare with the set before",
       .server = {"qperf", "--listen_port", "{port}"},
       .clients = {{.name = "qperf",
                    .command = {"qperf", "--listen_port", "{port}", "-m", "64", "-t", "{seconds}",
                                "-vvu", "127.0.0.1", "tcp_lat"},
                    .requests_regex = "latency += +([0-9.]+) us",
                    .round_trip_half = true}}}};
}

std::vector<Set> ProductSets() {
  const std::string body(64, 'b'), key(16, 'k');
  const std::string get = absl::StrCat("VALUE ", key, " 0 64\\r\\n", body, "\\r\\nEND\\r\\n");
  const std::string url = "http://127.0.0.1:{port}/";
  return {
      {.name = "nginx",
       .note = "64 connections, GET of 64 B; ringside sends what wrk sends, ab and hey some more",
       .server = {"nginx", "-e", "stderr", "-p", "{dir}", "-c", "{dir}/nginx-{port}.conf"},
       .clients = With(
           RingsideTwice({"-c", "64", "-d", "{seconds}s", "--request",
                          "GET / HTTP/1.1\\r\\nHost: 127.0.0.1:{port}\\r\\n\\r\\n", "--reply-until",
                          "\\r\\n\\r\\n" + body, "--reply-prefix", "HTTP/1.1 200 OK\\r\\n"}),
           {{.name = "wrk",
             .command = {"wrk", "-t1", "-c64", "-d{seconds}s", url},
             .requests_regex = "([0-9]+) requests in"},
            {.name = "ab",
             .command = {"ab", "-q", "-k", "-c", "64", "-t", "{seconds}", "-n", "99999999", url},
             .requests_regex = "Complete requests: +([0-9]+)"},
            {.name = "hey",
             .command = {"hey", "-c", "64", "-cpus", "1", "-z", "{seconds}s", url},
             .requests_regex = "\\[200\\]\\s+([0-9]+) responses"}})},
      {.name = "redis",
       .note = "64 connections, PING",
       .server = {"redis-server", "--port", "{port}", "--bind", "127.0.0.1", "--save", "",
                  "--appendonly", "no", "--dir", "{dir}"},
       .clients = With(RingsideTwice({"-c", "64", "-n", "{count}", "--request", "PING\\r\\n",
                                      "--reply-is", "+PONG\\r\\n"}),
                       {{.name = "redis-benchmark",
                         .command = {"redis-benchmark", "-p", "{port}", "-c", "64", "-n", "{count}",
                                     "-t", "ping_inline", "-q"}}})},
      {.name = "memcached",
       .note = "64 connections, get of 64 B; of memcaslap one in ten is a set",
       .server = {"memcached", "-u", "nobody", "-l", "127.0.0.1", "-p", "{port}", "-U", "0", "-t",
                  "1"},
       .prime = {"-c", "1", "-n", "1", "--request",
                 absl::StrCat("set ", key, " 0 0 64\\r\\n", body, "\\r\\n"), "--reply-is",
                 "STORED\\r\\n"},
       .clients = With(RingsideTwice({"-c", "64", "-d", "{seconds}s", "--request",
                                      absl::StrCat("get ", key, "\\r\\n"), "--reply-is", get}),
                       {{.name = "memcaslap",
                         .command = {"memcaslap", "-s", "127.0.0.1:{port}", "-T", "1", "-c", "64",
                                     "-t", "{seconds}s", "-F", "{dir}/memcaslap.cfg"},
                         .requests_regex = "cmd_[gs]et: ([0-9]+)"}})}};
}

// What verification costs. Of --request only the bytes of a reply are counted, unless --reply-is
// says what they have to be; an echo is compared with its part of the pattern.
Set VerificationSet(int bytes) {
  const std::string text(bytes, 'x'), size = absl::StrCat(bytes);
  const Words common = {"-b", "epoll", "--quiet", "-c", "64", "-d", "{seconds}s"};
  const auto with = [&](const std::string& name, const Words& flags) {
    Words all = common;
    all.insert(all.end(), flags.begin(), flags.end());
    return Ringside(name, all);
  };
  return {.name = absl::StrCat("verification of ", bytes, " B"),
          .note = "64 connections, closed loop, to bare_epoll",
          .server = kEchoServer,
          .clients = {with("replies counted", {"--request", text, "--reply-bytes", size}),
                      with("replies compared", {"--request", text, "--reply-is", text}),
                      with("echo verified", {"-s", size})}};
}

// script(1) is the terminal of all three.
Set LiveViewSet() {
  std::vector<Client> clients;
  for (const char* live : {"off", "json", "panel"}) {
    const Client client =
        Ringside(live, {"-b", "epoll", "-c", "64", "-s", "64", "-d", "{seconds}s", "--live", live});
    clients.push_back({.name = absl::StrCat("live view ", live),
                       .command = {"env", "TERM=xterm", "script", "-qec",
                                   absl::StrJoin(client.command, " "), "/dev/null"}});
  }
  return {.name = "live view",
          .note = "64 connections of 64 B, closed loop, to bare_epoll, on a pseudo-terminal",
          .server = kEchoServer,
          .clients = clients};
}

bool IsRingside(const Client& client) {
  return absl::StrContains(absl::StrJoin(client.command, " "), "{build}/ringside");
}

std::string ReadFile(const std::string& path) {
  std::stringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

void WriteConfigs(const std::string& dir, int port) {
  std::ofstream(dir + "/memcaslap.cfg") << "key\n16 16 1\nvalue\n64 64 1\ncmd\n0 0.1\n1 0.9\n";
  std::ofstream nginx(absl::StrCat(dir, "/nginx-", port, ".conf"));
  nginx << "worker_processes 1; master_process off; daemon off; error_log stderr;\n"
        << "pid " << dir << "/nginx.pid; events { worker_connections 1024; }\nhttp {\n"
        << "access_log off; keepalive_requests 1000000000;\n";
  for (const char* what : {"client_body", "proxy", "fastcgi", "uwsgi", "scgi"}) {
    nginx << what << "_temp_path " << dir << "/nginx;\n";
  }
  nginx << "server { listen 127.0.0.1:" << port << "; location / { return 200 "
        << std::string(64, 'b') << "; } }\n}\n";
}

using Figures = std::map<std::string, double>;

absl::StatusOr<Figures> RingsideFigures(const Ran& ran, const std::string& path) {
  Ran written = ran;
  written.output = ReadFile(path);
  const auto load = LoadResult(written);
  if (!load.ok()) return load.status();
  const double requests = (*load)["requests_total"];
  return Figures{{"cpu_us_per_request", ran.cpu_us / requests},
                 {"requests", requests},
                 {"requests_per_s", (*load)["throughput_rps"]},
                 {"p50_ns", (*load)["latency_ns"]["p50"]},
                 {"p99_ns", (*load)["latency_ns"]["p99"]},
                 {"window_cpu_us_per_request", (*load)["client"]["cpu_us_per_request"]}};
}

absl::StatusOr<Figures> OtherFigures(const Client& client, const Setting& setting, const Ran& ran) {
  if (ran.exit_code != 0) {
    return absl::InternalError(absl::StrCat("exit code ", ran.exit_code, ": ", ran.errors));
  }
  double requests = static_cast<double>(setting.seconds) * kRequestsASecond;
  if (!client.requests_regex.empty()) {
    const auto found = SumOf(client.requests_regex, ran.output);
    if (!found.ok()) return found.status();
    requests = client.round_trip_half ? setting.seconds * 1e6 / (2 * *found) : *found;
  }
  return Figures{{"cpu_us_per_request", ran.cpu_us / requests}, {"requests", requests}};
}

Places PlacesOf(const Setting& setting, int port) {
  return {{"{build}", setting.build},
          {"{dir}", setting.dir},
          {"{port}", absl::StrCat(port)},
          {"{seconds}", absl::StrCat(setting.seconds)},
          {"{count}", absl::StrCat(setting.seconds * kRequestsASecond)}};
}

// A fresh server, and the client once.
absl::StatusOr<Figures> Play(const Set& set, const Client& client, const Setting& setting) {
  const int port = FreePort();
  const Places places = PlacesOf(setting, port);
  WriteConfigs(setting.dir, port);
  const auto server = StartServer(Filled(set.server, places), port);
  if (!server.ok()) return server.status();
  const std::string path = setting.dir + "/load.json";
  if (!set.prime.empty()) {
    const Client prime = Ringside("prime", set.prime);
    const auto ran = RunToEnd(Filled(prime.command, places), kClientCpus);
    if (!ran.ok()) return ran.status();
    const auto figures = RingsideFigures(*ran, path);
    if (!figures.ok()) return figures.status();
  }
  std::filesystem::remove(path);
  const auto ran = RunToEnd(Filled(client.command, places), kClientCpus);
  if (!ran.ok()) return ran.status();
  return IsRingside(client) ? RingsideFigures(*ran, path) : OtherFigures(client, setting, *ran);
}

Json PlaySet(const Set& set, const Setting& setting) {
  Say(set.name);
  std::vector<Contender> contenders;
  Json commands = Json::object();
  for (const Client& client : set.clients) {
    contenders.push_back({client.name, [&] { return Play(set, client, setting); }});
    const Words shown = Filled(client.command, {{"{build}/", ""}, {"{dir}/", ""}});
    commands[client.name] = absl::StrJoin(shown, " ").substr(0, 400);
  }
  return {{"name", set.name},
          {"note", set.note},
          {"server", absl::StrJoin(Filled(set.server, {{"{build}/", ""}, {"{dir}/", ""}}), " ")},
          {"commands", commands},
          {"clients", Interleave(contenders, setting.rounds, kSeed)}};
}

int Main(const std::string& build, const std::string& path, int rounds, int seconds) {
  std::string dir = std::filesystem::temp_directory_path() / "ringside-clients-XXXXXX";
  if (mkdtemp(dir.data()) == nullptr) {
    Say("can't make a directory for the servers' files: " + dir);
    return 1;
  }
  const Setting setting = {.build = build, .dir = dir, .rounds = rounds, .seconds = seconds};
  std::vector<Set> sets = EchoSets();
  for (const Set& set : ProductSets()) sets.push_back(set);
  for (const int bytes : {64, 16'384}) sets.push_back(VerificationSet(bytes));
  sets.push_back(LiveViewSet());
  Json results = Json::array();
  for (const Set& set : sets) results.push_back(PlaySet(set, setting));
  std::filesystem::remove_all(dir);
  return Finish("ringside.clients/1", "./dev bench clients",
                {{"rounds", rounds}, {"seconds", seconds}, {"seed", kSeed}, {"sets", results}},
                AnyFailed(results), path);
}

}  // namespace
}  // namespace bench

int main(int argc, char** argv) {
  const int rounds = argc > 3 ? std::atoi(argv[3]) : 10;
  const int seconds = argc > 4 ? std::atoi(argv[4]) : 3;
  if (argc < 3 || argc > 5 || rounds < 1 || seconds < 1) {
    bench::Say("usage: clients BUILD_DIRECTORY RESULT_FILE [ROUNDS [SECONDS]]");
    return 2;
  }
  if (!bench::CanWrite(argv[2])) return 2;
  return bench::Main(argv[1], argv[2], rounds, seconds);
}
