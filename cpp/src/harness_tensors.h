// Values of tensors for the harness: from files, at random, to files, in words.
#ifndef TVMAKE_HARNESS_TENSORS_H_
#define TVMAKE_HARNESS_TENSORS_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "tvmake/model.h"

namespace tvmake::harness {

// Whether a file is NumPy's, by its name.
bool IsNpy(const std::string& file);

// Reads a tensor from a .npy file, or from a file of exactly its bytes. Throws std::runtime_error.
std::vector<std::byte> ReadTensor(const std::string& file, const tvmake_tensor_info& info);

// Writes a tensor to a .npy file, or its bytes to any other. Throws std::runtime_error.
void WriteTensor(const std::string& file, const tvmake_tensor_info& info, const void* data);

// Seeded values: floats in [-1, 1), integers and booleans 0 or 1. The same on every machine.
std::vector<std::byte> RandomTensor(const tvmake_tensor_info& info, uint64_t seed);

// "min -1.2  max 3.4  mean 0.5": what is in a tensor, without NaNs, which are counted.
std::string Summary(const tvmake_tensor_info& info, const void* data);

}  // namespace tvmake::harness

#endif  // TVMAKE_HARNESS_TENSORS_H_
