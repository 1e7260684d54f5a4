// Graph JSON that is wrong in one place: the error names that place.
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "check.h"
#include "model_builder.h"
#include "tvmake/executor.h"

namespace tvmake::test {
namespace {

std::unique_ptr<Executor> CreateFrom(const std::string& json) {
  static const TestModel* const model = new TestModel(SmallModel());
  ModelDefinition definition = model->definition;
  definition.graph_json = json;
  return Executor::Create(definition);
}

std::string Replaced(std::string json, std::string_view from, std::string_view to) {
  const size_t at = json.find(from);
  CHECK(at != std::string::npos);
  return json.replace(at, from.size(), to);
}

struct Case {
  std::string_view from;
  std::string_view to;
  std::string_view message;
};

constexpr Case kSyntax[] = {
    {"{\"nodes\"", "[\"nodes\"", "damaged at byte 0 of"},
    {"{\"nodes\"", "{nodes", "damaged at byte 1 of"},
    {"\"nodes\":", "\"nodes\" ", "expected ':'"},
    {"\"node_row_ptr\":[0,", "\"node_row_ptr\":[0.5,", "an integer without fraction"},
    {"\"node_row_ptr\":[0,", "\"node_row_ptr\":[,", "expected a 64-bit integer"},
    {"\"node_row_ptr\":[0,", "\"node_row_ptr\":[99999999999999999999,", "a 64-bit integer"},
    {"\"schema\":1", "\"schema\":\"1\"", "expected a 64-bit integer"},
    {"\"params\":[1]}}", "\"params\":[1]}}x", "the end of the text"},
    {"\"params\":[1]}}", "\"params\":[1]}", "expected ','"},
    {"\"params\":[1]}}", "\"params\":[1", "expected ','"},
    {"\"name\":\"x\"", "\"name\":\"x", "expected ','"},
    {"\"name\":\"x\"", "\"name\":\"\\x\"", "an escape sequence"},
    {"\"name\":\"x\"", "\"name\":\"\\u12g4\"", "four hexadecimal digits"},
    {"\"name\":\"x\"", "\"name\":\"\\ud800x\"", "half of a surrogate pair"},
    {"\"name\":\"x\"", "\"name\":\"\\udc00\"", "half of a surrogate pair"},
    {"\"name\":\"x\"", "\"name\":\"\t\"", "no control character"},
    {"\"params\":[1]", "\"params\":[1],\"params\":[1]", "member 'params' only once"},
    {"\"heads\"", "\"hats\"", "member 'heads' in the object"},
    {"\"byte_offset\"", "\"byte_onset\"", "member 'byte_offset' in the object"},
    {"\"op\":\"null\"", "\"op\":\"zero\"", "op 'null' or 'tvm_op' in node 'x'"},
    {"[\"list_str\"", "[\"list_int\"", "[\"list_str\", […]]"},
    {"\"float32\"", "\"floaty32\"", "the name of an element type"},
    {"\"float32\"", "\"float0\"", "the name of an element type"},
    {"\"num_inputs\":\"2\"", "\"num_inputs\":\"-2\"", "a count in quotes"},
    {"\"num_inputs\":\"2\"", "\"num_inputs\":\"99999999999\"", "a count in quotes"},
    {"[0,0,0]", "[0]", "[node, index, version]"},
};

constexpr Case kMeaning[] = {
    {"\"schema\":1", "\"schema\":2", "tvmake.schema is 2, this runtime reads 1"},
    {"\"alignment\":64", "\"alignment\":48", "alignment is 48, expected a power of two"},
    {"\"arena_bytes\":256", "\"arena_bytes\":-1", "arena_bytes is -1"},
    {"\"arena_bytes\":256", "\"arena_bytes\":192", "is outside the arena of 192 bytes"},
    {"\"node_row_ptr\":[0,1", "\"node_row_ptr\":[0,2", "node 0 'x' has 1 outputs"},
    {"\"node_row_ptr\":[0,1", "\"node_row_ptr\":[0,-9223372036854775808", "'x' has 1 outputs"},
    {"\"node_row_ptr\":[0,1", "\"node_row_ptr\":[1", "node_row_ptr has 7 items for 7 nodes"},
    {"\"num_outputs\":\"2\"", "\"num_outputs\":\"3\"", "node 5 'more' has 3 outputs"},
    {"[\"list_int\",[0,1,", "[\"list_int\",[0,", "attrs.storage_id has 7 items for 8 tensors"},
    {"\"num_inputs\":\"2\"", "\"num_inputs\":\"1\"", "node 2 'sum' has 2 inputs"},
    {"\"func_name\":\"add\"", "\"func_name\":\"sub\"",
     "'sum' calls 'sub', which is not among the 3"},
    {"[0,0,0],[1,0,0]", "[0,0,0],[2,0,0]", "node 2 'sum' refers to node 2"},
    {"[0,0,0],[1,0,0]", "[0,0,0],[5,0,0]", "node 2 'sum' refers to node 5"},
    {"[0,0,0],[1,0,0]", "[0,0,0],[-1,0,0]", "node 2 'sum' refers to node -1"},
    {"[0,0,0],[1,0,0]", "[0,0,0],[1,1,0]", "refers to output 1 of node 1 'w', which has 1"},
    {"[[5,0,0]]", "[[5,1,0]]", "node 6 'square' refers to output 1 of node 5 'more'"},
    {"\"num_workspaces\":\"1\"", "\"num_workspaces\":\"3\"", "node 5 'more' lacks its workspaces"},
    {"\"heads\":[[6,0,0]]", "\"heads\":[]", "heads has 0 items, tvmake.outputs 1"},
    {"\"heads\":[[6,0,0]]", "\"heads\":[[7,0,0]]", "output 'y' refers to node 7"},
    {"\"heads\":[[6,0,0]]", "\"heads\":[[0,0,0]]", "output 'y' is an input"},
    {"\"heads\":[[6,0,0]]", "\"heads\":[[1,0,0]]", "output 'y' is an input, a weight"},
    {"\"arg_nodes\":[0,1]", "\"arg_nodes\":[0,1,1]", "arg_nodes"},
    {"\"inputs\":[0],\"outputs\"", "\"inputs\":[],\"outputs\"", "must list each node of op 'null'"},
    {"\"inputs\":[0],\"outputs\"", "\"inputs\":[0,1],\"outputs\"", "must list each node"},
    {"\"inputs\":[0],\"outputs\"", "\"inputs\":[77],\"outputs\"", "must list each node"},
    {"\"weights_id\":\"aa", "\"weights_id\":\"", "weights_id has 62 characters"},
    {"\"byte_offset\":[\"list_int\",[0,-1", "\"byte_offset\":[\"list_int\",[0,0",
     "weight 'w' has byte_offset 0"},
    {"\"byte_offset\":[\"list_int\",[0,", "\"byte_offset\":[\"list_int\",[8,",
     "output 0 of node 0 'x' has byte_offset 8, expected a multiple of 64"},
    {"\"byte_offset\":[\"list_int\",[0,", "\"byte_offset\":[\"list_int\",[-64,", "byte_offset -64"},
    {"\"byte_offset\":[\"list_int\",[0,", "\"byte_offset\":[\"list_int\",[9223372036854775744,",
     "is outside the arena"},
    {"\"byte_offset\":[\"list_int\",[0,", "\"byte_offset\":[\"list_int\",[64,",
     "'x' shares memory with output 0 of node 2 'sum'"},
    {"\"storage_id\":[\"list_int\",[0,1,2,2,3", "\"storage_id\":[\"list_int\",[0,1,2,2,2",
     "output 0 of node 4 'twice' has the storage_id of output 0 of node 2 'sum'"},
    {"\"storage_id\":[\"list_int\",[0,1,2,2", "\"storage_id\":[\"list_int\",[0,1,2,9",
     "node 3 'flat' is a view, expected size, offset and storage_id of its source"},
    {"[4,4],[4,4],[4,4],[16]", "[4,4],[4,4],[4,4],[15]", "node 3 'flat' is a view"},
    {"[\"list_shape\",[[4,4]", "[\"list_shape\",[[4,-4]", "node 0 'x' has a dimension of -4"},
    {"[\"list_shape\",[[4,4]", "[\"list_shape\",[[4294967296,4294967296]", "'x' is too large"},
    {"[\"list_shape\",[[4,4]", "[\"list_shape\",[[0,4294967296,4294967296]", "'x' is too large"},
    {"[\"list_shape\",[[4,4]", "[\"list_shape\",[[4,4000]", "is outside the arena of 256 bytes"},
    {"[\"list_int\",[1,1,", "[\"list_int\",[2,1,", "node 0 'x' is on device type 2"},
};

// Parts and joined tensors: PartsModel().
constexpr Case kMoved[] = {
    {"\"byte_offset\":[\"list_int\",[0,0,64", "\"byte_offset\":[\"list_int\",[0,0,128",
     "node 2 'second' is a part, expected bytes and storage_id of its source"},
    {"\"byte_offset\":[\"list_int\",[0,0,64", "\"byte_offset\":[\"list_int\",[0,0,96",
     "has byte_offset 96, expected a multiple of 64"},
    {"\"storage_id\":[\"list_int\",[0,0,0", "\"storage_id\":[\"list_int\",[0,0,7",
     "node 2 'second' is a part, expected bytes and storage_id of its source"},
    {"[[32],[16]", "[[16],[32]", "node 1 'first' is a part"},
    {"\"byte_offset\":[\"list_int\",[0,0,64,128,192,128",
     "\"byte_offset\":[\"list_int\",[0,0,64,128,192,64", "joins tensors that are not neighbours"},
    {"[[3,0,0],[4,0,0]]", "[[4,0,0],[3,0,0]]", "'joined' joins tensors that are not neighbours"},
    {"[16],[16],[32],[32]", "[16],[16],[31],[32]", "'joined' of 124 bytes joins tensors of 128"},
    {"\"byte_offset\":[\"list_int\",[0,0,64,128,192,128",
     "\"byte_offset\":[\"list_int\",[0,0,64,128,192,320", "is outside the arena of 384 bytes"},
    {"\"heads\":[[6,0,0]]", "\"heads\":[[5,0,0]]", "'y' is joined with other tensors"},
    {"\"heads\":[[6,0,0]]", "\"heads\":[[3,0,0]]", "'y' is joined with other tensors"},
    {"\"heads\":[[6,0,0]]", "\"heads\":[[1,0,0]]", "output 'y' is an input"},
};

void TestCases() {
  const std::string good = SmallModel().GraphJson();
  CreateFrom(good)->Run();
  for (const Case& c : kSyntax) {
    CHECK_THROWS(kGraph, "graph JSON is damaged at byte", CreateFrom(Replaced(good, c.from, c.to)));
    CHECK_THROWS(kGraph, c.message, CreateFrom(Replaced(good, c.from, c.to)));
  }
  for (const Case& c : kMeaning) {
    CHECK_THROWS(kGraph, c.message, CreateFrom(Replaced(good, c.from, c.to)));
  }
}

void TestMoved() {
  const TestModel model(PartsModel());
  Executor::Create(model.definition)->Run();
  for (const Case& c : kMoved) {
    ModelDefinition definition = model.definition;
    const std::string json = Replaced(model.json, c.from, c.to);
    definition.graph_json = json;
    CHECK_THROWS(kGraph, c.message, Executor::Create(definition));
  }
}

// The caller's memory would be smaller than the tensor, or not joined with the others.
void TestPortsAreWhole() {
  ModelBuilder part;
  part.AddKernel("scale", kernels::Scale);
  const int a = part.Call("a", "scale", {part.Input("x", {{32}, 0, 0})}, {{{32}, 128, 1}});
  part.Output("y", part.Call("part", "__part", {a}, {{{16}, 128, 1}}));
  CHECK_THROWS(kGraph, "output 'y' is a part of another tensor",
               Executor::Create(TestModel(part).definition));

  ModelBuilder join;
  join.AddKernel("scale", kernels::Scale);
  const int x = join.Input("x", {{16}, 0, 0});
  const int b = join.Call("b", "scale", {x}, {{{16}, 64, 1}});
  const int joined = join.Call("joined", "__join", {x, b}, {{{32}, 0, 2}});
  join.Output("y", join.Call("c", "scale", {joined}, {{{32}, 128, 3}}));
  CHECK_THROWS(kGraph, "'x' is joined with other tensors",
               Executor::Create(TestModel(join).definition));
}

void TestOutputsOfTheirOwn() {
  const auto model = [](int64_t offset, bool same_node) {
    ModelBuilder builder;
    builder.AddKernel("scale", kernels::Scale);
    const int x = builder.Input("x", {{16}, 0, 0});
    const int a = builder.Call("a", "scale", {x}, {{{16}, 64, 1}});
    const int b = builder.Call("b", "scale", {x}, {{{16}, offset, 2}});
    builder.Output("first", a);
    builder.Output("second", same_node ? builder.View("v", a, {{4, 4}, 64, 1}) : b);
    return builder;
  };
  Executor::Create(TestModel(model(128, false)).definition);
  CHECK_THROWS(kGraph, "output 'second' is an input, a weight or another output",
               Executor::Create(TestModel(model(128, true)).definition));
  CHECK_THROWS(kGraph, "'first' shares memory with output 0 of node 2 'b'",
               Executor::Create(TestModel(model(64, false)).definition));
}

void TestDepth() {
  const std::string good = SmallModel().GraphJson();
  const auto nested = [&](int depth) {
    const std::string open(static_cast<size_t>(depth), '[');
    const std::string close(static_cast<size_t>(depth), ']');
    return Replaced(good, "{\"nodes\"", "{\"extra\":" + open + close + ",\"nodes\"");
  };
  CreateFrom(nested(60));
  CHECK_THROWS(kGraph, "at most 64 nested brackets", CreateFrom(nested(100000)));
}

// Members that others add do not disturb, and white space is free.
void TestTolerance() {
  const std::string good = SmallModel().GraphJson();
  CreateFrom(Replaced(good, "{\"nodes\"",
                      " {\n\t\"x\": {\"a\": [1, -2.5e+3, true, false, null, \"\\n\"], \"b\": {}} ,"
                      "\r\"nodes\""))
      ->Run();
}

}  // namespace
}  // namespace tvmake::test

int main() {
  tvmake::test::TestCases();
  tvmake::test::TestMoved();
  tvmake::test::TestPortsAreWhole();
  tvmake::test::TestOutputsOfTheirOwn();
  tvmake::test::TestDepth();
  tvmake::test::TestTolerance();
}
