// The Python face of a compiled model: a class over its C interface, made with nanobind.
//
// Included by the generated source of a module of tvmake_add_wheel_module() only. C++17 and later.
#ifndef TVMAKE_PYTHON_MODULE_H_
#define TVMAKE_PYTHON_MODULE_H_

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/unique_ptr.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <mutex>
#include <new>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "tvmake/model.hpp"

namespace tvmake::python {

namespace nb = nanobind;

/// What the generated source says of a module: everything that only Python sees.
struct Names {
  const char* module;         ///< the package, e.g. "digits"
  const char* const* inputs;  ///< as keyword arguments
  const char* const* outputs;
  const char* run_signature;
  const char* run_doc;
};

namespace detail {

/// Any array in the CPU's memory, contiguous; others are copied into one.
using InputArray = nb::ndarray<nb::ro, nb::c_contig, nb::device::cpu>;
using NumpyArray = nb::ndarray<nb::numpy>;

inline nb::dlpack::dtype DType(const tvmake_tensor_info& info) {
  nb::dlpack::dtype dtype;
  dtype.code = info.dtype.code;
  dtype.bits = info.dtype.bits;
  dtype.lanes = info.dtype.lanes;
  return dtype;
}

/// The name of an element type; for messages, so the common ones only.
inline std::string DTypeName(nb::dlpack::dtype dtype) {
  const std::array<const char*, 7> kinds = {"int",    "uint",    "float", "?",
                                            "bfloat", "complex", "bool"};
  if (dtype.code == 6) return "bool";
  const char* kind = dtype.code < kinds.size() ? kinds[dtype.code] : "?";
  return kind + std::to_string(dtype.bits);
}

template <typename Extents>
std::string ShapeText(std::size_t rank, Extents extent) {
  std::string text = "(";
  for (std::size_t i = 0; i < rank; ++i) {
    text += std::to_string(extent(i)) + (i + 1 < rank ? ", " : rank == 1 ? "," : "");
  }
  return text + ")";
}

inline std::string Text(nb::handle object) { return nb::cast<std::string>(nb::str(object)); }

inline bool IsDynamic(const tvmake_tensor_info& info) {
  return std::any_of(info.shape, info.shape + info.rank, [](std::int64_t d) { return d < 0; });
}

/// The argument as an array that fits the input; throws TypeError or ValueError.
inline InputArray Checked(nb::handle argument, const char* name, const tvmake_tensor_info& info) {
  InputArray array;
  if (!nb::try_cast(argument, array)) {
    const std::string message = std::string("input '") + name +
                                "' takes a NumPy array, or another array in the CPU's memory that "
                                "speaks DLPack, not " +
                                Text(argument.type().attr("__name__"));
    throw nb::type_error(message.c_str());
  }
  const nb::dlpack::dtype expected = DType(info);
  const nb::dlpack::dtype got = array.dtype();
  if (got.code != expected.code || got.bits != expected.bits || got.lanes != expected.lanes) {
    const std::string message = std::string("input '") + name + "' has elements of type " +
                                info.dtype_name + ", not " + DTypeName(got) +
                                "; convert it: array.astype('" + info.dtype_name + "')";
    throw nb::type_error(message.c_str());
  }
  const auto rank = static_cast<std::size_t>(info.rank);
  bool same = array.ndim() == rank;
  for (std::size_t i = 0; same && i < rank; ++i) {
    same = info.shape[i] < 0 || array.shape(i) == static_cast<std::size_t>(info.shape[i]);
  }
  if (!same) {
    const std::string message =
        std::string("input '") + name + "' has the shape " +
        ShapeText(rank, [&](std::size_t i) { return info.shape[i]; }) + ", not " +
        ShapeText(array.ndim(), [&](std::size_t i) { return array.shape(i); });
    throw nb::value_error(message.c_str());
  }
  return array;
}

/// A NumPy array over memory that `owner` keeps alive.
inline nb::object ToNumpy(void* data, const tvmake_tensor_info& info, const std::int64_t* extents,
                          nb::handle owner) {
  std::vector<std::size_t> shape(extents, extents + info.rank);
  return nb::cast(NumpyArray(data, shape.size(), shape.data(), owner, nullptr, DType(info),
                             nb::device::cpu::value));
}

}  // namespace detail

/// One model object of Python. Its calls may come from several threads, and take turns; the
/// interpreter runs on meanwhile.
template <typename Abi>
class Model {
 public:
  using Handle = typename Abi::Handle;

