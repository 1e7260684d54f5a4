#include "tvmake/harness.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <fstream>
#include <memory>
#include <numeric>
#include <stdexcept>
#include <string>
#include <string_view>

#include "harness_arguments.h"
#include "harness_report.h"
#include "harness_tensors.h"
#include "npy.h"

namespace tvmake::harness {
namespace {

constexpr int kError = 1;
constexpr int kWrongUsage = 2;

void Print(const std::string& text) { std::fwrite(text.data(), 1, text.size(), stdout); }

// An open model. Throws std::runtime_error with the model's own text.
class Session {
 public:
  Session(const ModelApi& api, const Arguments& arguments) : api_(api) {
    tvmake_options options = TVMAKE_OPTIONS_INIT;
    options.num_threads = arguments.threads;
    if (!arguments.weights.empty()) options.weights_path = arguments.weights.c_str();
    std::string error(1024, '\0');
    if (api.create(&options, &model_, error.data(), error.size()) != TVMAKE_OK) {
      throw std::runtime_error(error.c_str());
    }
  }
  ~Session() { api_.destroy(model_); }
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  const ModelApi& api() const { return api_; }
  int threads() const { return api_.num_threads(model_); }
  const void* Output(size_t index) const { return api_.output_data(model_, index); }

  // An input or output as it is now, where its description leaves extents open.
  tvmake_tensor_info Input(size_t index) const {
    return Present(api_.inputs[index], api_.input_view, index);
  }
  tvmake_tensor_info OutputInfo(size_t index) const {
    return Present(api_.outputs[index], api_.output_view, index);
  }

  void SetInputShape(size_t index, const std::vector<int64_t>& shape) {
    Check(api_.set_input_shape(model_, index, shape.data(), shape.size()));
  }

  void SetInput(size_t index, const std::vector<std::byte>& data) {
    Check(api_.set_input(model_, index, data.data(), data.size()));
  }

  void Run() { Check(api_.run(model_)); }

  // `observer(const tvmake_call_view&)` may throw: the run goes on without it, then throws.
  template <typename Observer>
  void Run(Observer observer) {
    struct {
      Observer& observer;
      std::exception_ptr error;
    } context{observer, nullptr};
    const auto call_observer = [](const tvmake_call_view* call, void* user) {
      auto& [function, error] = *static_cast<decltype(context)*>(user);
      try {
        if (!error) function(*call);
      } catch (...) {
        error = std::current_exception();
      }
    };
    Check(api_.run_observed(model_, call_observer, &context));
    if (context.error) std::rethrow_exception(context.error);
  }

 private:
  template <typename View>
  tvmake_tensor_info Present(tvmake_tensor_info info, View view_of, size_t index) const {
    tvmake_tensor_view view{};
    Check(view_of(model_, index, &view));
    info.shape = view.shape;
    info.bytes = view.bytes;
    return info;
  }

  void Check(tvmake_status status) const {
    if (status != TVMAKE_OK) throw std::runtime_error(api_.last_error(model_));
  }

