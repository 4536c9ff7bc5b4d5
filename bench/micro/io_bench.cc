// The parts of the event loops that every message passes.

#include <benchmark/benchmark.h>
#include <liburing.h>

#include <string>

#include "io/attention_list.h"
#include "io/buffer_ring.h"
#include "io/byte_queue.h"
#include "io/slot_table.h"

namespace {

// A buffer's way round, without the kernel's part: lent, given back, published in batches of 64.
void BufferRingRecycle(benchmark::State& state) {
  io_uring ring;
  if (io_uring_queue_init(8, &ring, 0) != 0) return state.SkipWithError("no io_uring here");
  {
    io::BufferRing buffers;
    if (buffers.Open(&ring, 0, 256, 65536) != 0) return state.SkipWithError("no buffer ring here");
    uint16_t id = 0;
    for (auto _ : state) {
      buffers.OnLent();
      buffers.Recycle(id);
      if (++id == 64) {
        id = 0;
        buffers.Publish();
      }
    }
    buffers.Close(&ring);
  }
  io_uring_queue_exit(&ring);
}
BENCHMARK(BufferRingRecycle);

struct Slot {
  uint32_t index = 0, generation = 0;
  char rest[120];
  void Reset() {}
};

void SlotFind(benchmark::State& state) {
  const uint32_t slots = static_cast<uint32_t>(state.range(0));
  io::SlotTable<Slot> table(slots);
  for (uint32_t i = 0; i < slots; ++i) table.Take();
  uint32_t at = 0;
  for (auto _ : state) {
    benchmark::DoNotOptimize(table.Find(at, 0));
    at = at + 7919 < slots ? at + 7919 : at + 7919 - slots;
  }
}
BENCHMARK(SlotFind)->Arg(8192)->Arg(1 << 20);

void SlotTakeAndFree(benchmark::State& state) {
  io::SlotTable<Slot> table(64);
  for (auto _ : state) {
    Slot* slot = table.Take();
    benchmark::DoNotOptimize(slot);
    table.Free(*slot);
  }
}
BENCHMARK(SlotTakeAndFree);

void AttentionPushAndPop(benchmark::State& state) {
  io::AttentionList list;
  for (auto _ : state) {
    list.Push({1, 2});
    benchmark::DoNotOptimize(list.Pop());
  }
}
BENCHMARK(AttentionPushAndPop);

void QueueAppendAndConsume64(benchmark::State& state) {
  io::BlockPool pool;
  io::ByteQueue queue;
  const std::string message(64, 'x');
  for (auto _ : state) {
    benchmark::DoNotOptimize(queue.Append(io::AsBytes(message), pool));
    queue.Consume(64, pool);
  }
}
BENCHMARK(QueueAppendAndConsume64);

}  // namespace
