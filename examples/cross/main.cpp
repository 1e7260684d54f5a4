// Reads one handwritten digit, on the board or under its emulator.
#include <algorithm>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <exception>

#include "digits.hpp"

namespace {

constexpr const char* kRows[] = {
    "..####..", ".##..##.", ".#...##.", ".#..###.", "..##.##.", ".....##.", "....##..", "...##...",
};
constexpr std::ptrdiff_t kDigit = 9;

}  // namespace

int main() {
  try {
    digits::Model model;
    auto image = model.image();
    for (std::size_t i = 0; i < image.size(); ++i) image[i] = kRows[i / 8][i % 8] == '#' ? 1 : 0;
    const auto scores = model.run().scores;
    const std::ptrdiff_t digit = std::max_element(scores.begin(), scores.end()) - scores.begin();
    for (const char* row : kRows) std::puts(row);
    std::printf("a program of %zu bits reads it as %td\n", 8 * sizeof(void*), digit);
    return digit == kDigit ? EXIT_SUCCESS : EXIT_FAILURE;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return EXIT_FAILURE;
  }
}
