// The one exception type of the runtime.
#ifndef TVMAKE_ERROR_H_
#define TVMAKE_ERROR_H_

#include <stdexcept>
#include <string>

namespace tvmake {

// What went wrong, coarse enough for a caller to act on. Mirrored by the C ABI's status codes.
enum class ErrorKind {
  kInvalidArgument,  // null, misaligned, wrong size or layout
  kShape,            // rank or extents differ from the model's
  kDType,            // element type differs from the model's
  kDevice,           // memory is not on the CPU
  kIndex,            // no such input, output or name
  kWeights,          // weights missing, damaged, or of another model
  kGraph,            // graph JSON damaged, or not fitting the kernels
  kCpu,              // this CPU lacks a feature that the kernels were compiled for
  kKernel,           // a kernel reported an error
  kMemory,           // out of memory
  kIo,               // a file cannot be opened or read
};

// The message names the model and the tensor or node, what was expected, what was given, and how
// to put it right.
class Error : public std::runtime_error {
 public:
  Error(ErrorKind kind, const std::string& message) : std::runtime_error(message), kind_(kind) {}

  ErrorKind kind() const noexcept { return kind_; }

 private:
  ErrorKind kind_;
};

}  // namespace tvmake

#endif  // TVMAKE_ERROR_H_
