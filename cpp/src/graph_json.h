// The graph JSON as written: syntax and element types are checked, meaning is not (see graph.h).
#ifndef TVMAKE_GRAPH_JSON_H_
#define TVMAKE_GRAPH_JSON_H_

#include <tvm/ffi/c_api.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace tvmake {

// An output of a node: the GraphExecutor form's [node, index, version].
struct EntryRef {
  int64_t node;
  int64_t index;
};

struct JsonNode {
  std::string name;
  bool is_call = false;  // else an input or a weight
  std::string func_name;
  int64_t num_inputs = 0;
  int64_t num_outputs = 1;  // workspaces, which come last, included
  int64_t num_workspaces = 0;
  std::vector<EntryRef> inputs;
};

// A symbol of the "dynamic" part.
struct JsonSymbol {
  std::string name;
  int64_t max = 0;
  int64_t min = 1;
};

struct GraphJson {
  std::vector<JsonNode> nodes;
  std::vector<int64_t> arg_nodes;
  std::vector<EntryRef> heads;
  std::vector<int64_t> node_row_ptr;  // first entry of each node, then the number of entries

  // One item per entry.
  std::vector<DLDataType> dtypes;
  std::vector<int64_t> dims;          // of all shapes, one after the other
  std::vector<uint32_t> shape_begin;  // into dims; one item more than there are entries
  std::vector<int64_t> storage_ids;
  std::vector<int64_t> device_types;
  std::vector<int64_t> byte_offsets;  // in the arena; -1: a weight

  // The "tvmake" section.
  int64_t schema = 0;
  int64_t arena_bytes = 0;
  int64_t alignment = 0;
  std::string weights_id;
  std::vector<int64_t> inputs;
  std::vector<std::string> outputs;
  std::vector<int64_t> params;

  // Its part "dynamic", which only graphs with extents known at run time have.
  bool is_dynamic = false;
  std::vector<JsonSymbol> symbols;
  std::vector<std::vector<int64_t>> steps;    // [code, a, b, c]
  std::vector<std::vector<int64_t>> extents;  // [entry, axis, step]
  std::vector<std::vector<int64_t>> scalars;  // [node, step], in the order of the arguments
  std::vector<std::vector<int64_t>> binds;    // [node, symbol], in the order of the elements
  std::vector<std::vector<int64_t>> guards;   // [node, entry, 0 or 1]
  std::vector<std::vector<int64_t>> loops;    // [node, the node that it goes back to]
};

// Throws Error(kGraph). Unknown members are skipped, missing and repeated ones are errors.
GraphJson ReadGraphJson(std::string_view text);

}  // namespace tvmake

#endif  // TVMAKE_GRAPH_JSON_H_
