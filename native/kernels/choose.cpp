// Which kernels this processor runs best.
#include <cstring>

#include "kernels/kernels.h"

namespace openbook {
namespace {

struct Choice {
  const Kernels* kernels;
  bool runs;
};

}  // namespace

const Kernels* choose_kernels(const char* wanted) {
#if defined(__x86_64__) || defined(_M_X64)
  __builtin_cpu_init();
  const bool fma = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
  const bool wide = fma && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                    __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  const Choice choices[] = {
      {&avx512_vnni, wide && __builtin_cpu_supports("avx512vnni")},
      {&avx512, wide},
      {&avx_vnni, fma && __builtin_cpu_supports("avxvnni")},
      {&avx2, fma},
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
