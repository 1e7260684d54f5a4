#include "harness_arguments.h"

#include <algorithm>
#include <charconv>
#include <concepts>
#include <string_view>
#include <utility>

namespace tvmake::harness {
namespace {

template <std::integral T>
T ParseNumber(std::string_view option, std::string_view text, T least) {
  T value{};
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc() || stop != end || value < least) {
    throw UsageError(std::string(option) + " takes a whole number of at least " +
                     std::to_string(least) + ", not '" + std::string(text) + "'");
  }
  return value;
}

NamedFile ParseNamedFile(std::string_view option, std::string_view text) {
  const size_t equals = text.find('=');
  if (equals == std::string_view::npos || equals == 0 || equals + 1 == text.size()) {
    throw UsageError(std::string(option) + " takes NAME=FILE, not '" + std::string(text) + "'");
  }
  return {std::string(text.substr(0, equals)), std::string(text.substr(equals + 1))};
}

NamedShape ParseNamedShape(std::string_view option, std::string_view text) {
  const size_t equals = text.find('=');
  if (equals == std::string_view::npos || equals == 0) {
    throw UsageError(std::string(option) + " takes NAME=D0,D1,…, not '" + std::string(text) + "'");
  }
  NamedShape named{std::string(text.substr(0, equals)), {}};
  for (std::string_view rest = text.substr(equals + 1); !rest.empty();) {
    const size_t comma = std::min(rest.find(','), rest.size());
    named.shape.push_back(ParseNumber<int64_t>(option, rest.substr(0, comma), 1));
    rest.remove_prefix(std::min(comma + 1, rest.size()));
  }
  return named;
}

}  // namespace

const char kOptionsHelp[] =
    "Files\n"
    "  FILE, --input NAME=FILE   an input: .npy, or else its raw bytes; without name: the next "
    "one\n"
    "  --output NAME=FILE        write this output: .npy, or else its raw bytes\n"
    "  --output-dir DIR          write every output to DIR/NAME.npy\n"
    "  --seed N                  fill inputs that have no file with random values: [-1, 1) for\n"
    "                            floats, 0 or 1 for integers and booleans\n"
    "  --shape NAME=D0,D1,…      the shape of an input that has dynamic dimensions; a .npy file\n"
    "                            tells its own\n"
    "  --weights FILE            weights to use in place of the model's own weights file\n"
    "\n"
    "Measurements (without files and seed, as with --seed 0)\n"
    "  --bench                   time of a run, over many\n"
    "  --profile                 time of each kernel, with the nodes that it was compiled from\n"
    "  --runs N                  runs to measure; default 100 to bench, 10 to profile\n"
    "  --warmup N                runs before that; default 10 to bench, 1 to profile\n"
    "  --threads N               threads; default TVM_NUM_THREADS, or every core allowed\n"
    "  --json FILE               the figures as JSON; - is standard output, in place of the text\n"
    "\n"
    "Insight\n"
    "  --info                    where the model came from and what it needs; also with --json\n"
    "  --trace DIR               write every kernel's results to DIR, with DIR/trace.json\n"
    "  --help                    this text\n";

Arguments ParseArguments(std::span<char* const> arguments) {
  Arguments parsed;
  for (size_t i = 0; i < arguments.size(); ++i) {
    std::string_view option = arguments[i];
    if (!option.starts_with("--")) {
      parsed.inputs.push_back({"", std::string(option)});
      continue;
    }
    // `--option value` and `--option=value` are the same.
    std::optional<std::string_view> attached;
    if (const size_t equals = option.find('='); equals != std::string_view::npos) {
      attached = option.substr(equals + 1);
      option = option.substr(0, equals);
    }
    const auto value = [&]() -> std::string_view {
      if (attached) return *std::exchange(attached, std::nullopt);
      if (i + 1 == arguments.size()) throw UsageError(std::string(option) + " needs a value");
      return arguments[++i];
    };
    if (option == "--input") {
      parsed.inputs.push_back(ParseNamedFile(option, value()));
    } else if (option == "--output") {
      parsed.outputs.push_back(ParseNamedFile(option, value()));
    } else if (option == "--shape") {
      parsed.shapes.push_back(ParseNamedShape(option, value()));
    } else if (option == "--output-dir") {
      parsed.output_dir = value();
    } else if (option == "--weights") {
      parsed.weights = value();
    } else if (option == "--trace") {
      parsed.trace_dir = value();
    } else if (option == "--json") {
      parsed.json = value();
    } else if (option == "--seed") {
      parsed.seed = ParseNumber<uint64_t>(option, value(), 0);
    } else if (option == "--runs") {
      parsed.runs = ParseNumber<int>(option, value(), 1);
    } else if (option == "--warmup") {
      parsed.warmup = ParseNumber<int>(option, value(), 0);
    } else if (option == "--threads") {
      parsed.threads = ParseNumber<int>(option, value(), 1);
    } else if (option == "--bench") {
      parsed.bench = true;
    } else if (option == "--profile") {
      parsed.profile = true;
    } else if (option == "--info") {
      parsed.info = true;
    } else if (option == "--help") {
      parsed.help = true;
    } else {
      throw UsageError("unknown option " + std::string(option));
    }
    if (attached) throw UsageError(std::string(option) + " takes no value");
  }
  return parsed;
}

}  // namespace tvmake::harness
