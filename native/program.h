// What a model is to the engine: a flat list of operators over registers, and the numbers that they use.
//
// Python compiles it from the architecture. A register holds a vector for every token of the pass. Indices are checked
// when the program is set (see `api.cpp`), so the interpreter trusts them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "kernels/kernels.h"

namespace openbook {

enum class Kind : int32_t {
  embed = 0,      // out = scale * row `token` of matrix[0]
  add_table = 1,  // out += row (position + offset) of vector[0], rows of the register's width
  norm = 2,       // out = norm(in)
  linear = 3,     // out[i] = matrix[i] · norm(in) + bias[i], for up to three; `add`: out[0] += …, through `aux`
  feed = 4,       // out = activation(matrix[0] · norm(in) + bias[0]) · (matrix[1] · norm(in) + bias[1]); through `aux`
  add = 5,        // out += in
  attend = 6,     // keep key and value (out[1], out[2]), let queries (out[0]) look: in = their context
  keep = 7,       // keep key and value (out[1], out[2]) of a source, for cross-attention
  experts = 8,    // out = weighted sum of the experts' outputs for norm(in)
  logits = 9,     // of the tokens that are asked for: cap(scale * (matrix[0] · norm(in) + bias[0]))
};

// Laid out as Python's ctypes lays it out: 4-byte fields only.
struct Op {
  int32_t kind, in, norm, aux, add, detail, offset;
  int32_t out[3], matrix[3], bias[3];
  float scale, cap;
};

struct Norm {
  int32_t kind;  // 0: none, 1: RMS, 2: layer
  int32_t weight, bias;
  float epsilon;
};

struct Rotary {
  int32_t half;         // pairs that turn
  int32_t frequencies;  // vector of that many, where they are fixed
  int32_t dynamic;      // whether they follow from the length of the sequence, as follows
  float attention_factor, base, factor, original_context;
};

struct Attention {
  int32_t heads, key_value_heads, head_width;
  int32_t slot;       // where in a row of the cache its keys and values are
  int32_t mode;       // 0: causal, 1: both ways, 2: at a source
  int32_t window;     // 0: none
  int32_t softmax;    // 0: the scores themselves are the weights
  int32_t sinks, bias, bias_first, bias_count;  // vectors, -1: none; bias[head][distance - bias_first], clamped
  int32_t query_norm, key_norm, rotary;         // -1: none
  float scale, softcap;                         // softcap 0: none
};

struct FeedForward {
  int32_t activation;  // 0 relu, 1 gelu, 2 gelu_tanh, 3 gelu_sigmoid, 4 silu, 5 relu squared
  int32_t gated;
  float limit, up_offset;  // limit 0: none
};

struct Experts {
  int32_t count, per_token, normalize, feed_forward;
  int32_t router, router_bias;
  int32_t gate, up, down;                 // matrices of expert 0; the others follow
  int32_t gate_bias, up_bias, down_bias;  // vectors of expert 0, -1: none
  int32_t width;                          // F
};

struct Slot {
  int32_t part;  // 0: the decoder's own tokens, 1: the encoder's while it runs, 2: the source's for the decoder
  int32_t key_value_heads, head_width;
};

struct FreeMemory {
  size_t mapped = 0;  // bytes that came from the system as they are; 0: from the heap
  void operator()(std::byte* memory) const;
};
using Memory = std::unique_ptr<std::byte[], FreeMemory>;
Memory allocate(size_t bytes);  // 64-byte aligned, filled with zeros; throws std::bad_alloc

struct Program {
  std::vector<Op> decoder, encoder;
  std::vector<int32_t> widths;  // of the registers
  std::vector<Matrix> matrices;
  std::vector<std::vector<float>> vectors;
  std::vector<Norm> norms;
  std::vector<Rotary> rotaries;
  std::vector<Attention> attentions;
  std::vector<FeedForward> feed_forwards;
  std::vector<Experts> experts;
  std::vector<Slot> slots;
  int32_t vocab_size = 0, source_vocab_size = 0, context = 0;
  Memory memory;  // what the matrices' packed numbers lie in
};

}  // namespace openbook