  explicit Model(int num_threads, const std::optional<std::string>& weights_path)
      : handle_(Open(num_threads, weights_path ? weights_path->c_str() : nullptr, nullptr)) {}

  /// Over the weights of another model.
  Model(const Model& source, int num_threads)
      : handle_(Open(num_threads, nullptr, source.handle_)) {}

  Model(const Model&) = delete;
  Model& operator=(const Model&) = delete;
  ~Model() { Abi::kDestroy(handle_); }

  /// Runs on the arguments, or, without any, on what is in the model's own inputs. The results are
  /// new arrays, which the kernels wrote directly.
  nb::object Run(const nb::args& arguments, const nb::kwargs& keywords) {
    const std::vector<detail::InputArray> inputs = Inputs(arguments, keywords);
    std::vector<Buffer> outputs;
    for (std::size_t i = 0; i < Abi::kOutputCount(); ++i) outputs.emplace_back(i);

    {
      const nb::gil_scoped_release released;
      const std::lock_guard<std::mutex> lock(mutex_);
      RunOnce(inputs, outputs);
    }

    if (outputs.size() == 1) return outputs[0].Release();
    nb::list values;
    for (Buffer& output : outputs) values.append(output.Release());
    return OutputsType()(*nb::tuple(values));
  }

  /// The model's own inputs, to be written: a dict of arrays over its memory.
  static nb::dict OwnInputs(nb::handle self) {
    Model& model = nb::cast<Model&>(self);
    std::vector<void*> memory(Abi::kInputCount());
    {
      const nb::gil_scoped_release released;
      const std::lock_guard<std::mutex> lock(model.mutex_);  // a run may have bound its arguments
      for (std::size_t i = 0; i < memory.size(); ++i) {
        memory[i] = Abi::kInputData(model.handle_, i);
      }
    }
    nb::dict inputs;
    for (std::size_t i = 0; i < memory.size(); ++i) {
      const tvmake_tensor_info& info = *Abi::kInputInfo(i);
      if (detail::IsDynamic(info)) continue;  // its memory may move with its shape
      inputs[names->inputs[i]] = detail::ToNumpy(memory[i], info, info.shape, self);
    }
    return inputs;
  }

  int NumThreads() const { return Abi::kNumThreads(handle_); }
  std::size_t ArenaBytes() const { return Abi::kArenaBytes(handle_); }
  std::size_t WeightsBytes() const { return Abi::kWeightsBytes(handle_); }

  /// Set once, when the module is made.
  static inline const Names* names = nullptr;
  static inline PyObject* outputs_type = nullptr;  // kept for as long as the process lives

 private:
  /// The memory of one result, until an array takes it over.
  class Buffer {
   public:
    explicit Buffer(std::size_t index)
        : info_(Abi::kOutputInfo(index)),
          shape_(info_->shape, info_->shape + info_->rank),
          data_(is_dynamic() ? nullptr : New(info_->bytes)) {}
    Buffer(Buffer&& other) noexcept
        : info_(other.info_),
          shape_(std::move(other.shape_)),
          data_(std::exchange(other.data_, nullptr)) {}
    Buffer& operator=(Buffer&&) = delete;
    ~Buffer() { Delete(data_); }

    void* data() const { return data_; }
    std::size_t bytes() const { return info_->bytes; }
    /// Whether the result's shape is known only after the run, when Take copies it.
    bool is_dynamic() const { return detail::IsDynamic(*info_); }
    void Take(const tvmake_tensor_view& view) {
      shape_.assign(view.shape, view.shape + view.rank);
      data_ = New(view.bytes);
      if (view.bytes > 0) std::memcpy(data_, view.data, view.bytes);
    }

