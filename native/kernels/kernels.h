// What a kernel does, whatever the instruction set: products of rows with packed matrices, and the steps of attention.
//
// Every number is worked out for its row alone and in one fixed order, so an answer is the same to the bit in any
// batch, for any split of a prompt and on any number of threads.
#pragma once

#include <cstddef>
#include <cstdint>

namespace openbook {

constexpr int LANES = 16;   // outputs that lie side by side in a packed matrix: a panel
constexpr int BLOCK = 512;  // inputs that share the scale of their 16-bit activations; 512 * WHOLE * 128 < 2^31
constexpr int WHOLE = 127 * 256 + 127;  // the largest activation in 16 bits: both of its bytes fit into a signed one
constexpr int GROUP = 32;   // inputs that share a scale, and perhaps an offset, in a matrix of groups

enum class Format : int32_t { float32 = 0, bfloat16 = 1, int8 = 2, int4 = 3, float16 = 4, int8_groups = 5 };

// A matrix (outputs, inputs), packed in panels of 16 outputs; the last one is filled up with zeros.
//   float32, bfloat16, float16: [panel][input][16]
//   int8:                       [panel][input / step][16][step], and a scale for each output
//   int8_groups, int4: [panel][group]{scale[16], offset[16] where there are offsets, both float16; numbers}
//                      numbers of 8 bits: [32 / step][16][step] bytes, as above
//                      of 4 bits: [16 / step][16][step] bytes; low halves are the first `step` inputs, high ones the next
// With steps of 4, numbers of 8 bits have 128 added: the instruction for it multiplies unsigned by signed bytes.
struct Matrix {
  Format format;
  bool offsets;  // int4: whether groups have offsets of their own; else the offset is -8 scales
  int outputs, inputs, panels, step;
  size_t panel_bytes;
  const std::byte* data;
  const float* scale;

  bool is_whole() const { return format == Format::int8 || format == Format::int8_groups || format == Format::int4; }
  size_t header_bytes() const { return (offsets ? 2 : 1) * LANES * sizeof(uint16_t); }
  size_t group_bytes() const { return header_bytes() + GROUP * LANES / (format == Format::int4 ? 2 : 1); }
};

// Rows that a matrix is multiplied with: as they are, and in 16 bits for matrices of whole numbers.
struct Rows {
  const float* values;  // [rows][stride]
  size_t stride;
  // [rows][whole_stride], value = scale[block] * whole; with steps of 4, of each four inputs the four high bytes come
  // first, then the four low ones, both signed: whole = 256 * high + low
  const int16_t* whole;
  size_t whole_stride;
  const float* scale;       // [rows][blocks]
  const int32_t* group_sum; // [rows][whole_stride / GROUP], of `whole` in each group of 32
  size_t blocks;

  int32_t group(int row, int number) const { return group_sum[row * (whole_stride / GROUP) + number]; }
  int32_t sum(int row, int start, int end) const {  // of the groups from `start` to `end`
    int32_t total = 0;
    for (int at = start; at < end; at += GROUP) total += group(row, at / GROUP);
    return total;
  }
};

// Queries of one head group over the columns of one row of a cache.
struct Heads {
  const float* query;  // [queries][width]
  int queries, width;  // queries share keys and values
  const void* key;    // [columns / 16][width][16], float32 or float16
  const void* value;  // [columns][value_stride], likewise
  size_t value_stride;
  int columns;
  bool half;  // whether keys and values are float16
};

struct Kernels {
  const char* name;
  int step;  // how matrices of whole numbers are packed for them: 2 or 4, see `Matrix`
  // target[row][16 * panel + lane] = sum over inputs, for panels first <= panel < last; rows of `target` are `stride` apart.
  void (*product)(const Matrix& matrix, const Rows& rows, int count, int first, int last, float* target, size_t stride);
  // 16-bit activations of one row; `whole` is filled up with zeros to a multiple of GROUP.
  void (*quantize)(const float* x, int count, int16_t* whole, float* scale, int32_t* group_sum);
  // scores[query][column] = query . key * scale, `stride` floats a query; whole blocks of 16 columns are written.
  void (*scores)(const Heads& heads, int first_column, float scale, float* scores, size_t stride);
  float (*largest)(const float* x, int count);
  // x[i] = exp(x[i] - most), in place.
  void (*exponentials)(float* x, int count, float most);
  // context[query][width] = sum over columns of weights[query][column] * value[column], and sums[query] of the weights.
  // Both are added up column by column, so a column of weight 0 changes nothing, wherever it stands.
  void (*context)(const Heads& heads, int first_column, const float* weights, size_t stride, float* context, float* sums);
  // sums over one vector, in an order that only its length decides
  float (*sum_of_squares)(const float* x, int count);
  float (*sum)(const float* x, int count);
  // x[i] = silu / gelu (tanh) / gelu (sigmoid), in place
  void (*silu)(float* x, int count);
  void (*gelu_tanh)(float* x, int count);
  void (*gelu_sigmoid)(float* x, int count);
};

extern const Kernels portable;
extern const Kernels avx2;
extern const Kernels avx_vnni;
extern const Kernels avx512;
extern const Kernels avx512_vnni;
extern const Kernels neon;

// The fastest that this processor runs; `wanted` names another one, nullptr if it can't be had.
const Kernels* choose_kernels(const char* wanted);

float from_half(uint16_t half);
uint16_t to_half(float value);  // the nearest; infinite beyond its range

}  // namespace openbook
