// NEON: every 64-bit Arm processor.
#include <arm_neon.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/kernels.h"

namespace openbook {
namespace in_neon {

// Sixteen lanes as four registers; pairs of 16-bit weights as four registers of eight.
struct Simd {
  struct F { float32x4_t part[4]; };
  struct I { int32x4_t part[4]; };
  struct W { int16x8_t part[4]; };
  static constexpr int STEP = 2, PANELS = 1, ROWS = 4, WHOLE_ROWS = 4, PANELS_ALONE = 2, QUERIES = 1;

  template <typename Function>
  static F each(Function function) {
    return {{function(0), function(1), function(2), function(3)}};
  }
  static void prefetch(const std::byte* p) { __builtin_prefetch(p, 0, 2); }
  static F load(const float* p) { return each([&](int i) { return vld1q_f32(p + 4 * i); }); }
  static void store(float* p, F v) {
    for (int i = 0; i < 4; ++i) vst1q_f32(p + 4 * i, v.part[i]);
  }
  static F set(float value) { return each([&](int) { return vdupq_n_f32(value); }); }
  static F add(F x, F y) { return each([&](int i) { return vaddq_f32(x.part[i], y.part[i]); }); }
  static F sub(F x, F y) { return each([&](int i) { return vsubq_f32(x.part[i], y.part[i]); }); }
  static F mul(F x, F y) { return each([&](int i) { return vmulq_f32(x.part[i], y.part[i]); }); }
  static F div(F x, F y) { return each([&](int i) { return vdivq_f32(x.part[i], y.part[i]); }); }
  static F max(F x, F y) { return each([&](int i) { return vmaxq_f32(x.part[i], y.part[i]); }); }
  static F min(F x, F y) { return each([&](int i) { return vminq_f32(x.part[i], y.part[i]); }); }
  static F fma(F x, F y, F z) { return each([&](int i) { return vfmaq_f32(z.part[i], x.part[i], y.part[i]); }); }
  static F half_load(const uint16_t* p) {
    return each([&](int i) { return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p + 4 * i))); });
  }
  static F bfloat_load(const uint16_t* p) {
    return each([&](int i) { return vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(p + 4 * i), 16)); });
  }
  static W widen(const int8_t* p) {
    const int8x16_t a = vld1q_s8(p), b = vld1q_s8(p + 16);
    return {{vmovl_s8(vget_low_s8(a)), vmovl_high_s8(a), vmovl_s8(vget_low_s8(b)), vmovl_high_s8(b)}};
  }
  static void nibbles(const uint8_t* p, W& low, W& high) {
    const uint8x16_t a = vld1q_u8(p), b = vld1q_u8(p + 16), mask = vdupq_n_u8(15);
    low = zero_extended(vandq_u8(a, mask), vandq_u8(b, mask));
    high = zero_extended(vshrq_n_u8(a, 4), vshrq_n_u8(b, 4));
  }
  static I zero() {
    const int32x4_t none = vdupq_n_s32(0);
    return {{none, none, none, none}};
  }
  static I dot(I sum, W w, int32_t pair) {
    const int16x8_t x = vreinterpretq_s16_s32(vdupq_n_s32(pair));
    for (int i = 0; i < 4; ++i) {
      const int32x4_t first = vmull_s16(vget_low_s16(w.part[i]), vget_low_s16(x)), second = vmull_high_s16(w.part[i], x);
      sum.part[i] = vaddq_s32(sum.part[i], vpaddq_s32(first, second));
    }
    return sum;
  }
  static F to_float(I v) { return each([&](int i) { return vcvtq_f32_s32(v.part[i]); }); }
  static I round(F v) {
    return {{vcvtnq_s32_f32(v.part[0]), vcvtnq_s32_f32(v.part[1]), vcvtnq_s32_f32(v.part[2]), vcvtnq_s32_f32(v.part[3])}};
  }
  static void whole(int32_t* p, I v) {
    for (int i = 0; i < 4; ++i) vst1q_s32(p + 4 * i, v.part[i]);
  }
  static void narrow(int16_t* p, const int32_t* numbers) {
    for (int i = 0; i < 4; ++i) vst1_s16(p + 4 * i, vqmovn_s32(vld1q_s32(numbers + 4 * i)));
  }
  // In two steps, since 2^n for n below -126 has no exponent of its own.
  static F power_of_two(I n) {
    return each([&](int i) {
      const int32x4_t bias = vdupq_n_s32(127), half = vshrq_n_s32(n.part[i], 1), rest = vsubq_s32(n.part[i], half);
      return vmulq_f32(vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(half, bias), 23)),
                       vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(rest, bias), 23)));
    });
  }

 private:
  static W zero_extended(uint8x16_t a, uint8x16_t b) {
    return {{vreinterpretq_s16_u16(vmovl_u8(vget_low_u8(a))), vreinterpretq_s16_u16(vmovl_high_u8(a)),
             vreinterpretq_s16_u16(vmovl_u8(vget_low_u8(b))), vreinterpretq_s16_u16(vmovl_high_u8(b))}};
  }
};

#include "kernels/kernels.inl"

}  // namespace in_neon

const Kernels neon = in_neon::as_kernels("neon");

}  // namespace openbook
