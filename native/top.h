// The best continuations of beams, from their logits.
#pragma once

#include <cstdint>

#include "kernels/kernels.h"
#include "threads.h"

namespace openbook {

// For each row the `count` largest of sums[beam] + log softmax(logits[beam])[token], largest first; of equal ones the
// first. Tokens of `never` do not come, though their probability counts.
void best_continuations(const Kernels& kernels, Threads& threads, const float* logits, int rows, int beams, int vocab_size,
                        const float* sums, const int64_t* never, int never_count, int count, float* best_sums,
                        int64_t* best_places);

}  // namespace openbook
