#include "interpreter.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace openbook {
namespace {

constexpr int FEW = 4;  // tokens up to which every thread prepares all rows for itself rather than wait for others

template <typename T>
T* room(std::vector<T>& buffer, size_t count) {
  if (buffer.size() < count) buffer.resize(count);
  return buffer.data();
}

float int8_at(const std::byte* numbers, int step, int lane, int k) {
  const auto byte = uint8_t(numbers[size_t(k / step) * step * LANES + step * lane + k % step]);
  return step == 4 ? float(byte) - 128.0f : float(int8_t(byte));
}

// One number of a packed matrix; see `Matrix`.
float number_at(const Matrix& matrix, int output, int k) {
  const int lane = output % LANES, step = matrix.step;
  const std::byte* panel = matrix.data + size_t(output / LANES) * matrix.panel_bytes;
  const size_t of_float = size_t(k) * LANES + lane;
  switch (matrix.format) {
    case Format::float32: return reinterpret_cast<const float*>(panel)[of_float];
    case Format::float16: return from_half(reinterpret_cast<const uint16_t*>(panel)[of_float]);
    case Format::bfloat16: {
      const uint32_t bits = uint32_t(reinterpret_cast<const uint16_t*>(panel)[of_float]) << 16;
      float value;
      std::memcpy(&value, &bits, sizeof value);
      return value;
    }
    case Format::int8:
      return matrix.scale[output] * int8_at(panel, step, lane, k);
    case Format::int8_groups:
    case Format::int4: break;
  }
  const std::byte* group = panel + size_t(k / GROUP) * matrix.group_bytes();
  const auto* scales = reinterpret_cast<const uint16_t*>(group);
  const auto* numbers = reinterpret_cast<const uint8_t*>(group + matrix.header_bytes());
  const int inside = k % GROUP;
  const float scale = from_half(scales[lane]);
  if (matrix.format == Format::int8_groups)
    return scale * int8_at(reinterpret_cast<const std::byte*>(numbers), step, lane, inside);
  const uint8_t byte = numbers[(inside / (2 * step)) * step * LANES + step * lane + inside % step];
  const float offset = matrix.offsets ? from_half(scales[LANES + lane]) : -8.0f * scale;
  return scale * float(inside / step % 2 == 0 ? byte & 15 : byte >> 4) + offset;
}

void add_bias(float* x, const float* bias, int first, int last) {
  if (bias != nullptr)
    for (int i = first; i < last; ++i) x[i] += bias[i];
}

}  // namespace

Interpreter::Interpreter(const Program& program, const Kernels& kernels, Threads& threads, Scratch& scratch)
    : program_(program), kernels_(kernels), threads_(threads), scratch_(scratch) {}

std::pair<int, int> Interpreter::share(int total, int thread) const {
  const int64_t count = threads_.count();
  return {int(int64_t(total) * thread / count), int(int64_t(total) * (thread + 1) / count)};
}

void Interpreter::run(const std::vector<Op>& ops, std::span<const Token> tokens, std::span<Row*> rows,
                      std::span<Columns*> encoder_columns, float* logits) {
  tokens_ = tokens;
  rows_ = rows;
  encoder_columns_ = encoder_columns;
  logits_ = logits;
  asked_.clear();
  for (size_t i = 0; i < tokens.size(); ++i)
    if (tokens[i].asked) asked_.push_back(int(i));
  scratch_.registers.resize(program_.widths.size());
  for (size_t reg = 0; reg < program_.widths.size(); ++reg)
    room(scratch_.registers[reg], tokens.size() * stride(int(reg)));
  scratch_.threads.resize(threads_.most());
  room(scratch_.angles, tokens.size() * program_.rotaries.size() * angle_stride());
  threads_.run([&](int thread) {
    turn(thread);
    threads_.barrier(thread);
    for (const Op& op : ops) {
      execute(op, thread);
      threads_.barrier(thread);
    }
  });
}

