// Plain matrices, as a model file keeps them, into panels.
#pragma once

#include "program.h"
#include "threads.h"

namespace openbook {

// A matrix (outputs, inputs) row by row:
//   float32, bfloat16, float16: numbers;  int8: numbers, and `scale` float32 a row
//   int8_groups: numbers, and `scale` float16, one a group of 32
//   int4: two numbers a byte, the even input in the low half; `scale` and perhaps `offset` float16, one a group of 32
struct Plain {
  Format format;
  int outputs, inputs;
  const void *numbers, *scale, *offset;
};

// What a matrix will be when it is packed for kernels of this step; until then it has no numbers.
Matrix described(const Plain& plain, int step);
// Pack all matrices of a program, described before and in the same order, on all threads.
void pack_all(const std::vector<Plain>& plains, Program& program, Threads& threads);

}  // namespace openbook
