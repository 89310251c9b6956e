// AVX-512 without VNNI: Intel Skylake-X (2017).
#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/avx512.h"

namespace openbook {
namespace in_avx512 {

struct Simd : Avx512 {
  static I dot(I sum, W w, int32_t pair) { return _mm512_add_epi32(sum, _mm512_madd_epi16(w, _mm512_set1_epi32(pair))); }
};

#include "kernels/kernels.inl"

}  // namespace in_avx512

const Kernels avx512 = in_avx512::as_kernels("avx512");

}  // namespace openbook
