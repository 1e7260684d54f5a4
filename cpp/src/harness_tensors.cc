#include "harness_tensors.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <fstream>
#include <iterator>
#include <limits>
#include <stdexcept>

#include "harness_report.h"
#include "npy.h"

namespace tvmake::harness {
namespace {

// DLPack's codes.
enum Code : uint8_t { kInt = 0, kUInt = 1, kFloat = 2, kBFloat = 4, kBool = 6 };

size_t ElementBytes(const tvmake_tensor_info& info) { return info.dtype.bits / 8U; }

template <typename T>
T Load(const void* data, size_t index) {
  T value;
  std::memcpy(&value, static_cast<const std::byte*>(data) + index * sizeof(T), sizeof(T));
  return value;
}

template <typename T>
void Store(std::vector<std::byte>& data, size_t index, T value) {
  std::memcpy(data.data() + index * sizeof(T), &value, sizeof(T));
}

double HalfToDouble(uint16_t half) {
  const int exponent = half >> 10 & 0x1f;
  const int fraction = half & 0x3ff;
  const double magnitude =
      exponent == 0x1f ? (fraction == 0 ? HUGE_VAL : std::numeric_limits<double>::quiet_NaN())
      : exponent == 0  ? std::ldexp(fraction, -24)
                       : std::ldexp(fraction + 0x400, exponent - 25);
  return half >> 15 ? -magnitude : magnitude;
}

// A multiple of 1/1024 in [-1, 1), which halves and bfloat16's superset of bits can hold.
uint16_t DoubleToHalf(double value) {
  if (value == 0) return 0;
  int exponent = 0;
  const double fraction = std::frexp(std::fabs(value), &exponent);  // [0.5, 1)
  const int bits = (exponent + 14) << 10 | static_cast<int>(fraction * 2048 - 1024);
  return static_cast<uint16_t>(bits | (value < 0 ? 0x8000 : 0));
}

double Element(tvmake_dtype dtype, const void* data, size_t index) {
  switch (dtype.code << 8 | dtype.bits) {
    case kFloat << 8 | 64:
      return Load<double>(data, index);
    case kFloat << 8 | 32:
      return Load<float>(data, index);
    case kFloat << 8 | 16:
      return HalfToDouble(Load<uint16_t>(data, index));
    case kBFloat << 8 | 16:
      return std::bit_cast<float>(uint32_t{Load<uint16_t>(data, index)} << 16);
    case kInt << 8 | 64:
      return static_cast<double>(Load<int64_t>(data, index));
    case kInt << 8 | 32:
      return Load<int32_t>(data, index);
    case kInt << 8 | 16:
      return Load<int16_t>(data, index);
    case kInt << 8 | 8:
      return Load<int8_t>(data, index);
    case kUInt << 8 | 64:
      return static_cast<double>(Load<uint64_t>(data, index));
    case kUInt << 8 | 32:
      return Load<uint32_t>(data, index);
    case kUInt << 8 | 16:
      return Load<uint16_t>(data, index);
    default:
      return Load<uint8_t>(data, index);
  }
}

// SplitMix64, by Sebastiano Vigna, public domain: https://prng.di.unimi.it/splitmix64.c
uint64_t Next(uint64_t& state) {
  uint64_t z = state += 0x9e3779b97f4a7c15;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

}  // namespace

bool IsNpy(const std::string& file) { return file.ends_with(".npy"); }

std::vector<std::byte> ReadTensor(const std::string& file, const tvmake_tensor_info& info) {
  if (IsNpy(file)) return npy::Read(file, info);
  std::ifstream stream(file, std::ios::binary | std::ios::ate);
  if (!stream) throw std::runtime_error("cannot open " + file);
  const std::streamoff size = stream.tellg();
  std::vector<std::byte> data(info.bytes);
  if (size != static_cast<std::streamoff>(info.bytes)) {
    throw std::runtime_error("cannot use " + file + " for '" + info.name + "': it has " +
                             std::to_string(size) + " bytes, and " + npy::Describe(info) + " has " +
                             std::to_string(info.bytes));
  }
  stream.seekg(0);
  if (!stream.read(reinterpret_cast<char*>(data.data()), size)) {
    throw std::runtime_error("cannot read " + file);
  }
  return data;
}

void WriteTensor(const std::string& file, const tvmake_tensor_info& info, const void* data) {
  if (IsNpy(file)) {
    npy::Write(file, {data, info.dtype, info.rank, info.shape, info.bytes});
    return;
  }
  std::ofstream stream(file, std::ios::binary);
  stream.write(static_cast<const char*>(data), static_cast<std::streamsize>(info.bytes));
  stream.flush();
  if (!stream) throw std::runtime_error("cannot write " + file);
}

std::vector<std::byte> RandomTensor(const tvmake_tensor_info& info, uint64_t seed) {
  std::vector<std::byte> data(info.bytes);
  const size_t width = std::max<size_t>(ElementBytes(info), 1);
  for (size_t i = 0; i < info.bytes / width; ++i) {
    const uint64_t bits = Next(seed);
    const double value = static_cast<double>(bits >> 53) / 1024 - 1;  // k / 1024 in [-1, 1)
    switch (info.dtype.code << 8 | info.dtype.bits) {
      case kFloat << 8 | 64:
        Store(data, i, static_cast<double>(bits >> 11) / (1LL << 52) - 1);
        break;
      case kFloat << 8 | 32:
        Store(data, i, static_cast<float>(bits >> 40) / (1 << 23) - 1);
        break;
      case kFloat << 8 | 16:
        Store(data, i, DoubleToHalf(value));
        break;
      case kBFloat << 8 | 16:
        Store(data, i,
              static_cast<uint16_t>(std::bit_cast<uint32_t>(static_cast<float>(value)) >> 16));
        break;
      default:  // the lowest byte
        data[i * width + (std::endian::native == std::endian::little ? 0 : width - 1)] =
            std::byte(bits >> 63);
    }
  }
  return data;
}

std::string Summary(const tvmake_tensor_info& info, const void* data) {
  const size_t count = info.bytes / std::max<size_t>(ElementBytes(info), 1);
  double min = HUGE_VAL, max = -HUGE_VAL, sum = 0;
  size_t nans = 0;
  for (size_t i = 0; i < count; ++i) {
    const double value = Element(info.dtype, data, i);
    if (std::isnan(value)) {
      ++nans;
      continue;
    }
    min = std::min(min, value);
    max = std::max(max, value);
    sum += value;
  }
  std::string text;
  if (count > nans) {
    text = "min " + FormatNumber("%.6g", min) + "  max " + FormatNumber("%.6g", max) + "  mean " +
           FormatNumber("%.6g", sum / static_cast<double>(count - nans));
  }
  if (nans > 0) text += (text.empty() ? "" : "  ") + std::to_string(nans) + " NaN";
  return text.empty() ? "empty" : text;
}

}  // namespace tvmake::harness
