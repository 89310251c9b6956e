// AVX-512 with VNNI: Intel from Cascade Lake and Ice Lake (2019), AMD from Zen 4 (2022) on.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/avx512.h"

namespace openbook {
namespace in_avx512_vnni {

struct Simd : Avx512 {
  using B = __m512i;
  static constexpr int STEP = 4, WHOLE_ROWS = 2;

  static B bytes(const std::byte* p) { return _mm512_loadu_si512(p); }
  static void nibbles(const std::byte* p, B& low, B& high) {
    const __m512i both = _mm512_loadu_si512(p), mask = _mm512_set1_epi8(15);
    low = _mm512_and_si512(both, mask);
    high = _mm512_and_si512(_mm512_srli_epi16(both, 4), mask);
  }
  static I splat(int32_t value) { return _mm512_set1_epi32(value); }
  static I dot(I sum, B w, int32_t four) { return _mm512_dpbusd_epi32(sum, w, _mm512_set1_epi32(four)); }
  static I high_and_low(I high, I low) { return _mm512_add_epi32(_mm512_slli_epi32(high, 8), low); }
  static void split(int16_t* p, const int32_t* numbers) {
    const __m512i whole = _mm512_loadu_si512(numbers), low = _mm512_srai_epi32(_mm512_slli_epi32(whole, 24), 24);
    const __m128i lows = _mm512_cvtepi32_epi8(low), highs = _mm512_cvtepi32_epi8(_mm512_srai_epi32(_mm512_sub_epi32(whole, low), 8));
    __m128i* to = reinterpret_cast<__m128i*>(p);
    _mm_storeu_si128(to, _mm_unpacklo_epi32(highs, lows));
    _mm_storeu_si128(to + 1, _mm_unpackhi_epi32(highs, lows));
  }
};

#include "kernels/kernels.inl"

}  // namespace in_avx512_vnni

const Kernels avx512_vnni = in_avx512_vnni::as_kernels("avx512_vnni");

}  // namespace openbook
