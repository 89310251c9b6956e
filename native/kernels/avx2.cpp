// AVX2 and FMA: Intel from Haswell (2013), AMD from Zen (2017) on.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/avx2.h"

namespace openbook {
namespace in_avx2 {

struct Simd : Avx2 {
  static I dot(I sum, W w, int32_t pair) {
    const __m256i x = _mm256_set1_epi32(pair);
    return {_mm256_add_epi32(sum.a, _mm256_madd_epi16(w.a, x)), _mm256_add_epi32(sum.b, _mm256_madd_epi16(w.b, x))};
  }
};

#include "kernels/kernels.inl"

}  // namespace in_avx2

const Kernels avx2 = in_avx2::as_kernels("avx2");

}  // namespace openbook
