// A weights.bin: borrowed from the program's image, mapped from a file, or copied.
//
// Little endian: "TVMAKEW1", u32 data_start, u32 tensor_count, u64 file_bytes, u8[32] id,
// u32 alignment, u32 0; then per tensor {u64 offset, u64 bytes, u8 code, u8 bits, u16 lanes,
// u32 ndim}; then the data. The id is the SHA-256 of everything after the header. It is compared,
// not computed: hashing would cost more than all the rest of loading a model.
#ifndef TVMAKE_WEIGHTS_H_
#define TVMAKE_WEIGHTS_H_

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "graph.h"
#include "tvmake/executor.h"

namespace tvmake {

// Immutable, shared by executors of any thread.
class Weights {
 public:
  // `blob` must outlive the result.
  static std::shared_ptr<const Weights> Borrow(std::span<const std::byte> blob);
  static std::shared_ptr<const Weights> Copy(std::span<const std::byte> blob);
  static std::shared_ptr<const Weights> MapFile(const std::string& path);

  // The embedded weights, else the file that `path` or the default lookup gives: the folder of the
  // image that holds `model`, then the folder of the program.
  static std::shared_ptr<const Weights> Load(const ModelDefinition& model, const std::string& path);

  // Throws Error(kWeights) unless the table is that of the graph's weights.
  void CheckTable(const Graph& graph) const;
  void CheckId(const Graph& graph) const;

  const std::byte* data(size_t tensor) const { return blob_.data() + table_[tensor].offset; }
  size_t bytes() const { return blob_.size(); }

 private:
  struct Tensor {
    size_t offset;
    size_t bytes;
    DLDataType dtype;
    uint32_t ndim;
  };

  Weights(std::span<const std::byte> blob, std::string source, std::shared_ptr<void> owner);
  void ReadTable();
  Tensor ReadTensor(size_t index, size_t data_start) const;
  template <typename T>
  T Read(size_t offset) const;
  template <typename... Parts>
  [[noreturn]] void Fail(const Parts&... parts) const;

  std::span<const std::byte> blob_;
  std::string source_;           // for messages
  std::shared_ptr<void> owner_;  // of the mapping or the copy
  std::vector<Tensor> table_;
  std::string id_;  // in hexadecimal
};

}  // namespace tvmake

#endif  // TVMAKE_WEIGHTS_H_
