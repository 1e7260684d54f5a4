// Owned memory, zeroed and aligned.
#ifndef TVMAKE_ALIGNED_BUFFER_H_
#define TVMAKE_ALIGNED_BUFFER_H_

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>

#include "text.h"
#include "tvmake/error.h"

namespace tvmake {

// Of copies that kernels read: as much as they may ask for, a cache line.
inline constexpr size_t kCopyAlignment = 64;

class AlignedBuffer {
 public:
  AlignedBuffer() = default;

  // `alignment` is a power of two. calloc, because it takes large blocks from the kernel, zeroed on
  // first touch: loading a model does not touch its arena.
  AlignedBuffer(size_t bytes, size_t alignment) {
    const size_t padded = bytes + alignment;
    if (padded > bytes) block_.reset(std::calloc(padded, 1));
    if (!block_) throw Error(ErrorKind::kMemory, Cat("cannot allocate ", bytes, " bytes"));
    const auto address = reinterpret_cast<uintptr_t>(block_.get());
    data_ = reinterpret_cast<std::byte*>((address + alignment - 1) & ~(alignment - 1));
  }

  std::byte* data() const { return data_; }

 private:
  struct Free {
    void operator()(void* block) const { std::free(block); }
  };
  std::unique_ptr<void, Free> block_;
  std::byte* data_ = nullptr;
};

inline bool IsAligned(const void* data, size_t alignment) {
  return reinterpret_cast<uintptr_t>(data) % alignment == 0;
}

}  // namespace tvmake

#endif  // TVMAKE_ALIGNED_BUFFER_H_
