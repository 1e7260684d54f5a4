#include "dtype.h"

#include <charconv>
#include <iterator>

#include "text.h"

namespace tvmake {
namespace {

struct NamedDType {
  std::string_view name;
  uint8_t code;
  uint8_t bits;
};

// Names that are not code plus width.
constexpr NamedDType kNamed[] = {
    {"bool", kDLBool, 8},
    {"float8_e3m4", kDLFloat8_e3m4, 8},
    {"float8_e4m3", kDLFloat8_e4m3, 8},
    {"float8_e4m3b11fnuz", kDLFloat8_e4m3b11fnuz, 8},
    {"float8_e4m3fn", kDLFloat8_e4m3fn, 8},
    {"float8_e4m3fnuz", kDLFloat8_e4m3fnuz, 8},
    {"float8_e5m2", kDLFloat8_e5m2, 8},
    {"float8_e5m2fnuz", kDLFloat8_e5m2fnuz, 8},
    {"float8_e8m0fnu", kDLFloat8_e8m0fnu, 8},
    {"float6_e2m3fn", kDLFloat6_e2m3fn, 6},
    {"float6_e3m2fn", kDLFloat6_e3m2fn, 6},
    {"float4_e2m1fn", kDLFloat4_e2m1fn, 4},
};

// Names followed by the width in bits. "uint" and "bfloat" go before what they contain.
constexpr NamedDType kSized[] = {
    {"uint", kDLUInt, 0},   {"int", kDLInt, 0},         {"bfloat", kDLBfloat, 0},
    {"float", kDLFloat, 0}, {"complex", kDLComplex, 0},
};

template <typename Number>
bool ReadNumber(std::string_view* text, Number* number) {
  const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), *number);
  if (error != std::errc() || *number == 0) return false;
  text->remove_prefix(static_cast<size_t>(end - text->data()));
  return true;
}

}  // namespace

std::optional<DLDataType> ParseDType(std::string_view text) {
  DLDataType dtype{0, 0, 1};
  const size_t lanes_at = text.rfind('x');
  if (lanes_at != std::string_view::npos && text.substr(0, lanes_at) != "comple") {
    std::string_view lanes = text.substr(lanes_at + 1);
    if (!ReadNumber(&lanes, &dtype.lanes) || !lanes.empty()) return std::nullopt;
    text = text.substr(0, lanes_at);
  }
  for (const NamedDType& named : kNamed) {
    if (text == named.name) return DLDataType{named.code, named.bits, dtype.lanes};
  }
  for (const NamedDType& sized : kSized) {
    if (!text.starts_with(sized.name)) continue;
    text.remove_prefix(sized.name.size());
    dtype.code = sized.code;
    if (!ReadNumber(&text, &dtype.bits) || !text.empty()) return std::nullopt;
    return dtype;
  }
  return std::nullopt;
}

std::string DTypeText(DLDataType dtype) {
  const std::string lanes = dtype.lanes == 1 ? "" : Cat("x", dtype.lanes);
  for (const NamedDType& named : kNamed) {
    if (dtype.code == named.code && dtype.bits == named.bits) return Cat(named.name, lanes);
  }
  for (const NamedDType& sized : kSized) {
    if (dtype.code == sized.code) return Cat(sized.name, dtype.bits, lanes);
  }
  return Cat("dtype(code=", dtype.code, ", bits=", dtype.bits, ", lanes=", dtype.lanes, ")");
}

}  // namespace tvmake
