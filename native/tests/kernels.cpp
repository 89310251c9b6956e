// Every kernel that this processor runs does what the portable one does: exactly where numbers are whole, closely where
// they are not. Run it on the processor that the kernels are for, or under an emulator of it.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "pack.h"

using namespace openbook;

namespace {

std::mt19937 chance(0);
int failures = 0;

float normal() { return std::normal_distribution<float>()(chance); }
int below(int most) { return int(chance() % unsigned(most)); }

std::vector<float> normals(size_t count) {
  std::vector<float> numbers(count);
  for (float& each : numbers) each = normal();
  return numbers;
}

void compare(const char* kernels, const std::string& what, const std::vector<float>& found, const std::vector<float>& expected,
             float most) {
  float largest = 1.0f, off = 0.0f;
  for (const float each : expected) largest = std::max(largest, std::fabs(each));
  for (size_t i = 0; i < found.size(); ++i) {
    const float gap = std::fabs(found[i] - expected[i]);
    off = std::max(off, std::isnan(gap) ? INFINITY : gap);
  }
  if (off <= most * largest) return;
  std::printf("%s, %s: off by %g of %g\n", kernels, what.c_str(), off, largest);
  ++failures;
}

// A random matrix of a format, as a model file keeps it.
struct Stored {
  Plain plain;
  std::vector<std::byte> numbers, scale, offset;

