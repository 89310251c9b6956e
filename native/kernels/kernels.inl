// The kernels in terms of `Simd`, sixteen lanes at a time. A file per instruction set defines `Simd` in a namespace of
// its own, includes this file, and fills in a `Kernels`.
//
// Simd: F (16 floats), I (16 int32), W (16 pairs of int16);
//       load store set add sub mul max fma div; half_load bfloat_load; to_float, round (F -> I), whole (F -> 16 int32),
//       power_of_two (I -> F); and what whole.inl names.

using F = Simd::F;
using I = Simd::I;

#include "kernels/whole.inl"

// Sixteen weights as floats.
template <Format FORMAT>
inline F weights_at(const std::byte* panel, int k) {
  if constexpr (FORMAT == Format::float32) return Simd::load(reinterpret_cast<const float*>(panel) + size_t(k) * LANES);
  if constexpr (FORMAT == Format::bfloat16)
    return Simd::bfloat_load(reinterpret_cast<const uint16_t*>(panel) + size_t(k) * LANES);
  if constexpr (FORMAT == Format::float16)
    return Simd::half_load(reinterpret_cast<const uint16_t*>(panel) + size_t(k) * LANES);
}

// R rows times P panels of floats: each output is one chain of fused products over the inputs in order.
template <int R, int P, Format FORMAT>
inline void tile_float(const Matrix& matrix, const Rows& rows, int row, int panel, float* target, size_t stride) {
  F sum[R][P];
  for (int r = 0; r < R; ++r)
    for (int p = 0; p < P; ++p) sum[r][p] = Simd::set(0.0f);
  const std::byte* weights[P];
  for (int p = 0; p < P; ++p) weights[p] = matrix.data + (panel + p) * matrix.panel_bytes;
  const float* x = rows.values + row * rows.stride;
  for (int k = 0; k < matrix.inputs; ++k) {
    F w[P];
    for (int p = 0; p < P; ++p) w[p] = weights_at<FORMAT>(weights[p], k);
    for (int r = 0; r < R; ++r) {
      const F value = Simd::set(x[r * rows.stride + k]);
      for (int p = 0; p < P; ++p) sum[r][p] = Simd::fma(value, w[p], sum[r][p]);
    }
  }
  for (int r = 0; r < R; ++r)
    for (int p = 0; p < P; ++p) Simd::store(target + (row + r) * stride + (panel + p) * LANES, sum[r][p]);
}

// A row alone runs at the speed of memory, so it asks for the panels that come next; hardware looks no further than a page.
// R rows times P panels of 8-bit weights: whole numbers are added exactly within a block, then scaled and added up.
template <int R, int P>
inline void tile_int8(const Matrix& matrix, const Rows& rows, int row, int panel, float* target, size_t stride) {
  F total[R][P];
  for (int r = 0; r < R; ++r)
    for (int p = 0; p < P; ++p) total[r][p] = Simd::set(0.0f);
  const std::byte* weights[P];
  for (int p = 0; p < P; ++p) weights[p] = matrix.data + (panel + p) * matrix.panel_bytes;
  const int16_t* x = rows.whole + row * rows.whole_stride;
  for (int start = 0, block = 0; start < matrix.inputs; start += BLOCK, ++block) {
    const int end = std::min(start + BLOCK, (matrix.inputs + STEP - 1) / STEP * STEP);
    Sum sum[R][P];
    for (int r = 0; r < R; ++r) {
      const Sum none = Whole::start(ADDED == 0 ? 0 : ADDED * rows.sum(row + r, start, end));
      for (int p = 0; p < P; ++p) sum[r][p] = none;
    }
    for (int k = start; k < end; k += STEP) {
      Weights w[P];
      for (int p = 0; p < P; ++p) {
        w[p] = Whole::weights(weights[p] + size_t(k) * LANES);
        if constexpr (R == 1) Simd::prefetch(weights[p] + size_t(k) * LANES + P * matrix.panel_bytes);
      }
      for (int r = 0; r < R; ++r) {
        const Inputs inputs = Whole::inputs(x + r * rows.whole_stride + k);
        for (int p = 0; p < P; ++p) Whole::add(sum[r][p], w[p], inputs);
      }
    }
    for (int r = 0; r < R; ++r) {
      const F scale = Simd::set(rows.scale[(row + r) * rows.blocks + block]);
      for (int p = 0; p < P; ++p) total[r][p] = Simd::fma(Simd::to_float(Whole::total(sum[r][p])), scale, total[r][p]);
    }
  }
  for (int p = 0; p < P; ++p) {
    const F scale = Simd::load(matrix.scale + (panel + p) * LANES);
    for (int r = 0; r < R; ++r)
      Simd::store(target + (row + r) * stride + (panel + p) * LANES, Simd::mul(total[r][p], scale));
  }
}