  const ModelApi& api_;
  void* model_ = nullptr;
};

// The position of a tensor by its name or identifier.
size_t Find(const std::vector<tvmake_tensor_info>& tensors, const char* kind,
            const std::string& name) {
  const auto found = std::ranges::find_if(tensors, [&](const auto& tensor) {
    return name == tensor.name || name == tensor.identifier;
  });
  if (found != tensors.end()) return static_cast<size_t>(found - tensors.begin());
  std::string known;
  for (const auto& tensor : tensors)
    known += (known.empty() ? "" : ", ") + std::string(tensor.name);
  throw std::runtime_error("the model has no " + std::string(kind) + " '" + name +
                           "'; it has: " + known);
}

bool IsDynamic(const tvmake_tensor_info& tensor) {
  return std::any_of(tensor.shape, tensor.shape + tensor.rank, [](int64_t d) { return d < 0; });
}

// Gives the inputs of dynamic shape the shapes of their files, or those of --shape.
void SetShapes(Session& session, const Arguments& arguments,
               const std::vector<const std::string*>& files) {
  const auto& inputs = session.api().inputs;
  std::vector<bool> known(inputs.size());
  for (const NamedShape& named : arguments.shapes) {
    const size_t index = Find(inputs, "input", named.name);
    session.SetInputShape(index, named.shape);
    known[index] = true;
  }
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (known[i] || !IsDynamic(inputs[i])) continue;
    if (files[i] == nullptr || !IsNpy(*files[i])) {
      throw UsageError("no shape for the input '" + std::string(inputs[i].name) + "', " +
                       npy::Describe(inputs[i]) + "; give it with --shape, or a .npy file");
    }
    session.SetInputShape(i, npy::Shape(*files[i]));
  }
}

void SetInputs(Session& session, const Arguments& arguments) {
  const auto& inputs = session.api().inputs;
  std::vector<const std::string*> files(inputs.size());
  for (const NamedFile& input : arguments.inputs) {
    if (input.name.empty()) continue;
    const std::string*& file = files[Find(inputs, "input", input.name)];
    if (file != nullptr) throw UsageError("two files for the input '" + input.name + "'");
    file = &input.file;
  }
  // Files without a name are for the inputs that are left, in order.
  for (const NamedFile& input : arguments.inputs) {
    if (!input.name.empty()) continue;
    const auto next = std::ranges::find(files, nullptr);
    if (next == files.end()) {
      throw UsageError(input.file + " is one file too many: the model has " +
                       std::to_string(inputs.size()) + " inputs");
    }
    *next = &input.file;
  }
  SetShapes(session, arguments, files);
  const bool measures = arguments.bench || arguments.profile;
  const bool random = arguments.seed || (measures && arguments.inputs.empty());
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (files[i] != nullptr) {
      session.SetInput(i, ReadTensor(*files[i], session.Input(i)));
    } else if (random) {
      session.SetInput(i, RandomTensor(session.Input(i), arguments.seed.value_or(0) * 1000003 + i));
    } else {
      throw UsageError("no file for the input '" + std::string(inputs[i].name) + "', " +
                       npy::Describe(inputs[i]) + "; --seed N fills it with random values");
    }
  }
}

// DIR/<identifier>.npy for all outputs, and the files that were asked for by name.
void WriteOutputs(const Session& session, const Arguments& arguments) {
  const auto& outputs = session.api().outputs;
  if (!arguments.output_dir.empty()) {
    const std::filesystem::path folder(arguments.output_dir);
    std::filesystem::create_directories(folder);
    for (size_t i = 0; i < outputs.size(); ++i) {
      const std::string file = std::string(outputs[i].identifier) + ".npy";
      WriteTensor((folder / file).string(), session.OutputInfo(i), session.Output(i));
    }
  }
  for (const NamedFile& output : arguments.outputs) {
    const size_t i = Find(outputs, "output", output.name);
    WriteTensor(output.file, session.OutputInfo(i), session.Output(i));
  }
}

std::string Heading(const Session& session) {
  const tvmake_model_info& info = session.api().info;
  const std::string cpu = *info.cpu == '\0' ? "" : std::string(", ") + info.cpu;
  return Bold(info.name) + "  " + info.triple + cpu + ", " + std::to_string(session.threads()) +
         (session.threads() == 1 ? " thread\n" : " threads\n");
}

std::string OutputsText(const Session& session) {
  Table table("lll");
  for (size_t i = 0; i < session.api().outputs.size(); ++i) {
    const tvmake_tensor_info output = session.OutputInfo(i);
    table.Add({output.name, npy::Describe(output), Summary(output, session.Output(i))});
  }
  return Heading(session) + table.Text();
}

// Text and JSON of one measurement.
struct Report {
  std::string text;
  std::string json;
};

Report Bench(Session& session, const Arguments& arguments) {
  const int runs = arguments.runs.value_or(100);
  const int warmup = arguments.warmup.value_or(10);
  for (int i = 0; i < warmup; ++i) session.Run();
  std::vector<int64_t> times;
  times.reserve(static_cast<size_t>(runs));
  for (int i = 0; i < runs; ++i) {
    const auto start = std::chrono::steady_clock::now();
    session.Run();
    times.push_back(std::chrono::nanoseconds(std::chrono::steady_clock::now() - start).count());
  }
  const Statistics result = Summarize(times);
  const std::pair<const char*, double> figures[] = {
      {"min", result.min}, {"median", result.median}, {"mean", result.mean},
      {"p90", result.p90}, {"p99", result.p99},       {"max", result.max}};
  std::vector<std::string> names, values;
  std::string json =
      "{\"runs\": " + std::to_string(runs) + ", \"warmup\": " + std::to_string(warmup);
  for (const auto& [name, nanoseconds] : figures) {
    names.emplace_back(name);
    values.push_back(FormatTime(nanoseconds));
    json += ", " + Quote(std::string(name) + "_ns") + ": " + FormatNumber("%.1f", nanoseconds);
  }
  Table table("rrrrrr");
  table.Add(std::move(names));
  table.Add(std::move(values));
  return {"\n" + Bold("Latency") + " of " + std::to_string(runs) + " runs, after " +
              std::to_string(warmup) + " to warm up\n" + table.Text(),
          json + "}"};
}

