#include "cache.h"

#include <algorithm>
#include <cstring>

namespace openbook {
namespace {

constexpr int PRUNE_STEPS = 4;

}  // namespace

Columns::Columns(const std::vector<Slot>& slots, int part, bool half) : half_(half) {
  size_t before = 0;
  for (const Slot& slot : slots) {
    Layout layout;
    if (slot.part == part) {
      layout = {slot.key_value_heads, slot.head_width, (slot.head_width + LANES - 1) / LANES * LANES, before};
      before += size_t(layout.heads) * (layout.width + layout.padded);
    }
    layout_.push_back(layout);
  }
}

Columns::Columns(const Columns& other)
    : length(other.length), layout_(other.layout_), capacity_(other.capacity_), half_(other.half_) {
  if (other.memory_ == nullptr) return;
  memory_ = allocate(numbers_a_column() * capacity_ * unit());
  std::memcpy(memory_.get(), other.memory_.get(), numbers_a_column() * capacity_ * unit());
}

Columns& Columns::operator=(const Columns& other) {
  Columns copy(other);
  *this = std::move(copy);
  return *this;
}

size_t Columns::numbers_a_column() const {
  size_t numbers = 0;
  for (const Layout& layout : layout_) numbers += size_t(layout.heads) * (layout.width + layout.padded);
  return numbers;
}

void Columns::reserve(int columns) {
  if (columns <= capacity_) return;
  Columns larger;
  larger.layout_ = layout_;
  larger.half_ = half_;
  larger.length = length;
  larger.capacity_ = (columns + std::max(LANES, columns / 4) + LANES - 1) / LANES * LANES;
  larger.memory_ = allocate(numbers_a_column() * larger.capacity_ * unit());
  const int blocks = (length + LANES - 1) / LANES;
  for (size_t slot = 0; length > 0 && slot < layout_.size(); ++slot)
    for (int head = 0; head < layout_[slot].heads; ++head) {
      std::memcpy(larger.key(slot, head), key(slot, head), size_t(blocks) * LANES * layout_[slot].width * unit());
      std::memcpy(larger.value(slot, head), value(slot, head), size_t(length) * layout_[slot].padded * unit());
    }
  *this = std::move(larger);
}

void Columns::set(std::byte* numbers, size_t at, float value) const {
  if (half_)
    reinterpret_cast<uint16_t*>(numbers)[at] = to_half(value);
  else
    reinterpret_cast<float*>(numbers)[at] = value;
}

void Columns::put(int slot, int head, int column, const float* new_key, const float* new_value) {
  const Layout& layout = layout_[slot];
  std::byte *keys = key(slot, head), *values = value(slot, head);
  const size_t block = size_t(column / LANES) * layout.width * LANES + column % LANES;
  for (int d = 0; d < layout.width; ++d) {
    set(keys, block + size_t(d) * LANES, new_key[d]);
    set(values, size_t(column) * layout.padded + d, new_value[d]);
  }
}

void Columns::pick(const std::vector<int>& columns) {
  for (size_t slot = 0; slot < layout_.size(); ++slot) {
    const Layout& layout = layout_[slot];
    for (int head = 0; head < layout.heads; ++head) {
      std::byte *keys = key(slot, head), *values = value(slot, head);
      for (size_t to = 0; to < columns.size(); ++to) {  // columns rise, so none is overwritten before it is read
        const int from = columns[to];
        if (from == int(to)) continue;
        const size_t old = size_t(from / LANES) * layout.width * LANES + from % LANES;
        const size_t fresh = (to / LANES) * layout.width * LANES + to % LANES;
        for (int d = 0; d < layout.width; ++d)
          std::memcpy(keys + unit() * (fresh + size_t(d) * LANES), keys + unit() * (old + size_t(d) * LANES), unit());
        const size_t row = layout.padded * unit();
        std::memmove(values + to * row, values + size_t(from) * row, row);
      }
    }
  }
  length = int(columns.size());
}

// Call move(piece, bytes) for all that keeps these columns: keys of a head, then its values, slot by slot.
template <typename Move>
void Columns::each_piece(int first, int count, Move move) {
  for (size_t slot = 0; slot < layout_.size(); ++slot)
    for (int head = 0; head < layout_[slot].heads; ++head) {
      const Layout& layout = layout_[slot];
      move(key(slot, head) + unit() * first * layout.width, unit() * count * layout.width);
      move(value(slot, head) + unit() * first * layout.padded, unit() * count * layout.padded);
    }
}

void Columns::save(int first, int count, std::byte* block) {
  each_piece(first, count, [&block](const std::byte* piece, size_t bytes) {
    std::memcpy(block, piece, bytes);
    block += bytes;
  });
}

void Columns::load(int count, const std::byte* block) {
  reserve(length + count);
  each_piece(length, count, [&block](std::byte* piece, size_t bytes) {
    std::memcpy(piece, block, bytes);
    block += bytes;
  });
  length += count;
}

void Row::append(int columns) {
  own.reserve(own.length + columns);
  own.length += columns;
  for (int i = 0; i < columns; ++i) positions.push_back(beams > 0 ? next_position : next_position + i);
  next_position += beams > 0 ? 1 : columns;
  for (int beam = 0; beam < beams; ++beam) {
    seen[beam].resize(own.length, 0);
    seen[beam][own.length - columns + beam] = 1;
  }
}

void Row::branch(const int64_t* parents, int count) {
  std::vector<std::vector<uint8_t>> now(count);
  for (int beam = 0; beam < count; ++beam)
    now[beam] = beams == 0 ? std::vector<uint8_t>(own.length, 1) : seen[parents[beam]];
  if (beams == 0) prune_at = own.length + PRUNE_STEPS * count;
  seen = std::move(now);
  beams = count;
}

void Row::prune() {
  if (beams == 0 || own.length < prune_at) return;
  std::vector<int> columns;
  for (int column = 0; column < own.length; ++column)
    if (std::any_of(seen.begin(), seen.end(), [&](const auto& beam) { return beam[column] != 0; }))
      columns.push_back(column);
  if (int(columns.size()) < own.length) {
    own.pick(columns);
    for (size_t to = 0; to < columns.size(); ++to) {
      positions[to] = positions[columns[to]];
      for (auto& beam : seen) beam[to] = beam[columns[to]];
    }
    positions.resize(columns.size());
    for (auto& beam : seen) beam.resize(columns.size());
  }
  prune_at = own.length + PRUNE_STEPS * beams;
}

}  // namespace openbook
