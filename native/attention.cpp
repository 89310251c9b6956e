// Attention: keys and values go into the cache, then every query looks at the columns that it may see.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "interpreter.h"

namespace openbook {
namespace {

constexpr int TOKENS_AT_ONCE = 8;  // of one row, whose queries read keys and values together

float* room(std::vector<float>& buffer, size_t count) {
  if (buffer.size() < count) buffer.resize(count);
  return buffer.data();
}

}  // namespace

Columns& Interpreter::columns_of(int mode, int row) {
  return mode == 0 ? rows_[row]->own : mode == 1 ? *encoder_columns_[row] : rows_[row]->source;
}

size_t Interpreter::angle_stride() const {
  int widest = 0;
  for (const Attention& attention : program_.attentions) widest = std::max(widest, attention.head_width);
  return size_t(widest);
}

// Cosines and sines of position * frequency for every token and way of rotating; all layers use them.
void Interpreter::turn(int thread) {
  const size_t each = angle_stride();
  const auto [first, last] = share(int(tokens_.size()), thread);
  for (int token = first; token < last; ++token)
    for (size_t index = 0; index < program_.rotaries.size(); ++index) {
      const Rotary& rotary = program_.rotaries[index];
      float* cosines = scratch_.angles.data() + (size_t(token) * program_.rotaries.size() + index) * each;
      float* sines = cosines + rotary.half;
      float base = rotary.base;
      if (rotary.dynamic) {
        const float width = 2.0f * rotary.half, length = std::max(rotary.original_context, float(tokens_[token].length));
        base *= std::pow(rotary.factor * length / rotary.original_context - rotary.factor + 1.0f, width / (width - 2.0f));
      }
      for (int i = 0; i < rotary.half; ++i) {
        const float frequency = rotary.dynamic ? 1.0f / std::pow(base, float(i) / float(rotary.half))
                                               : vector(rotary.frequencies)[i];
        const float angle = float(tokens_[token].position) * frequency;
        cosines[i] = std::cos(angle) * rotary.attention_factor;
        sines[i] = std::sin(angle) * rotary.attention_factor;
      }
    }
}

// Pairs (i, i + K/2) of a query or key turn by position * frequency   (Su et al. 2021, section 3.2).
void Interpreter::rotate(const Attention& attention, int token, float* head) const {
  if (attention.rotary < 0) return;
  const int half = attention.head_width / 2;
  const size_t place = size_t(token) * program_.rotaries.size() + attention.rotary;
  const float *cosines = scratch_.angles.data() + place * angle_stride(), *sines = cosines + half;
  for (int i = 0; i < half; ++i) {
    const float first = head[i], second = head[i + half];
    head[i] = first * cosines[i] - second * sines[i];
    head[i + half] = second * cosines[i] + first * sines[i];
  }
}

void Interpreter::keep(const Op& op, int thread) {
  const Attention& attention = program_.attentions[op.detail];
  const int groups = attention.key_value_heads, width = attention.head_width;
  const auto [first, last] = share(int(tokens_.size()) * groups, thread);
  for (int task = first; task < last; ++task) {
    const Token& token = tokens_[task / groups];
    const int group = task % groups;
    float* key = at(op.out[1], task / groups) + group * width;
    if (attention.key_norm >= 0) normalize(program_.norms[attention.key_norm], key, width, key);
    rotate(attention, task / groups, key);
    columns_of(attention.mode, token.row)
        .put(attention.slot, group, token.column, key, at(op.out[2], task / groups) + group * width);
  }
}

void Interpreter::attend(const Op& op, int thread) {
  const Attention& attention = program_.attentions[op.detail];
  if (attention.mode != 2) {
    keep(op, thread);
    threads_.barrier(thread);
  }
  const int groups = attention.key_value_heads, heads = attention.heads / groups;
  // Tokens of a row stand together; each task is a few of them and the heads that share keys, or one head alone where
  // there would be too few tasks for all threads.
  const int count = int(tokens_.size());
  std::vector<std::pair<int, int>> spans;
  for (int token = 0; token < count;) {
    int end = token + 1;
    while (end < count && end - token < TOKENS_AT_ONCE && tokens_[end].row == tokens_[token].row) ++end;
    spans.emplace_back(token, end - token);
    token = end;
  }
  const bool apart = int(spans.size()) * groups < 2 * threads_.count();
  const int pieces = apart ? heads : 1, tasks = int(spans.size()) * groups * pieces;
  const auto [first, last] = share(tasks, thread);
  for (int task = first; task < last; ++task) {
    const auto [token, tokens] = spans[task / (groups * pieces)];
    const int group = task / pieces % groups, piece = task % pieces;
    look(attention, op, token, tokens, group, group * heads + (apart ? piece : 0), apart ? 1 : heads, thread);
  }
}

// Bias, soft cap and mask of one query's scores of the columns from `from` to `seen`.
void Interpreter::mask(const Attention& attention, const Token& token, int head, int from, int seen, float* score) const {
  const float hidden = attention.softmax ? -INFINITY : 0.0f;
  const bool causal = attention.mode == 0;
  if (attention.bias < 0 && attention.softcap == 0 && attention.window == 0 && token.beam < 0) {
    if (causal && token.column + 1 < seen) std::fill(score + token.column + 1, score + seen, hidden);
    return;
  }
  const Row* row = causal ? rows_[token.row] : nullptr;
  const uint8_t* visible = causal && token.beam >= 0 ? row->seen[token.beam].data() : nullptr;
  const float* bias = attention.bias < 0 ? nullptr : vector(attention.bias) + size_t(head) * attention.bias_count;
  for (int column = from; column < seen; ++column) {
    const int distance = token.position - (causal ? row->positions[column] : column);
    float value = score[column];
    if (bias != nullptr) value += bias[std::clamp(distance - attention.bias_first, 0, attention.bias_count - 1)];
    if (attention.softcap > 0) value = attention.softcap * std::tanh(value / attention.softcap);
    bool sees = !causal || (visible != nullptr ? visible[column] != 0 : column <= token.column);
    if (attention.window > 0 && attention.mode != 2) sees = sees && std::abs(distance) < attention.window;
    score[column] = sees ? value : hidden;
  }
}

// Queries of `tokens` tokens and `heads` heads look at the columns of one row: softmax(query . key * scale) . value.
void Interpreter::look(const Attention& attention, const Op& op, int first, int tokens, int group, int first_head,
                       int heads, int thread) {
  const int width = attention.head_width, queries = tokens * heads;
  const Token& newest = tokens_[first + tokens - 1];
  Columns& columns = columns_of(attention.mode, newest.row);
  // What the last of them sees; a beam may see any of its row's columns.
  const int seen = attention.mode == 0 && newest.beam < 0 ? newest.column + 1 : columns.length;
  const size_t stride = size_t(seen + LANES - 1) / LANES * LANES;
  Scratch::OfThread& mine = scratch_.threads[thread];
  float* query = room(mine.queries, size_t(queries) * (2 * width + 2));
  float* context = query + size_t(queries) * width;
  float *sums = context + size_t(queries) * width, *most = sums + queries;
  float* scores = room(mine.scores, queries * stride);
  for (int i = 0; i < queries; ++i) {
    float* head = query + size_t(i) * width;
    const float* from = at(op.out[0], first + i / heads) + (first_head + i % heads) * width;
    if (attention.query_norm >= 0) normalize(program_.norms[attention.query_norm], from, width, head);
    else std::memcpy(head, from, width * sizeof(float));
    rotate(attention, first + i / heads, head);
  }
  int from = 0;  // columns that the window hides from all of them are passed over
  if (attention.window > 0 && attention.mode == 0 && newest.beam < 0)
    from = std::max(0, tokens_[first].column - attention.window + 1);
  const Heads look{query, queries, width, columns.key(attention.slot, group), columns.value(attention.slot, group),
                   columns.value_stride(attention.slot), seen, columns.half()};
  kernels_.scores(look, from, attention.scale, scores, stride);
  for (int i = 0; i < queries; ++i) {
    const Token& token = tokens_[first + i / heads];
    const int head = first_head + i % heads;
    float* score = scores + i * stride;
    mask(attention, token, head, from, seen, score);
    if (!attention.softmax) continue;
    most[i] = kernels_.largest(score + from, seen - from);
    if (attention.sinks >= 0) most[i] = std::max(most[i], vector(attention.sinks)[head]);
    kernels_.exponentials(score + from, seen - from, most[i]);
  }
  kernels_.context(look, from, scores, stride, context, sums);
  for (int i = 0; attention.softmax && i < queries; ++i) {
    float sum = sums[i];
    if (attention.sinks >= 0) sum += std::exp(vector(attention.sinks)[first_head + i % heads] - most[i]);
    for (int d = 0; d < width; ++d) context[size_t(i) * width + d] /= sum;
  }
  for (int i = 0; i < queries; ++i)
    std::memcpy(at(op.in, first + i / heads) + (first_head + i % heads) * width, context + size_t(i) * width,
                width * sizeof(float));
}

}  // namespace openbook