void Interpreter::execute(const Op& op, int thread) {
  const auto [first, last] = share(int(tokens_.size()), thread);
  switch (Kind(op.kind)) {
    case Kind::embed: return embed(op, thread);
    case Kind::add_table: {
      const int width = program_.widths[op.out[0]];
      const float* table = vector(op.bias[0]);
      for (int token = first; token < last; ++token) {
        const float* row = table + size_t(tokens_[token].position + op.offset) * width;
        float* x = at(op.out[0], token);
        for (int d = 0; d < width; ++d) x[d] += row[d];
      }
      return;
    }
    case Kind::norm:
      for (int token = first; token < last; ++token)
        normalize(program_.norms[op.norm], at(op.in, token), program_.widths[op.in], at(op.out[0], token));
      return;
    case Kind::add:
      for (int token = first; token < last; ++token) {
        const float* from = at(op.in, token);
        float* to = at(op.out[0], token);
        for (int d = 0; d < program_.widths[op.in]; ++d) to[d] += from[d];
      }
      return;
    case Kind::linear: return linear(op, thread);
    case Kind::feed: return feed(op, thread);
    case Kind::attend: return attend(op, thread);
    case Kind::keep: return keep(op, thread);
    case Kind::experts: return experts(op, thread);
    case Kind::logits: return logits(op, thread);
  }
}

void Interpreter::embed(const Op& op, int thread) {
  const Matrix& table = program_.matrices[op.matrix[0]];
  const auto [first, last] = share(int(tokens_.size()), thread);
  for (int token = first; token < last; ++token) {
    float* x = at(op.out[0], token);
    for (int k = 0; k < table.inputs; ++k) x[k] = number_at(table, tokens_[token].id, k) * op.scale;
  }
}

void Interpreter::normalize(const Norm& norm, const float* x, int width, float* out) const {
  // `out` may be x itself.
  const float *weight = vector(norm.weight), *bias = vector(norm.bias);
  const float mean = norm.kind == 2 ? kernels_.sum(x, width) / float(width) : 0.0f;
  for (int d = 0; d < width; ++d) out[d] = x[d] - mean;
  const float factor =
      norm.kind == 0 ? 1.0f : 1.0f / std::sqrt(kernels_.sum_of_squares(out, width) / float(width) + norm.epsilon);
  for (int d = 0; d < width; ++d) out[d] = out[d] * factor * (weight == nullptr ? 1.0f : weight[d]);
  if (bias != nullptr)
    for (int d = 0; d < width; ++d) out[d] += bias[d];
}

Rows Interpreter::prepare_alone(const float* x, size_t x_stride, int count, int width, int norm, bool whole, int thread) {
  Scratch::OfThread& mine = scratch_.threads[thread];
  const size_t stride = (size_t(width) + GROUP - 1) / GROUP * GROUP, blocks = (size_t(width) + BLOCK - 1) / BLOCK;
  const float* values = x;
  size_t values_stride = x_stride;
  if (norm >= 0) {
    float* normed = room(mine.normed, count * stride);
    for (int row = 0; row < count; ++row) normalize(program_.norms[norm], x + row * x_stride, width, normed + row * stride);
    values = normed;
    values_stride = stride;
  }
  Rows rows{values, values_stride, nullptr, stride, nullptr, nullptr, blocks};
  if (whole) {
    int16_t* numbers = room(mine.whole, count * stride);
    float* scales = room(mine.scales, count * blocks);
    int32_t* sums = room(mine.sums, count * stride / GROUP);
    for (int row = 0; row < count; ++row)
      kernels_.quantize(values + row * values_stride, width, numbers + row * stride, scales + row * blocks,
                        sums + row * stride / GROUP);
    rows.whole = numbers;
    rows.scale = scales;
    rows.group_sum = sums;
  }
  return rows;
}