    nb::object Release() {
      const nb::capsule owner(data_, [](void* data) noexcept { Delete(data); });
      return detail::ToNumpy(std::exchange(data_, nullptr), *info_, shape_.data(), owner);
    }

   private:
    static void* New(std::size_t bytes) {
      return ::operator new(bytes > 0 ? bytes : 1, Alignment());
    }
    static std::align_val_t Alignment() { return std::align_val_t{Abi::kInfo()->alignment}; }
    static void Delete(void* data) noexcept { ::operator delete(data, Alignment()); }

    const tvmake_tensor_info* info_;
    std::vector<std::int64_t> shape_;
    void* data_;
  };

  static Handle* Open(int num_threads, const char* weights_path, const Handle* source) {
    const tvmake_options options = {sizeof(tvmake_options), num_threads, weights_path};
    std::array<char, 1024> error{};
    Handle* handle = nullptr;
    const tvmake_status status =
        source == nullptr
            ? Abi::kCreate(&options, &handle, error.data(), error.size())
            : Abi::kCreateShared(source, &options, &handle, error.data(), error.size());
    if (status != TVMAKE_OK) throw ModelError(status, error.data());
    return handle;
  }

  static nb::handle OutputsType() { return outputs_type; }

  /// The arguments in the order of the inputs; none if none were given.
  static std::vector<detail::InputArray> Inputs(const nb::args& arguments,
                                                const nb::kwargs& keywords) {
    const std::size_t count = Abi::kInputCount();
    std::vector<detail::InputArray> inputs;
    if (arguments.size() + keywords.size() == 0) return inputs;
    if (arguments.size() > count) {
      const std::string message = "run() takes " + std::to_string(count) + " arrays at most, not " +
                                  std::to_string(arguments.size());
      throw nb::type_error(message.c_str());
    }
    std::vector<nb::object> values(count);
    for (std::size_t i = 0; i < arguments.size(); ++i) values[i] = arguments[i];
    for (const auto& [key, value] : keywords) {
      const std::string name = nb::cast<std::string>(key);
      const std::size_t index = InputIndex(name);
      if (index == count) throw nb::type_error(("run() has no input '" + name + "'").c_str());
      if (values[index].is_valid()) {
        throw nb::type_error(("run() got the input '" + name + "' twice").c_str());
      }
      values[index] = nb::borrow(value);
    }
    inputs.reserve(count);
    for (std::size_t i = 0; i < count; ++i) {
      const std::string name = names->inputs[i];
      if (!values[i].is_valid()) {
        throw nb::type_error(("run() misses the input '" + name + "'").c_str());
      }
      inputs.push_back(detail::Checked(values[i], names->inputs[i], *Abi::kInputInfo(i)));
    }
    return inputs;
  }

  /// By its name in Python, or in the model file; the number of inputs if there is none.
  static std::size_t InputIndex(const std::string& name) {
    const std::size_t count = Abi::kInputCount();
    for (std::size_t i = 0; i < count; ++i) {
      if (name == names->inputs[i] || name == Abi::kInputInfo(i)->name) return i;
    }
    return count;
  }

  /// With the lock held. The arrays may be gone by the next run, so nothing stays bound to them.
  void RunOnce(const std::vector<detail::InputArray>& inputs, std::vector<Buffer>& outputs) {
    tvmake_status status = TVMAKE_OK;
    for (std::size_t i = 0; status == TVMAKE_OK && i < inputs.size(); ++i) {
      status =
          detail::IsDynamic(*Abi::kInputInfo(i)) ? Copy(i, inputs[i]) : Give(i, inputs[i].data());
    }
    for (std::size_t i = 0; status == TVMAKE_OK && i < outputs.size(); ++i) {
      if (outputs[i].is_dynamic()) continue;
      status = Abi::kSetOutputZeroCopy(handle_, i, outputs[i].data(), outputs[i].bytes());
    }
    if (status == TVMAKE_OK) status = Abi::kRun(handle_);
    for (std::size_t i = 0; status == TVMAKE_OK && i < outputs.size(); ++i) {
      if (!outputs[i].is_dynamic()) continue;
      tvmake_tensor_view view{};
      status = Abi::kOutputView(handle_, i, &view);
      if (status == TVMAKE_OK) outputs[i].Take(view);
    }
    const std::string error = status == TVMAKE_OK ? "" : Abi::kLastError(handle_);
    for (std::size_t i = 0; i < inputs.size(); ++i) Abi::kUnbindInput(handle_, i);
    for (std::size_t i = 0; i < outputs.size(); ++i) Abi::kUnbindOutput(handle_, i);
    if (status != TVMAKE_OK) throw ModelError(status, error);
  }

