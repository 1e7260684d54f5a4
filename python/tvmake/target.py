"""From the machine's description to TVM's target, and back to what the machine must have."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tvmake.errors import SpecError, nearest

if TYPE_CHECKING:
    import tvm

    from tvmake.spec import TargetSpec

# The architectures' guaranteed CPUs: what runs everywhere the triple does.
_BASELINE_CPU = {"x86_64": "x86-64", "aarch64": "generic", "riscv64": "generic-rv64"}
# What is added to them. Linux distributions for RISC-V ask for RV64GC, which also decides that
# floats are passed in registers (lp64d). Without NEON and VFPv4 32-bit ARM is too slow to be
# of use, so it starts with Cortex-A7; a CPU that is named, or FEATURES, take them away again.
_BASELINE_FEATURES = {
    "riscv64": ("+m", "+a", "+f", "+d", "+c"),
    "armv7": ("+neon", "+vfp4", "+fp16", "+hwdiv", "+hwdiv-arm"),
}

# LLVM's features that stand for instructions the kernels may contain. The others (tuning hints,
# system registers) say nothing about whether a kernel can run.
_INSTRUCTION_FEATURES = {
    "x86": frozenset(
        {
            *("sse", "sse2", "sse3", "ssse3", "sse4.1", "sse4.2", "sse4a", "avx", "avx2", "fma"),
            *("fma4", "xop", "f16c", "bmi", "bmi2", "lzcnt", "popcnt", "movbe", "adx"),
            *("avxvnni", "avxvnniint8", "avxifma", "gfni", "vaes", "vpclmulqdq", "aes", "pclmul"),
            *("avx512f", "avx512cd", "avx512bw", "avx512dq", "avx512vl", "avx512vnni"),
            *("avx512bf16", "avx512fp16", "avx512vbmi", "avx512vbmi2", "avx512ifma"),
            *("avx512bitalg", "avx512vpopcntdq", "avx512vp2intersect", "sha", "sha512", "sm3"),
            *("sm4", "amx-tile", "amx-int8", "amx-bf16", "amx-fp16"),
        }
    ),
    "arm": frozenset(
        {
            *("neon", "fp-armv8", "dotprod", "fullfp16", "bf16", "i8mm", "sve", "sve2", "sme"),
            *("lse", "crc", "aes", "sha2", "sha3", "sm4", "rdm", "vfp2", "vfp3", "vfp4", "d32"),
            *("fp16", "mve", "mve.fp", "hwdiv", "hwdiv-arm"),
        }
    ),
    "riscv": frozenset(
        {"m", "a", "f", "d", "c", "v", "zfh", "zvfh", "zba", "zbb", "zbs", "zve32f", "zve64d"}
    ),
}

# /proc/cpuinfo's names where they differ from LLVM's.
_CPUINFO_NAMES = {
    "sse3": "pni",
    "sse4.1": "sse4_1",
    "sse4.2": "sse4_2",
    "bmi": "bmi1",
    "lzcnt": "abm",
    "pclmul": "pclmulqdq",
    "sha": "sha_ni",
    "avxvnni": "avx_vnni",
    "avx512vnni": "avx512_vnni",
    "avx512bf16": "avx512_bf16",
    "avx512fp16": "avx512_fp16",
    "avx512vbmi2": "avx512_vbmi2",
    "avx512bitalg": "avx512_bitalg",
    "avx512vpopcntdq": "avx512_vpopcntdq",
    "avx512vp2intersect": "avx512_vp2intersect",
    "amx-tile": "amx_tile",
    "amx-int8": "amx_int8",
    "amx-bf16": "amx_bf16",
    "amx-fp16": "amx_fp16",
}


@dataclass(frozen=True)
class Target:
    """A checked machine description.

    Attributes:
        required_features: LLVM names of the instruction sets that the kernels may use.
        vector_bits: width of the widest vector register that kernels use.
    """

    triple: str
    cpu: str
    features: tuple[str, ...]
    required_features: tuple[str, ...]
    vector_bits: int
    pointer_bits: int = 64
    endian: str = "little"

    @property
    def architecture(self) -> str:
        """The triple's first word, as LLVM spells it."""
        return _architecture(self.triple)

    def tvm_target(self) -> tvm.target.Target:
        """The same machine for TVM's code generator."""
        import tvm

        # Without a vendor LLVM takes the system for it, and does not see the ABI: on 32-bit ARM
        # floats made of 64-bit integers would be returned where the caller does not look.
        triple = self.triple
        if triple.count("-") == 2:
            triple = triple.replace("-", "-unknown-", 1)
        options = dict[str, object](kind="llvm", mtriple=triple, mcpu=self.cpu)
        if self.features:
            options["mattr"] = list(self.features)
        if triple.endswith("eabihf"):
            options["mfloat-abi"] = "hard"  # or calls of libm pass floats where it does not look
        if {"avx512f", "v"} & set(self.required_features):
            # LLVM 22's loop vectorizer miscompiles some copy loops with AVX-512 (wrong values,
            # reads out of bounds) and RVV; the schedules vectorize explicitly and do not need it.
            options["cl-opt"] = ["-vectorize-loops:bool=0"]
        return tvm.target.Target(options)