Rows Interpreter::prepare(const float* x, size_t x_stride, int count, int width, int norm, bool whole, int thread) {
  if (count <= FEW || threads_.count() == 1) return prepare_alone(x, x_stride, count, width, norm, whole, thread);
  const size_t stride = (size_t(width) + GROUP - 1) / GROUP * GROUP, blocks = (size_t(width) + BLOCK - 1) / BLOCK;
  if (thread == 0) {
    if (norm >= 0) room(scratch_.normed, count * stride);
    if (whole) room(scratch_.whole, count * stride), room(scratch_.scales, count * blocks), room(scratch_.sums, count * stride / GROUP);
  }
  threads_.barrier(thread);
  const auto [first, last] = share(count, thread);
  for (int row = first; row < last; ++row) {
    const float* values = x + row * x_stride;
    if (norm >= 0) {
      normalize(program_.norms[norm], values, width, scratch_.normed.data() + row * stride);
      values = scratch_.normed.data() + row * stride;
    }
    if (whole)
      kernels_.quantize(values, width, scratch_.whole.data() + row * stride, scratch_.scales.data() + row * blocks,
                        scratch_.sums.data() + row * stride / GROUP);
  }
  threads_.barrier(thread);
  return {norm >= 0 ? scratch_.normed.data() : x, norm >= 0 ? stride : x_stride, scratch_.whole.data(), stride,
          scratch_.scales.data(), scratch_.sums.data(), blocks};
}

void Interpreter::linear(const Op& op, int thread) {
  const int count = int(tokens_.size());
  bool whole = false;
  int total = 0;
  for (int i = 0; i < 3 && op.matrix[i] >= 0; ++i) {
    whole |= program_.matrices[op.matrix[i]].is_whole();
    total += program_.matrices[op.matrix[i]].panels;
  }
  const Rows rows = prepare(at(op.in, 0), stride(op.in), count, program_.widths[op.in], op.norm, whole, thread);
  auto [first, last] = share(total, thread);
  for (int i = 0; i < 3 && op.matrix[i] >= 0 && first < last; ++i) {
    const Matrix& matrix = program_.matrices[op.matrix[i]];
    const int from = std::min(first, matrix.panels), to = std::min(last, matrix.panels);
    first = std::max(0, first - matrix.panels);
    last -= matrix.panels;
    if (from >= to) continue;
    const int target = op.add ? op.aux : op.out[i];
    kernels_.product(matrix, rows, count, from, to, at(target, 0), stride(target));
    const int begin = from * LANES, end = std::min(to * LANES, matrix.outputs);
    for (int token = 0; token < count; ++token) {
      float* made = at(target, token);
      add_bias(made, vector(op.bias[i]), begin, end);
      if (op.add) {
        float* x = at(op.out[0], token);
        for (int d = begin; d < end; ++d) x[d] += made[d];
      }
    }
  }
}

void Interpreter::activate(const FeedForward& spec, float* gate, float* up, int count) const {
  if (spec.limit > 0)
    for (int i = 0; i < count; ++i) {
      gate[i] = std::min(gate[i], spec.limit);
      up[i] = std::clamp(up[i], -spec.limit, spec.limit);
    }
  switch (spec.activation) {
    case 0: for (int i = 0; i < count; ++i) gate[i] = std::max(gate[i], 0.0f); break;
    case 1: for (int i = 0; i < count; ++i) gate[i] = gate[i] * 0.5f * (1.0f + std::erf(gate[i] * 0.70710678f)); break;
    case 2: kernels_.gelu_tanh(gate, count); break;
    case 3: kernels_.gelu_sigmoid(gate, count); break;
    case 4: kernels_.silu(gate, count); break;
    default: for (int i = 0; i < count; ++i) gate[i] = gate[i] > 0 ? gate[i] * gate[i] : 0.0f; break;
  }
  if (spec.gated)
    for (int i = 0; i < count; ++i) gate[i] *= up[i] + spec.up_offset;
}

