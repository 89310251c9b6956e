#include "pack.h"

#include <algorithm>
#include <cstring>

namespace openbook {
namespace {

size_t groups(int inputs) { return (size_t(inputs) + GROUP - 1) / GROUP; }

size_t panel_bytes(const Plain& plain) {
  const size_t inputs = size_t(plain.inputs);
  switch (plain.format) {
    case Format::float32: return inputs * LANES * 4;
    case Format::bfloat16: return inputs * LANES * 2;
    case Format::int8: return ((inputs + 1) / 2 * 2 * LANES + 63) / 64 * 64;
    case Format::int4: {
      const size_t header = (plain.offset != nullptr ? 2 : 1) * LANES * sizeof(uint16_t);
      return groups(plain.inputs) * (header + GROUP * LANES / 2);
    }
  }
  return 0;
}

template <typename T>
void transpose(const Plain& plain, int first, int lanes, T* to) {
  const T* from = static_cast<const T*>(plain.numbers) + size_t(first) * plain.inputs;
  constexpr int STEP = 64;  // inputs whose lines of all sixteen rows stay in the nearest cache
  for (int start = 0; start < plain.inputs; start += STEP)
    for (int lane = 0; lane < lanes; ++lane)
      for (int k = start; k < std::min(start + STEP, plain.inputs); ++k)
        to[size_t(k) * LANES + lane] = from[size_t(lane) * plain.inputs + k];
}

void pairs(const Plain& plain, int first, int lanes, int8_t* to) {
  const int8_t* from = static_cast<const int8_t*>(plain.numbers) + size_t(first) * plain.inputs;
  constexpr int STEP = 128;
  for (int start = 0; start < plain.inputs; start += STEP)
    for (int lane = 0; lane < lanes; ++lane) {
      const int8_t* row = from + size_t(lane) * plain.inputs;
      const int end = std::min(start + STEP, plain.inputs);
      int k = start;
      for (; k + 1 < end; k += 2) std::memcpy(to + size_t(k) * LANES + 2 * lane, row + k, 2);
      if (k < end) to[size_t(k) * LANES + 2 * lane] = row[k];
    }
}

void nibbles(const Plain& plain, int first, int lanes, std::byte* to) {
  const size_t of_row = groups(plain.inputs), row_bytes = (size_t(plain.inputs) + 1) / 2;
  const size_t header = (plain.offset != nullptr ? 2 : 1) * LANES * sizeof(uint16_t);
  const auto* scale = static_cast<const uint16_t*>(plain.scale);
  const auto* offset = static_cast<const uint16_t*>(plain.offset);
  for (size_t group = 0; group < of_row; ++group, to += header + GROUP * LANES / 2) {
    auto* heads = reinterpret_cast<uint16_t*>(to);
    auto* bytes = reinterpret_cast<uint8_t*>(to + header);
    for (int lane = 0; lane < lanes; ++lane) {
      heads[lane] = scale[(first + lane) * of_row + group];
      if (offset != nullptr) heads[LANES + lane] = offset[(first + lane) * of_row + group];
      const uint8_t* row = static_cast<const uint8_t*>(plain.numbers) + (first + lane) * row_bytes;
      for (int k = 0; k < GROUP && int(group) * GROUP + k < plain.inputs; ++k) {
        const size_t at = group * GROUP + k;
        const uint8_t number = at % 2 == 0 ? row[at / 2] & 15 : row[at / 2] >> 4;
        bytes[(k / 4) * 2 * LANES + 2 * lane + k % 2] |= uint8_t(number << (k % 4 < 2 ? 0 : 4));
      }
    }
  }
}

}  // namespace

size_t packed_bytes(const Plain& plain) { return size_t((plain.outputs + LANES - 1) / LANES) * panel_bytes(plain); }

Matrix pack(const Plain& plain, Threads& threads, std::vector<Memory>& memory) {
  const int panels = (plain.outputs + LANES - 1) / LANES;
  const size_t bytes = panel_bytes(plain);
  Memory packed = allocate(panels * bytes);
  Matrix matrix{plain.format, plain.offset != nullptr, plain.outputs, plain.inputs, panels, bytes, packed.get(), nullptr};
  if (plain.format == Format::int8) {
    Memory scales = allocate(size_t(panels) * LANES * sizeof(float));
    std::memcpy(scales.get(), plain.scale, plain.outputs * sizeof(float));
    matrix.scale = reinterpret_cast<const float*>(scales.get());
    memory.push_back(std::move(scales));
  }
  threads.run([&](int thread) {
    for (int panel = thread; panel < panels; panel += threads.count()) {
      std::byte* to = packed.get() + panel * bytes;
      const int first = panel * LANES, lanes = std::min(LANES, plain.outputs - first);
      switch (plain.format) {
        case Format::float32: transpose(plain, first, lanes, reinterpret_cast<uint32_t*>(to)); break;
        case Format::bfloat16: transpose(plain, first, lanes, reinterpret_cast<uint16_t*>(to)); break;
        case Format::int8: pairs(plain, first, lanes, reinterpret_cast<int8_t*>(to)); break;
        case Format::int4: nibbles(plain, first, lanes, to); break;
      }
    }
  });
  memory.push_back(std::move(packed));
  return matrix;
}

}  // namespace openbook
