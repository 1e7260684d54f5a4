// The typed C++ interface of compiled models, header-only over their C interface. C++17 and later.
//
// A model named `digits` has its types in the generated `digits.hpp`:
//
//   digits::Model model;
//   model.x(image);                  // copies; or write through the view that model.x() returns
//   auto scores = model.run().y;     // tvmake::Tensor<const float, 1, 10>, a view into the model's
//   memory
//
// Element types, ranks and extents are part of the types: a tensor of another shape does not
// compile.
#ifndef TVMAKE_MODEL_HPP_
#define TVMAKE_MODEL_HPP_

#include <algorithm>
#include <array>
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <iterator>
#include <memory>
#include <stdexcept>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>

#include "tvmake/model.h"

namespace tvmake {

/// The one exception of compiled models.
class ModelError : public std::runtime_error {
 public:
  ModelError(tvmake_status status, const std::string& message)
      : std::runtime_error(message), status_(status) {}
  tvmake_status status() const noexcept { return status_; }

 private:
  tvmake_status status_;
};

/// An IEEE 754 half: storage only, convert to compute.
struct Float16 {
  std::uint16_t bits;
};

/// The upper half of an IEEE 754 single: storage only, convert to compute.
struct BFloat16 {
  std::uint16_t bits;
};

/// Floats of 8 bits, as ONNX and DLPack name them: storage only, convert to compute.
struct Float8E4M3FN {
  std::uint8_t bits;
};
struct Float8E4M3FNUZ {
  std::uint8_t bits;
};
struct Float8E5M2 {
  std::uint8_t bits;
};
struct Float8E5M2FNUZ {
  std::uint8_t bits;
};
/// A power of two, 2^(bits - 127); 255 is NaN.
struct Float8E8M0 {
  std::uint8_t bits;
};

namespace detail {

/// Whether memory of U may be seen as T: the same type, or one more const.
template <typename U, typename T>
inline constexpr bool kViewable = std::is_convertible_v<U (*)[], T (*)[]>;

/// A C array with these extents: `ArrayOf<float, 2, 3>` is `float[2][3]`.
template <typename T, std::int64_t... kShape>
struct ArrayOf {
  using Type = T;
};
template <typename T, std::int64_t kExtent, std::int64_t... kRest>
struct ArrayOf<T, kExtent, kRest...> {
  using Type = typename ArrayOf<T, kRest...>::Type[kExtent];
};

/// Whether `Array` is a C array of exactly this shape, or the flat array of as many elements.
template <typename Array, typename T, std::int64_t... kShape>
constexpr bool IsArrayOf() {
  if constexpr (std::is_array_v<Array> && ((kShape > 0) && ...)) {
    using Element = std::remove_all_extents_t<Array>;
    constexpr std::size_t kSize = (std::size_t{1} * ... * static_cast<std::size_t>(kShape));
    return kViewable<Element, T> &&
           (std::is_same_v<Array, Element[kSize]> ||
            std::is_same_v<Array, typename ArrayOf<Element, kShape...>::Type>);
  } else {
    return false;
  }
}

}  // namespace detail

/// A tensor's memory, seen with its element type and shape: contiguous, last axis fastest. It does
/// not own the memory; a copy views the same. `Tensor<const T, ...>` is the read-only view, which
/// every view of T converts to.
template <typename T, std::int64_t... kShape>
class Tensor {
  static_assert(((kShape >= 0) && ...), "extents are not negative");
  static constexpr std::size_t kSize = (std::size_t{1} * ... * static_cast<std::size_t>(kShape));

 public:
  using Element = T;
  using Value = std::remove_const_t<T>;
  using Const = Tensor<const T, kShape...>;
  using Mutable = Tensor<Value, kShape...>;
  static constexpr bool kIsDynamic = false;

  /// A view of size() elements at `data`, which the caller vouches for.
  static constexpr Tensor from_pointer(T* data) noexcept { return Tensor(data); }

