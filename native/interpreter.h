// One pass of a program over the newest tokens of some rows, on all threads.
#pragma once

#include <span>
#include <vector>

#include "cache.h"
#include "program.h"
#include "threads.h"

namespace openbook {

struct Token {
  int id, row, column, position;
  int beam;    // -1: it sees all columns of its row up to its own
  int length;  // tokens of its sequence so far, for rotary angles that depend on it
  bool asked;  // whether its logits are wanted
};

// Numbers of one thread alone, and of all; kept from pass to pass.
struct Scratch {
  std::vector<std::vector<float>> registers;
  std::vector<float> normed, scales, expert_rows, expert_hidden, expert_other, router;
  std::vector<int16_t> whole;
  std::vector<int32_t> sums, chosen;
  std::vector<float> gate_weights;
  std::vector<float> angles;  // [token][rotary]{cosines, sines}
  struct OfThread {
    std::vector<float> normed, scales, values, scores, queries, bias;
    std::vector<int16_t> whole;
    std::vector<int32_t> sums;
  };
  std::vector<OfThread> threads;
};

class Interpreter {
 public:
  Interpreter(const Program& program, const Kernels& kernels, Threads& threads, Scratch& scratch);

  // Run `ops` over tokens, which lie by rows; `logits` has a row of V for each token that asks for them.
  void run(const std::vector<Op>& ops, std::span<const Token> tokens, std::span<Row*> rows,
           std::span<Columns*> encoder_columns, float* logits);

 private:

  int stride(int reg) const { return (program_.widths[reg] + LANES - 1) / LANES * LANES; }
  float* at(int reg, int token) const { return scratch_.registers[reg].data() + size_t(token) * stride(reg); }
  const float* vector(int index) const { return index < 0 ? nullptr : program_.vectors[index].data(); }

  void execute(const Op& op, int thread);
  void embed(const Op& op, int thread);
  void linear(const Op& op, int thread);
  void feed(const Op& op, int thread);
  void attend(const Op& op, int thread);
  void keep(const Op& op, int thread);
  void experts(const Op& op, int thread);
  void logits(const Op& op, int thread);

  void normalize(const Norm& norm, const float* x, int width, float* out) const;
  void turn(int thread);  // the angles of all tokens, once a pass
  void rotate(const Attention& attention, int token, float* head) const;
  size_t angle_stride() const;
  // Rows of a register after `norm`, in 16 bits too if `whole`; many are prepared by all threads together.
  Rows prepare(const float* x, size_t x_stride, int count, int width, int norm, bool whole, int thread);
  Rows prepare_alone(const float* x, size_t x_stride, int count, int width, int norm, bool whole, int thread);
  void activate(const FeedForward& spec, float* gate, float* up, int count) const;
  void look(const Attention& attention, const Op& op, int first, int tokens, int group, int first_head, int heads,
            int thread);
  void mask(const Attention& attention, const Token& token, int head, int from, int seen, float* score) const;
  Columns& columns_of(int mode, int row);
  std::pair<int, int> share(int total, int thread) const;

  const Program& program_;
  const Kernels& kernels_;
  Threads& threads_;
  Scratch& scratch_;
  std::span<const Token> tokens_;
  std::span<Row*> rows_;
  std::span<Columns*> encoder_columns_;
  std::vector<int> asked_;
  float* logits_ = nullptr;
};

}  // namespace openbook
