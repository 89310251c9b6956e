// Which kernels this processor runs best.
#include <cmath>
#include <cstring>

#include "kernels/kernels.h"

#if defined(_MSC_VER)
#include <intrin.h>
#endif

namespace openbook {
namespace {

struct Choice {
  const Kernels* kernels;
  bool runs;
};

#if defined(__x86_64__) || defined(_M_X64)
struct Processor {
  bool fma;   // AVX2 with FMA and float16 loads
  bool wide;  // AVX-512 with its extensions for bytes, double words and short vectors
  bool vnni, wide_vnni;
};

#if defined(_MSC_VER)
Processor processor() {
  int first[4], seventh[4], more[4];
  __cpuid(first, 1);
  __cpuidex(seventh, 7, 0);
  __cpuidex(more, 7, 1);
  const auto bit = [](int word, int number) { return ((unsigned(word) >> number) & 1) != 0; };
  const bool saves = bit(first[2], 27);
  const unsigned long long saved = saves ? _xgetbv(0) : 0;
  const bool fma = (saved & 6) == 6 && bit(first[2], 12) && bit(first[2], 29) && bit(seventh[1], 5);
  const bool wide = fma && (saved & 0xe6) == 0xe6 && bit(seventh[1], 16) && bit(seventh[1], 17) && bit(seventh[1], 30) &&
                    bit(seventh[1], 31);
  return {fma, wide, bit(more[0], 4), bit(seventh[2], 11)};
}
#else
Processor processor() {
  __builtin_cpu_init();
  const bool fma = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
  const bool wide = fma && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                    __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  return {fma, wide, bool(__builtin_cpu_supports("avxvnni")), bool(__builtin_cpu_supports("avx512vnni"))};
}
#endif
#endif

}  // namespace

const Kernels* choose_kernels(const char* wanted) {
#if defined(__x86_64__) || defined(_M_X64)
  const Processor has = processor();
  const Choice choices[] = {
      {&avx512_vnni, has.wide && has.wide_vnni},
      {&avx512, has.wide},
      {&avx_vnni, has.fma && has.vnni},
      {&avx2, has.fma},
      {&portable, true},
  };
#elif defined(__aarch64__)
  const Choice choices[] = {{&neon, true}, {&portable, true}};
#else
  const Choice choices[] = {{&portable, true}};
#endif
  for (const Choice& choice : choices) {
    if (wanted != nullptr && *wanted != '\0' ? std::strcmp(choice.kernels->name, wanted) == 0 && choice.runs : choice.runs)
      return choice.kernels;
  }
  return nullptr;
}

uint16_t to_half(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  const uint32_t sign = (bits >> 16) & 0x8000, magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return uint16_t(sign | 0x7e00);   // not a number
  if (magnitude >= 0x477ff000) return uint16_t(sign | 0x7c00);  // 65520 and above round to infinity
  if (magnitude < 0x38800000) {                                 // subnormal: whole multiples of 2^-24
    float positive;
    std::memcpy(&positive, &magnitude, sizeof positive);
    return uint16_t(sign | uint32_t(std::nearbyint(positive * 0x1p24f)));
  }
  const uint32_t odd = (magnitude >> 13) & 1;  // halves go to the even number
  return uint16_t(sign | ((magnitude - 0x38000000 + 0xfff + odd) >> 13));
}

float from_half(uint16_t half) {
  const uint32_t sign = uint32_t(half & 0x8000) << 16, magnitude = half & 0x7fff;
  uint32_t bits;
  if (magnitude >= 0x7c00) {
    bits = sign | 0x7f800000 | (magnitude << 13);
  } else if (magnitude >= 0x0400) {
    bits = sign | ((magnitude << 13) + 0x38000000);
  } else {  // subnormal: magnitude * 2^-24
    float value = float(magnitude) * 0x1p-24f;
    std::memcpy(&bits, &value, sizeof bits);
    bits |= sign;
  }
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

}  // namespace openbook
