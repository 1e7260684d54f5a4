// Reads and checks the "dynamic" part of a graph.
#ifndef TVMAKE_DYNAMIC_READER_H_
#define TVMAKE_DYNAMIC_READER_H_

#include <memory>

#include "dynamic_graph.h"
#include "graph.h"
#include "graph_json.h"

namespace tvmake {

// `graph` has everything else already. Throws Error(kGraph).
//
// What reading guarantees: steps use only steps before them, and symbols that exist; every extent
// without a fixed value has a step; a call uses no extent or symbol of a stage that begins after
// it; the dimensions of inputs are plain symbols, known before the run; symbols are bound once, by
// a tensor that holds enough elements; guards are tensors of one bool.
std::unique_ptr<const DynamicGraph> ReadDynamicGraph(const GraphJson& json, const Graph& graph);

}  // namespace tvmake

#endif  // TVMAKE_DYNAMIC_READER_H_
