// Pieces of error messages.
#ifndef TVMAKE_TEXT_H_
#define TVMAKE_TEXT_H_

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace tvmake {

// Joins the parts without a stream: keeps <iostream> out of small images.
template <typename... Parts>
std::string Cat(const Parts&... parts) {
  std::string text;
  auto append = [&text](const auto& part) {
    if constexpr (requires { std::to_string(part); }) {
      text += std::to_string(part);
    } else {
      text += part;
    }
  };
  (append(parts), ...);
  return text;
}

inline std::string Quoted(std::string_view name) { return Cat("'", name, "'"); }

// "[1, 3, 224, 224]"
inline std::string ShapeText(std::span<const int64_t> shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) {
    if (i != 0) text += ", ";
    text += std::to_string(shape[i]);
  }
  return text + "]";
}

}  // namespace tvmake

#endif  // TVMAKE_TEXT_H_
