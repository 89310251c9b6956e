#include "pack.h"

#include <algorithm>
#include <atomic>
#include <cstring>

namespace openbook {
namespace {

size_t groups(int inputs) { return (size_t(inputs) + GROUP - 1) / GROUP; }

size_t panel_bytes(const Matrix& matrix) {
  const size_t inputs = size_t(matrix.inputs), step = size_t(matrix.step);
  switch (matrix.format) {
    case Format::float32: return inputs * LANES * 4;
    case Format::bfloat16:
    case Format::float16: return inputs * LANES * 2;
    case Format::int8: return ((inputs + step - 1) / step * step * LANES + 63) / 64 * 64;
    case Format::int8_groups:
    case Format::int4: return groups(matrix.inputs) * matrix.group_bytes();
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

// What is added to numbers of 8 bits, as a bit that flips.
uint8_t added(int step) { return step == 4 ? 0x80 : 0; }

// Whole numbers of sixteen rows side by side, `step` inputs each.
void interleave(const Plain& plain, int step, int first, int lanes, uint8_t* to) {
  const uint8_t* from = static_cast<const uint8_t*>(plain.numbers) + size_t(first) * plain.inputs;
  const uint8_t flip = added(step);
  constexpr int AT_ONCE = 128;
  for (int start = 0; start < plain.inputs; start += AT_ONCE)
    for (int lane = 0; lane < lanes; ++lane) {
      const uint8_t* row = from + size_t(lane) * plain.inputs;
      const int end = std::min(start + AT_ONCE, plain.inputs);
      int k = start;
      if (step == 4) {
        for (; k + 3 < end; k += 4) {
          uint32_t four;
          std::memcpy(&four, row + k, 4);
          four ^= 0x80808080u;
          std::memcpy(to + size_t(k) * LANES + 4 * lane, &four, 4);
        }
      } else {
        for (; k + 1 < end; k += 2) std::memcpy(to + size_t(k) * LANES + 2 * lane, row + k, 2);
      }
      for (; k < end; ++k) to[size_t(k / step) * step * LANES + step * lane + k % step] = row[k] ^ flip;
    }
}

// Groups with their scales and offsets; numbers of 8 bits, or two of 4 bits a byte.
void grouped(const Plain& plain, const Matrix& matrix, int first, int lanes, std::byte* to) {
  const bool nibbles = plain.format == Format::int4;
  const size_t of_row = groups(plain.inputs), row_bytes = nibbles ? (size_t(plain.inputs) + 1) / 2 : plain.inputs;
  const int step = matrix.step;
  const auto* scale = static_cast<const uint16_t*>(plain.scale);
  const auto* offset = static_cast<const uint16_t*>(plain.offset);
  for (size_t group = 0; group < of_row; ++group, to += matrix.group_bytes()) {
    auto* heads = reinterpret_cast<uint16_t*>(to);
    auto* bytes = reinterpret_cast<uint8_t*>(to + matrix.header_bytes());
    const int start = int(group) * GROUP, count = std::min(GROUP, plain.inputs - start);
    for (int lane = 0; lane < lanes; ++lane) {
      heads[lane] = scale[(first + lane) * of_row + group];
      if (offset != nullptr) heads[LANES + lane] = offset[(first + lane) * of_row + group];
      const auto* row = static_cast<const uint8_t*>(plain.numbers) + (first + lane) * row_bytes;
      if (!nibbles) {
        for (int k = 0; k < count; ++k)
          bytes[(k / step) * step * LANES + step * lane + k % step] = row[start + k] ^ added(step);
        continue;
      }
      // Inputs k and k + step share a byte here, k and k + 1 in the file.
      uint8_t numbers[GROUP] = {};
      for (int k = 0; k < count; ++k) numbers[k] = uint8_t(row[(start + k) / 2] >> (k % 2 * 4) & 15);
      for (int k = 0; k < GROUP; k += 2 * step)
        for (int i = 0; i < step; ++i)
          bytes[(k / (2 * step)) * step * LANES + step * lane + i] = uint8_t(numbers[k + i] | numbers[k + step + i] << 4);
    }
  }
}

void pack_panel(const Plain& plain, const Matrix& matrix, int panel, std::byte* to) {
  const int first = panel * LANES, lanes = std::min(LANES, plain.outputs - first);
  switch (plain.format) {
    case Format::float32: return transpose(plain, first, lanes, reinterpret_cast<uint32_t*>(to));
    case Format::bfloat16:
    case Format::float16: return transpose(plain, first, lanes, reinterpret_cast<uint16_t*>(to));
    case Format::int8: return interleave(plain, matrix.step, first, lanes, reinterpret_cast<uint8_t*>(to));
    case Format::int8_groups:
    case Format::int4: return grouped(plain, matrix, first, lanes, to);
  }
}

size_t rounded(size_t bytes) { return (bytes + 63) / 64 * 64; }

}  // namespace

Matrix described(const Plain& plain, int step) {
  const int panels = (plain.outputs + LANES - 1) / LANES;
  Matrix matrix{plain.format, plain.offset != nullptr, plain.outputs, plain.inputs, panels, step, 0, nullptr, nullptr};
  matrix.panel_bytes = panel_bytes(matrix);
  return matrix;
}

void pack_all(const std::vector<Plain>& plains, Program& program, Threads& threads) {
  struct Part {
    int matrix, first, last;  // panels of one matrix
  };
  constexpr int AT_ONCE = 8;
  std::vector<Part> parts;
  size_t bytes = 0;
  for (size_t i = 0; i < plains.size(); ++i) {
    const Matrix& matrix = program.matrices[i];
    bytes += rounded(matrix.panels * matrix.panel_bytes);
    if (matrix.format == Format::int8) bytes += rounded(size_t(matrix.panels) * LANES * sizeof(float));
    for (int first = 0; first < matrix.panels; first += AT_ONCE)
      parts.push_back({int(i), first, std::min(first + AT_ONCE, matrix.panels)});
  }
  Memory memory = allocate(bytes);
  std::byte* at = memory.get();
  std::vector<std::byte*> places;
  for (size_t i = 0; i < plains.size(); ++i) {
    Matrix& matrix = program.matrices[i];
    matrix.data = at;
    places.push_back(at);
    at += rounded(matrix.panels * matrix.panel_bytes);
    if (matrix.format != Format::int8) continue;
    std::memcpy(at, plains[i].scale, matrix.outputs * sizeof(float));
    matrix.scale = reinterpret_cast<const float*>(at);
    at += rounded(size_t(matrix.panels) * LANES * sizeof(float));
  }
  std::atomic<size_t> next{0};
  threads.run([&](int) {
    for (size_t part; (part = next.fetch_add(1)) < parts.size();) {
      const auto [number, first, last] = parts[part];
      for (int panel = first; panel < last; ++panel)
        pack_panel(plains[number], program.matrices[number], panel,
                   places[number] + panel * program.matrices[number].panel_bytes);
    }
  });
  program.memory = std::move(memory);
}

}  // namespace openbook
