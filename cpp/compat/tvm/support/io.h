// Stands in for TVM's header of the same name, which its wheel leaves out: byte streams that values
// are written to and read from.
#ifndef TVMAKE_COMPAT_TVM_SUPPORT_IO_H_
#define TVMAKE_COMPAT_TVM_SUPPORT_IO_H_

#include <cstddef>

namespace tvm::support {

// How a type is written and read; specialised in serializer.h.
template <typename T, typename = void>
struct Serializer {
  static constexpr bool enabled = false;
};

class Stream {
 public:
  virtual ~Stream() = default;

  // Both answer how many bytes were taken.
  virtual std::size_t Read(void* data, std::size_t bytes) = 0;
  virtual std::size_t Write(const void* data, std::size_t bytes) = 0;

  template <typename T>
  void Write(const T& value) {
    static_assert(Serializer<T>::enabled, "no Serializer for this type");
    Serializer<T>::Write(this, value);
  }

  // False at the end of the stream.
  template <typename T>
  bool Read(T* value) {
    static_assert(Serializer<T>::enabled, "no Serializer for this type");
    return Serializer<T>::Read(this, value);
  }

  template <typename T>
  void WriteArray(const T* values, std::size_t count) {
    for (const T* value = values; value != values + count; ++value) Write(*value);
  }

  template <typename T>
  bool ReadArray(T* values, std::size_t count) {
    for (T* value = values; value != values + count; ++value) {
      if (!Read(value)) return false;
    }
    return true;
  }
};

}  // namespace tvm::support

#endif  // TVMAKE_COMPAT_TVM_SUPPORT_IO_H_
