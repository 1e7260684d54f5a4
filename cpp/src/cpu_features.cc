#include "cpu_features.h"

#include <cstdint>
#include <string>

#include "text.h"

#if defined(__x86_64__) || defined(__i386__)
#include <cpuid.h>
#elif defined(__linux__)
#include <sys/auxv.h>
#endif

namespace tvmake {
namespace {

#if defined(__x86_64__) || defined(__i386__)

enum Register : uint8_t { kEax, kEbx, kEcx, kEdx };

// Bits of XCR0: the register files that the operating system saves.
enum State : uint32_t { kNone = 0, kYmm = 0x6, kZmm = 0xE6, kTiles = 0x60000 };

struct Feature {
  std::string_view name;
  uint32_t leaf;
  uint32_t subleaf;
  Register reg;
  uint8_t bit;
  State state;
};

constexpr uint32_t kExtended = 0x80000001;

// Intel SDM volume 2 (CPUID) and AMD APM volume 3, appendix E.
constexpr Feature kFeatures[] = {
    {"cx8", 1, 0, kEdx, 8, kNone},
    {"cmov", 1, 0, kEdx, 15, kNone},
    {"mmx", 1, 0, kEdx, 23, kNone},
    {"fxsr", 1, 0, kEdx, 24, kNone},
    {"sse", 1, 0, kEdx, 25, kNone},
    {"sse2", 1, 0, kEdx, 26, kNone},
    {"sse3", 1, 0, kEcx, 0, kNone},
    {"pclmul", 1, 0, kEcx, 1, kNone},
    {"ssse3", 1, 0, kEcx, 9, kNone},
    {"fma", 1, 0, kEcx, 12, kYmm},
    {"cx16", 1, 0, kEcx, 13, kNone},
    {"sse4.1", 1, 0, kEcx, 19, kNone},
    {"sse4.2", 1, 0, kEcx, 20, kNone},
    {"movbe", 1, 0, kEcx, 22, kNone},
    {"popcnt", 1, 0, kEcx, 23, kNone},
    {"aes", 1, 0, kEcx, 25, kNone},
    {"xsave", 1, 0, kEcx, 26, kNone},
    {"avx", 1, 0, kEcx, 28, kYmm},
    {"f16c", 1, 0, kEcx, 29, kYmm},
    {"rdrnd", 1, 0, kEcx, 30, kNone},
    {"fsgsbase", 7, 0, kEbx, 0, kNone},
    {"bmi", 7, 0, kEbx, 3, kNone},
    {"avx2", 7, 0, kEbx, 5, kYmm},
    {"bmi2", 7, 0, kEbx, 8, kNone},
    {"avx512f", 7, 0, kEbx, 16, kZmm},
    {"avx512dq", 7, 0, kEbx, 17, kZmm},
    {"rdseed", 7, 0, kEbx, 18, kNone},
    {"adx", 7, 0, kEbx, 19, kNone},
    {"avx512ifma", 7, 0, kEbx, 21, kZmm},
    {"clflushopt", 7, 0, kEbx, 23, kNone},
    {"clwb", 7, 0, kEbx, 24, kNone},
    {"avx512cd", 7, 0, kEbx, 28, kZmm},
    {"sha", 7, 0, kEbx, 29, kNone},
    {"avx512bw", 7, 0, kEbx, 30, kZmm},
    {"avx512vl", 7, 0, kEbx, 31, kZmm},
    {"avx512vbmi", 7, 0, kEcx, 1, kZmm},
    {"avx512vbmi2", 7, 0, kEcx, 6, kZmm},
    {"gfni", 7, 0, kEcx, 8, kNone},
    {"vaes", 7, 0, kEcx, 9, kYmm},
    {"vpclmulqdq", 7, 0, kEcx, 10, kYmm},
    {"avx512vnni", 7, 0, kEcx, 11, kZmm},
    {"avx512bitalg", 7, 0, kEcx, 12, kZmm},
    {"avx512vpopcntdq", 7, 0, kEcx, 14, kZmm},
    {"rdpid", 7, 0, kEcx, 22, kNone},
    {"movdiri", 7, 0, kEcx, 27, kNone},
    {"movdir64b", 7, 0, kEcx, 28, kNone},
    {"avx512vp2intersect", 7, 0, kEdx, 8, kZmm},
    {"amx-bf16", 7, 0, kEdx, 22, kTiles},
    {"avx512fp16", 7, 0, kEdx, 23, kZmm},
    {"amx-tile", 7, 0, kEdx, 24, kTiles},
    {"amx-int8", 7, 0, kEdx, 25, kTiles},
    {"avxvnni", 7, 1, kEax, 4, kYmm},
    {"avx512bf16", 7, 1, kEax, 5, kZmm},
    {"amx-fp16", 7, 1, kEax, 21, kTiles},
    {"avxifma", 7, 1, kEax, 23, kYmm},
    {"avxvnniint8", 7, 1, kEdx, 4, kYmm},
    {"avxneconvert", 7, 1, kEdx, 5, kYmm},
    {"avxvnniint16", 7, 1, kEdx, 10, kYmm},
    {"xsaveopt", 0xD, 1, kEax, 0, kNone},
    {"xsavec", 0xD, 1, kEax, 1, kNone},
    {"xsaves", 0xD, 1, kEax, 3, kNone},
    {"sahf", kExtended, 0, kEcx, 0, kNone},
    {"lzcnt", kExtended, 0, kEcx, 5, kNone},
    {"sse4a", kExtended, 0, kEcx, 6, kNone},
    {"prfchw", kExtended, 0, kEcx, 8, kNone},
    {"xop", kExtended, 0, kEcx, 11, kYmm},
    {"fma4", kExtended, 0, kEcx, 16, kYmm},
    {"tbm", kExtended, 0, kEcx, 21, kNone},
};

uint32_t SavedState() {
  uint32_t regs[4];
  constexpr uint32_t kOsxsave = 1U << 27;
  if (!__get_cpuid(1, &regs[0], &regs[1], &regs[2], &regs[3]) || !(regs[kEcx] & kOsxsave)) return 0;
  uint32_t low = 0;
  uint32_t high = 0;
  asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return low;
}

bool Has(const Feature& feature) {
  uint32_t regs[4];
  if (!__get_cpuid_count(feature.leaf, feature.subleaf, &regs[0], &regs[1], &regs[2], &regs[3])) {
    return false;
  }
  return ((regs[feature.reg] >> feature.bit) & 1U) != 0 &&
         (SavedState() & feature.state) == feature.state;
}

#elif defined(__linux__) && (defined(__aarch64__) || defined(__arm__) || defined(__riscv))

struct Feature {
  std::string_view name;
  unsigned long type;  // of the auxiliary vector's entry
  unsigned long mask;
};

// The bits are Linux's ABI: arch/<arch>/include/uapi/asm/hwcap.h.
#if defined(__aarch64__)
constexpr Feature kFeatures[] = {
    {"fp-armv8", AT_HWCAP, 1UL << 0}, {"neon", AT_HWCAP, 1UL << 1},
    {"aes", AT_HWCAP, 1UL << 3},      {"sha2", AT_HWCAP, 1UL << 6},
    {"crc", AT_HWCAP, 1UL << 7},      {"lse", AT_HWCAP, 1UL << 8},
    {"fullfp16", AT_HWCAP, 3UL << 9}, {"rdm", AT_HWCAP, 1UL << 12},
    {"jsconv", AT_HWCAP, 1UL << 13},  {"complxnum", AT_HWCAP, 1UL << 14},
    {"rcpc", AT_HWCAP, 1UL << 15},    {"sha3", AT_HWCAP, 1UL << 17},
    {"sm4", AT_HWCAP, 1UL << 19},     {"dotprod", AT_HWCAP, 1UL << 20},
    {"sve", AT_HWCAP, 1UL << 22},     {"fp16fml", AT_HWCAP, 1UL << 23},
    {"sve2", AT_HWCAP2, 1UL << 1},    {"i8mm", AT_HWCAP2, 1UL << 13},
    {"bf16", AT_HWCAP2, 1UL << 14},   {"sme", AT_HWCAP2, 1UL << 23},
};
#elif defined(__arm__)
constexpr Feature kFeatures[] = {
    {"neon", AT_HWCAP, 1UL << 12},     {"vfp3", AT_HWCAP, 1UL << 13},
    {"vfp4", AT_HWCAP, 1UL << 16},     {"hwdiv-arm", AT_HWCAP, 1UL << 17},
    {"hwdiv", AT_HWCAP, 1UL << 18},    {"d32", AT_HWCAP, 1UL << 19},
    {"fullfp16", AT_HWCAP, 1UL << 23}, {"dotprod", AT_HWCAP, 1UL << 24},
    {"bf16", AT_HWCAP, 1UL << 26},     {"i8mm", AT_HWCAP, 1UL << 27},
    {"aes", AT_HWCAP2, 1UL << 0},      {"sha2", AT_HWCAP2, 1UL << 3},
    {"crc", AT_HWCAP2, 1UL << 4},
};
#else
constexpr Feature kFeatures[] = {
    {"a", AT_HWCAP, 1UL << ('a' - 'a')}, {"c", AT_HWCAP, 1UL << ('c' - 'a')},
    {"d", AT_HWCAP, 1UL << ('d' - 'a')}, {"f", AT_HWCAP, 1UL << ('f' - 'a')},
    {"m", AT_HWCAP, 1UL << ('m' - 'a')}, {"v", AT_HWCAP, 1UL << ('v' - 'a')},
};
#endif

bool Has(const Feature& feature) {
  return (getauxval(feature.type) & feature.mask) == feature.mask;
}

#else

struct Feature {
  std::string_view name;
};
constexpr Feature kFeatures[] = {{""}};
bool Has(const Feature&) { return true; }

#endif

}  // namespace

std::optional<bool> CpuHas(std::string_view name) {
  for (const Feature& feature : kFeatures) {
    if (feature.name == name) return Has(feature);
  }
  return std::nullopt;
}

void CheckCpu(const ModelDefinition& model) {
  std::string missing;
  for (const char* feature : model.required_cpu_features) {
    if (!CpuHas(feature).value_or(true)) missing += Cat(missing.empty() ? "" : ", ", feature);
  }
  if (missing.empty()) return;
  throw Error(ErrorKind::kCpu, Cat("this CPU lacks ", missing, "; the kernels were compiled for ",
                                   model.triple, *model.cpu != '\0' ? Cat(", CPU ", model.cpu) : "",
                                   ". Compile the model for the CPU that it is to run on"));
}

}  // namespace tvmake