@functools.cache
def resolve_target(spec: TargetSpec) -> Target:
    """Check a target with LLVM and fill in what it leaves open.

    Raises:
        SpecError: for an architecture, CPU or feature that LLVM does not know.
    """
    from tvm.target import codegen

    architecture = _architecture(spec.triple)
    if _family(spec.triple) not in _INSTRUCTION_FEATURES:  # TVM crashes on unknown ones
        raise SpecError(
            f"the target triple '{spec.triple}' is of an unknown architecture",
            expected="a triple such as x86_64-linux-gnu, aarch64-linux-gnu or riscv64-linux-gnu",
        )
    cpu, features = spec.cpu or _BASELINE_CPU.get(architecture, "generic"), spec.features
    if cpu == "native":
        cpu, features = _host_cpu(spec.triple, features)
    known_cpus = {str(name) for name in codegen.llvm_get_cpu_archlist(_llvm(spec.triple))}
    if cpu not in known_cpus:
        match = nearest(cpu, known_cpus)
        raise SpecError(
            f"'{cpu}' is not a CPU of {spec.triple}",
            fix=f"did you mean '{match}'?" if match else f"one of {' '.join(sorted(known_cpus))}",
        )
    for feature in spec.features:
        if feature[:1] not in "+-" or len(feature) < 2:
            raise SpecError(
                f"cannot read FEATURES entry '{feature}'", expected="+name or -name, as in LLVM"
            )
        if feature[1:] not in (known := _known_features(spec.triple)):
            match = nearest(feature[1:], known)
            raise SpecError(
                f"'{feature[1:]}' is not a CPU feature of {spec.triple}",
                fix=f"did you mean '{feature[0]}{match}'?" if match else None,
            )
    return _describe(spec.triple, cpu, (*_baseline_features(spec.triple, cpu, features), *features))


def host_triple() -> str:
    """This machine's triple, for compiling without a toolchain file."""
    import platform

    return f"{platform.machine()}-{platform.system().lower()}-gnu"


def _baseline_features(triple: str, cpu: str, given: tuple[str, ...]) -> tuple[str, ...]:
    """What the triple has beyond the CPU, except what is named explicitly."""
    if _family(triple) == "arm" and cpu != "generic":
        return ()  # the CPU says it all
    named = {feature[1:] for feature in given}
    features = next((f for name, f in _BASELINE_FEATURES.items() if triple.startswith(name)), ())
    return tuple(feature for feature in features if feature[1:] not in named)


def _describe(triple: str, cpu: str, features: tuple[str, ...]) -> Target:
    enabled = _enabled_features(triple, cpu, features)
    required = sorted(enabled & _INSTRUCTION_FEATURES[_family(triple)])
    architecture = _architecture(triple)
    return Target(
        triple=triple,
        cpu=cpu,
        features=features,
        required_features=tuple(required),
        vector_bits=_vector_bits(_family(triple), set(required)),
        pointer_bits=32 if architecture.startswith(("arm", "thumb", "riscv32", "i")) else 64,
    )


def _vector_bits(family: str, features: set[str]) -> int:
    if family == "x86":
        return 512 if "avx512f" in features else 256 if "avx" in features else 128
    return 128


def _architecture(triple: str) -> str:
    return triple.split("-", 1)[0]


def _family(triple: str) -> str:
    architecture = _architecture(triple)
    for family, prefixes in {
        "x86": ("x86_64", "i386", "i686"),
        "arm": ("aarch64", "arm", "thumb"),
        "riscv": ("riscv",),
    }.items():
        if architecture.startswith(prefixes):
            return family
    return architecture


def _llvm(triple: str, cpu: str = "", features: tuple[str, ...] = ()) -> tvm.target.Target:
    import tvm

    options: dict[str, object] = {"kind": "llvm", "mtriple": triple}
    if cpu:
        options["mcpu"] = cpu
    if features:
        options["mattr"] = list(features)
    return tvm.target.Target(options)


def _enabled_features(triple: str, cpu: str, features: tuple[str, ...] = ()) -> set[str]:
    from tvm.target import codegen

    return {str(name) for name in codegen.llvm_get_cpu_features(_llvm(triple, cpu, features))}


@functools.cache
def _known_features(triple: str) -> set[str]:
    """The architecture's feature names: TVM tells only what a CPU has, so ask all of them."""
    from tvm.target import codegen

    names = set(_INSTRUCTION_FEATURES[_family(triple)])
    cpus = {str(name) for name in codegen.llvm_get_cpu_archlist(_llvm(triple))}
    return names.union(*(_enabled_features(triple, cpu) for cpu in cpus))


def _host_cpu(triple: str, features: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    """The host's CPU, less what a virtual machine or the kernel hides from it."""
    import platform

    from tvm.target import codegen

    if _architecture(triple) != platform.machine():
        raise SpecError(
            f"CPU native means this machine ({platform.machine()}), but the target is {triple}",
            fix="name the target's CPU",
        )
    cpu = str(codegen.llvm_get_system_cpu())
    cpuinfo = Path("/proc/cpuinfo")
    if _family(triple) != "x86" or not cpuinfo.exists():
        return cpu, features
    flags = next(
        (set(line.split()) for line in cpuinfo.read_text().splitlines() if line[:5] == "flags"),
        set(),
    )
    hidden = sorted(
        name
        for name in _enabled_features(triple, cpu) & _INSTRUCTION_FEATURES["x86"]
        if _CPUINFO_NAMES.get(name, name) not in flags
    )
    return cpu, (*(f"-{name}" for name in hidden), *features)
