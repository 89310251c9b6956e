// Memory for weights and caches.
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>

#include "program.h"

#if defined(__unix__) || defined(__APPLE__)
#include <sys/mman.h>
#define OPENBOOK_MAPS 1
#else
#include <malloc.h>
#endif

namespace openbook {
namespace {

constexpr size_t LARGE = size_t(4) << 20;  // from here on, pages come straight from the system, zeroed when touched

}  // namespace

void FreeMemory::operator()(std::byte* memory) const {
#if OPENBOOK_MAPS
  if (mapped > 0)
    munmap(memory, mapped);
  else
    std::free(memory);
#else
  _aligned_free(memory);
#endif
}

Memory allocate(size_t bytes) {
  const size_t rounded = (std::max<size_t>(bytes, 1) + 63) / 64 * 64;
  if (rounded < bytes) throw std::bad_alloc();
#if OPENBOOK_MAPS
  if (rounded >= LARGE) {
    void* pages = mmap(nullptr, rounded, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pages == MAP_FAILED) throw std::bad_alloc();
#if defined(MADV_HUGEPAGE)
    madvise(pages, rounded, MADV_HUGEPAGE);  // fewer faults now, fewer misses later; no harm where it is refused
#endif
    return Memory(static_cast<std::byte*>(pages), FreeMemory{rounded});
  }
  void* memory = std::aligned_alloc(64, rounded);
#else
  void* memory = _aligned_malloc(rounded, 64);
#endif
  if (memory == nullptr) throw std::bad_alloc();
  std::memset(memory, 0, rounded);
  return Memory(static_cast<std::byte*>(memory));
}

}  // namespace openbook
