#include "io/slot_table.h"

#include <gtest/gtest.h>

#include <set>
#include <vector>

namespace io {
namespace {

struct Slot {
  uint32_t index = 0, generation = 0;
  int value = 0;
  void Reset() { value = 0; }
};

TEST(SlotTableTest, TakesUpToItsMaximum) {
  SlotTable<Slot> table(3);
  EXPECT_FALSE(table.full());
  std::set<uint32_t> indices;
  for (int i = 0; i < 3; ++i) indices.insert(table.Take()->index);
  EXPECT_EQ(indices, (std::set<uint32_t>{0, 1, 2}));
  EXPECT_TRUE(table.full());
  EXPECT_EQ(table.Take(), nullptr);
  EXPECT_EQ(table.taken(), 3u);
  table.Free(table[1]);
  EXPECT_FALSE(table.full());
  EXPECT_EQ(table.Take()->index, 1u);
  EXPECT_EQ(table.Take(), nullptr);
  EXPECT_EQ(table.size(), 3u);
}

TEST(SlotTableTest, FindsOnlyTheGenerationThatIs) {
  SlotTable<Slot> table(10);
  Slot* slot = table.Take();
  slot->value = 5;
  EXPECT_EQ(table.Find(0, 0), slot);
  EXPECT_EQ(table.Find(0, 1), nullptr);
  EXPECT_EQ(table.Find(1, 0), nullptr);  // never taken
  table.Free(*slot);
  EXPECT_EQ(table.Find(0, 0), nullptr);
  ASSERT_EQ(table.Take(), slot);
  EXPECT_EQ(slot->value, 0);  // reset
  EXPECT_EQ(slot->generation, 1u);
  EXPECT_EQ(table.Find(0, 0), nullptr);
  EXPECT_EQ(table.Find(0, 1), slot);
}

TEST(SlotTableTest, TakesTheLastFreedFirst) {
  SlotTable<Slot> table(100);
  for (int i = 0; i < 10; ++i) table.Take();
  table.Free(table[7]);
  table.Free(table[2]);
  table.Free(table[9]);
  EXPECT_EQ(table.Take()->index, 9u);
  EXPECT_EQ(table.Take()->index, 2u);
  EXPECT_EQ(table.Take()->index, 7u);
  EXPECT_EQ(table.Take()->index, 10u);
}

TEST(SlotTableTest, SlotsStayWhereTheyAre) {
  SlotTable<Slot> table(10'000);
  std::vector<Slot*> slots;
  for (int i = 0; i < 10'000; ++i) slots.push_back(table.Take());
  for (uint32_t i = 0; i < 10'000; ++i) {
    EXPECT_EQ(&table[i], slots[i]);
    EXPECT_EQ(slots[i]->index, i);
  }
}

TEST(SlotTableTest, GenerationsWrapWithinTheirBits) {
  SlotTable<Slot> table(1);
  Slot* slot = table.Take();
  slot->generation = SlotTable<Slot>::kGenerationMask;
  table.Free(*slot);
  EXPECT_EQ(table.Take()->generation, 0u);
}

}  // namespace
}  // namespace io
