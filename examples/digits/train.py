"""Trains the digit classifier of this example and writes the files that the C++ program uses.

Writes beside this script:
    digits.onnx        the network: ``image`` float32[1,1,8,8] in 0..1 -> ``scores`` float32[1,10]
    test_images.npy    held-out pictures, uint8 [N,8,8] in 0..16
    test_labels.npy    their digits, uint8 [N]

The files are committed, so this script runs only when the network is to change. It needs torch and
scikit-learn, which `pip install tvmake[test]` brings. The same versions on the same kind of machine
give the same files.
"""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

import numpy as np
import onnx
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

SEED = 20
EPOCHS = 60
BATCH = 64
GREY_LEVELS = 16.0  # the brightest value in scikit-learn's digits


def digit_network() -> nn.Sequential:
    """Returns the untrained network: [N,1,8,8] -> [N,10] scores before softmax."""
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(1, 16, 3, padding=1),
            norm1=nn.BatchNorm2d(16),
            relu1=nn.ReLU(),
            pool1=nn.MaxPool2d(2),
            conv2=nn.Conv2d(16, 32, 3, padding=1),
            norm2=nn.BatchNorm2d(32),
            relu2=nn.ReLU(),
            pool2=nn.MaxPool2d(2),
            flatten=nn.Flatten(),
            dense1=nn.Linear(32 * 2 * 2, 64),
            relu3=nn.ReLU(),
            dense2=nn.Linear(64, 10),
        )
    )


def train(network: nn.Sequential, images: torch.Tensor, labels: torch.Tensor) -> None:
    """Fits ``network`` in place with Adam on cross entropy."""
    optimizer = torch.optim.Adam(network.parameters(), lr=2e-3, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS)
    network.train()
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(images)).split(BATCH):
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(images[batch]), labels[batch]).backward()
            optimizer.step()
        schedule.step()
    network.eval()


def main() -> None:
    """Trains, exports and says how many held-out pictures the network gets right."""
    torch.manual_seed(SEED)
    torch.use_deterministic_algorithms(mode=True)
    torch.set_num_threads(1)  # the order of sums, and so the weights, depends on it
    pixels, digits = load_digits(return_X_y=True)
    pixels = pixels.reshape(-1, 1, 8, 8)
    train_x, test_x, train_y, test_y = train_test_split(
        pixels, digits, test_size=0.25, random_state=SEED, stratify=digits
    )
    network = digit_network()
    train(
        network,
        torch.tensor(train_x / GREY_LEVELS, dtype=torch.float32),
        torch.tensor(train_y, dtype=torch.int64),
    )
    folder = Path(__file__).resolve().parent
    torch.onnx.export(
        network,
        (torch.zeros(1, 1, 8, 8),),
        str(folder / "digits.onnx"),
        input_names=["image"],
        output_names=["scores"],
        opset_version=18,
        external_data=False,
        optimize=False,
    )
    model = onnx.load(folder / "digits.onnx")
    for node in model.graph.node:
        node.ClearField("metadata_props")  # they hold paths of the machine that exported
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, folder / "digits.onnx")
    np.save(folder / "test_images.npy", test_x.astype(np.uint8).reshape(-1, 8, 8))
    np.save(folder / "test_labels.npy", test_y.astype(np.uint8))
    with torch.no_grad():
        scores = network(torch.tensor(test_x / GREY_LEVELS, dtype=torch.float32))
    right = int((scores.argmax(1).numpy() == test_y).sum())
    print(f"{right} of {len(test_y)} held-out pictures right ({right / len(test_y):.2%})")


if __name__ == "__main__":
    main()
