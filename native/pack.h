// Plain matrices, as a model file keeps them, into panels.
#pragma once

#include "program.h"
#include "threads.h"

namespace openbook {

// A matrix (outputs, inputs) row by row:
//   float32, bfloat16: numbers;  int8: numbers, and `scale` float32 a row
//   int4: two numbers a byte, the even input in the low half; `scale` and perhaps `offset` float16, one a group of 32
struct Plain {
  Format format;
  int outputs, inputs;
  const void *numbers, *scale, *offset;
};

Matrix pack(const Plain& plain, Threads& threads, std::vector<Memory>& memory);
size_t packed_bytes(const Plain& plain);

}  // namespace openbook
