// AVX-512 without VNNI: Intel Skylake-X (2017).
#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/avx512.h"

namespace openbook {
namespace in_avx512 {

struct Simd : Avx512 {
  using W = __m512i;
  static constexpr int STEP = 2, WHOLE_ROWS = 5;

  static W widen(const int8_t* p) {
    return _mm512_cvtepi8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }
  static void nibbles(const uint8_t* p, W& low, W& high) {
    const __m512i bytes = _mm512_cvtepu8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
    low = _mm512_and_si512(bytes, _mm512_set1_epi16(15));
    high = _mm512_srli_epi16(bytes, 4);
  }
  static I zero() { return _mm512_setzero_si512(); }
  static void narrow(int16_t* p, const int32_t* numbers) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtsepi32_epi16(_mm512_loadu_si512(numbers)));
  }
  static I dot(I sum, W w, int32_t pair) { return _mm512_add_epi32(sum, _mm512_madd_epi16(w, _mm512_set1_epi32(pair))); }
};

#include "kernels/kernels.inl"

}  // namespace in_avx512

const Kernels avx512 = in_avx512::as_kernels("avx512");

}  // namespace openbook