  /// A view of a contiguous container, e.g. a std::vector. Throws ModelError if it has not size()
  /// elements.
  template <typename Container>
  static Tensor from(Container& values) {
    if (std::size(values) != kSize) {
      throw ModelError(TVMAKE_SHAPE, "a tensor of " + std::to_string(kSize) +
                                         " elements cannot view a container of " +
                                         std::to_string(std::size(values)));
    }
    return Tensor(std::data(values));
  }
  template <typename Container>
  static Tensor from(const Container&& values) = delete;  // would outlive the temporary

  /// A view of an array of size() elements.
  template <typename U, std::enable_if_t<detail::kViewable<U, T>, int> = 0>
  constexpr Tensor(std::array<U, kSize>& values) noexcept : data_(values.data()) {}
  template <typename U, std::enable_if_t<detail::kViewable<const U, T>, int> = 0>
  constexpr Tensor(const std::array<U, kSize>& values) noexcept : data_(values.data()) {}
  template <typename U>
  Tensor(const std::array<U, kSize>&& values) = delete;  // would outlive the temporary

  /// A view of an array of this shape, e.g. `float image[1][1][8][8]`, or of the flat `float
  /// image[64]`.
  template <typename Array, std::enable_if_t<detail::IsArrayOf<Array, T, kShape...>(), int> = 0>
  constexpr Tensor(Array& values) noexcept : data_(First(values)) {}

  /// The read-only view of a writable one.
  template <typename U, std::enable_if_t<!std::is_same_v<U, T> && detail::kViewable<U, T>, int> = 0>
  constexpr Tensor(Tensor<U, kShape...> other) noexcept : data_(other.data()) {}

  static constexpr std::size_t rank() noexcept { return sizeof...(kShape); }
  static constexpr std::size_t size() noexcept { return kSize; }
  static constexpr std::size_t bytes() noexcept { return kSize * sizeof(T); }
  static constexpr std::array<std::int64_t, sizeof...(kShape)> shape() noexcept {
    return {kShape...};
  }

  constexpr T* data() const noexcept { return data_; }
  constexpr T* begin() const noexcept { return data_; }
  constexpr T* end() const noexcept { return data_ + kSize; }

  /// The element at a flat position.
  constexpr T& operator[](std::size_t position) const {
    assert(position < kSize);
    return data_[position];
  }

  /// The element at one index per axis.
  template <typename... Index>
  constexpr T& operator()(Index... index) const {
    static_assert(sizeof...(Index) == sizeof...(kShape), "one index per axis");
    static_assert((std::is_integral_v<Index> && ...), "indices are integers");
    assert(((static_cast<std::uint64_t>(index) < static_cast<std::uint64_t>(kShape)) && ...));
    std::int64_t position = 0;
    ((position = position * kShape + static_cast<std::int64_t>(index)), ...);
    return data_[position];
  }

  /// Overwrites every element.
  void copy_from(Const source) const { std::copy(source.begin(), source.end(), data_); }
  void fill(Value value) const { std::fill(begin(), end(), value); }

 private:
  constexpr explicit Tensor(T* data) noexcept : data_(data) {}

  template <typename Array>
  static constexpr T* First(Array& values) noexcept {
    if constexpr (std::is_array_v<Array>) {
      return First(values[0]);
    } else {
      return &values;
    }
  }

  T* data_;
};

/// An extent that is known at run time only, in the type of a tensor.
inline constexpr std::int64_t kDynamic = -1;

/// A tensor's memory, some of whose extents are known at run time only: those that are kDynamic in
/// the type. Otherwise as Tensor.
template <typename T, std::int64_t... kShape>
class DynamicTensor {
  static constexpr std::size_t kRank = sizeof...(kShape);

 public:
  using Element = T;
  using Value = std::remove_const_t<T>;
  using Const = DynamicTensor<const T, kShape...>;
  using Mutable = DynamicTensor<Value, kShape...>;
  using Shape = std::array<std::int64_t, kRank>;
  static constexpr bool kIsDynamic = true;

