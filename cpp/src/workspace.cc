// Scratch memory for kernels that ask for it at run time; the compiler plans most of it into the
// arena. Weak: where TVM's device_api.cc is linked, its functions of the same name win. Without it
// these need no device registry, whose registrars a static link would drop.
#include <tvm/runtime/c_backend_api.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <limits>

namespace {

constexpr size_t kAlignment = 64;

// Precedes each block; a multiple of the alignment, so that the block is aligned too.
struct alignas(kAlignment) BlockHeader {
  size_t bytes;
  BlockHeader* next;
};

// Blocks that this thread has freed, for reuse: the second run allocates nothing.
class FreeList {
 public:
  ~FreeList() {
    while (head_ != nullptr) {
      BlockHeader* block = head_;
      head_ = block->next;
      std::free(block);
    }
  }

  void* Take(size_t bytes) {
    for (BlockHeader** link = &head_; *link != nullptr; link = &(*link)->next) {
      BlockHeader* block = *link;
      if (block->bytes < bytes || block->bytes / 2 > bytes) continue;
      *link = block->next;
      return block + 1;
    }
    return Allocate(bytes);
  }

  void Give(void* data) {
    BlockHeader* block = static_cast<BlockHeader*>(data) - 1;
    block->next = head_;
    head_ = block;
  }

 private:
  static void* Allocate(size_t bytes) {
    void* memory = nullptr;
    if (posix_memalign(&memory, kAlignment, sizeof(BlockHeader) + bytes) != 0) return nullptr;
    auto* block = static_cast<BlockHeader*>(memory);
    block->bytes = bytes;
    return block + 1;
  }

  BlockHeader* head_ = nullptr;
};

thread_local FreeList free_list;

}  // namespace

__attribute__((weak)) void* TVMBackendAllocWorkspace(int device_type, int /*device_id*/,
                                                     uint64_t nbytes, int /*dtype_code_hint*/,
                                                     int /*dtype_bits_hint*/) {
  constexpr uint64_t kLargest = std::numeric_limits<size_t>::max() / 2;
  if (device_type != kDLCPU || nbytes > kLargest) return nullptr;
  const size_t rounded = (static_cast<size_t>(nbytes) + kAlignment - 1) / kAlignment * kAlignment;
  return free_list.Take(rounded == 0 ? kAlignment : rounded);
}

__attribute__((weak)) int TVMBackendFreeWorkspace(int device_type, int /*device_id*/, void* ptr) {
  if (device_type != kDLCPU) return -1;
  if (ptr != nullptr) free_list.Give(ptr);
  return 0;
}
