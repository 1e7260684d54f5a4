// Stands in for TVM's header of the same name, which its wheel leaves out: numbers, texts, lists
// and DLPack's descriptions as little-endian bytes.
#ifndef TVMAKE_COMPAT_TVM_SUPPORT_SERIALIZER_H_
#define TVMAKE_COMPAT_TVM_SUPPORT_SERIALIZER_H_

#include <dlpack/dlpack.h>
#include <tvm/ffi/endian.h>
#include <tvm/support/io.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string>
#include <type_traits>
#include <vector>

namespace tvm::support {

template <typename T>
struct Serializer<T, std::enable_if_t<std::is_arithmetic_v<T> || std::is_enum_v<T>>> {
  static constexpr bool enabled = true;

  static void Write(Stream* stream, T value) {
    unsigned char bytes[sizeof(T)];
    std::memcpy(bytes, &value, sizeof(T));
    Swap(bytes);
    stream->Write(static_cast<const void*>(bytes), sizeof(T));
  }

  static bool Read(Stream* stream, T* value) {
    unsigned char bytes[sizeof(T)];
    if (stream->Read(static_cast<void*>(bytes), sizeof(T)) != sizeof(T)) return false;
    Swap(bytes);
    std::memcpy(value, bytes, sizeof(T));
    return true;
  }

 private:
  static void Swap(unsigned char (&bytes)[sizeof(T)]) {
    if (!TVM_FFI_LITTLE_ENDIAN) std::reverse(bytes, bytes + sizeof(T));
  }
};

// A length of 64 bits, then the elements.
template <typename List>
struct ListSerializer {
  static constexpr bool enabled = true;

  static void Write(Stream* stream, const List& list) {
    stream->Write(static_cast<std::uint64_t>(list.size()));
    stream->WriteArray(list.data(), list.size());
  }

  // Grows with what is read, so that a damaged length does not ask for all memory.
  static bool Read(Stream* stream, List* list) {
    std::uint64_t size = 0;
    if (!stream->Read(&size)) return false;
    list->clear();
    for (typename List::value_type element; size > 0; --size) {
      if (!stream->Read(&element)) return false;
      list->push_back(element);
    }
    return true;
  }
};

template <>
struct Serializer<std::string> : ListSerializer<std::string> {};

template <typename T>
struct Serializer<std::vector<T>> : ListSerializer<std::vector<T>> {};

template <>
struct Serializer<DLDataType> {
  static constexpr bool enabled = true;

  static void Write(Stream* stream, const DLDataType& type) {
    stream->Write(type.code);
    stream->Write(type.bits);
    stream->Write(type.lanes);
  }
  static bool Read(Stream* stream, DLDataType* type) {
    return stream->Read(&type->code) && stream->Read(&type->bits) && stream->Read(&type->lanes);
  }
};

template <>
struct Serializer<DLDevice> {
  static constexpr bool enabled = true;

  static void Write(Stream* stream, const DLDevice& device) {
    stream->Write(static_cast<std::int32_t>(device.device_type));
    stream->Write(static_cast<std::int32_t>(device.device_id));
  }
  static bool Read(Stream* stream, DLDevice* device) {
    std::int32_t type = 0;
    std::int32_t id = 0;
    if (!stream->Read(&type) || !stream->Read(&id)) return false;
    *device = {static_cast<DLDeviceType>(type), id};
    return true;
  }
};

}  // namespace tvm::support

#endif  // TVMAKE_COMPAT_TVM_SUPPORT_SERIALIZER_H_
