// Plain loops over sixteen lanes: for processors that no other file is for. The compiler vectorises what it can.
#include "kernels/kernels.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace openbook {
namespace in_portable {

struct Simd {
  struct F { float lane[LANES]; };
  struct I { int32_t lane[LANES]; };
  struct W { int16_t lane[2 * LANES]; };
  static constexpr int STEP = 2, PANELS = 1, ROWS = 2, WHOLE_ROWS = 2, PANELS_ALONE = 2, QUERIES = 1;

  template <typename Function>
  static F each(Function function) {
    F result;
    for (int i = 0; i < LANES; ++i) result.lane[i] = function(i);
    return result;
  }
  static void prefetch(const std::byte*) {}
  static F load(const float* p) { return each([&](int i) { return p[i]; }); }
  static void store(float* p, F v) { std::memcpy(p, v.lane, sizeof v.lane); }
  static F set(float value) { return each([&](int) { return value; }); }
  static F add(F a, F b) { return each([&](int i) { return a.lane[i] + b.lane[i]; }); }
  static F sub(F a, F b) { return each([&](int i) { return a.lane[i] - b.lane[i]; }); }
  static F mul(F a, F b) { return each([&](int i) { return a.lane[i] * b.lane[i]; }); }
  static F div(F a, F b) { return each([&](int i) { return a.lane[i] / b.lane[i]; }); }
  static F max(F a, F b) { return each([&](int i) { return a.lane[i] > b.lane[i] ? a.lane[i] : b.lane[i]; }); }
  static F min(F a, F b) { return each([&](int i) { return a.lane[i] < b.lane[i] ? a.lane[i] : b.lane[i]; }); }
  static F fma(F a, F b, F c) { return each([&](int i) { return a.lane[i] * b.lane[i] + c.lane[i]; }); }
  static F half_load(const uint16_t* p) { return each([&](int i) { return from_half(p[i]); }); }
  static F bfloat_load(const uint16_t* p) {
    return each([&](int i) {
      const uint32_t bits = uint32_t(p[i]) << 16;
      float value;
      std::memcpy(&value, &bits, sizeof value);
      return value;
    });
  }
  static W widen(const int8_t* p) {
    W w;
    for (int i = 0; i < 2 * LANES; ++i) w.lane[i] = p[i];
    return w;
  }
  static void nibbles(const uint8_t* p, W& low, W& high) {
    for (int i = 0; i < 2 * LANES; ++i) {
      low.lane[i] = p[i] & 15;
      high.lane[i] = p[i] >> 4;
    }
  }
  static I zero() { return {}; }
  static I dot(I sum, W w, int32_t pair) {
    const int16_t first = int16_t(pair), second = int16_t(pair >> 16);
    for (int i = 0; i < LANES; ++i) sum.lane[i] += w.lane[2 * i] * first + w.lane[2 * i + 1] * second;
    return sum;
  }
  static F to_float(I v) { return each([&](int i) { return float(v.lane[i]); }); }
  static I round(F v) {
    I result;
    for (int i = 0; i < LANES; ++i) result.lane[i] = int32_t(std::nearbyint(v.lane[i]));
    return result;
  }
  static void whole(int32_t* p, I v) { std::memcpy(p, v.lane, sizeof v.lane); }
  static void narrow(int16_t* p, const int32_t* numbers) {
    for (int i = 0; i < LANES; ++i) p[i] = int16_t(numbers[i]);
  }
  static F power_of_two(I v) { return each([&](int i) { return std::ldexp(1.0f, v.lane[i]); }); }
};

#include "kernels/kernels.inl"

}  // namespace in_portable

const Kernels portable = in_portable::as_kernels("portable");

}  // namespace openbook
