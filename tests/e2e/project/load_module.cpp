// Loads a model library by name and runs it through the generic module, as docs/graph-executor.md
// says.
//
// Usage: load_module LIBRARY INPUT OUTPUT: raw files of the first input and output.
#include <tvm/ffi/container/tensor.h>
#include <tvm/ffi/extra/module.h>
#include <tvm/ffi/function.h>

#include <cstdio>
#include <cstdlib>
#include <exception>
#include <fstream>
#include <stdexcept>

namespace {

using tvm::ffi::Module;
using tvm::ffi::Tensor;

void Run(const char* library_path, const char* input_path, const char* output_path) {
  const Module library = Module::LoadFromFile(library_path);
  const auto factory = library->GetFunction("default").value();
  Module model = factory(DLDevice{kDLCPU, 0}).cast<Module>();
  const auto function = [&model](const char* name) { return model->GetFunction(name).value(); };

  const Tensor input = function("get_input")(0).cast<Tensor>();
  std::ifstream source(input_path, std::ios::binary);
  const auto bytes = static_cast<std::streamsize>(tvm::ffi::GetDataSize(input));
  source.read(static_cast<char*>(input.data_ptr()), bytes);
  if (source.gcount() != bytes) throw std::runtime_error("the input file is too short");

  function("run")();
  const Tensor output = function("get_output")(0).cast<Tensor>();
  std::ofstream result(output_path, std::ios::binary);
  result.write(static_cast<const char*>(output.data_ptr()),
               static_cast<std::streamsize>(tvm::ffi::GetDataSize(output)));
  if (!result.flush()) throw std::runtime_error("cannot write the output");
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) {
    std::fprintf(stderr, "usage: %s LIBRARY INPUT OUTPUT\n", argv[0]);
    return 2;
  }
  try {
    Run(argv[1], argv[2], argv[3]);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return EXIT_FAILURE;
  }
  return EXIT_SUCCESS;
}