  /// An input of dynamic shape, with the shape of the array.
  tvmake_status Copy(std::size_t index, const detail::InputArray& array) {
    std::vector<std::int64_t> shape(array.ndim());
    for (std::size_t i = 0; i < shape.size(); ++i) shape[i] = static_cast<int64_t>(array.shape(i));
    const tvmake_status status = Abi::kSetInputShape(handle_, index, shape.data(), shape.size());
    return status == TVMAKE_OK ? Abi::kSetInput(handle_, index, array.data(), array.nbytes())
                               : status;
  }

  /// The model reads the caller's memory where kernels can, and a copy where it is not aligned.
  tvmake_status Give(std::size_t index, const void* data) {
    const std::size_t bytes = Abi::kInputInfo(index)->bytes;
    if (reinterpret_cast<std::uintptr_t>(data) % Abi::kInfo()->alignment == 0) {
      return Abi::kSetInputZeroCopy(handle_, index, data, bytes);
    }
    const tvmake_status status = Abi::kUnbindInput(handle_, index);
    return status == TVMAKE_OK ? Abi::kSetInput(handle_, index, data, bytes) : status;
  }

  Handle* handle_;
  std::mutex mutex_;
};

/// Fills a Python module with the class Model, its error and the model's description.
template <typename Abi>
void DefineModule(nb::module_& module, const Names& names) {
  using Class = Model<Abi>;
  Class::names = &names;

  nb::exception<ModelError> error(module, "ModelError", PyExc_RuntimeError);
  error.attr("__module__") = names.module;

  if (Abi::kOutputCount() > 1) {
    nb::list fields;
    for (std::size_t i = 0; i < Abi::kOutputCount(); ++i) fields.append(names.outputs[i]);
    const nb::object make = nb::module_::import_("collections").attr("namedtuple");
    nb::object type = make("Outputs", fields);
    type.attr("__module__") = names.module;
    module.attr("Outputs") = type;
    Class::outputs_type = type.release().ptr();
  }

  nb::class_<Class> model(module, "Model");
  model.attr("__module__") = names.module;
  model
      .def(nb::init<int, const std::optional<std::string>&>(), nb::kw_only(),
           nb::arg("num_threads") = 0, nb::arg("weights_path") = nb::none(),
           nb::sig("def __init__(self, *, num_threads: int = 0, "
                   "weights_path: str | None = None) -> None"))
      .def("run", &Class::Run, nb::sig(names.run_signature), names.run_doc)
      .def("__call__", &Class::Run, "As run().")
      .def(
          "clone",
          [](const Class& source, int threads) { return std::make_unique<Class>(source, threads); },
          nb::kw_only(), nb::arg("num_threads") = 0,
          nb::sig("def clone(self, *, num_threads: int = 0) -> Model"),
          "One more model over the same weights, with an arena and threads of its own.")
      .def_prop_ro(
          "inputs", [](nb::handle self) { return Class::OwnInputs(self); },
          "The model's own inputs by name: fill these arrays in place and call run() without any.")
      .def_prop_ro("num_threads", &Class::NumThreads)
      .def_prop_ro("arena_bytes", &Class::ArenaBytes)
      .def_prop_ro("weights_bytes", &Class::WeightsBytes);

  module.def(
      "info", [] { return nb::module_::import_("json").attr("loads")(Abi::kInfoJson()); },
      "Where the model came from, what it needs, its inputs and outputs.");
}

}  // namespace tvmake::python

#endif  // TVMAKE_PYTHON_MODULE_H_
