"""A lowered model as files: kernels.o, weights.bin, graph.json, manifest.json."""
