// Sums of products of whole numbers, STEP inputs at a time: weights of 8 or 4 bits, activations of 16. A sum is exact, so
// it is the same whatever the step.

inline int32_t four_at(const int16_t* x) {  // four bytes
  int32_t bytes;
  std::memcpy(&bytes, x, sizeof bytes);
  return bytes;
}

template <typename S, int STEP>
struct WholeNumbers;

// Two inputs: weights widen to 16 bits, and one instruction multiplies and adds pairs.
// S: W (16 pairs of int16), widen (32 int8 -> W), nibbles (32 bytes -> 2 W), dot (I + pairs of W * one pair), zero,
//    narrow (16 int32 -> int16).
template <typename S>
struct WholeNumbers<S, 2> {
  static constexpr int ADDED = 0;
  using Sum = typename S::I;
  using Weights = typename S::W;
  using Inputs = int32_t;

  static Sum start(int32_t) { return S::zero(); }
  static Weights weights(const std::byte* p) { return S::widen(reinterpret_cast<const int8_t*>(p)); }
  static void nibbles(const std::byte* p, Weights& low, Weights& high) {
    S::nibbles(reinterpret_cast<const uint8_t*>(p), low, high);
  }
  static Inputs inputs(const int16_t* x) { return four_at(x); }
  static void add(Sum& sum, Weights w, Inputs pair) { sum = S::dot(sum, w, pair); }
  static typename S::I total(Sum sum) { return sum; }
  static void keep(int16_t* whole, const int32_t* numbers) { S::narrow(whole, numbers); }
};

// Four inputs: one instruction multiplies unsigned by signed bytes and adds four, so activations are taken byte by byte.
// Nothing is widened. Sums may wrap around on the way; what they come to fits into 32 bits.
// S: B (16 times four bytes), bytes (64 -> B), nibbles (64 bytes -> 2 B), dot (I + fours of B * one four), splat,
//    high_and_low (I, I -> 256 * I + I), split (16 int32 -> four high bytes, four low ones ...).
template <typename S>
struct WholeNumbers<S, 4> {
  static constexpr int ADDED = -128;  // times the sum of the activations: what the weights have too much
  struct Sum {
    typename S::I high, low;
  };
  using Weights = typename S::B;
  struct Inputs {
    int32_t high, low;
  };

  static Sum start(int32_t low) { return {S::splat(0), S::splat(low)}; }
  static Weights weights(const std::byte* p) { return S::bytes(p); }
  static void nibbles(const std::byte* p, Weights& low, Weights& high) { S::nibbles(p, low, high); }
  static Inputs inputs(const int16_t* x) { return {four_at(x), four_at(x + 2)}; }
  static void add(Sum& sum, Weights w, Inputs x) {
    sum.high = S::dot(sum.high, w, x.high);
    sum.low = S::dot(sum.low, w, x.low);
  }
  static typename S::I total(Sum sum) { return S::high_and_low(sum.high, sum.low); }
  static void keep(int16_t* whole, const int32_t* numbers) { S::split(whole, numbers); }
};

constexpr int STEP = Simd::STEP;
using Whole = WholeNumbers<Simd, STEP>;
using Sum = Whole::Sum;
using Weights = Whole::Weights;
using Inputs = Whole::Inputs;
constexpr int ADDED = Whole::ADDED;
