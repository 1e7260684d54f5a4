// What the CPU that we run on can do, under LLVM's names.
#ifndef TVMAKE_CPU_FEATURES_H_
#define TVMAKE_CPU_FEATURES_H_

#include <optional>
#include <span>
#include <string_view>

#include "tvmake/executor.h"

namespace tvmake {

// Nothing for names that this file does not know: tuning flags, say, or the features of a newer
// LLVM. A feature counts only if the operating system saves its registers too.
std::optional<bool> CpuHas(std::string_view feature);

// Throws Error(kCpu) that lists what this CPU lacks of what the model's kernels were compiled for.
// Runs nothing of the model.
void CheckCpu(const ModelDefinition& model);

}  // namespace tvmake

#endif  // TVMAKE_CPU_FEATURES_H_