// One group of P panels, times R rows: numbers of 8 or of 4 bits.
template <int R, int P, bool NIBBLES>
inline void add_group(const std::byte* const (&numbers)[P], size_t ahead, const int16_t* x, size_t stride, Sum (&sum)[R][P]) {
  for (int i = 0; i < GROUP / STEP / (NIBBLES ? 2 : 1); ++i)
    for (int p = 0; p < P; ++p) {
      const std::byte* at = numbers[p] + i * STEP * LANES;
      if constexpr (R == 1) Simd::prefetch(at + ahead);
      if constexpr (NIBBLES) {
        Weights low, high;
        Whole::nibbles(at, low, high);
        for (int r = 0; r < R; ++r) {
          const int16_t* inputs = x + r * stride + 2 * STEP * i;
          Whole::add(sum[r][p], low, Whole::inputs(inputs));
          Whole::add(sum[r][p], high, Whole::inputs(inputs + STEP));
        }
      } else {
        const Weights w = Whole::weights(at);
        for (int r = 0; r < R; ++r) Whole::add(sum[r][p], w, Whole::inputs(x + r * stride + STEP * i));
      }
    }
}

// The same for matrices of groups: in each group, scale * (whole numbers' sum) + offset * (activations' sum).
template <int R, int P, bool NIBBLES, bool OFFSETS>
inline void tile_groups(const Matrix& matrix, const Rows& rows, int row, int panel, float* target, size_t stride) {
  constexpr size_t HEADER = (OFFSETS ? 2 : 1) * LANES * sizeof(uint16_t);
  constexpr size_t BYTES = HEADER + GROUP * LANES / (NIBBLES ? 2 : 1);
  F total[R][P];
  for (int r = 0; r < R; ++r)
    for (int p = 0; p < P; ++p) total[r][p] = Simd::set(0.0f);
  const std::byte* weights[P];
  for (int p = 0; p < P; ++p) weights[p] = matrix.data + (panel + p) * matrix.panel_bytes;
  const int16_t* x = rows.whole + row * rows.whole_stride;
  const int groups = (matrix.inputs + GROUP - 1) / GROUP;
  for (int group = 0, block = 0; group < groups; ++block) {
    const int last = std::min(group + BLOCK / GROUP, groups);
    F part[R][P];
    for (int r = 0; r < R; ++r)
      for (int p = 0; p < P; ++p) part[r][p] = Simd::set(0.0f);
    for (; group < last; ++group) {
      const std::byte *heads[P], *numbers[P];
      for (int p = 0; p < P; ++p) {
        heads[p] = weights[p] + group * BYTES;
        if constexpr (R == 1) Simd::prefetch(heads[p] + P * matrix.panel_bytes);
        numbers[p] = heads[p] + HEADER;
      }
      Sum sum[R][P];
      for (int r = 0; r < R; ++r) {
        const Sum none = Whole::start(NIBBLES || ADDED == 0 ? 0 : ADDED * rows.group(row + r, group));
        for (int p = 0; p < P; ++p) sum[r][p] = none;
      }
      add_group<R, P, NIBBLES>(numbers, P * matrix.panel_bytes, x + group * GROUP, rows.whole_stride, sum);
      for (int p = 0; p < P; ++p) {
        const uint16_t* header = reinterpret_cast<const uint16_t*>(heads[p]);
        const F scale = Simd::half_load(header);
        for (int r = 0; r < R; ++r) part[r][p] = Simd::fma(Simd::to_float(Whole::total(sum[r][p])), scale, part[r][p]);
        if constexpr (NIBBLES) {
          const F offset = OFFSETS ? Simd::half_load(header + LANES) : Simd::mul(scale, Simd::set(-8.0f));
          for (int r = 0; r < R; ++r) {
            part[r][p] = Simd::fma(Simd::set(float(rows.group(row + r, group))), offset, part[r][p]);
          }
        }
      }
    }
    for (int r = 0; r < R; ++r) {
      const F scale = Simd::set(rows.scale[(row + r) * rows.blocks + block]);
      for (int p = 0; p < P; ++p) total[r][p] = Simd::fma(part[r][p], scale, total[r][p]);
    }
  }
  for (int r = 0; r < R; ++r)
    for (int p = 0; p < P; ++p) Simd::store(target + (row + r) * stride + (panel + p) * LANES, total[r][p]);
}

