#include "graph_json.h"

#include <charconv>
#include <initializer_list>
#include <utility>

#include "dtype.h"
#include "json.h"
#include "text.h"
#include "tvmake/error.h"

namespace tvmake {
namespace {

struct Member {
  std::string_view name;
  void (*read)(JsonReader&, GraphJson&);
  bool optional = false;
};

// Reads an object that must have each of `members` once.
void ReadMembers(JsonReader& json, GraphJson& graph, std::initializer_list<Member> members) {
  uint32_t seen = 0;
  json.Object([&](std::string_view key) {
    uint32_t bit = 1;
    for (const Member& member : members) {
      if (key == member.name) {
        if (seen & bit) json.Fail(Cat("member ", Quoted(key), " only once"));
        seen |= bit;
        return member.read(json, graph);
      }
      bit <<= 1;
    }
    json.Skip();
  });
  uint32_t bit = 1;
  for (const Member& member : members) {
    if (!(seen & bit) && !member.optional)
      json.Fail(Cat("member ", Quoted(member.name), " in the object that ends"));
    bit <<= 1;
  }
}

std::vector<int64_t> ReadInts(JsonReader& json) {
  std::vector<int64_t> values;
  json.Array([&](size_t) { values.push_back(json.Int()); });
  return values;
}

EntryRef ReadEntryRef(JsonReader& json) {
  int64_t values[3] = {0, 0, 0};
  size_t count = 0;
  json.Array([&](size_t i) {
    if (i >= 3) json.Fail("[node, index, version]");
    values[i] = json.Int();
    count = i + 1;
  });
  if (count < 2) json.Fail("[node, index, version]");
  return {values[0], values[1]};
}

std::vector<EntryRef> ReadEntryRefs(JsonReader& json) {
  std::vector<EntryRef> refs;
  json.Array([&](size_t) { refs.push_back(ReadEntryRef(json)); });
  return refs;
}

// The GraphExecutor form writes counts as strings.
int64_t ReadCount(JsonReader& json) {
  const std::string_view text = json.String();
  uint32_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) json.Fail("a count in quotes");
  return value;
}

void ReadNodeAttrs(JsonReader& json, JsonNode& node) {
  json.Object([&](std::string_view key) {
    if (key == "func_name") {
      node.func_name = json.String();
    } else if (key == "num_inputs") {
      node.num_inputs = ReadCount(json);
    } else if (key == "num_outputs") {
      node.num_outputs = ReadCount(json);
    } else if (key == "num_workspaces") {
      node.num_workspaces = ReadCount(json);
    } else {
      json.Skip();
    }
  });
}

JsonNode ReadNode(JsonReader& json) {
  JsonNode node;
  std::string op;
  json.Object([&](std::string_view key) {
    if (key == "op") {
      op = json.String();
    } else if (key == "name") {
      node.name = json.String();
    } else if (key == "attrs") {
      ReadNodeAttrs(json, node);
    } else if (key == "inputs") {
      node.inputs = ReadEntryRefs(json);
    } else {
      json.Skip();
    }
  });
  if (op != "null" && op != "tvm_op") {
    json.Fail(Cat("op 'null' or 'tvm_op' in node ", Quoted(node.name), " that ends"));
  }
  node.is_call = op == "tvm_op";
  return node;
}

void ReadNodes(JsonReader& json, GraphJson& graph) {
  json.Array([&](size_t) { graph.nodes.push_back(ReadNode(json)); });
}

// Reads ["list_…", [items]].
template <typename OnItem>
void ReadTyped(JsonReader& json, std::string_view type, OnItem&& on_item) {
  size_t count = 0;
  json.Array([&](size_t i) {
    count = i + 1;
    if (i == 0 && json.String() == type) return;
    if (i != 1) json.Fail(Cat("[\"", type, "\", […]]"));
    json.Array([&](size_t) { on_item(); });
  });
  if (count != 2) json.Fail(Cat("[\"", type, "\", […]]"));
}

template <std::vector<int64_t> GraphJson::* kField>
void ReadIntAttr(JsonReader& json, GraphJson& graph) {
  ReadTyped(json, "list_int", [&] { (graph.*kField).push_back(json.Int()); });
}

void ReadDTypes(JsonReader& json, GraphJson& graph) {
  ReadTyped(json, "list_str", [&] {
    const size_t position = json.position();
    const auto dtype = ParseDType(json.String());
    if (!dtype) json.FailAt(position, "the name of an element type such as \"float32\"");
    graph.dtypes.push_back(*dtype);
  });
}

void ReadShapes(JsonReader& json, GraphJson& graph) {
  graph.shape_begin.push_back(0);
  ReadTyped(json, "list_shape", [&] {
    json.Array([&](size_t) { graph.dims.push_back(json.Int()); });
    graph.shape_begin.push_back(static_cast<uint32_t>(graph.dims.size()));
  });
}

void ReadAttrs(JsonReader& json, GraphJson& graph) {
  ReadMembers(json, graph,
              {{"dltype", ReadDTypes},
               {"shape", ReadShapes},
               {"storage_id", ReadIntAttr<&GraphJson::storage_ids>},
               {"device_index", ReadIntAttr<&GraphJson::device_types>},
               {"byte_offset", ReadIntAttr<&GraphJson::byte_offsets>}});
}

template <auto kField>
void ReadInt(JsonReader& json, GraphJson& graph) {
  graph.*kField = json.Int();
}

template <auto kField>
void ReadIntList(JsonReader& json, GraphJson& graph) {
  graph.*kField = ReadInts(json);
}

// Rows of `kColumns` numbers.
template <auto kField, size_t kColumns>
void ReadRows(JsonReader& json, GraphJson& graph) {
  json.Array([&](size_t) {
    (graph.*kField).push_back(ReadInts(json));
    if ((graph.*kField).back().size() != kColumns) {
      json.Fail(Cat(kColumns, " numbers in the list that ends"));
    }
  });
}

void ReadSymbols(JsonReader& json, GraphJson& graph) {
  json.Array([&](size_t) {
    JsonSymbol symbol;
    json.Object([&](std::string_view key) {
      if (key == "name") {
        symbol.name = json.String();
      } else if (key == "max") {
        symbol.max = json.Int();
      } else if (key == "min") {
        symbol.min = json.Int();
      } else {
        json.Skip();
      }
    });
    graph.symbols.push_back(std::move(symbol));
  });
}

void ReadDynamic(JsonReader& json, GraphJson& graph) {
  graph.is_dynamic = true;
  ReadMembers(json, graph,
              {{"symbols", ReadSymbols},
               {"steps", ReadRows<&GraphJson::steps, 4>},
               {"dims", ReadRows<&GraphJson::extents, 3>},
               {"scalars", ReadRows<&GraphJson::scalars, 2>},
               {"binds", ReadRows<&GraphJson::binds, 2>},
               {"guards", ReadRows<&GraphJson::guards, 3>},
               {"loops", ReadRows<&GraphJson::loops, 2>, /*optional=*/true}});
}

void ReadSection(JsonReader& json, GraphJson& graph) {
  ReadMembers(json, graph,
              {{"schema", ReadInt<&GraphJson::schema>},
               {"arena_bytes", ReadInt<&GraphJson::arena_bytes>},
               {"alignment", ReadInt<&GraphJson::alignment>},
               {"weights_id", [](JsonReader& in, GraphJson& out) { out.weights_id = in.String(); }},
               {"inputs", ReadIntList<&GraphJson::inputs>},
               {"outputs",
                [](JsonReader& in, GraphJson& out) {
                  in.Array([&](size_t) { out.outputs.emplace_back(in.String()); });
                }},
               {"params", ReadIntList<&GraphJson::params>},
               {"dynamic", ReadDynamic, /*optional=*/true}});
}

}  // namespace

GraphJson ReadGraphJson(std::string_view text) {
  // Positions and counts fit 32 bits; a graph of gigabytes is no graph.
  if (text.size() > INT32_MAX) throw Error(ErrorKind::kGraph, "graph JSON is over 2 GB");
  GraphJson graph;
  JsonReader json(text);
  ReadMembers(json, graph,
              {{"nodes", ReadNodes},
               {"arg_nodes", ReadIntList<&GraphJson::arg_nodes>},
               {"heads", [](JsonReader& in, GraphJson& out) { out.heads = ReadEntryRefs(in); }},
               {"node_row_ptr", ReadIntList<&GraphJson::node_row_ptr>},
               {"attrs", ReadAttrs},
               {"tvmake", ReadSection}});
  json.End();
  return graph;
}

}  // namespace tvmake
