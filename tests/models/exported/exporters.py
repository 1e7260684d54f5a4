"""The models and the exporters that write them as ONNX, each a function of the file's path."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from python import torch_models

from . import networks

Array = np.ndarray[Any, Any]
Inputs = dict[str, Array]
Write = Callable[[Path], Inputs]  # writes the model and gives inputs for it


def _floats(*shape: int, seed: int = 1) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


def _unit(*shape: int) -> Array:
    return np.random.default_rng(1).random(shape).astype("float32")


def _integers(limit: int, *shape: int) -> Array:
    return np.random.default_rng(1).integers(0, limit, shape)


def _torch(path: Path, make: Callable[[], nn.Module], inputs: Inputs, *, dynamo: bool) -> Inputs:
    """Torch's exporters: through torch.export (dynamo), and the older one by tracing."""
    model = torch_models.seeded(make())
    example = tuple(torch.from_numpy(value) for value in inputs.values())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporters' own code
        torch.onnx.export(
            model,
            example,
            str(path),
            input_names=list(inputs),
            dynamo=dynamo,
            external_data=False,
            opset_version=18 if dynamo else 17,
        )
    return inputs


def _keras(path: Path) -> Inputs:
    """Keras' own export, over its backend for torch."""
    os.environ["KERAS_BACKEND"] = "torch"
    import keras

    keras.utils.set_random_seed(0)
    layers = keras.layers
    model = keras.Sequential(
        [
            layers.Input((16, 16, 3)),
            *(layers.Conv2D(8, 3, padding="same", strides=2), layers.BatchNormalization()),
            *(layers.ReLU(max_value=6.0), layers.DepthwiseConv2D(3), layers.Activation("swish")),
            *(layers.SeparableConv2D(12, 3, activation="relu"), layers.MaxPooling2D()),
            *(layers.GlobalAveragePooling2D(), layers.Dense(7, activation="softmax")),
        ]
    )
    image = _floats(1, 16, 16, 3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.predict(image, verbose=0)  # the export wants a model that has been called
        model.export(str(path), format="onnx", verbose=False)
    import onnx

    (value,) = onnx.load(str(path)).graph.input
    return {value.name: image}


def _table() -> tuple[Array, Array, Array]:
    """Features, classes of three, and a number to regress."""
    features = _floats(300, 6, seed=2)
    product = features[:, 0] + features[:, 1] * features[:, 2]
    return features, (product > 0).astype(int) + (features[:, 3] > 1), 2 * product + features[:, 4]


def _sklearn(path: Path, make: Callable[[], Any], *, regress: bool = False) -> Inputs:
    from skl2onnx import to_onnx

    features, classes, numbers = _table()
    model = make().fit(features, numbers if regress else classes)
    options = {} if regress else {"options": {id(model): {"zipmap": False}}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exported = to_onnx(model, features[:1], target_opset={"": 18, "ai.onnx.ml": 3}, **options)
    path.write_bytes(exported.SerializeToString())
    return {"X": features[:5]}


def _forest() -> Any:
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), RandomForestClassifier(20, max_depth=6, random_state=0))


def _logistic() -> Any:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import MinMaxScaler

    return make_pipeline(MinMaxScaler(), LogisticRegression())


def _boosting() -> Any:
    from sklearn.ensemble import GradientBoostingRegressor

    return GradientBoostingRegressor(n_estimators=30, random_state=0)


def _xgboost(path: Path) -> Inputs:
    import xgboost
    from onnxmltools.convert import convert_xgboost
    from onnxmltools.convert.common.data_types import FloatTensorType

    features, classes, _ = _table()
    model = xgboost.XGBClassifier(n_estimators=10, max_depth=4, random_state=0)
    model.fit(features, classes)
    exported = convert_xgboost(model, initial_types=[("x", FloatTensorType([None, 6]))])
    path.write_bytes(exported.SerializeToString())
    return {"x": features[:5]}


def _lightgbm(path: Path) -> Inputs:
    import lightgbm
    from onnxmltools.convert import convert_lightgbm
    from onnxmltools.convert.common.data_types import FloatTensorType

    features, _, numbers = _table()
    model = lightgbm.LGBMRegressor(n_estimators=10, random_state=0, verbose=-1, num_threads=1)
    model.fit(features, numbers)
    exported = convert_lightgbm(model, initial_types=[("x", FloatTensorType([None, 6]))])
    path.write_bytes(exported.SerializeToString())
    return {"x": features[:5]}


def _dynamo(make: Callable[[], nn.Module], **inputs: Array) -> Write:
    return partial(_torch, make=make, inputs=inputs, dynamo=True)


def _traced(make: Callable[[], nn.Module], **inputs: Array) -> Write:
    return partial(_torch, make=make, inputs=inputs, dynamo=False)


MODELS: dict[str, Write] = {
    "classification_residual": _dynamo(torch_models.ResidualCnn, image=_floats(1, 3, 16, 16)),
    "classification_mobilenet": _traced(networks.MobileNet, image=_floats(1, 3, 32, 32)),
    "classification_vit": _dynamo(networks.VisionTransformer, image=_floats(1, 3, 32, 32)),
    "classification_keras": _keras,
    "detection_yolo": _traced(networks.Yolo, image=_floats(1, 3, 32, 32)),
    "detection_nms": _dynamo(torch_models.Detector, image=_floats(1, 3, 16, 16)),
    "segmentation_unet": _dynamo(networks.UNet, image=_floats(1, 3, 16, 16)),
    "segmentation_deeplab": _traced(networks.DeepLab, image=_floats(1, 3, 24, 24)),
    "super_resolution": _dynamo(networks.SuperResolution, image=_unit(1, 1, 8, 8)),
    "speech_keywords": _traced(networks.KeywordSpotting, frames=_floats(1, 1, 49, 10)),
    "speech_recognizer": _traced(networks.SpeechRecognizer, frames=_floats(1, 12, 20)),
    "text_encoder": _traced(
        torch_models.Encoder,
        ids=_integers(50, 1, 9),
        mask=(np.arange(9) < 7)[None].astype("int64"),
    ),
    "text_decoder": _dynamo(networks.Decoder, ids=_integers(40, 1, 7)),
    "text_tagger": _traced(networks.Tagger, ids=_integers(60, 1, 8)),
    "series_convolution": _dynamo(networks.TemporalConvolution, series=_floats(1, 4, 20)),
    "series_forecast": _dynamo(networks.Forecaster, past=_floats(1, 24)),
    "recommendation_clicks": _dynamo(
        networks.Recommender, numbers=_floats(4, 5), categories=_integers(20, 4, 3)
    ),
    "recommendation_towers": _traced(
        networks.TwoTowers, history=_integers(50, 1, 6), candidates=_integers(50, 1, 5)
    ),
    "tabular_forest": partial(_sklearn, make=_forest),
    "tabular_logistic": partial(_sklearn, make=_logistic),
    "tabular_boosting": partial(_sklearn, make=_boosting, regress=True),
    "tabular_xgboost": _xgboost,
    "tabular_lightgbm": _lightgbm,
}
