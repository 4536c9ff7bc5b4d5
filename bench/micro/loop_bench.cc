// The tool's own cost a message: a service through NullLoop, which has no sockets.

#include <benchmark/benchmark.h>

#include <array>
#include <string>
#include <string_view>
#include <vector>

#include "io/null_loop.h"
#include "server/one_service.h"
#include "services/counter.h"
#include "services/echo.h"

namespace {

// The static path: the loop's type is known at compile time, as in a worker thread.
template <class Service>
void MessageThroughNullLoop(benchmark::State& state, std::string_view message) {
  server::OneService server(Service::kName, {.message_bytes = message.size()});
  io::NullLoop<server::Responder> loop(*server.responder);
  if (!loop.Open().ok()) return state.SkipWithError("NullLoop::Open");
  io::Connection& connection = loop.OpenFed();
  for (auto _ : state) {
    loop.Feed(connection, io::AsBytes(message));
    benchmark::ClobberMemory();
  }
  if (loop.counters().sent_bytes == 0) state.SkipWithError("nothing was answered");
}

const std::string k64(64, 'x');

void NullLoopEcho64(benchmark::State& state) { MessageThroughNullLoop<services::Echo>(state, k64); }
BENCHMARK(NullLoopEcho64);

void NullLoopCounterLine(benchmark::State& state) {
  MessageThroughNullLoop<services::Counter>(state, "next\n");
}
BENCHMARK(NullLoopCounterLine);

// Verifying a reply against the pattern, as the load generator does with each.
void VerifyReply(benchmark::State& state) {
  const size_t bytes = static_cast<size_t>(state.range(0));
  services::Echo::Client client({.message_bytes = bytes});
  services::Echo::Client::Session session;
  client.OnOpen(session, 1);
  const io::Bytes expected = services::Pattern::Get().Slice(session.receive_at, bytes);
  const std::vector<std::byte> reply(expected.begin(), expected.end());
  benchmark::IterationCount replies = 0;
  for (auto _ : state) {
    session.receive_at = services::Pattern::Phase(1);
    benchmark::DoNotOptimize(reply.data());
    benchmark::DoNotOptimize(expected.data());
    services::Received got = client.OnReceive(session, reply);
    benchmark::DoNotOptimize(got);  // all of it: else the comparison itself is left out
    replies += got.replies;
    benchmark::ClobberMemory();
  }
  if (replies != state.iterations()) state.SkipWithError("a reply did not verify");
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations() * bytes));
}
BENCHMARK(VerifyReply)->Arg(64)->Arg(16384);

}  // namespace
