// AVX-512 with VNNI: Intel from Cascade Lake and Ice Lake (2019), AMD from Zen 4 (2022) on.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/avx512.h"

namespace openbook {
namespace in_avx512_vnni {

struct Simd : Avx512 {
  static I dot(I sum, W w, int32_t pair) { return _mm512_dpwssd_epi32(sum, w, _mm512_set1_epi32(pair)); }
};

#include "kernels/kernels.inl"

}  // namespace in_avx512_vnni

const Kernels avx512_vnni = in_avx512_vnni::as_kernels("avx512_vnni");

}  // namespace openbook