template <int R, int P>
inline void tile(const Matrix& matrix, const Rows& rows, int row, int panel, float* target, size_t stride) {
  switch (matrix.format) {
    case Format::float32: return tile_float<R, P, Format::float32>(matrix, rows, row, panel, target, stride);
    case Format::bfloat16: return tile_float<R, P, Format::bfloat16>(matrix, rows, row, panel, target, stride);
    case Format::float16: return tile_float<R, P, Format::float16>(matrix, rows, row, panel, target, stride);
    case Format::int8: return tile_int8<R, P>(matrix, rows, row, panel, target, stride);
    case Format::int8_groups: return tile_groups<R, P, false, false>(matrix, rows, row, panel, target, stride);
    case Format::int4:
      return matrix.offsets ? tile_groups<R, P, true, true>(matrix, rows, row, panel, target, stride)
                            : tile_groups<R, P, true, false>(matrix, rows, row, panel, target, stride);
  }
}

// All rows with P panels, R rows at a time; the last rows by fewer. Tiles change the order of outputs, never of a sum.
template <int R, int P>
inline void row_tiles(const Matrix& matrix, const Rows& rows, int row, int count, int panel, float* target, size_t stride) {
  for (; count - row >= R; row += R) tile<R, P>(matrix, rows, row, panel, target, stride);
  if constexpr (R > 1)
    if (row < count) row_tiles<R - 1, P>(matrix, rows, row, count, panel, target, stride);
}

template <int ROWS>
inline void all_tiles(const Matrix& matrix, const Rows& rows, int count, int first, int last, float* target, size_t stride) {
  int panel = first;
  for (; last - panel >= Simd::PANELS; panel += Simd::PANELS)
    row_tiles<ROWS, Simd::PANELS>(matrix, rows, 0, count, panel, target, stride);
  for (; panel < last; ++panel) row_tiles<ROWS, 1>(matrix, rows, 0, count, panel, target, stride);
}

static void product(const Matrix& matrix, const Rows& rows, int count, int first, int last, float* target, size_t stride) {
  if (count > 1) {
    if (matrix.is_whole()) return all_tiles<Simd::WHOLE_ROWS>(matrix, rows, count, first, last, target, stride);
    return all_tiles<Simd::ROWS>(matrix, rows, count, first, last, target, stride);
  }
  int panel = first;
  for (; last - panel >= Simd::PANELS_ALONE; panel += Simd::PANELS_ALONE)
    tile<1, Simd::PANELS_ALONE>(matrix, rows, 0, panel, target, stride);
  for (; panel < last; ++panel) tile<1, 1>(matrix, rows, 0, panel, target, stride);
}

static float largest(const float* x, int count) {
  if (count < LANES) return *std::max_element(x, x + count);
  F most = Simd::load(x + count - LANES);
  for (int i = 0; count - i >= LANES; i += LANES) most = Simd::max(most, Simd::load(x + i));
  float lanes[LANES];
  Simd::store(lanes, most);
  return *std::max_element(lanes, lanes + LANES);
}

static void quantize(const float* x, int count, int16_t* whole, float* scale, int32_t* group_sum) {
  for (int start = 0, block = 0; start < count; start += BLOCK, ++block) {
    const int end = std::min(start + BLOCK, count);
    F high = Simd::set(0.0f);
    float most = 0.0f;
    int i = start;
    for (; end - i >= LANES; i += LANES) {
      const F v = Simd::load(x + i);
      high = Simd::max(high, Simd::max(v, Simd::sub(Simd::set(0.0f), v)));
    }
    for (; i < end; ++i) most = std::max(most, std::fabs(x[i]));
    float lanes[LANES];
    Simd::store(lanes, high);
    for (const float lane : lanes) most = std::max(most, lane);
    const float inverse = most > 0.0f ? float(WHOLE) / most : 0.0f;
    scale[block] = most / float(WHOLE);
    int32_t numbers[BLOCK];
    for (i = start; end - i >= LANES; i += LANES)
      Simd::whole(numbers + (i - start), Simd::round(Simd::mul(Simd::load(x + i), Simd::set(inverse))));
    for (; i < end; ++i) numbers[i - start] = int32_t(std::nearbyint(x[i] * inverse));
    const int padded = (end - start + GROUP - 1) / GROUP * GROUP;
    for (; i < start + padded; ++i) numbers[i - start] = 0;
    for (i = 0; i < padded; i += LANES) Whole::keep(whole + start + i, numbers + i);
    for (int group = 0; group < padded / GROUP; ++group) {
      int32_t sum = 0;
      for (int k = 0; k < GROUP; ++k) sum += numbers[group * GROUP + k];
      group_sum[start / GROUP + group] = sum;
    }
  }
}