void Interpreter::feed(const Op& op, int thread) {
  const FeedForward& spec = program_.feed_forwards[op.detail];
  const Matrix& gate = program_.matrices[op.matrix[0]];
  const int count = int(tokens_.size());
  const Rows rows = prepare(at(op.in, 0), stride(op.in), count, program_.widths[op.in], op.norm,
                            gate.is_whole() || (spec.gated && program_.matrices[op.matrix[1]].is_whole()), thread);
  const auto [first, last] = share(gate.panels, thread);
  if (first == last) return;
  kernels_.product(gate, rows, count, first, last, at(op.out[0], 0), stride(op.out[0]));
  if (spec.gated)
    kernels_.product(program_.matrices[op.matrix[1]], rows, count, first, last, at(op.aux, 0), stride(op.aux));
  const int begin = first * LANES, end = std::min(last * LANES, gate.outputs);
  for (int token = 0; token < count; ++token) {
    float *hidden = at(op.out[0], token), *up = spec.gated ? at(op.aux, token) : nullptr;
    add_bias(hidden, vector(op.bias[0]), begin, end);
    if (spec.gated) add_bias(up, vector(op.bias[1]), begin, end);
    activate(spec, hidden + begin, spec.gated ? up + begin : nullptr, end - begin);
  }
}

void Interpreter::logits(const Op& op, int thread) {
  const Matrix& matrix = program_.matrices[op.matrix[0]];
  const int width = program_.widths[op.in], wanted = int(asked_.size());
  const float* bias = vector(op.bias[0]);
  const auto [first, last] = share(matrix.panels, thread);
  std::vector<float>& made = scratch_.threads[thread].values;
  constexpr int AT_ONCE = 32;
  for (int start = 0; start < wanted; start += AT_ONCE) {
    const int count = std::min(AT_ONCE, wanted - start);
    std::vector<float>& rows_of = scratch_.threads[thread].queries;
    float* rows_at = room(rows_of, size_t(count) * stride(op.in));
    for (int i = 0; i < count; ++i)
      std::memcpy(rows_at + size_t(i) * stride(op.in), at(op.in, asked_[start + i]), width * sizeof(float));
    const Rows rows = prepare_alone(rows_at, stride(op.in), count, width, op.norm, matrix.is_whole(), thread);
    const size_t made_stride = size_t(last - first) * LANES;
    if (first == last) continue;
    float* out = room(made, count * made_stride);
    kernels_.product(matrix, rows, count, first, last, out - size_t(first) * LANES, made_stride);
    const int begin = first * LANES, end = std::min(last * LANES, matrix.outputs);
    for (int i = 0; i < count; ++i) {
      float* given = logits_ + size_t(start + i) * program_.vocab_size;
      for (int v = begin; v < end; ++v) {
        float value = out[size_t(i) * made_stride + (v - begin)] * op.scale + (bias == nullptr ? 0.0f : bias[v]);
        if (op.cap > 0) value = op.cap * std::tanh(value / op.cap);
        given[v] = value;
      }
    }
  }
}