  /// A view of memory of this shape at `data`, which the caller vouches for. Throws ModelError if
  /// an extent is not the one in the type.
  DynamicTensor(T* data, const Shape& shape) : data_(data), shape_(shape) {
    constexpr Shape kFixed = {kShape...};
    for (std::size_t axis = 0; axis < kRank; ++axis) {
      if (kFixed[axis] != kDynamic ? shape[axis] != kFixed[axis] : shape[axis] < 0) {
        throw ModelError(
            TVMAKE_SHAPE,
            "axis " + std::to_string(axis) + " of a tensor is " + std::to_string(shape[axis]) +
                ", expected " +
                (kFixed[axis] == kDynamic ? "no negative number" : std::to_string(kFixed[axis])));
      }
    }
  }

  /// A view of a contiguous container, e.g. a std::vector. Throws ModelError if it has not as many
  /// elements as the shape says.
  template <typename Container>
  static DynamicTensor from(Container& values, const Shape& shape) {
    const DynamicTensor view(std::data(values), shape);
    if (std::size(values) != view.size()) {
      throw ModelError(TVMAKE_SHAPE, "a tensor of " + std::to_string(view.size()) +
                                         " elements cannot view a container of " +
                                         std::to_string(std::size(values)));
    }
    return view;
  }
  template <typename Container>
  static DynamicTensor from(const Container&& values, const Shape& shape) = delete;

  /// The read-only view of a writable one.
  template <typename U, std::enable_if_t<!std::is_same_v<U, T> && detail::kViewable<U, T>, int> = 0>
  DynamicTensor(DynamicTensor<U, kShape...> other) noexcept
      : data_(other.data()), shape_(other.shape()) {}

  static constexpr std::size_t rank() noexcept { return kRank; }
  const Shape& shape() const noexcept { return shape_; }
  std::size_t size() const noexcept {
    std::size_t size = 1;
    for (const std::int64_t extent : shape_) size *= static_cast<std::size_t>(extent);
    return size;
  }
  std::size_t bytes() const noexcept { return size() * sizeof(T); }

  T* data() const noexcept { return data_; }
  T* begin() const noexcept { return data_; }
  T* end() const noexcept { return data_ + size(); }

  /// The element at a flat position.
  T& operator[](std::size_t position) const {
    assert(position < size());
    return data_[position];
  }

  /// The element at one index per axis.
  template <typename... Index>
  T& operator()(Index... index) const {
    static_assert(sizeof...(Index) == kRank, "one index per axis");
    static_assert((std::is_integral_v<Index> && ...), "indices are integers");
    std::int64_t position = 0;
    std::size_t axis = 0;
    ((assert(static_cast<std::int64_t>(index) >= 0 &&
             static_cast<std::int64_t>(index) < shape_[axis]),
      position = position * shape_[axis++] + static_cast<std::int64_t>(index)),
     ...);
    return data_[position];
  }

  void fill(Value value) const { std::fill(begin(), end(), value); }

 private:
  T* data_;
  Shape shape_;
};

/// How to create a model.
struct ModelOptions {
  int num_threads = 0;  ///< 0: TVM_NUM_THREADS, or every core that this process may use
  std::string
      weights_path;  ///< empty: embedded, or beside the library or program that holds the model
};

/// What the generated `Model` classes have in common. `Derived` is that class; `Abi` names the
/// model's C functions and its tensors' types.
///
/// A model owns its arena and its threads; clones share the weights. The views that it gives point
/// into it: they are valid as long as it lives, their contents until the next run(). One model is
/// used by one thread at a time; different models, clones included, are independent.
template <typename Derived, typename Abi>
class BasicModel {
 public:
  using Handle = typename Abi::Handle;
  using Input = typename Abi::Input;
  using Output = typename Abi::Output;
  using Outputs = typename Abi::Outputs;

