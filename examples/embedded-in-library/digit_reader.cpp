#include "digit_reader.h"

#include <algorithm>
#include <exception>

#include "digits.hpp"

int read_digit(const unsigned char pixels[64]) {
  try {
    // The first call of each thread makes it a model; all share the weights inside this library.
    thread_local digits::Model model({1});
    auto image = model.image();
    std::transform(pixels, pixels + image.size(), image.begin(),
                   [](unsigned char grey) { return static_cast<float>(grey) / 16.0F; });
    const auto scores = model.run().scores;
    return static_cast<int>(std::max_element(scores.begin(), scores.end()) - scores.begin());
  } catch (const std::exception&) {
    return -1;
  }
}