  Stored(Format format, bool offsets, int outputs, int inputs) {
    const size_t groups = (size_t(inputs) + GROUP - 1) / GROUP;
    const auto halves = [&](std::vector<std::byte>& to, uint16_t low, int spread) {
      to.resize(outputs * groups * 2);
      for (size_t i = 0; i < outputs * groups; ++i) {
        const uint16_t half = uint16_t(low + below(spread));
        std::memcpy(&to[2 * i], &half, 2);
      }
    };
    if (format == Format::float32) {
      const std::vector<float> made = normals(size_t(outputs) * inputs);
      numbers.resize(made.size() * 4);
      std::memcpy(numbers.data(), made.data(), numbers.size());
    } else if (format == Format::bfloat16 || format == Format::float16) {
      numbers.resize(size_t(outputs) * inputs * 2);
      for (size_t i = 0; i < numbers.size() / 2; ++i) {  // about 1 in size, of either sign
        const uint16_t half = uint16_t((format == Format::bfloat16 ? 0x3f00 : 0x3800) + below(0x100) + (below(2) << 15));
        std::memcpy(&numbers[2 * i], &half, 2);
      }
    } else {
      const size_t row = format == Format::int4 ? (size_t(inputs) + 1) / 2 : size_t(inputs);
      numbers.resize(outputs * row);
      for (std::byte& each : numbers) each = std::byte(below(256));
      if (format == Format::int8) {
        const std::vector<float> made = normals(outputs);
        scale.resize(made.size() * 4);
        std::memcpy(scale.data(), made.data(), scale.size());
      } else {
        halves(scale, 0x2000, 0x1000);
        if (offsets) halves(offset, 0xb000, 0x1000);
      }
    }
    plain = {format, outputs, inputs, numbers.data(), scale.empty() ? nullptr : scale.data(),
             offset.empty() ? nullptr : offset.data()};
  }
};

std::vector<float> product(const Kernels& kernels, const Matrix& matrix, const std::vector<float>& x, int rows) {
  const int inputs = matrix.inputs;
  const size_t stride = (size_t(inputs) + GROUP - 1) / GROUP * GROUP, blocks = (size_t(inputs) + BLOCK - 1) / BLOCK;
  std::vector<int16_t> whole(rows * stride);
  std::vector<float> scale(rows * blocks), made(size_t(rows) * matrix.panels * LANES);
  std::vector<int32_t> sums(rows * stride / GROUP);
  for (int row = 0; row < rows; ++row)
    kernels.quantize(&x[size_t(row) * inputs], inputs, &whole[row * stride], &scale[row * blocks], &sums[row * stride / GROUP]);
  const Rows given{x.data(), size_t(inputs), whole.data(), stride, scale.data(), sums.data(), blocks};
  kernels.product(matrix, given, rows, 0, matrix.panels, made.data(), size_t(matrix.panels) * LANES);
  return made;
}

void products(const Kernels& kernels) {
  const struct { Format format; bool offsets; const char* name; } formats[] = {
      {Format::float32, false, "float32"}, {Format::bfloat16, false, "bfloat16"}, {Format::float16, false, "float16"},
      {Format::int8, false, "int8"}, {Format::int8_groups, false, "int8 in groups"}, {Format::int4, false, "int4"},
      {Format::int4, true, "int4 with offsets"}};
  Threads threads(2);
  for (const auto& [format, offsets, name] : formats)
    for (const int outputs : {1, 16, 100})
      for (const int inputs : {2, 31, 64, 1100}) {
        const Stored stored(format, offsets, outputs, inputs);
        Program program, plain_program;
        program.matrices.push_back(described(stored.plain, kernels.step));
        plain_program.matrices.push_back(described(stored.plain, portable.step));
        pack_all({stored.plain}, program, threads);
        pack_all({stored.plain}, plain_program, threads);
        for (const int rows : {1, 2, 7, 40}) {
          const std::vector<float> x = normals(size_t(rows) * inputs);
          const std::vector<float> found = product(kernels, program.matrices[0], x, rows);
          const std::string what = std::string(name) + ", " + std::to_string(rows) + " rows of " + std::to_string(inputs);
          compare(kernels.name, what, found, product(portable, plain_program.matrices[0], x, rows), 1e-5f);
          for (int row = 0; row < rows; ++row) {  // a row alone is the same to the bit
            const std::vector<float> one(x.begin() + size_t(row) * inputs, x.begin() + size_t(row + 1) * inputs);
            const std::vector<float> alone = product(kernels, program.matrices[0], one, 1);
            compare(kernels.name, what + ", alone", {found.begin() + row * alone.size(), found.begin() + (row + 1) * alone.size()},
                    alone, 0.0f);
          }
        }
      }
}

void attention(const Kernels& kernels) {
  for (const int width : {2, 8, 64, 80})
    for (const int columns : {1, 16, 45}) {
      const int padded = (width + LANES - 1) / LANES * LANES, room = (columns + LANES - 1) / LANES * LANES, queries = 6;
      const std::vector<float> query = normals(queries * width), key = normals(size_t(room) * width);
      const std::vector<float> value = normals(size_t(room) * padded);
      const auto halves = [](const std::vector<float>& numbers) {
        std::vector<uint16_t> made;
        for (const float each : numbers) made.push_back(to_half(each));
        return made;
      };
      const std::vector<uint16_t> half_key = halves(key), half_value = halves(value);
      for (const bool half : {false, true}) {
        const void *keys = half ? static_cast<const void*>(half_key.data()) : key.data();
        const void *values = half ? static_cast<const void*>(half_value.data()) : value.data();
        const Heads heads{query.data(), queries, width, keys, values, size_t(padded), columns, half};
        std::vector<float> found[2], context[2], sums[2];
        for (const int i : {0, 1}) {
          const Kernels& which = i == 0 ? kernels : portable;
          found[i].resize(queries * room), context[i].resize(queries * width), sums[i].resize(queries);
          which.scores(heads, 0, 0.3f, found[i].data(), room);
          for (int q = 0; q < queries; ++q) {
            float* row = &found[i][q * room];
            which.exponentials(row, columns, which.largest(row, columns));
          }
          which.context(heads, 0, found[i].data(), room, context[i].data(), sums[i].data());
        }
        const std::string what = "attention of width " + std::to_string(width) + " to " + std::to_string(columns);
        compare(kernels.name, what, context[0], context[1], 1e-5f);
        compare(kernels.name, what + ", sums", sums[0], sums[1], 1e-5f);
      }
    }
}

void vectors(const Kernels& kernels) {
  for (const int count : {1, 15, 16, 100}) {
    const std::vector<float> x = normals(count);
    compare(kernels.name, "sum", {kernels.sum(x.data(), count), kernels.sum_of_squares(x.data(), count)},
            {portable.sum(x.data(), count), portable.sum_of_squares(x.data(), count)}, 1e-5f);
    const std::pair<const char*, void (*Kernels::*)(float*, int)> activations[] = {
        {"silu", &Kernels::silu}, {"gelu (tanh)", &Kernels::gelu_tanh}, {"gelu (sigmoid)", &Kernels::gelu_sigmoid}};
    for (const auto& [name, activation] : activations) {
      std::vector<float> found = x, expected = x;
      (kernels.*activation)(found.data(), count);
      (portable.*activation)(expected.data(), count);
      compare(kernels.name, name, found, expected, 1e-6f);
    }
    std::vector<float> far = {-INFINITY, -1000.0f, -104.0f, -88.0f, 0.0f, 88.0f}, exact;
    for (const float each : far) exact.push_back(std::exp(each));
    kernels.exponentials(far.data(), int(far.size()), 0.0f);
    for (size_t i = 0; i < far.size(); ++i)
      compare(kernels.name, "exp", {far[i] / std::max(exact[i], 1e-30f)}, {exact[i] / std::max(exact[i], 1e-30f)}, 1e-5f);
  }
}

}  // namespace

int main() {
  for (const char* name : {"portable", "avx2", "avx_vnni", "avx512", "avx512_vnni", "neon"}) {
    const Kernels* kernels = choose_kernels(name);
    if (kernels == nullptr) continue;
    products(*kernels);
    attention(*kernels);
    vectors(*kernels);
    std::printf("%s: %s\n", name, failures == 0 ? "as portable" : "not as portable");
  }
  return failures == 0 ? 0 : 1;
}
