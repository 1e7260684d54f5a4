#include "weights.h"

#include <bit>
#include <cstring>
#include <utility>

#include "aligned_buffer.h"
#include "dtype.h"
#include "file.h"
#include "text.h"

namespace tvmake {
namespace {

static_assert(std::endian::native == std::endian::little, "weights.bin is little endian");

constexpr char kMagic[] = "TVMAKEW1";
constexpr size_t kMagicBytes = 8;
constexpr size_t kDataStartAt = 8;
constexpr size_t kCountAt = 12;
constexpr size_t kFileBytesAt = 16;
constexpr size_t kIdAt = 24;
constexpr size_t kIdBytes = 32;
constexpr size_t kAlignmentAt = 56;
constexpr size_t kHeaderBytes = 64;
constexpr size_t kRowBytes = 24;

std::string Hex(std::span<const std::byte> bytes) {
  std::string text;
  for (const std::byte b : bytes) {
    text += "0123456789abcdef"[std::to_integer<int>(b >> 4)];
    text += "0123456789abcdef"[std::to_integer<int>(b & std::byte{15})];
  }
  return text;
}

}  // namespace

std::shared_ptr<const Weights> Weights::Borrow(std::span<const std::byte> blob) {
  return std::shared_ptr<const Weights>(new Weights(blob, "embedded weights", nullptr));
}

std::shared_ptr<const Weights> Weights::Copy(std::span<const std::byte> blob) {
  auto copy = std::make_shared<AlignedBuffer>(blob.size(), kCopyAlignment);
  if (!blob.empty()) std::memcpy(copy->data(), blob.data(), blob.size());
  return std::shared_ptr<const Weights>(
      new Weights({copy->data(), blob.size()}, "weights given to LoadParams", copy));
}

std::shared_ptr<const Weights> Weights::MapFile(const std::string& path) {
  auto file = std::make_shared<MappedFile>(path);
  const std::span<const std::byte> blob = file->bytes();
  return std::shared_ptr<const Weights>(
      new Weights(blob, Cat("weights file ", Quoted(path)), std::move(file)));
}

std::shared_ptr<const Weights> Weights::Load(const ModelDefinition& model,
                                             const std::string& path) {
  if (!model.weights.empty()) {
    if (path.empty()) return Borrow(model.weights);
    throw Error(ErrorKind::kInvalidArgument,
                Cat("weights_path is ", Quoted(path),
                    ", but the weights are embedded; use LoadParams to replace them"));
  }
  if (!path.empty()) return MapFile(path);
  if (model.weights_file == nullptr) {
    throw Error(ErrorKind::kWeights, "the model has no embedded weights; give weights_path");
  }
  std::string tried;
  for (const std::string& folder : {ImageFolder(&model), ProgramFolder()}) {
    if (folder.empty()) continue;
    const std::string candidate = Cat(folder, "/", model.weights_file);
    if (FileExists(candidate)) return MapFile(candidate);
    if (tried.find(Quoted(candidate)) == std::string::npos) tried += Cat(" ", Quoted(candidate));
  }
  throw Error(ErrorKind::kWeights,
              Cat("weights file not found, tried", tried, "; put it there or give weights_path"));
}

Weights::Weights(std::span<const std::byte> blob, std::string source, std::shared_ptr<void> owner)
    : blob_(blob), source_(std::move(source)), owner_(std::move(owner)) {
  ReadTable();
}

template <typename... Parts>
void Weights::Fail(const Parts&... parts) const {
  throw Error(ErrorKind::kWeights, Cat(source_, ": ", parts...));
}

template <typename T>
T Weights::Read(size_t offset) const {
  T value;
  std::memcpy(&value, blob_.data() + offset, sizeof(T));
  return value;
}

void Weights::ReadTable() {
  if (blob_.size() < kHeaderBytes || std::memcmp(blob_.data(), kMagic, kMagicBytes) != 0) {
    Fail("not a tvmake weights file of version 1; give the weights.bin of this model");
  }
  if (const auto expected = Read<uint64_t>(kFileBytesAt); expected != blob_.size()) {
    Fail("has ", blob_.size(), " bytes, expected ", expected,
         "; it is truncated or damaged, copy it again");
  }
  const size_t data_start = Read<uint32_t>(kDataStartAt);
  const size_t count = Read<uint32_t>(kCountAt);
  if (data_start > blob_.size() || data_start < kHeaderBytes ||
      count > (data_start - kHeaderBytes) / kRowBytes) {
    Fail("its header is damaged (", count, " tensors, data at byte ", data_start, ")");
  }
  const size_t alignment = Read<uint32_t>(kAlignmentAt);
  if (!std::has_single_bit(alignment) || !IsAligned(blob_.data(), alignment)) {
    Fail("is not aligned to ", alignment, " bytes");
  }
  table_.reserve(count);
  for (size_t i = 0; i < count; ++i) table_.push_back(ReadTensor(i, data_start));
  id_ = Hex(blob_.subspan(kIdAt, kIdBytes));
}

Weights::Tensor Weights::ReadTensor(size_t index, size_t data_start) const {
  const size_t row = kHeaderBytes + index * kRowBytes;
  const auto offset = Read<uint64_t>(row);
  const auto bytes = Read<uint64_t>(row + 8);
  if (offset < data_start || offset > blob_.size() || bytes > blob_.size() - offset ||
      offset % Read<uint32_t>(kAlignmentAt) != 0) {
    Fail("tensor ", index, " of ", bytes, " bytes at ", offset, " is outside the data");
  }
  return {static_cast<size_t>(offset), static_cast<size_t>(bytes),
          DLDataType{Read<uint8_t>(row + 16), Read<uint8_t>(row + 17), Read<uint16_t>(row + 18)},
          Read<uint32_t>(row + 20)};
}

void Weights::CheckTable(const Graph& graph) const {
  if (table_.size() != graph.params.size()) {
    Fail("has ", table_.size(), " tensors, the model has ", graph.params.size(),
         "; these are the weights of another model");
  }
  for (size_t i = 0; i < table_.size(); ++i) {
    const GraphTensor& expected = graph.tensors[static_cast<size_t>(graph.params[i].tensor)];
    if (table_[i].bytes != expected.bytes || !SameDType(table_[i].dtype, expected.dtype) ||
        table_[i].ndim != static_cast<uint32_t>(expected.ndim)) {
      Fail("tensor ", i, " is ", DTypeText(table_[i].dtype), " of rank ", table_[i].ndim, " and ",
           table_[i].bytes, " bytes, the model's ", Quoted(graph.params[i].name), " is ",
           DTypeText(expected.dtype), " of rank ", expected.ndim, " and ", expected.bytes,
           " bytes; these are the weights of another model");
    }
    if (!IsAligned(data(i), graph.alignment)) {
      Fail("tensor ", i, " is not aligned to ", graph.alignment, " bytes");
    }
  }
}

void Weights::CheckId(const Graph& graph) const {
  if (id_ != graph.weights_id) {
    Fail("has id ", id_, ", the model expects ", graph.weights_id,
         "; these are the weights of another model or of another version of it");
  }
}

}  // namespace tvmake
