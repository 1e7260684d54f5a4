// Runs one compiled model on raw inputs, with outputs that hold a poison before every run.
//
// Usage: run_<model> FOLDER WEIGHTS
//
// Reads FOLDER/input_<index>.bin and writes FOLDER/output_<index>.bin. The model runs three times:
// into its own memory, into the caller's, and once more into its own. The results must not differ
// by a bit.
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <fstream>
#include <iterator>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <vector>

#include MODEL_HEADER

namespace {

using MODEL_NAMESPACE::Abi;
using MODEL_NAMESPACE::Model;
using Bytes = std::vector<char>;

constexpr char kPoison = '\xff';  // not a number in every floating-point type

Bytes Load(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error("cannot read " + path);
  return {std::istreambuf_iterator<char>(file), {}};
}

void Save(const std::string& path, const Bytes& bytes) {
  std::ofstream file(path, std::ios::binary);
  file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  if (!file.flush()) throw std::runtime_error("cannot write " + path);
}

void Check(const Model& model, tvmake_status status) {
  if (status != TVMAKE_OK) throw std::runtime_error(Abi::kLastError(model.handle()));
}

std::string Path(const std::string& folder, const char* what, std::size_t index) {
  return folder + "/" + what + "_" + std::to_string(index) + ".bin";
}

// Runs into the model's own memory.
std::vector<Bytes> RunInside(Model& model) {
  std::vector<Bytes> results;
  for (std::size_t i = 0; i < Abi::kOutputCount(); ++i) {
    const std::size_t bytes = Abi::kOutputInfo(i)->bytes;
    std::memset(const_cast<void*>(Abi::kOutputData(model.handle(), i)), kPoison, bytes);
  }
  Check(model, Abi::kRun(model.handle()));
  for (std::size_t i = 0; i < Abi::kOutputCount(); ++i) {
    results.emplace_back(Abi::kOutputInfo(i)->bytes, kPoison);
    Check(model, Abi::kGetOutput(model.handle(), i, results.back().data(), results.back().size()));
  }
  return results;
}

struct AlignedDelete {
  void operator()(char* data) const {
    ::operator delete(data, std::align_val_t{Model::info().alignment});
  }
};

// Runs into memory outside the model.
std::vector<Bytes> RunOutside(Model& model) {
  std::vector<std::unique_ptr<char, AlignedDelete>> memory;
  for (std::size_t i = 0; i < Abi::kOutputCount(); ++i) {
    const std::size_t bytes = Abi::kOutputInfo(i)->bytes;
    memory.emplace_back(
        static_cast<char*>(::operator new(bytes, std::align_val_t{Model::info().alignment})));
    std::memset(memory.back().get(), kPoison, bytes);
    Check(model, Abi::kSetOutputZeroCopy(model.handle(), i, memory.back().get(), bytes));
  }
  Check(model, Abi::kRun(model.handle()));
  std::vector<Bytes> results;
  for (std::size_t i = 0; i < Abi::kOutputCount(); ++i) {
    const char* data = memory[i].get();
    results.emplace_back(data, data + Abi::kOutputInfo(i)->bytes);
    Check(model, Abi::kUnbindOutput(model.handle(), i));
  }
  return results;
}

void Run(const std::string& folder, const std::string& weights_path) {
  tvmake::ModelOptions options;
  options.weights_path = weights_path;
  Model model(options);
  for (std::size_t i = 0; i < Abi::kInputCount(); ++i) {
    const Bytes data = Load(Path(folder, "input", i));
    Check(model, Abi::kSetInput(model.handle(), i, data.data(), data.size()));
  }
  const std::vector<Bytes> results = RunInside(model);
  if (RunOutside(model) != results) {
    throw std::runtime_error("the outputs in the caller's memory differ from those in the arena");
  }
  if (RunInside(model) != results) throw std::runtime_error("a later run gives other outputs");
  for (std::size_t i = 0; i < results.size(); ++i) Save(Path(folder, "output", i), results[i]);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: %s FOLDER WEIGHTS\n", argv[0]);
    return 2;
  }
  try {
    Run(argv[1], argv[2]);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return EXIT_FAILURE;
  }
  return EXIT_SUCCESS;
}
