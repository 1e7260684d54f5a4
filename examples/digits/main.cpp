// Classifies scikit-learn's held-out handwritten digits with the compiled model `digits`.
//
// Usage: digits_demo <folder with test_images.npy and test_labels.npy>
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>
#include <vector>

#include "digits.hpp"

namespace {

constexpr std::size_t kSide = 8;  // pixels
constexpr std::size_t kPixels = kSide * kSide;
constexpr float kBrightest = 16.0F;
constexpr std::size_t kPicturesPerRow = 4;  // 72 columns
constexpr double kRequiredAccuracy = 0.97;

// The bytes of a NumPy file of unsigned bytes, without its header.
std::vector<std::uint8_t> LoadBytes(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error("cannot read " + path);
  const std::vector<char> bytes{std::istreambuf_iterator<char>(file), {}};
  constexpr std::size_t kFixedHeader = 10;  // magic, version, length of the text that follows
  if (bytes.size() < kFixedHeader || std::string(bytes.data(), 6) != "\x93NUMPY") {
    throw std::runtime_error(path + " is not a .npy file");
  }
  const auto low = static_cast<std::uint8_t>(bytes[8]);
  const auto high = static_cast<std::uint8_t>(bytes[9]);
  const std::size_t start = kFixedHeader + low + 256U * high;
  const std::string header(bytes.data(), std::min(start, bytes.size()));
  if (start > bytes.size() || header.find("'|u1'") == std::string::npos) {
    throw std::runtime_error(path + " does not hold unsigned bytes");
  }
  return {bytes.begin() + static_cast<std::ptrdiff_t>(start), bytes.end()};
}

struct Picture {
  const std::uint8_t* pixels;
  int label;
  int prediction;
};

// Prints pictures side by side, two characters per pixel.
void Print(const std::vector<Picture>& pictures) {
  static const char* const kShades[] = {"  ", "░░", "▒▒", "▓▓", "██"};
  for (std::size_t first = 0; first < pictures.size(); first += kPicturesPerRow) {
    const std::size_t last = std::min(first + kPicturesPerRow, pictures.size());
    for (std::size_t row = 0; row < kSide; ++row) {
      for (std::size_t i = first; i < last; ++i) {
        for (std::size_t column = 0; column < kSide; ++column) {
          const int grey = pictures[i].pixels[row * kSide + column];
          std::fputs(kShades[(grey + 2) / 4 % 5], stdout);
        }
        std::fputs("  ", stdout);
      }
      std::puts("");
    }
    for (std::size_t i = first; i < last; ++i) {
      const auto& [pixels, label, prediction] = pictures[i];
      std::printf("  a %d, read as %d  ", label, prediction);
    }
    std::puts("\n");
  }
}

int Classify(digits::Model& model, const std::uint8_t* pixels) {
  auto image = model.image();  // a view of the model's own memory: no copy
  std::transform(pixels, pixels + kPixels, image.begin(),
                 [](std::uint8_t grey) { return static_cast<float>(grey) / kBrightest; });
  const auto scores = model.run().scores;
  return static_cast<int>(std::max_element(scores.begin(), scores.end()) - scores.begin());
}

int Run(const std::string& folder) {
  const std::vector<std::uint8_t> images = LoadBytes(folder + "/test_images.npy");
  const std::vector<std::uint8_t> labels = LoadBytes(folder + "/test_labels.npy");
  if (labels.empty() || images.size() != labels.size() * kPixels) {
    throw std::runtime_error("the pictures and the labels in " + folder + " do not match");
  }

  digits::Model model;
  std::vector<Picture> all;
  all.reserve(labels.size());
  const auto start = std::chrono::steady_clock::now();
  for (std::size_t i = 0; i < labels.size(); ++i) {
    const std::uint8_t* pixels = &images[i * kPixels];
    all.push_back({pixels, labels[i], Classify(model, pixels)});
  }
  const std::chrono::duration<double, std::micro> time = std::chrono::steady_clock::now() - start;

  std::vector<Picture> wrong;
  std::copy_if(all.begin(), all.end(), std::back_inserter(wrong),
               [](const Picture& picture) { return picture.label != picture.prediction; });
  const std::size_t shown = std::min(all.size(), 2 * kPicturesPerRow);
  std::printf("The first %zu held-out pictures:\n\n", shown);
  Print({all.begin(), all.begin() + static_cast<std::ptrdiff_t>(shown)});
  if (!wrong.empty()) {
    std::puts("Pictures that were misread:\n");
    Print({wrong.begin(),
           wrong.begin() + static_cast<std::ptrdiff_t>(std::min(wrong.size(), kPicturesPerRow))});
  }
  const double count = static_cast<double>(all.size());
  const double accuracy = (count - static_cast<double>(wrong.size())) / count;
  std::printf("accuracy: %.2f%% (%zu of %zu right), %.1f microseconds per picture\n",
              100 * accuracy, all.size() - wrong.size(), all.size(), time.count() / count);
  if (accuracy < kRequiredAccuracy) {
    std::fprintf(stderr, "error: the accuracy is below %.0f%%\n", 100 * kRequiredAccuracy);
    return EXIT_FAILURE;
  }
  return EXIT_SUCCESS;
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