void Interpreter::experts(const Op& op, int thread) {
  const Experts& spec = program_.experts[op.detail];
  const FeedForward& feed = program_.feed_forwards[spec.feed_forward];
  const int count = int(tokens_.size()), width = program_.widths[op.in], k = spec.per_token;
  const size_t x_stride = stride(op.in), hidden_stride = (size_t(spec.width) + LANES - 1) / LANES * LANES;
  const Matrix& router = program_.matrices[spec.router];
  const size_t router_stride = size_t(router.panels) * LANES;
  if (thread == 0) {
    room(scratch_.router, count * router_stride);
    room(scratch_.chosen, size_t(count) * k);
    room(scratch_.gate_weights, size_t(count) * k);
    room(scratch_.expert_rows, size_t(count) * x_stride);
    room(scratch_.expert_hidden, size_t(count) * hidden_stride);
    room(scratch_.expert_other, std::max(size_t(count) * hidden_stride, size_t(count) * x_stride));
  }
  // Every thread norms the rows of its own tokens into expert_rows, routes them, and picks their experts.
  threads_.barrier(thread);
  const auto [first_token, last_token] = share(count, thread);
  for (int token = first_token; token < last_token; ++token) {
    float* x = scratch_.expert_rows.data() + token * x_stride;
    if (op.norm >= 0) normalize(program_.norms[op.norm], at(op.in, token), width, x);
    else std::memcpy(x, at(op.in, token), width * sizeof(float));
    float* scores = scratch_.router.data() + token * router_stride;
    const Rows row = prepare_alone(x, x_stride, 1, width, -1, router.is_whole(), thread);
    kernels_.product(router, row, 1, 0, router.panels, scores, router_stride);
    add_bias(scores, vector(spec.router_bias), 0, spec.count);
    const float most = *std::max_element(scores, scores + spec.count);
    kernels_.exponentials(scores, spec.count, most);
    const float sum = kernels_.sum(scores, spec.count);
    int32_t* chosen = scratch_.chosen.data() + size_t(token) * k;
    float *weights = scratch_.gate_weights.data() + size_t(token) * k, together = 0.0f;
    for (int choice = 0; choice < k; ++choice) {
      int best = -1;
      for (int e = 0; e < spec.count; ++e)
        if (std::find(chosen, chosen + choice, e) == chosen + choice && (best < 0 || scores[e] > scores[best])) best = e;
      chosen[choice] = best;
      weights[choice] = scores[best] / sum;
      together += weights[choice];
    }
    if (spec.normalize)
      for (int choice = 0; choice < k; ++choice) weights[choice] /= together;
    float* out = at(op.out[0], token);
    std::fill(out, out + width, 0.0f);
  }
  threads_.barrier(thread);
  // Choice by choice, so that what is added to a token comes in the order of its choices, whoever else is in the batch.
  std::vector<int> picked;
  for (int choice = 0; choice < k; ++choice)
    for (int e = 0; e < spec.count; ++e) {
      picked.clear();
      for (int token = 0; token < count; ++token)
        if (scratch_.chosen[size_t(token) * k + choice] == e) picked.push_back(token);
      const int rows_here = int(picked.size());
      if (rows_here == 0) continue;
      const Matrix &up = program_.matrices[spec.up + e], &down = program_.matrices[spec.down + e];
      const Matrix& gate = feed.gated ? program_.matrices[spec.gate + e] : up;
      Scratch::OfThread& mine = scratch_.threads[thread];
      float* x = room(mine.queries, rows_here * x_stride);
      for (int i = 0; i < rows_here; ++i)
        std::memcpy(x + i * x_stride, scratch_.expert_rows.data() + picked[i] * x_stride, width * sizeof(float));
      const Rows inputs = prepare_alone(x, x_stride, rows_here, width, -1, up.is_whole() || gate.is_whole(), thread);
      const auto [first, last] = share(gate.panels, thread);
      float *hidden = scratch_.expert_hidden.data(), *other = scratch_.expert_other.data();
      const int begin = first * LANES, end = std::min(last * LANES, gate.outputs);
      if (first < last) {
        kernels_.product(gate, inputs, rows_here, first, last, hidden, hidden_stride);
        if (feed.gated) kernels_.product(up, inputs, rows_here, first, last, other, hidden_stride);
        const float* gate_bias = feed.gated ? (spec.gate_bias < 0 ? nullptr : vector(spec.gate_bias + e))
                                            : (spec.up_bias < 0 ? nullptr : vector(spec.up_bias + e));
        for (int i = 0; i < rows_here; ++i) {
          add_bias(hidden + i * hidden_stride, gate_bias, begin, end);
          if (feed.gated && spec.up_bias >= 0) add_bias(other + i * hidden_stride, vector(spec.up_bias + e), begin, end);
          activate(feed, hidden + i * hidden_stride + begin, other + i * hidden_stride + begin, end - begin);
        }
      }
      threads_.barrier(thread);
      const Rows rows = prepare_alone(hidden, hidden_stride, rows_here, spec.width, -1, down.is_whole(), thread);
      const auto [first_out, last_out] = share(down.panels, thread);
      if (first_out < last_out) {
        kernels_.product(down, rows, rows_here, first_out, last_out, other, x_stride);
        for (int i = 0; i < rows_here; ++i) {
          float *made = other + i * x_stride, *out = at(op.out[0], picked[i]);
          const int from = first_out * LANES, to = std::min(last_out * LANES, down.outputs);
          add_bias(made, spec.down_bias < 0 ? nullptr : vector(spec.down_bias + e), from, to);
          const float weight = scratch_.gate_weights[size_t(picked[i]) * k + choice];
          for (int d = from; d < to; ++d) out[d] += weight * made[d];
        }
      }
      threads_.barrier(thread);
    }
}

}  // namespace openbook
