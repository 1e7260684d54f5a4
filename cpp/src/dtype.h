// Element types by name, without tvm-ffi's string machinery.
#ifndef TVMAKE_DTYPE_H_
#define TVMAKE_DTYPE_H_

#include <tvm/ffi/c_api.h>

#include <optional>
#include <string>
#include <string_view>

namespace tvmake {

// Reads TVM's spelling: "float32", "bool", "uint8", "float8_e4m3fn", "int8x4".
std::optional<DLDataType> ParseDType(std::string_view text);

std::string DTypeText(DLDataType dtype);

inline bool SameDType(DLDataType a, DLDataType b) {
  return a.code == b.code && a.bits == b.bits && a.lanes == b.lanes;
}

}  // namespace tvmake

#endif  // TVMAKE_DTYPE_H_
