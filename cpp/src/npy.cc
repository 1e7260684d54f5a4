#include "npy.h"

#include <algorithm>
#include <array>
#include <bit>
#include <charconv>
#include <cstring>
#include <fstream>
#include <stdexcept>
#include <string_view>

namespace tvmake::npy {
namespace {

constexpr std::string_view kMagic = "\x93NUMPY";
constexpr char kNativeOrder = std::endian::native == std::endian::little ? '<' : '>';

struct Header {
  std::string descr;
  bool fortran_order = false;
  std::vector<int64_t> shape;
};

// Reads the header's text: a Python dict of a string, a bool and a tuple of integers.
class HeaderParser {
 public:
  explicit HeaderParser(std::string_view text) : text_(text) {}

  Header Parse() {
    Header header;
    Expect('{');
    while (!Skip('}')) {
      const std::string key = String();
      Expect(':');
      if (key == "descr") {
        header.descr = String();
      } else if (key == "fortran_order") {
        header.fortran_order = Bool();
      } else if (key == "shape") {
        header.shape = Tuple();
      } else {
        Fail();
      }
      Skip(',');
    }
    if (header.descr.empty()) Fail();
    return header;
  }

 private:
  [[noreturn]] static void Fail() { throw std::runtime_error("its header is not understood"); }

  bool Skip(char wanted) {
    const size_t start = text_.find_first_not_of(" \n");
    text_.remove_prefix(std::min(start, text_.size()));
    if (text_.empty() || text_.front() != wanted) return false;
    text_.remove_prefix(1);
    return true;
  }

  void Expect(char wanted) {
    if (!Skip(wanted)) Fail();
  }

  std::string String() {
    Expect('\'');
    const size_t end = text_.find('\'');
    if (end == std::string_view::npos) Fail();
    std::string value(text_.substr(0, end));
    text_.remove_prefix(end + 1);
    return value;
  }

  bool Bool() {
    const bool value = Skip('T');
    const std::string_view rest = value ? "rue" : "alse";
    if (!value) Expect('F');
    if (!text_.starts_with(rest)) Fail();
    text_.remove_prefix(rest.size());
    return value;
  }

  std::vector<int64_t> Tuple() {
    std::vector<int64_t> values;
    Expect('(');
    while (!Skip(')')) {
      int64_t value = 0;
      const auto [end, error] = std::from_chars(text_.data(), text_.data() + text_.size(), value);
      if (error != std::errc() || value < 0) Fail();
      text_.remove_prefix(static_cast<size_t>(end - text_.data()));
      values.push_back(value);
      if (!Skip(',')) {
        Expect(')');
        break;
      }
      Skip(' ');
    }
    return values;
  }

