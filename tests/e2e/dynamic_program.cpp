// Uses a model with dynamic dimensions through its C++ and C interfaces: shapes, errors, memory.
#include <malloc.h>

#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "encoder.hpp"

namespace {

int failures = 0;

void Check(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "failed: %s\n", what);
  ++failures;
}

using Input = tvmake::DynamicTensor<const float, -1, -1, 32>;

std::vector<float> Values(std::int64_t n, std::int64_t s) {
  std::vector<float> values(static_cast<std::size_t>(n * s * 32));
  for (std::size_t i = 0; i < values.size(); ++i) {
    values[i] = static_cast<float>(i * 37 % 101) / 50 - 1;
  }
  return values;
}

template <typename Function>
std::string Failure(Function function) {
  try {
    function();
  } catch (const tvmake::ModelError& error) {
    return error.status() == TVMAKE_SHAPE ? error.what() : "another status";
  }
  return "no error";
}

bool Has(const std::string& text, const char* part) {
  if (text.find(part) != std::string::npos) return true;
  std::fprintf(stderr, "'%s' has no '%s'\n", text.c_str(), part);
  return false;
}

void CheckShapes(encoder::Model& model) {
  const auto first = Values(2, 7);
  model.x(Input::from(first, {2, 7, 32}));
  const auto y = model.run().y;
  static_assert(decltype(y)::rank() == 3);
  Check(y.shape()[0] == 2 && y.shape()[1] == 7 && y.shape()[2] == 32, "shape of the output");
  Check(y.size() == 2 * 7 * 32 && y.end() - y.begin() == 2 * 7 * 32, "size of the output");
  const std::vector<float> kept(y.begin(), y.end());

  // The same through the model's own memory, after another shape in between.
  model.resize<encoder::Input::x>({1, 32, 32}).fill(0.5f);
  Check(model.run().y.shape()[1] == 32, "shape of a longer sequence");
  const auto own = model.resize<encoder::Input::x>({2, 7, 32});
  std::memcpy(own.data(), first.data(), own.bytes());
  const auto again = model.run().y;
  Check(std::equal(again.begin(), again.end(), kept.begin(), kept.end()), "the same numbers");
  Check(again(1, 6, 31) == kept.back(), "the last element");

  encoder::Model clone = model.clone();
  Check(Has(Failure([&] { clone.run(); }), "has no shape yet"), "a clone starts without shapes");
}

void CheckErrors(encoder::Model& model) {
  const auto values = Values(3, 7);
  Check(Has(Failure([&] { model.x(Input::from(values, {3, 7, 32})); }), "N is at most 2"), "bound");
  Check(Has(Failure([&] { Input(values.data(), {1, 7, 31}); }), "axis 2"), "static extent");
  Check(Has(Failure([&] { Input::from(values, {1, 7, 32}); }), "elements"), "size of a vector");
  encoder_model* handle = model.handle();
  const std::int64_t wrong[] = {1, 7, 31};
  Check(encoder_set_input_shape(handle, 0, wrong, 3) == TVMAKE_SHAPE, "C: static extent");
  Check(encoder_set_input_shape(handle, 0, wrong, 2) == TVMAKE_SHAPE, "C: rank");
  Check(encoder_set_input_shape(handle, 0, nullptr, 3) == TVMAKE_INVALID_ARGUMENT, "C: null");
  Check(encoder_set_input_shape(handle, 1, wrong, 3) == TVMAKE_INDEX, "C: no such input");
  Check(encoder_output_view(handle, 0, nullptr) == TVMAKE_INVALID_ARGUMENT, "C: null view");
  const std::int64_t right[] = {1, 5, 32};
  Check(encoder_set_input_shape(handle, 0, right, 3) == TVMAKE_OK, "C: right shape");
  Check(encoder_set_input(handle, 0, values.data(), 4) == TVMAKE_SHAPE, "C: number of bytes");
  Check(encoder_set_input(handle, 0, values.data(), 5 * 32 * 4) == TVMAKE_OK, "C: input");
  Check(encoder_run(handle) == TVMAKE_OK, "C: run");
  tvmake_tensor_view view;
  Check(encoder_output_view(handle, 0, &view) == TVMAKE_OK && view.shape[1] == 5, "C: output");
  const tvmake_tensor_info* info = encoder_input_info(0);
  Check(info->shape[0] == -1 && info->max_shape[0] == 2 && info->shape[2] == 32, "C: info");
  Check(std::string(encoder_info()->executor) == "vm", "C: executor");
}

// All symbols have bounds: whatever the shapes, nothing is allocated once the model is open.
void CheckMemory(encoder::Model& model) {
  const auto run = [&](std::int64_t n, std::int64_t s) {
    model.resize<encoder::Input::x>({n, s, 32}).fill(0.25f);
    model.run();
  };
  run(1, 1);
  const auto before = mallinfo2();
  for (std::int64_t s = 1; s <= 32; ++s) run(1 + s % 2, s);
  const auto after = mallinfo2();
  Check(before.uordblks == after.uordblks && before.hblkhd == after.hblkhd, "constant memory");
  Check(model.arena_bytes() == encoder::Model::info().arena_bytes, "size of the arena");
}

}  // namespace

int main() {
  encoder::Model model(tvmake::ModelOptions{1, {}});
  CheckShapes(model);
  CheckErrors(model);
  CheckMemory(model);
  if (failures == 0) std::puts("ok");
  return failures;
}
