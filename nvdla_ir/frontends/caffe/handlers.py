"""The layer types: which handler makes operations of each, and how many bottoms and tops it has."""

from __future__ import annotations

from attrs import frozen

from nvdla_ir.dialects import nn
from nvdla_ir.frontends.caffe import elementwise, structure, windows
from nvdla_ir.frontends.caffe.elementwise import Handler, plain
from nvdla_ir.frontends.caffe.net import Layer

_MANY = 10**6


@frozen(eq=False)
class LayerKind:
    """``bottoms`` and ``tops`` are the fewest and the most."""

    handler: Handler
    bottoms: tuple[int, int] = (1, 1)
    tops: tuple[int, int] = (1, 1)

    def count_fault(self, layer: Layer) -> str | None:
        """What is wrong with the number of bottoms or tops of ``layer``."""
        for what, names, (low, high) in (
            ("bottoms", layer.bottoms, self.bottoms),
            ("tops", layer.tops, self.tops),
        ):
            if not low <= len(names) <= high:
                wanted = (
                    str(low)
                    if low == high
                    else f"{low} or more"
                    if high == _MANY
                    else (f"{low} to {high}")
                )
                return f"has {len(names)} {what}, but {wanted} are known for type '{layer.type}'"
        return None


KINDS: dict[str, LayerKind] = {
    # with weights
    "Convolution": LayerKind(windows.convolution),
    "ConvolutionDepthwise": LayerKind(windows.depthwise_convolution),
    "DepthwiseConvolution": LayerKind(windows.depthwise_convolution),
    "Deconvolution": LayerKind(windows.deconvolution),
    "InnerProduct": LayerKind(windows.inner_product),
    "BatchNorm": LayerKind(elementwise.batch_norm),
    "Scale": LayerKind(elementwise.scale, (1, 2)),
    "Bias": LayerKind(elementwise.bias, (1, 2)),
    "PReLU": LayerKind(elementwise.prelu),
    # activations
    "ReLU": LayerKind(elementwise.relu),
    "ReLU6": LayerKind(plain(nn.ClipOp, minimum=0.0, maximum=6.0)),
    "Clip": LayerKind(elementwise.clip),
    "ELU": LayerKind(elementwise.elu),
    "Sigmoid": LayerKind(plain(nn.SigmoidOp)),
    "TanH": LayerKind(plain(nn.TanhOp)),
    "AbsVal": LayerKind(plain(nn.AbsOp)),
    "BNLL": LayerKind(plain(nn.SoftplusOp)),
    "Exp": LayerKind(elementwise.exponential),
    "Swish": LayerKind(plain(nn.SwishOp)),
    "Mish": LayerKind(plain(nn.MishOp)),
    "Power": LayerKind(elementwise.power),
    "LRN": LayerKind(elementwise.lrn),
    "Dropout": LayerKind(elementwise.dropout),
    # several inputs
    "Eltwise": LayerKind(elementwise.eltwise, (2, _MANY)),
    "Concat": LayerKind(structure.concat, (1, _MANY)),
    "Crop": LayerKind(structure.crop, (2, 2)),
    # windows and structure
    "Pooling": LayerKind(windows.pooling),
    "Split": LayerKind(structure.split, tops=(1, _MANY)),
    "Slice": LayerKind(structure.slice_, tops=(1, _MANY)),
    "Flatten": LayerKind(structure.flatten),
    "Reshape": LayerKind(structure.reshape),
    "Permute": LayerKind(structure.permute),
    "ShuffleChannel": LayerKind(structure.shuffle_channels),
    "Upsample": LayerKind(structure.upsample),
    "Interp": LayerKind(structure.interpolate),
    # results
    "Softmax": LayerKind(structure.softmax),
    "ArgMax": LayerKind(structure.argmax),
    # In inference the loss is what it is computed of; the second bottom holds labels.
    "SoftmaxWithLoss": LayerKind(structure.softmax, (1, 3), (0, 2)),
}

LEFT_OUT = frozenset(
    [
        "Accuracy",
        "ContrastiveLoss",
        "EuclideanLoss",
        "HDF5Output",
        "HingeLoss",
        "InfogainLoss",
        "MultinomialLogisticLoss",
        "SigmoidCrossEntropyLoss",
    ]
)
"""Types that only judge results."""

SILENCE = "Silence"
"""The type that makes its bottoms no outputs of the network."""