  std::string_view text_;
};

// Reads the part before the elements, and leaves the file at the first of them.
Header ReadHeader(std::ifstream& file) {
  std::array<char, 8> start{};
  std::array<unsigned char, 4> length{};
  if (!file.read(start.data(), start.size()) ||
      !std::string_view(start.data(), 8).starts_with(kMagic)) {
    throw std::runtime_error("it is not a .npy file");
  }
  const int version = start[6];
  if (version < 1 || version > 3) {
    throw std::runtime_error("it has format version " + std::to_string(version) +
                             ", and 1 to 3 are known");
  }
  file.read(reinterpret_cast<char*>(length.data()), version == 1 ? 2 : 4);
  const size_t bytes =
      length[0] | size_t{length[1]} << 8 | size_t{length[2]} << 16 | size_t{length[3]} << 24;
  constexpr size_t kMaxHeader = 1 << 20;
  std::string text(std::min(bytes, kMaxHeader), '\0');
  if (bytes > kMaxHeader || !file.read(text.data(), static_cast<std::streamsize>(bytes))) {
    throw std::runtime_error("it is truncated");
  }
  return HeaderParser(text).Parse();
}

// NumPy's name of a described type, or the description itself: "<f4" is "float32".
std::string DTypeName(const std::string& descr) {
  if (descr.size() < 3) return descr;
  const std::string bits = std::to_string(8 * std::strtol(descr.c_str() + 2, nullptr, 10));
  switch (descr[1]) {
    case 'f':
      return "float" + bits;
    case 'i':
      return "int" + bits;
    case 'u':
      return "uint" + bits;
    case 'b':
      return "bool";
    default:
      return descr;
  }
}

void Check(const Header& header, const tvmake_tensor_info& expected) {
  const std::string wanted = Descr(expected.dtype);
  const std::span<const int64_t> shape(expected.shape, static_cast<size_t>(expected.rank));
  const bool same_type = header.descr.substr(1) == wanted.substr(1);
  if (!same_type || !std::ranges::equal(header.shape, shape)) {
    const std::string name = same_type ? expected.dtype_name : DTypeName(header.descr);
    throw std::runtime_error("it holds " + Describe(name.c_str(), header.shape) +
                             ", and the model takes " + Describe(expected));
  }
  if (header.descr[0] != wanted[0] && header.descr[0] != '|' && wanted[0] != '|') {
    throw std::runtime_error("its byte order is not this machine's: save it with array.astype('" +
                             wanted + "')");
  }
  if (header.fortran_order && expected.rank > 1) {
    throw std::runtime_error("it is in Fortran order: save it with numpy.ascontiguousarray(array)");
  }
}

}  // namespace

std::string Describe(const char* dtype, std::span<const int64_t> shape) {
  std::string text = std::string(dtype) + "[";
  for (const int64_t extent : shape) {
    if (text.back() != '[') text += ',';
    text += extent < 0 ? "?" : std::to_string(extent);
  }
  return text + "]";
}

std::string Describe(const tvmake_tensor_info& tensor) {
  return Describe(tensor.dtype_name, {tensor.shape, static_cast<size_t>(tensor.rank)});
}

std::string Descr(tvmake_dtype dtype) {
  constexpr std::string_view kKinds = "iuf.V.b";
  const char kind =
      dtype.code < kKinds.size() && kKinds[dtype.code] != '.' ? kKinds[dtype.code] : 'V';
  const int bytes = (dtype.bits * dtype.lanes + 7) / 8;
  return std::string{bytes == 1 ? '|' : kNativeOrder, kind} + std::to_string(bytes);
}

std::vector<int64_t> Shape(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error("cannot open " + path.string());
  try {
    return ReadHeader(file).shape;
  } catch (const std::runtime_error& error) {
    throw std::runtime_error("cannot use " + path.string() + ": " + error.what());
  }
}

std::vector<std::byte> Read(const std::filesystem::path& path, const tvmake_tensor_info& expected) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error("cannot open " + path.string());
  try {
    Check(ReadHeader(file), expected);
    std::vector<std::byte> data(expected.bytes);
    file.read(reinterpret_cast<char*>(data.data()), static_cast<std::streamsize>(data.size()));
    if (static_cast<size_t>(file.gcount()) != data.size()) {
      throw std::runtime_error("it is truncated");
    }
    return data;
  } catch (const std::runtime_error& error) {
    throw std::runtime_error("cannot use " + path.string() + " for '" + expected.name +
                             "': " + error.what());
  }
}

void Write(const std::filesystem::path& path, const tvmake_tensor_view& tensor) {
  std::string shape;
  for (int32_t axis = 0; axis < tensor.rank; ++axis) {
    shape += std::to_string(tensor.shape[axis]) + (axis == 0 || axis + 1 < tensor.rank ? ", " : "");
  }
  std::string text = "{'descr': '" + Descr(tensor.dtype) + "', 'fortran_order': False, 'shape': (" +
                     shape + "), }";
  constexpr size_t kBefore = 10;  // magic, version and length
  constexpr size_t kAlignment = 64;
  text.resize((kBefore + text.size() + kAlignment) / kAlignment * kAlignment - kBefore, ' ');
  text.back() = '\n';
  std::ofstream file(path, std::ios::binary);
  file << kMagic << '\1' << '\0' << static_cast<char>(text.size() & 0xff)
       << static_cast<char>(text.size() >> 8) << text;
  file.write(static_cast<const char*>(tensor.data), static_cast<std::streamsize>(tensor.bytes));
  file.flush();
  if (!file) throw std::runtime_error("cannot write " + path.string());
}

}  // namespace tvmake::npy