  /// The view of one input (writable) or output (read-only).
  template <Input kInput>
  using InputView =
      std::tuple_element_t<static_cast<std::size_t>(kInput), typename Abi::InputViews>;
  template <Output kOutput>
  using OutputView =
      std::tuple_element_t<static_cast<std::size_t>(kOutput), typename Abi::OutputViews>;

  explicit BasicModel(const ModelOptions& options = {})
      : BasicModel(Open(options, [](auto... arguments) { return Abi::kCreate(arguments...); })) {}

  /// Takes over a model made by the C interface.
  explicit BasicModel(Handle* owned) noexcept : handle_(owned) {}

  /// One more model over the same weights, with an arena and threads of its own.
  [[nodiscard]] Derived clone(const ModelOptions& options = {}) const {
    return Derived(Open(
        options, [this](auto... arguments) { return Abi::kCreateShared(handle(), arguments...); }));
  }

  /// Computes the outputs from the inputs. Allocates nothing, but where an extent without a bound
  /// has grown.
  Outputs run() & {
    Check(Abi::kRun(handle()));
    return outputs();
  }

  /// As run(), showing every kernel call's time and results to `observer(const tvmake_call_view&)`.
  template <typename Observer>
  Outputs run(Observer&& observer) & {
    using Type = std::remove_reference_t<Observer>;
    std::pair<Type*, std::exception_ptr> context{std::addressof(observer), nullptr};
    Check(Abi::kRunObserved(
        handle(),
        [](const tvmake_call_view* call, void* user) {
          auto& [function, failure] = *static_cast<decltype(context)*>(user);
          try {
            if (!failure) (*function)(*call);
          } catch (...) {
            failure = std::current_exception();
          }
        },
        &context));
    if (context.second) std::rethrow_exception(context.second);
    return outputs();
  }

  /// Copies all inputs in, in order, and runs.
  template <typename... Inputs>
  Outputs operator()(Inputs&&... inputs) & {
    static_assert(sizeof...(Inputs) == std::tuple_size_v<typename Abi::InputViews>,
                  "one argument per input");
    SetAll(std::index_sequence_for<Inputs...>(), inputs...);
    return run();
  }

  /// The memory of an input, to be written before run().
  template <Input kInput>
  InputView<kInput> input() {
    using View = InputView<kInput>;
    if constexpr (View::kIsDynamic) {
      tvmake_tensor_view view{};
      Check(Abi::kInputView(NotNull(handle()), Index(kInput), &view));
      return Dynamic<View>(view);
    } else {
      void* data = Abi::kInputData(handle(), Index(kInput));
      return View::from_pointer(static_cast<typename View::Element*>(NotNull(data)));
    }
  }

  /// Gives an input of dynamic shape the shape that it has from now on, and its memory, to be
  /// written before run().
  template <Input kInput>
  InputView<kInput> resize(const typename InputView<kInput>::Shape& shape) {
    SetShape<kInput>(shape);
    return input<kInput>();
  }

  /// The memory of an output; one of dynamic shape has its shape after run().
  template <Output kOutput>
  OutputView<kOutput> output() const {
    using View = OutputView<kOutput>;
    if constexpr (View::kIsDynamic) {
      tvmake_tensor_view view{};
      Check(Abi::kOutputView(NotNull(handle()), Index(kOutput), &view));
      return Dynamic<View>(view);
    } else {
      const void* data = Abi::kOutputData(handle(), Index(kOutput));
      return View::from_pointer(static_cast<typename View::Element*>(NotNull(data)));
    }
  }

  /// All outputs, by name.
  Outputs outputs() const {
    return AllOutputs(std::make_index_sequence<std::tuple_size_v<typename Abi::OutputViews>>());
  }

  /// Copies an input in.
  template <Input kInput>
  void set(typename InputView<kInput>::Const values) {
    SetShapeOf<kInput>(values);
    Check(Abi::kSetInput(handle(), Index(kInput), values.data(), values.bytes()));
  }

