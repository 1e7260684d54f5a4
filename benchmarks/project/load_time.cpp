// How long opening ResNet-50 takes, and how much memory the process has needed after one run.
#include <sys/resource.h>

#include <chrono>
#include <cstdio>
#include <exception>

#include "resnet50.hpp"

int main() {
  try {
    const auto start = std::chrono::steady_clock::now();
    resnet50::Model model;
    const std::chrono::duration<double, std::milli> load = std::chrono::steady_clock::now() - start;
    model.run();
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    std::printf(
        "{\"load_ms\": %.3f, \"peak_bytes\": %lld, \"weights_bytes\": %zu, "
        "\"arena_bytes\": %zu}\n",
        load.count(), 1024LL * usage.ru_maxrss, model.weights_bytes(), model.arena_bytes());
  } catch (const std::exception& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return 1;
  }
  return 0;
}