// "/conv1/Conv, /relu/Relu": the names of a kernel call's nodes, or their operators.
std::string SourcesText(const tvmake_call_info& call) {
  constexpr size_t kShown = 4;
  std::string text;
  for (size_t i = 0; i < std::min(call.source_count, kShown); ++i) {
    const tvmake_source& source = call.sources[i];
    text += (i == 0 ? "" : ", ") + std::string(*source.name == '\0' ? source.op_type : source.name);
  }
  const size_t hidden = call.source_count - std::min(call.source_count, kShown);
  return hidden == 0 ? text : text + " and " + std::to_string(hidden) + " more";
}

std::string SourcesJson(const tvmake_call_info& call) {
  std::string json = "[";
  for (size_t i = 0; i < call.source_count; ++i) {
    json += (i == 0 ? "" : ", ") + ("{\"name\": " + Quote(call.sources[i].name)) +
            ", \"op_type\": " + Quote(call.sources[i].op_type) + "}";
  }
  return json + "]";
}

Report Profile(Session& session, const Arguments& arguments) {
  const auto& calls = session.api().calls;
  const int runs = arguments.runs.value_or(10);
  const int warmup = arguments.warmup.value_or(1);
  for (int i = 0; i < warmup; ++i) session.Run();
  std::vector<double> times(calls.size());  // mean nanoseconds
  for (int i = 0; i < runs; ++i) {
    session.Run([&](const tvmake_call_view& call) {
      times.at(call.index) += static_cast<double>(call.nanoseconds) / runs;
    });
  }
  const double total = std::max(std::accumulate(times.begin(), times.end(), 0.0), 1.0);
  std::vector<size_t> order(calls.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::ranges::stable_sort(order, std::greater(), [&](size_t i) { return times[i]; });

  constexpr int kBarWidth = 16;
  Table table("rrlll");
  table.Add({"time", "share", "", "kernel call", "compiled from"});
  std::string json;
  for (const size_t i : order) {
    const double share = times[i] / total;
    table.Add({FormatTime(times[i]), FormatNumber("%.1f %%", 100 * share), Bar(share, kBarWidth),
               calls[i].name, SourcesText(calls[i])});
    json += (json.empty() ? "{\"index\": " : ",\n   {\"index\": ") + std::to_string(i) +
            ", \"name\": " + Quote(calls[i].name) + ", \"kernel\": " + Quote(calls[i].kernel) +
            ", \"mean_ns\": " + FormatNumber("%.1f", times[i]) +
            ", \"share\": " + FormatNumber("%.6f", share) +
            ", \"sources\": " + SourcesJson(calls[i]) + "}";
  }
  return {"\n" + Bold("Profile") + ": " + FormatTime(total) + " in " +
              std::to_string(calls.size()) + " kernel calls, mean of " + std::to_string(runs) +
              " runs\n" + table.Text(),
          "{\"runs\": " + std::to_string(runs) + ", \"warmup\": " + std::to_string(warmup) +
              ", \"total_ns\": " + FormatNumber("%.1f", total) + ", \"calls\":\n  [" + json + "]}"};
}

void WriteText(const std::string& file, const std::string& text) {
  if (file == "-") return Print(text);
  std::ofstream stream(file, std::ios::binary);
  stream << text;
  stream.flush();
  if (!stream) throw std::runtime_error("cannot write " + file);
}

// Runs once, and writes every kernel call's results to <index>.<k>.npy, described in trace.json.
void Trace(Session& session, const std::filesystem::path& folder) {
  std::filesystem::create_directories(folder);
  std::string rows;
  session.Run([&](const tvmake_call_view& call) {
    const tvmake_call_info& info = session.api().calls.at(call.index);
    std::string outputs;
    for (size_t k = 0; k < call.output_count; ++k) {
      const std::string file = std::to_string(call.index) + "." + std::to_string(k) + ".npy";
      npy::Write(folder / file, call.outputs[k]);
      const char* name = k < info.output_count ? info.outputs[k] : nullptr;
      outputs += (k == 0 ? "" : ", ") + ("{\"file\": " + Quote(file)) +
                 ", \"onnx\": " + (name == nullptr ? "null" : Quote(name)) + "}";
    }
    rows += (rows.empty() ? "\n  {\"index\": " : ",\n  {\"index\": ") + std::to_string(call.index) +
            ", \"name\": " + Quote(call.name) + ", \"kernel\": " + Quote(info.kernel) +
            ", \"sources\": " + SourcesJson(info) + ", \"outputs\": [" + outputs + "]}";
  });
  WriteText((folder / "trace.json").string(),
            "{\"schema\": 1, \"model\": " + Quote(session.api().info.name) + ", \"calls\": [" +
                rows + "\n]}\n");
}

std::string InfoText(const ModelApi& api) {
  const tvmake_model_info& info = api.info;
  const auto or_none = [](const char* text, const char* none) {
    return *text == '\0' ? none : text;
  };
  Table table("ll");
  table.Add({"model", std::string(info.model_file) + " (" + info.model_format + ")"});
  table.Add({"SHA-256", info.model_sha256});
  table.Add({"producer", or_none(info.producer, "unknown")});
  for (const auto& tensor : api.inputs) {
    table.Add({"input", std::string(tensor.name) + "  " + npy::Describe(tensor)});
  }
  for (const auto& tensor : api.outputs) {
    table.Add({"output", std::string(tensor.name) + "  " + npy::Describe(tensor)});
  }
  table.Add({"executor", std::string(info.executor) + ", " + std::to_string(api.calls.size()) +
                             " kernel calls"});
  table.Add({"target", std::string(info.triple) + ", CPU " + or_none(info.cpu, "baseline")});
  table.Add({"CPU features", or_none(info.cpu_features, "none beyond the triple's")});
  table.Add({"weights",
             FormatBytes(static_cast<double>(info.weights_bytes)) +
                 (std::string_view(info.weights_mode) == "EMBED" ? ", embedded" : ", in a file")});
  table.Add({"arena", FormatBytes(static_cast<double>(info.arena_bytes)) + ", of " +
                          FormatBytes(static_cast<double>(info.tensors_bytes)) +
                          " without reuse; at least " +
                          FormatBytes(static_cast<double>(info.live_bytes)) + " are live at once"});
  table.Add({"alignment", FormatBytes(static_cast<double>(info.alignment))});
  table.Add({"built by", std::string("tvmake ") + info.tvmake_version + ", TVM " +
                             info.tvm_version + ", tvm-ffi " + info.tvm_ffi_version + ", LLVM " +
                             info.llvm_version});
  return Bold(info.name) + "\n" + table.Text();
}

std::string HelpText(const ModelApi& api, const std::string& program) {
  Table table("lll");
  for (const auto& tensor : api.inputs) table.Add({"input", tensor.name, npy::Describe(tensor)});
  for (const auto& tensor : api.outputs) table.Add({"output", tensor.name, npy::Describe(tensor)});
  return "Usage: " + program + " [FILE...] [OPTION...]\n\nRuns, measures and profiles the model " +
         Bold(api.info.name) + ".\n\n" + table.Text() + "\n" + kOptionsHelp;
}

void Execute(const ModelApi& api, const Arguments& arguments) {
  const bool quiet = arguments.json == "-";
  if (arguments.info) {
    if (!arguments.json.empty()) WriteText(arguments.json, api.info_json);
    if (!quiet) Print(InfoText(api));
    return;
  }
  Session session(api, arguments);
  SetInputs(session, arguments);
  if (arguments.trace_dir.empty()) {
    session.Run();
  } else {
    Trace(session, arguments.trace_dir);
  }
  WriteOutputs(session, arguments);
  if (!quiet) Print(OutputsText(session));

  std::string json =
      "{\"model\": " + Quote(api.info.name) + ", \"threads\": " + std::to_string(session.threads());
  const auto measure = [&](const char* name, Report (*measurement)(Session&, const Arguments&)) {
    const Report report = measurement(session, arguments);
    json += ",\n " + Quote(name) + ": " + report.json;
    if (!quiet) Print(report.text);
  };
  if (arguments.bench) measure("bench", &Bench);
  if (arguments.profile) measure("profile", &Profile);
  if (!arguments.json.empty()) WriteText(arguments.json, json + "}\n");
}

}  // namespace

int Main(int argc, char** argv, const ModelApi& api) {
  const std::string program = std::filesystem::path(argc > 0 ? argv[0] : api.info.name).filename();
  try {
    const Arguments arguments = ParseArguments({argv + 1, argv + std::max(argc, 1)});
    if (arguments.help) {
      Print(HelpText(api, program));
    } else {
      Execute(api, arguments);
    }
    return 0;
  } catch (const UsageError& error) {
    std::fprintf(stderr, "%s: error: %s\ntry %s --help\n", program.c_str(), error.what(),
                 program.c_str());
    return kWrongUsage;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s: error: %s\n", program.c_str(), error.what());
    return kError;
  }
}

}  // namespace tvmake::harness
