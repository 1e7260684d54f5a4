// NumPy's .npy files: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
#ifndef TVMAKE_NPY_H_
#define TVMAKE_NPY_H_

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "tvmake/model.h"

namespace tvmake::npy {

// "float32[1,3,224,224]".
std::string Describe(const char* dtype, std::span<const int64_t> shape);
std::string Describe(const tvmake_tensor_info& tensor);

// NumPy's description of an element type in this machine's byte order, e.g. "<f4"; types that NumPy
// lacks are opaque bytes of the same size ("<V2" for bfloat16).
std::string Descr(tvmake_dtype dtype);

// The shape of the tensor in a file. Throws std::runtime_error.
std::vector<int64_t> Shape(const std::filesystem::path& path);

// The elements of a file that holds exactly such a tensor: of its type and shape, in C order and in
// this machine's byte order. Throws std::runtime_error.
std::vector<std::byte> Read(const std::filesystem::path& path, const tvmake_tensor_info& expected);

// Writes a tensor. Throws std::runtime_error.
void Write(const std::filesystem::path& path, const tvmake_tensor_view& tensor);

}  // namespace tvmake::npy

#endif  // TVMAKE_NPY_H_
