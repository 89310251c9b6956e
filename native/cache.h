// Keys and values of one row: of its own tokens, and of the source it looks at.
#pragma once

#include <vector>

#include "program.h"

namespace openbook {

// Keys and values of all slots of one part, with room for `capacity` columns, a multiple of 16.
//   key of a slot and head: [capacity / 16][width][16];  value: [capacity][width rounded up to 16]
class Columns {
 public:
  Columns() = default;
  Columns(const std::vector<Slot>& slots, int part, bool half);
  Columns(const Columns& other);
  Columns& operator=(const Columns& other);
  Columns(Columns&&) = default;
  Columns& operator=(Columns&&) = default;

  int length = 0;

  void reserve(int columns);
  std::byte* key(int slot, int head) { return memory_.get() + unit() * (offset(slot) + head_offset(slot, head)); }
  std::byte* value(int slot, int head) { return key(slot, head) + unit() * capacity_ * layout_[slot].width; }
  bool half() const { return half_; }
  size_t value_stride(int slot) const { return layout_[slot].padded; }
  // Write one column's key and value of a head.
  void put(int slot, int head, int column, const float* key, const float* value);
  // Keep only these columns, in this order.
  void pick(const std::vector<int>& columns);
  size_t column_bytes() const { return numbers_a_column() * unit(); }
  // Copy `count` columns from `first` on to `block`; both are multiples of 16.
  void save(int first, int count, std::byte* block);
  // Append `count` columns that were saved; `length` is a multiple of 16.
  void load(int count, const std::byte* block);

 private:
  struct Layout {
    int heads = 0, width = 0, padded = 0;
    size_t before = 0;  // numbers a column of the slots before this one
  };
  size_t unit() const { return half_ ? sizeof(uint16_t) : sizeof(float); }
  void set(std::byte* numbers, size_t at, float value) const;
  size_t offset(int slot) const { return layout_[slot].before * size_t(capacity_); }
  size_t head_offset(int slot, int head) const {
    return size_t(head) * capacity_ * (layout_[slot].width + layout_[slot].padded);
  }
  size_t numbers_a_column() const;
  template <typename Move>
  void each_piece(int first, int count, Move move);

  std::vector<Layout> layout_;  // of every slot; those of other parts have no heads
  int capacity_ = 0;
  bool half_ = false;  // float16 instead of float32
  Memory memory_;
};

// A sequence under way. After `branch` it holds the tokens of several beams, each of which sees some columns.
struct Row {
  Columns own, source;
  std::vector<int> positions;                // of the columns
  int next_position = 0;
  int beams = 0;                             // 0: it has not branched
  std::vector<std::vector<uint8_t>> seen;    // [beam][column]
  int prune_at = 0;

  void append(int columns);                  // make room for new columns; their positions and who sees them follow
  void branch(const int64_t* parents, int count);
  void prune();                              // forget columns that no beam sees, now and then
};

}  // namespace openbook
