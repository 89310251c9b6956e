// AVX-VNNI without AVX-512: Intel from Alder Lake (2021), AMD from Zen 5 on.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/avx2.h"

namespace openbook {
namespace in_avx_vnni {

struct Simd : Avx2 {
  static I dot(I sum, W w, int32_t pair) {
    const __m256i x = _mm256_set1_epi32(pair);
    return {_mm256_dpwssd_avx_epi32(sum.a, w.a, x), _mm256_dpwssd_avx_epi32(sum.b, w.b, x)};
  }
};

#include "kernels/kernels.inl"

}  // namespace in_avx_vnni

const Kernels avx_vnni = in_avx_vnni::as_kernels("avx_vnni");

}  // namespace openbook
