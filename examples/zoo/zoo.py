"""Well-known topologies with seeded random weights, as ONNX or as Caffe.

python examples/zoo/zoo.py                                   # lists them
python examples/zoo/zoo.py resnet50 resnet50.onnx            # writes one
python examples/zoo/zoo.py resnet50 resnet50.prototxt        # and resnet50.caffemodel beside it
python examples/zoo/zoo.py vgg16 small.onnx --width 0.25 --size 64
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Protocol

import classification
import dense
import joining
import maps
import mobile
import residual
import separable
import sound
from network import Network


class Topology(Protocol):
    def __call__(self, seed: int = 0, width: float = 1.0, size: int = ...) -> Network: ...


TOPOLOGIES: dict[str, Topology] = {
    "lenet5": classification.lenet5,
    "alexnet": classification.alexnet,
    "vgg16": classification.vgg16,
    "googlenet": classification.googlenet,
    "resnet18": residual.resnet18,
    "resnet50": residual.resnet50,
    "resnext50": residual.resnext50,
    "se_resnet50": residual.se_resnet50,
    "squeezenet": classification.squeezenet,
    "mobilenet_v1": classification.mobilenet_v1,
    "mobilenet_v2": classification.mobilenet_v2,
    "mobilenet_v3_small": mobile.mobilenet_v3_small,
    "mobilenet_v3_large": mobile.mobilenet_v3_large,
    "shufflenet_v2": mobile.shufflenet_v2,
    "efficientnet_lite0": mobile.efficientnet_lite0,
    "efficientnet_b0": separable.efficientnet_b0,
    "xception": separable.xception,
    "nasnet": separable.nasnet,
    "inception_resnet_v2": separable.inception_resnet_v2,
    "densenet121": joining.densenet121,
    "inception_v3": joining.inception_v3,
    "tiny_yolo_v2": dense.tiny_yolo_v2,
    "tiny_yolo_v3": dense.tiny_yolo_v3,
    "yolo_v5": dense.yolo_v5,
    "ssd_mobilenet_v1": dense.ssd_mobilenet_v1,
    "unet": dense.unet,
    "fcn8s": maps.fcn8s,
    "deeplab_v3": maps.deeplab_v3,
    "pose": maps.pose,
    "espcn": dense.espcn,
    "fsrcnn": maps.fsrcnn,
    "autoencoder": maps.autoencoder,
    "ds_cnn": sound.ds_cnn,
    "wave": sound.wave,
    "mlp": sound.mlp,
}


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description="Write a well-known network, random weights.")
    parser.add_argument("name", nargs="?", choices=TOPOLOGIES)
    parser.add_argument("file", nargs="?", type=Path, help="x.onnx or x.prototxt")
    parser.add_argument("--width", type=float, default=1.0, help="share of the channels")
    parser.add_argument("--size", type=int, help="rows and columns of the input")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args(argv)
    if arguments.name is None or arguments.file is None:
        for name, topology in TOPOLOGIES.items():
            network = topology(width=0.125)
            print(f"{name:18} {len(network.layers):4} layers, input {network.input_shape}")
        return 0
    size = {} if arguments.size is None else {"size": arguments.size}
    network = TOPOLOGIES[arguments.name](arguments.seed, arguments.width, **size)
    write(network, arguments.file)
    print(f"{arguments.file}: {network.parameter_count:,} parameters")
    return 0


def write(network: Network, file: Path) -> None:
    """Write ``network`` to x.onnx, or to x.prototxt and x.caffemodel."""
    if file.suffix == ".onnx":
        from onnx_writer import onnx_model

        file.write_bytes(onnx_model(network).SerializeToString())
        return
    if file.suffix != ".prototxt":
        raise SystemExit(f"'{file}' is neither .onnx nor .prototxt")
    from caffe_network import caffe_files

    prototxt, caffemodel = caffe_files(network)
    file.write_text(prototxt)
    file.with_suffix(".caffemodel").write_bytes(caffemodel)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
