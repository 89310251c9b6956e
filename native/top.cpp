#include "top.h"

#include <algorithm>
#include <cmath>
#include <queue>
#include <vector>

namespace openbook {

void best_continuations(const Kernels& kernels, Threads& threads, const float* logits, int rows, int beams, int vocab_size,
                        const float* sums, const int64_t* never, int never_count, int count, float* best_sums,
                        int64_t* best_places) {
  struct Found {
    float sum;
    int64_t place;
    bool operator<(const Found& other) const { return sum > other.sum || (sum == other.sum && place < other.place); }
  };
  threads.run([&](int thread) {
    std::vector<float> exponentials(vocab_size);
    std::vector<Found> found;
    for (int row = thread; row < rows; row += threads.count()) {
      found.clear();
      for (int beam = 0; beam < beams; ++beam) {
        const float* scores = logits + (size_t(row) * beams + beam) * vocab_size;
        std::copy(scores, scores + vocab_size, exponentials.begin());
        const float most = kernels.largest(scores, vocab_size);
        kernels.exponentials(exponentials.data(), vocab_size, most);
        const float log_sum = std::log(kernels.sum(exponentials.data(), vocab_size));
        const float added = sums[size_t(row) * beams + beam] - most - log_sum;
        float least = int(found.size()) < count ? -INFINITY : found.back().sum;
        for (int token = 0; token < vocab_size; ++token) {
          const float sum = scores[token] + added;
          if (sum <= least && int(found.size()) == count) continue;
          if (std::find(never, never + never_count, token) != never + never_count) continue;
          const Found one{sum, int64_t(beam) * vocab_size + token};
          found.insert(std::upper_bound(found.begin(), found.end(), one), one);
          if (int(found.size()) > count) found.pop_back();
          if (int(found.size()) == count) least = found.back().sum;
        }
      }
      for (int i = 0; i < count; ++i) {
        best_sums[size_t(row) * count + i] = i < int(found.size()) ? found[i].sum : -INFINITY;
        best_places[size_t(row) * count + i] = i < int(found.size()) ? found[i].place : 0;
      }
    }
  });
}

}  // namespace openbook