  /// Reads an input from, or writes an output to, the caller's memory from now on: no copy. It must
  /// be aligned to `info().alignment` and outlive its use.
  template <Input kInput>
  void bind(typename InputView<kInput>::Const memory) {
    SetShapeOf<kInput>(memory);
    Check(Abi::kSetInputZeroCopy(handle(), Index(kInput), memory.data(), memory.bytes()));
  }
  template <Output kOutput>
  void bind(typename OutputView<kOutput>::Mutable memory) {
    Check(Abi::kSetOutputZeroCopy(handle(), Index(kOutput), memory.data(), memory.bytes()));
  }

  /// Back to the model's own memory.
  template <Input kInput>
  void unbind() {
    Check(Abi::kUnbindInput(handle(), Index(kInput)));
  }
  template <Output kOutput>
  void unbind() {
    Check(Abi::kUnbindOutput(handle(), Index(kOutput)));
  }

  /// Replaces the weights by those in a weights file's bytes, which are copied.
  void load_params(const void* blob, std::size_t bytes) {
    Check(Abi::kLoadParams(handle(), blob, bytes));
  }

  int num_threads() const { return Abi::kNumThreads(handle()); }
  std::size_t arena_bytes() const { return Abi::kArenaBytes(handle()); }
  std::size_t weights_bytes() const { return Abi::kWeightsBytes(handle()); }
  static const tvmake_model_info& info() { return *Abi::kInfo(); }

  /// The model as the C interface knows it; still owned by this object.
  Handle* handle() const noexcept { return handle_.get(); }

 private:
  struct Destroy {
    void operator()(Handle* handle) const noexcept { Abi::kDestroy(handle); }
  };

  template <typename Create>
  static Handle* Open(const ModelOptions& options, Create create) {
    const tvmake_options c_options = {
        sizeof(tvmake_options), options.num_threads,
        options.weights_path.empty() ? nullptr : options.weights_path.c_str()};
    Handle* handle = nullptr;
    std::array<char, 1024> error{};
    const tvmake_status status = create(&c_options, &handle, error.data(), error.size());
    if (status != TVMAKE_OK) throw ModelError(status, error.data());
    return handle;
  }

  void Check(tvmake_status status) const {
    if (status != TVMAKE_OK) throw ModelError(status, Abi::kLastError(handle()));
  }

  template <Input kInput, typename Shape>
  void SetShape(const Shape& shape) {
    Check(Abi::kSetInputShape(handle(), Index(kInput), shape.data(), shape.size()));
  }

  template <Input kInput, typename View>
  void SetShapeOf(const View& view) {
    if constexpr (View::kIsDynamic) SetShape<kInput>(view.shape());
  }

  template <typename View>
  static View Dynamic(const tvmake_tensor_view& view) {
    typename View::Shape shape{};
    std::copy(view.shape, view.shape + view.rank, shape.begin());
    return View(static_cast<typename View::Element*>(const_cast<void*>(view.data)), shape);
  }

  template <typename T>
  static T* NotNull(T* data) {
    if (data == nullptr) throw ModelError(TVMAKE_INVALID_ARGUMENT, "the model was moved from");
    return data;
  }

  template <typename Enum>
  static constexpr std::size_t Index(Enum tensor) {
    return static_cast<std::size_t>(tensor);
  }

  template <std::size_t... kIndices, typename... Inputs>
  void SetAll(std::index_sequence<kIndices...>, Inputs&... inputs) {
    (set<static_cast<Input>(kIndices)>(inputs), ...);
  }

  template <std::size_t... kIndices>
  Outputs AllOutputs(std::index_sequence<kIndices...>) const {
    return Outputs{output<static_cast<Output>(kIndices)>()...};
  }

  std::unique_ptr<Handle, Destroy> handle_;
};

}  // namespace tvmake

#endif  // TVMAKE_MODEL_HPP_
