// The harness's command line.
#ifndef TVMAKE_HARNESS_ARGUMENTS_H_
#define TVMAKE_HARNESS_ARGUMENTS_H_

#include <cstdint>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

namespace tvmake::harness {

struct UsageError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// A file, and the tensor that it is for; an empty name means the next one in order.
struct NamedFile {
  std::string name;
  std::string file;
};

// The shape of an input whose shape is known at run time only.
struct NamedShape {
  std::string name;
  std::vector<int64_t> shape;
};

struct Arguments {
  std::vector<NamedFile> inputs;
  std::vector<NamedFile> outputs;
  std::vector<NamedShape> shapes;
  std::string output_dir;
  std::string weights;
  std::string trace_dir;
  std::string json;
  std::optional<uint64_t> seed;
  std::optional<int> runs;
  std::optional<int> warmup;
  int threads = 0;
  bool bench = false;
  bool profile = false;
  bool info = false;
  bool help = false;
};

// Throws UsageError.
Arguments ParseArguments(std::span<char* const> arguments);

// What --help explains about the options.
extern const char kOptionsHelp[];

}  // namespace tvmake::harness

#endif  // TVMAKE_HARNESS_ARGUMENTS_H_
