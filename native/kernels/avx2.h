// Sixteen lanes as two AVX2 registers; `dot` is chosen by the file that includes this.
#pragma once

#include <immintrin.h>

#include "kernels/kernels.h"

namespace openbook {

struct Avx2 {
  struct F { __m256 a, b; };
  struct I { __m256i a, b; };
  struct W { __m256i a, b; };
  static constexpr int STEP = 2, PANELS = 2, ROWS = 2, WHOLE_ROWS = 2, PANELS_ALONE = 4, QUERIES = 1;

  static void prefetch(const std::byte* p) { _mm_prefetch(reinterpret_cast<const char*>(p), _MM_HINT_T1); }
  static F load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
  static void store(float* p, F v) { _mm256_storeu_ps(p, v.a), _mm256_storeu_ps(p + 8, v.b); }
  static F set(float value) { return {_mm256_set1_ps(value), _mm256_set1_ps(value)}; }
  static F add(F x, F y) { return {_mm256_add_ps(x.a, y.a), _mm256_add_ps(x.b, y.b)}; }
  static F sub(F x, F y) { return {_mm256_sub_ps(x.a, y.a), _mm256_sub_ps(x.b, y.b)}; }
  static F mul(F x, F y) { return {_mm256_mul_ps(x.a, y.a), _mm256_mul_ps(x.b, y.b)}; }
  static F div(F x, F y) { return {_mm256_div_ps(x.a, y.a), _mm256_div_ps(x.b, y.b)}; }
  static F max(F x, F y) { return {_mm256_max_ps(x.a, y.a), _mm256_max_ps(x.b, y.b)}; }
  static F min(F x, F y) { return {_mm256_min_ps(x.a, y.a), _mm256_min_ps(x.b, y.b)}; }
  static F fma(F x, F y, F z) { return {_mm256_fmadd_ps(x.a, y.a, z.a), _mm256_fmadd_ps(x.b, y.b, z.b)}; }
  static F half_load(const uint16_t* p) {
    const __m128i* half = reinterpret_cast<const __m128i*>(p);
    return {_mm256_cvtph_ps(_mm_loadu_si128(half)), _mm256_cvtph_ps(_mm_loadu_si128(half + 1))};
  }
  static F bfloat_load(const uint16_t* p) {
    const __m128i* half = reinterpret_cast<const __m128i*>(p);
    return {_mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128(half)), 16)),
            _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128(half + 1)), 16))};
  }
  static W widen(const int8_t* p) {
    const __m128i* bytes = reinterpret_cast<const __m128i*>(p);
    return {_mm256_cvtepi8_epi16(_mm_loadu_si128(bytes)), _mm256_cvtepi8_epi16(_mm_loadu_si128(bytes + 1))};
  }
  static void nibbles(const uint8_t* p, W& low, W& high) {
    const __m128i* bytes = reinterpret_cast<const __m128i*>(p);
    const __m256i a = _mm256_cvtepu8_epi16(_mm_loadu_si128(bytes)), b = _mm256_cvtepu8_epi16(_mm_loadu_si128(bytes + 1));
    const __m256i mask = _mm256_set1_epi16(15);
    low = {_mm256_and_si256(a, mask), _mm256_and_si256(b, mask)};
    high = {_mm256_srli_epi16(a, 4), _mm256_srli_epi16(b, 4)};
  }
  static I zero() { return {_mm256_setzero_si256(), _mm256_setzero_si256()}; }
  static F to_float(I v) { return {_mm256_cvtepi32_ps(v.a), _mm256_cvtepi32_ps(v.b)}; }
  static I round(F v) { return {_mm256_cvtps_epi32(v.a), _mm256_cvtps_epi32(v.b)}; }
  static void whole(int32_t* p, I v) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), v.a), _mm256_storeu_si256(reinterpret_cast<__m256i*>(p + 8), v.b);
  }
  static void narrow(int16_t* p, const int32_t* numbers) {
    const __m256i* v = reinterpret_cast<const __m256i*>(numbers);
    const __m256i packed =
        _mm256_permute4x64_epi64(_mm256_packs_epi32(_mm256_loadu_si256(v), _mm256_loadu_si256(v + 1)), 0xd8);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), packed);
  }
  // In two steps, since 2^n for n below -126 has no exponent of its own.
  static F power_of_two(I v) { return {power(v.a), power(v.b)}; }

 private:
  static __m256 power(__m256i n) {
    const __m256i bias = _mm256_set1_epi32(127), half = _mm256_srai_epi32(n, 1), rest = _mm256_sub_epi32(n, half);
    return _mm256_mul_ps(_mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(half, bias), 23)),
                         _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(rest, bias), 23)));
  }
};

}  // namespace openbook
