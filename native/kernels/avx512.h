// Sixteen lanes as one AVX-512 register; whole numbers are multiplied by the file that includes this.
#pragma once

#include <immintrin.h>

#include "kernels/kernels.h"

namespace openbook {

struct Avx512 {
  using F = __m512;
  using I = __m512i;
  static constexpr int PANELS = 4, ROWS = 5, PANELS_ALONE = 4, QUERIES = 4;

  static void prefetch(const std::byte* p) { _mm_prefetch(reinterpret_cast<const char*>(p), _MM_HINT_T1); }
  static F load(const float* p) { return _mm512_loadu_ps(p); }
  static void store(float* p, F v) { _mm512_storeu_ps(p, v); }
  static F set(float value) { return _mm512_set1_ps(value); }
  static F add(F x, F y) { return _mm512_add_ps(x, y); }
  static F sub(F x, F y) { return _mm512_sub_ps(x, y); }
  static F mul(F x, F y) { return _mm512_mul_ps(x, y); }
  static F div(F x, F y) { return _mm512_div_ps(x, y); }
  static F max(F x, F y) { return _mm512_max_ps(x, y); }
  static F min(F x, F y) { return _mm512_min_ps(x, y); }
  static F fma(F x, F y, F z) { return _mm512_fmadd_ps(x, y, z); }
  static F half_load(const uint16_t* p) { return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))); }
  static F bfloat_load(const uint16_t* p) {
    const __m256i half = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
  }
  static F to_float(I v) { return _mm512_cvtepi32_ps(v); }
  static I round(F v) { return _mm512_cvtps_epi32(v); }
  static void whole(int32_t* p, I v) { _mm512_storeu_si512(p, v); }
  static F power_of_two(I n) { return _mm512_scalef_ps(_mm512_set1_ps(1.0f), _mm512_cvtepi32_ps(n)); }
};

}  // namespace openbook