// Sixteen numbers of a cache.
template <bool HALF>
inline F cached(const void* numbers, size_t at) {
  if constexpr (HALF) return Simd::half_load(static_cast<const uint16_t*>(numbers) + at);
  return Simd::load(static_cast<const float*>(numbers) + at);
}

template <int Q, bool HALF>
inline void scores_of(const Heads& heads, const float* query, int first_column, float scale, float* scores, size_t stride) {
  for (int column = first_column & ~(LANES - 1); column < heads.columns; column += LANES) {
    const size_t key = size_t(column) * heads.width;
    F sum[Q];
    for (int q = 0; q < Q; ++q) sum[q] = Simd::set(0.0f);
    for (int d = 0; d < heads.width; ++d) {
      const F k = cached<HALF>(heads.key, key + size_t(d) * LANES);
      for (int q = 0; q < Q; ++q) sum[q] = Simd::fma(Simd::set(query[q * heads.width + d]), k, sum[q]);
    }
    for (int q = 0; q < Q; ++q) Simd::store(scores + q * stride + column, Simd::mul(sum[q], Simd::set(scale)));
  }
}

template <bool HALF>
inline void all_scores(const Heads& heads, int first_column, float scale, float* scores, size_t stride) {
  int q = 0;
  for (; heads.queries - q >= 4; q += 4)
    scores_of<4, HALF>(heads, heads.query + q * heads.width, first_column, scale, scores + q * stride, stride);
  for (; q < heads.queries; ++q)
    scores_of<1, HALF>(heads, heads.query + q * heads.width, first_column, scale, scores + q * stride, stride);
}

static void scores(const Heads& heads, int first_column, float scale, float* scores, size_t stride) {
  if (heads.half) return all_scores<true>(heads, first_column, scale, scores, stride);
  all_scores<false>(heads, first_column, scale, scores, stride);
}

// exp by 2^n * polynomial in the rest, to about 2 units in the last place; -inf gives 0.
inline F exponential(F x) {
  x = Simd::max(x, Simd::set(-104.0f));
  x = Simd::min(x, Simd::set(88.7f));
  const I n = Simd::round(Simd::mul(x, Simd::set(1.44269504f)));
  const F whole = Simd::to_float(n);
  F rest = Simd::fma(whole, Simd::set(-0.693359375f), x);
  rest = Simd::fma(whole, Simd::set(2.12194440e-4f), rest);
  F y = Simd::set(1.9875691500e-4f);
  y = Simd::fma(y, rest, Simd::set(1.3981999507e-3f));
  y = Simd::fma(y, rest, Simd::set(8.3334519073e-3f));
  y = Simd::fma(y, rest, Simd::set(4.1665795894e-2f));
  y = Simd::fma(y, rest, Simd::set(1.6666665459e-1f));
  y = Simd::fma(y, rest, Simd::set(5.0000001201e-1f));
  y = Simd::fma(Simd::mul(rest, rest), y, Simd::add(rest, Simd::set(1.0f)));
  return Simd::mul(y, Simd::power_of_two(n));
}

template <typename Function>
inline void each(float* x, int count, Function function) {
  int i = 0;
  for (; count - i >= LANES; i += LANES) Simd::store(x + i, function(Simd::load(x + i)));
  if (i == count) return;
  float rest[LANES] = {};
  std::copy(x + i, x + count, rest);
  Simd::store(rest, function(Simd::load(rest)));
  std::copy(rest, rest + (count - i), x + i);
}

static void exponentials(float* x, int count, float most) {
  each(x, count, [most](F v) { return exponential(Simd::sub(v, Simd::set(most))); });
}

