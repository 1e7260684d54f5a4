/* The types that the C interface of every compiled model shares. C99 and later, C++11 and later.
 *
 * A model named `digits` has its functions in the generated `digits.h`: `digits_create`,
 * `digits_run`, and so on. There is no global state. Model objects are independent of each other;
 * one object is used by one thread at a time. Every function accepts NULL where it expects a model
 * or a buffer, and answers with an error instead of a crash.
 */
#ifndef TVMAKE_MODEL_H_
#define TVMAKE_MODEL_H_

#include <stddef.h>
#include <stdint.h>

#if defined(_WIN32)
#define TVMAKE_API
#else
#define TVMAKE_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* What a function answers. The text that goes with a failure is `<model>_last_error()`. */
typedef enum tvmake_status {
  TVMAKE_OK = 0,
  TVMAKE_INVALID_ARGUMENT = 1, /* NULL, or a value out of its domain */
  TVMAKE_SHAPE = 2,            /* wrong number of bytes, rank or extent */
  TVMAKE_DTYPE = 3,            /* wrong element type */
  TVMAKE_DEVICE = 4,           /* data on a device that the model does not run on */
  TVMAKE_INDEX = 5,            /* no such input or output */
  TVMAKE_WEIGHTS = 6,          /* weights missing, damaged, or of another model */
  TVMAKE_GRAPH = 7,            /* the model's graph is damaged */
  TVMAKE_CPU = 8,              /* this CPU lacks a feature that the model was compiled for */
  TVMAKE_KERNEL = 9,           /* a kernel reported an error */
  TVMAKE_MEMORY = 10,          /* out of memory */
  TVMAKE_IO = 11,              /* a file could not be read */
  TVMAKE_INTERNAL = 12         /* a bug in tvmake */
} tvmake_status;

/* An element type as DLPack encodes it: code 0 int, 1 uint, 2 float, 4 bfloat, 6 bool. */
typedef struct tvmake_dtype {
  uint8_t code;
  uint8_t bits;
  uint16_t lanes;
} tvmake_dtype;

/* One input or output of a model. Static data. */
typedef struct tvmake_tensor_info {
  const char* name; /* as in the model file */
  const char*
      identifier; /* `name` as a C identifier, unique within the model's inputs or outputs */
  const char* dtype_name; /* as NumPy spells it, e.g. "float32" */
  tvmake_dtype dtype;
  int32_t rank;
  const int64_t* shape; /* `rank` extents; the tensor is contiguous, last axis fastest. -1: known at
                           run time only, see `<model>_input_view` */
  size_t bytes;         /* the most, if extents are known at run time only; 0: there is no bound */
  const int64_t* max_shape; /* the largest extents; -1: there is no bound */
} tvmake_tensor_info;

/* A view of one tensor: not owned, contiguous. */
typedef struct tvmake_tensor_view {
  const void* data;
  tvmake_dtype dtype;
  int32_t rank;
  const int64_t* shape;
  size_t bytes;
} tvmake_tensor_view;

/* A node of the model file that a kernel was compiled from. */
typedef struct tvmake_source {
  const char* name;
  const char* op_type;
} tvmake_source;

/* One kernel call of a run, in run order. Static data. */
typedef struct tvmake_call_info {
  const char* name;
  const char* kernel; /* calls of equal shape share a kernel */
  size_t source_count;
  const tvmake_source* sources; /* the nodes of the model file that it computes */
  size_t output_count;
  const char* const*
      outputs; /* their names in the model file; NULL for a value that the compiler introduced */
} tvmake_call_info;

/* What a kernel call of `<model>_run_observed` did. Valid during the observer's call only. */
typedef struct tvmake_call_view {
  size_t index; /* of `<model>_call_info` */
  const char* name;
  int64_t nanoseconds;
  size_t output_count;
  const tvmake_tensor_view* outputs;
} tvmake_call_view;

typedef void (*tvmake_observer)(const tvmake_call_view* call, void* user);

/* Where a model came from and what it needs. Static data. */
typedef struct tvmake_model_info {
  const char* name;
  const char* model_file;
  const char* model_sha256;
  const char* model_format;
  const char* producer;
  const char* tvmake_version;
  const char* tvm_version;
  const char* tvm_ffi_version;
  const char* llvm_version;
  const char* executor;
  const char* triple;
  const char* cpu;          /* as LLVM names it; "" for the triple's baseline */
  const char* cpu_features; /* that the CPU must have, separated by commas */
  const char* weights_mode; /* "EMBED" or "FILE" */
  const char* weights_id;   /* SHA-256 of the weights */
  size_t weights_bytes;
  size_t arena_bytes;   /* memory for inputs, outputs and all values between */
  size_t live_bytes;    /* the largest sum of values alive at once: a lower bound of arena_bytes */
  size_t tensors_bytes; /* what the arena would take without reuse */
  size_t alignment;     /* in bytes, of every tensor, and of memory given to a zero-copy function */
} tvmake_model_info;

/* How to create a model. Start from TVMAKE_OPTIONS_INIT. */
typedef struct tvmake_options {
  size_t struct_bytes; /* sizeof(tvmake_options) */
  int32_t num_threads; /* 0: TVM_NUM_THREADS, or every core this process may use */
  const char*
      weights_path; /* NULL: embedded, or beside the library or program that holds the model */
} tvmake_options;

/* clang-format off */
#define TVMAKE_OPTIONS_INIT {sizeof(tvmake_options), 0, NULL}
/* clang-format on */

#ifdef __cplusplus
} /* extern "C" */
#endif

#endif /* TVMAKE_MODEL_H_ */
