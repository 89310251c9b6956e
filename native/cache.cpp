#include "cache.h"

#include <algorithm>
#include <cstring>

namespace openbook {
namespace {

constexpr int PRUNE_STEPS = 4;

}  // namespace

Columns::Columns(const std::vector<Slot>& slots, int part) {
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
    : length(other.length), layout_(other.layout_), capacity_(other.capacity_) {
  if (other.memory_ == nullptr) return;
  memory_ = allocate(floats_a_column() * capacity_ * sizeof(float));
  std::memcpy(memory_.get(), other.memory_.get(), floats_a_column() * capacity_ * sizeof(float));
}

Columns& Columns::operator=(const Columns& other) {
  Columns copy(other);
  *this = std::move(copy);
  return *this;
}

size_t Columns::floats_a_column() const {
  size_t floats = 0;
  for (const Layout& layout : layout_) floats += size_t(layout.heads) * (layout.width + layout.padded);
  return floats;
}

void Columns::reserve(int columns) {
  if (columns <= capacity_) return;
  Columns larger;
  larger.layout_ = layout_;
  larger.length = length;
  larger.capacity_ = (columns + std::max(LANES, columns / 4) + LANES - 1) / LANES * LANES;
  larger.memory_ = allocate(floats_a_column() * larger.capacity_ * sizeof(float));
  const int blocks = (length + LANES - 1) / LANES;
  for (size_t slot = 0; slot < layout_.size(); ++slot)
    for (int head = 0; head < layout_[slot].heads; ++head) {
      std::memcpy(larger.key(slot, head), key(slot, head), size_t(blocks) * LANES * layout_[slot].width * sizeof(float));
      std::memcpy(larger.value(slot, head), value(slot, head), size_t(length) * layout_[slot].padded * sizeof(float));
    }
  *this = std::move(larger);
}

void Columns::put(int slot, int head, int column, const float* new_key, const float* new_value) {
  const Layout& layout = layout_[slot];
  float* block = key(slot, head) + size_t(column / LANES) * layout.width * LANES + column % LANES;
  for (int d = 0; d < layout.width; ++d) block[size_t(d) * LANES] = new_key[d];
  std::memcpy(value(slot, head) + size_t(column) * layout.padded, new_value, layout.width * sizeof(float));
}

void Columns::pick(const std::vector<int>& columns) {
  for (size_t slot = 0; slot < layout_.size(); ++slot) {
    const Layout& layout = layout_[slot];
    for (int head = 0; head < layout.heads; ++head) {
      float *keys = key(slot, head), *values = value(slot, head);
      for (size_t to = 0; to < columns.size(); ++to) {  // columns rise, so none is overwritten before it is read
        const int from = columns[to];
        if (from == int(to)) continue;
        const float* old = keys + size_t(from / LANES) * layout.width * LANES + from % LANES;
        float* fresh = keys + (to / LANES) * layout.width * LANES + to % LANES;
        for (int d = 0; d < layout.width; ++d) fresh[size_t(d) * LANES] = old[size_t(d) * LANES];
        std::memmove(values + to * layout.padded, values + size_t(from) * layout.padded, layout.padded * sizeof(float));
      }
    }
  }
  length = int(columns.size());
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
