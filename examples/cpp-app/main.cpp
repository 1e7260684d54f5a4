// Reads handwritten digits on all cores: each thread has a clone of both models, which share their
// weights, and the first model writes its result straight into the second one's input.
//
// Usage: read_digits <folder with test_images.npy and test_labels.npy>
#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "digits.hpp"
#include "normalise.hpp"

namespace {

constexpr double kRequiredAccuracy = 0.97;

// The bytes behind the header of a NumPy file of unsigned bytes.
std::vector<std::uint8_t> LoadBytes(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  const std::vector<char> bytes{std::istreambuf_iterator<char>(file), {}};
  const auto byte = [&](std::size_t i) { return static_cast<std::uint8_t>(bytes[i]); };
  if (bytes.size() < 10 || bytes.size() < 10U + byte(8) + 256U * byte(9)) {
    throw std::runtime_error("cannot read " + path);
  }
  return {bytes.begin() + 10 + byte(8) + 256 * byte(9), bytes.end()};
}

class Reader {
 public:
  Reader() : Reader(normalise::Model({1}), digits::Model({1})) {}

  // For one more thread.
  Reader Clone() const { return Reader(normalise_.clone({1}), digits_.clone({1})); }

  int Read(const std::uint8_t* pixels) {
    auto input = normalise_.pixels();
    std::copy(pixels, pixels + input.size(), input.begin());
    normalise_.run();
    const auto scores = digits_.run().scores;
    return static_cast<int>(std::max_element(scores.begin(), scores.end()) - scores.begin());
  }

 private:
  Reader(normalise::Model normalise, digits::Model digits)
      : normalise_(std::move(normalise)), digits_(std::move(digits)) {
    normalise_.bind<normalise::Output::image>(digits_.image());
  }

  normalise::Model normalise_;
  digits::Model digits_;
};

int Run(const std::string& folder) {
  const std::vector<std::uint8_t> images = LoadBytes(folder + "/test_images.npy");
  const std::vector<std::uint8_t> labels = LoadBytes(folder + "/test_labels.npy");
  if (labels.empty() || images.size() % labels.size() != 0) {
    throw std::runtime_error("the pictures and the labels in " + folder + " do not match");
  }
  const std::size_t pixels = images.size() / labels.size();

  const Reader first;
  std::atomic<std::size_t> next = 0;
  std::atomic<std::size_t> right = 0;
  std::vector<std::thread> threads;
  const unsigned count = std::max(2U, std::thread::hardware_concurrency());
  for (unsigned i = 0; i < count; ++i) {
    threads.emplace_back([&, reader = first.Clone()]() mutable {
      for (std::size_t index = next++; index < labels.size(); index = next++) {
        if (reader.Read(&images[index * pixels]) == labels[index]) ++right;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();

  const double accuracy = static_cast<double>(right) / static_cast<double>(labels.size());
  std::printf("%u threads read %zu of %zu digits right\n", count, right.load(), labels.size());
  return accuracy >= kRequiredAccuracy ? EXIT_SUCCESS : EXIT_FAILURE;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: %s <folder with test_images.npy and test_labels.npy>\n", argv[0]);
    return 2;
  }
  try {
    return Run(argv[1]);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return EXIT_FAILURE;
  }
}
