// This machine's peak of float32 multiply-adds: independent chains that fill its widest registers.
//
//   fma_peak [threads]   prints the GFLOP/s of all threads together, one multiply-add being two
#include <time.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <thread>
#include <vector>

namespace {

#if defined(__AVX512F__)
constexpr int kVectorBytes = 64;
constexpr int kChains = 24;
#elif defined(__AVX__)
constexpr int kVectorBytes = 32;
constexpr int kChains = 12;
#else
constexpr int kVectorBytes = 16;
constexpr int kChains = 12;
#endif
constexpr int kLanes = kVectorBytes / 4;
constexpr int kIterations = 400000;
constexpr int kRepeats = 40;

typedef float Vector __attribute__((vector_size(kVectorBytes)));

// Of the calling thread: what others do on this machine hardly shows.
double Seconds() {
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

Vector Spread(float value) { return Vector{} + value; }

// The best of several measurements, in GFLOP/s.
double Measure() {
  Vector sums[kChains];
  for (int i = 0; i < kChains; ++i) sums[i] = Spread(static_cast<float>(i));
  const volatile float factor = 0.999999F, term = 1e-6F;
  const Vector a = Spread(factor), b = Spread(term);
  double best = 0;
  for (int repeat = 0; repeat < kRepeats; ++repeat) {
    const double start = Seconds();
    for (int i = 0; i < kIterations; ++i) {
#pragma GCC unroll kChains  // in registers: a loop over them would read and write memory
      for (int chain = 0; chain < kChains; ++chain) sums[chain] = sums[chain] * a + b;
    }
    const double flops = 2.0 * kLanes * kChains * kIterations;
    best = std::max(best, flops / (Seconds() - start) * 1e-9);
  }
  Vector total{};
  for (const Vector& sum : sums) total += sum;
  const volatile float used = total[0];
  static_cast<void>(used);
  return best;
}

}  // namespace

int main(int argc, char** argv) {
  const int threads = argc > 1 ? std::max(1, std::atoi(argv[1])) : 1;
  std::vector<double> results(static_cast<size_t>(threads));
  std::vector<std::thread> workers;
  for (double& result : results) workers.emplace_back([&result] { result = Measure(); });
  for (std::thread& worker : workers) worker.join();
  double total = 0;
  for (const double result : results) total += result;
  std::printf("%.1f\n", total);
  return 0;
}