template <int Q, int D, bool HALF>
inline void context_of(const Heads& heads, int at, int first_column, const float* weights, size_t stride, float* context,
                       float* sums, int wanted) {
  F sum[Q][D];
  float total[Q] = {};
  for (int q = 0; q < Q; ++q)
    for (int d = 0; d < D; ++d) sum[q][d] = Simd::set(0.0f);
  for (int column = first_column; column < heads.columns; ++column) {
    const size_t value = size_t(column) * heads.value_stride + at;
    F v[D];
    for (int d = 0; d < D; ++d) v[d] = cached<HALF>(heads.value, value + d * LANES);
    for (int q = 0; q < Q; ++q) {
      const float weight = weights[q * stride + column];
      total[q] += weight;
      for (int d = 0; d < D; ++d) sum[q][d] = Simd::fma(Simd::set(weight), v[d], sum[q][d]);
    }
  }
  for (int q = 0; q < Q; ++q) {
    sums[q] = total[q];
    for (int d = 0; d < D; ++d) {
      float part[LANES];
      Simd::store(part, sum[q][d]);
      for (int i = 0; i < LANES && d * LANES + i < wanted; ++i) context[q * heads.width + at + d * LANES + i] = part[i];
    }
  }
}

template <int Q, bool HALF>
inline void contexts_of(const Heads& heads, int q, int first_column, const float* weights, size_t stride, float* context,
                        float* sums) {
  int at = 0;
  for (; heads.width - at >= 4 * LANES; at += 4 * LANES)
    context_of<Q, 4, HALF>(heads, at, first_column, weights + q * stride, stride, context + q * heads.width, sums + q, 4 * LANES);
  for (; at < heads.width; at += LANES)
    context_of<Q, 1, HALF>(heads, at, first_column, weights + q * stride, stride, context + q * heads.width, sums + q,
                     heads.width - at);
}

template <bool HALF>
inline void all_contexts(const Heads& heads, int first_column, const float* weights, size_t stride, float* context,
                         float* sums) {
  int q = 0;
  for (; heads.queries - q >= Simd::QUERIES; q += Simd::QUERIES)
    contexts_of<Simd::QUERIES, HALF>(heads, q, first_column, weights, stride, context, sums);
  for (; q < heads.queries; ++q) contexts_of<1, HALF>(heads, q, first_column, weights, stride, context, sums);
}

static void context(const Heads& heads, int first_column, const float* weights, size_t stride, float* context, float* sums) {
  if (heads.half) return all_contexts<true>(heads, first_column, weights, stride, context, sums);
  all_contexts<false>(heads, first_column, weights, stride, context, sums);
}

inline float across(F lanes) {
  float part[LANES];
  Simd::store(part, lanes);
  for (int half = LANES / 2; half > 0; half /= 2)
    for (int i = 0; i < half; ++i) part[i] += part[i + half];
  return part[0];
}

static float sum_of_squares(const float* x, int count) {
  F sum = Simd::set(0.0f);
  int i = 0;
  for (; count - i >= LANES; i += LANES) {
    const F value = Simd::load(x + i);
    sum = Simd::fma(value, value, sum);
  }
  float rest = 0.0f;
  for (; i < count; ++i) rest += x[i] * x[i];
  return across(sum) + rest;
}

static float sum(const float* x, int count) {
  F lanes = Simd::set(0.0f);
  int i = 0;
  for (; count - i >= LANES; i += LANES) lanes = Simd::add(lanes, Simd::load(x + i));
  float rest = 0.0f;
  for (; i < count; ++i) rest += x[i];
  return across(lanes) + rest;
}

inline F sigmoid(F x) {
  const F e = exponential(Simd::sub(Simd::set(0.0f), x));
  return Simd::div(Simd::set(1.0f), Simd::add(Simd::set(1.0f), e));
}

static void silu(float* x, int count) {
  each(x, count, [](F v) { return Simd::mul(v, sigmoid(v)); });
}

// x/2 (1 + tanh(u)) = x sigmoid(2u), u = sqrt(2/pi) (x + 0.044715 x^3)
static void gelu_tanh(float* x, int count) {
  each(x, count, [](F v) {
    const F u = Simd::mul(v, Simd::fma(Simd::mul(v, v), Simd::set(2 * 0.79788456f * 0.044715f), Simd::set(2 * 0.79788456f)));
    return Simd::mul(v, sigmoid(u));
  });
}

static void gelu_sigmoid(float* x, int count) {
  each(x, count, [](F v) { return Simd::mul(v, sigmoid(Simd::mul(v, Simd::set(1.702f)))); });
}

static constexpr Kernels as_kernels(const char* name) {
  return {name,    STEP,           product, quantize, scores,    largest,     exponentials,
          context, sum_of_squares, sum,     silu,     gelu_tanh, gelu_sigmoid};
}
