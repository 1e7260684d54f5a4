"""Relax to Relax: the passes between import and lowering, in the order they run."""

from __future__ import annotations

from dataclasses import dataclass

import tvm
from tvm import relax

from tvmake.frontend.imported import ImportedModel
from tvmake.optimize.activations import recognize_activations
from tvmake.optimize.attention import fuse_attention
from tvmake.optimize.convolutions import plain_convolutions
from tvmake.optimize.dense import fuse_dense
from tvmake.optimize.fold import fold_batch_norm
from tvmake.optimize.fusion import limit_fusion
from tvmake.optimize.layout import block_layouts
from tvmake.optimize.main_function import MainFunction
from tvmake.optimize.normalization import fuse_normalizations
from tvmake.optimize.products import write_products
from tvmake.optimize.provenance import Provenance, trace_groups
from tvmake.optimize.shuffle import recognize_shuffles
from tvmake.optimize.simplify import simplify_shapes
from tvmake.schedule.cpu import CpuModel

_transform = relax.transform


@dataclass(frozen=True)
class OptimizedModel:
    """A module in which `main` is a straight list of calls of fused prim funcs and reshapes.

    Attributes:
        groups: for each variable of main that a kernel defines, the operators it stands for.
    """

    module: tvm.IRModule
    groups: dict[str, Provenance]


def optimize(
    model: ImportedModel, target: tvm.target.Target, cpu: CpuModel, goal: str = "SPEED"
) -> OptimizedModel:
    """Fold constants and batch norms, choose layouts, fuse operators into kernels.

    Args:
        model: as imported.
        target: the machine, for TVM.
        cpu: the machine, for layouts.
        goal: "SPEED" allows algorithms that take more memory for weights, or round more, than the
            plain ones; "SIZE" and "PRECISE" do not.
    """
    with target:
        module = _sequence(
            model.module,
            _transform.FoldConstant(),
            _transform.CanonicalizeBindings(),
            _transform.EliminateCommonSubexpr(),
        )
        module = fold_batch_norm(module)
        module = _sequence(
            module,
            _transform.DecomposeOpsForInference("main"),
            _transform.FoldConstant(),
            _transform.CanonicalizeBindings(),
            _transform.DeadCodeElimination(["main"]),
        )
        module = plain_convolutions(module)
        module = recognize_activations(module)
        if not model.dynamic:  # these are written for extents that are numbers
            module = fuse_attention(module, cpu)
        module = fuse_dense(module, cpu, is_exact=goal != "SPEED")
        module = fuse_normalizations(module, cpu)
        if not model.dynamic:
            module = write_products(recognize_shuffles(simplify_shapes(module)), cpu)
        module = block_layouts(module, cpu, is_exact=goal != "SPEED")
        module = _sequence(
            module,
            _transform.CanonicalizeBindings(),
            # A reshape is a view; TVM does not see that in a kernel of dynamic extents.
            _transform.LegalizeOps(skip_ops=["relax.reshape"] if model.dynamic else None),
            _transform.AnnotateTIROpPattern(),
            _transform.FoldConstant(),
            _transform.EliminateCommonSubexpr(),
            _transform.DeadCodeElimination(["main"]),
        )
        unfused, module = module, _sequence(limit_fusion(module), _transform.FuseOps())
        if (fused := MainFunction(module)).is_straight:
            module = _sequence(fused.with_distinct_names(), _transform.CanonicalizeBindings())
        groups = trace_groups(unfused, module, model)
        module = _sequence(
            module,
            _transform.FuseTIR(),
            _transform.DeadCodeElimination(["main"]),
            _transform.ToNonDataflow(),
            _transform.RemovePurityChecking(),
        )
    return OptimizedModel(module, groups)


def _sequence(module: tvm.IRModule, *passes: tvm.transform.Pass) -> tvm.IRModule:
    return tvm.transform.Sequential(list(passes))(module)
