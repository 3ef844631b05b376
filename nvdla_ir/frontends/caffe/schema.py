"""Caffe's messages, as far as a network in inference needs them, as a table of field numbers.

``message_class`` makes protobuf classes of the table. Text is read with all of it; a binary file of
weights with the few ``Weights…`` messages, which leave everything but names and numbers unread.
What is left out: solvers, fillers, and what only training, losses and data bases use.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Any

from nvdla_ir.ir.diagnostics import DiagnosticError
from nvdla_ir.ir.location import UNKNOWN

_PACKAGE = "nvdla_ir.caffe"

V1_TYPES: dict[str, tuple[int, str]] = {
    "NONE": (0, "None"),
    "ACCURACY": (1, "Accuracy"),
    "BNLL": (2, "BNLL"),
    "CONCAT": (3, "Concat"),
    "CONVOLUTION": (4, "Convolution"),
    "DATA": (5, "Data"),
    "DROPOUT": (6, "Dropout"),
    "EUCLIDEAN_LOSS": (7, "EuclideanLoss"),
    "FLATTEN": (8, "Flatten"),
    "HDF5_DATA": (9, "HDF5Data"),
    "HDF5_OUTPUT": (10, "HDF5Output"),
    "IM2COL": (11, "Im2col"),
    "IMAGE_DATA": (12, "ImageData"),
    "INFOGAIN_LOSS": (13, "InfogainLoss"),
    "INNER_PRODUCT": (14, "InnerProduct"),
    "LRN": (15, "LRN"),
    "MULTINOMIAL_LOGISTIC_LOSS": (16, "MultinomialLogisticLoss"),
    "POOLING": (17, "Pooling"),
    "RELU": (18, "ReLU"),
    "SIGMOID": (19, "Sigmoid"),
    "SOFTMAX": (20, "Softmax"),
    "SOFTMAX_LOSS": (21, "SoftmaxWithLoss"),
    "SPLIT": (22, "Split"),
    "TANH": (23, "TanH"),
    "WINDOW_DATA": (24, "WindowData"),
    "ELTWISE": (25, "Eltwise"),
    "POWER": (26, "Power"),
    "SIGMOID_CROSS_ENTROPY_LOSS": (27, "SigmoidCrossEntropyLoss"),
    "HINGE_LOSS": (28, "HingeLoss"),
    "MEMORY_DATA": (29, "MemoryData"),
    "ARGMAX": (30, "ArgMax"),
    "THRESHOLD": (31, "Threshold"),
    "DUMMY_DATA": (32, "DummyData"),
    "SLICE": (33, "Slice"),
    "MVN": (34, "MVN"),
    "ABSVAL": (35, "AbsVal"),
    "SILENCE": (36, "Silence"),
    "CONTRASTIVE_LOSS": (37, "ContrastiveLoss"),
    "EXP": (38, "Exp"),
    "DECONVOLUTION": (39, "Deconvolution"),
}
"""The layer types of old ``layers`` messages: number, and what new ``layer`` messages say."""

_ENUMS: dict[str, dict[str, int]] = {
    "Phase": {"TRAIN": 0, "TEST": 1},
    "V1Type": {name: number for name, (number, _) in V1_TYPES.items()},
    "EltwiseOp": {"PROD": 0, "SUM": 1, "MAX": 2},
    "NormRegion": {"ACROSS_CHANNELS": 0, "WITHIN_CHANNEL": 1},
    "PoolMethod": {"MAX": 0, "AVE": 1, "STOCHASTIC": 2},
    "RoundMode": {"CEIL": 0, "FLOOR": 1},
}

# Parameters whose fields belong to forks; text alone has them, so that any free number will do.
_FORKS = {
    "interp_param": (1001, "InterpParameter"),
    "upsample_param": (1002, "UpsampleParameter"),
    "shuffle_channel_param": (1003, "ShuffleChannelParameter"),
}

_PARAMETERS: dict[str, tuple[int, str]] = {
    "transform_param": (100, "TransformationParameter"),
    "argmax_param": (103, "ArgMaxParameter"),
    "concat_param": (104, "ConcatParameter"),
    "convolution_param": (106, "ConvolutionParameter"),
    "data_param": (107, "BatchParameter"),
    "dropout_param": (108, "DropoutParameter"),
    "dummy_data_param": (109, "DummyDataParameter"),
    "eltwise_param": (110, "EltwiseParameter"),
    "exp_param": (111, "ExpParameter"),
    "image_data_param": (115, "ImageDataParameter"),
    "inner_product_param": (117, "InnerProductParameter"),
    "lrn_param": (118, "LRNParameter"),
    "memory_data_param": (119, "MemoryDataParameter"),
    "pooling_param": (121, "PoolingParameter"),
    "power_param": (122, "PowerParameter"),
    "relu_param": (123, "ReLUParameter"),
    "softmax_param": (125, "SoftmaxParameter"),
    "slice_param": (126, "SliceParameter"),
    "prelu_param": (131, "PReLUParameter"),
    "reshape_param": (133, "ReshapeParameter"),
    "flatten_param": (135, "FlattenParameter"),
    "batch_norm_param": (139, "BatchNormParameter"),
    "elu_param": (140, "ELUParameter"),
    "bias_param": (141, "BiasParameter"),
    "scale_param": (142, "ScaleParameter"),
    "input_param": (143, "InputParameter"),
    "crop_param": (144, "CropParameter"),
    "clip_param": (148, "ClipParameter"),
    "permute_param": (202, "PermuteParameter"),
    **_FORKS,
}

_V1_NUMBERS = {
    "transform_param": 36,
    "argmax_param": 23,
    "concat_param": 9,
    "convolution_param": 10,
    "data_param": 11,
    "dropout_param": 12,
    "dummy_data_param": 26,
    "eltwise_param": 24,
    "image_data_param": 15,
    "inner_product_param": 17,
    "lrn_param": 18,
    "memory_data_param": 22,
    "pooling_param": 19,
    "power_param": 21,
    "relu_param": 30,
    "slice_param": 31,
    "softmax_param": 39,
}


def _fields(parameters: dict[str, tuple[int, str]]) -> list[str]:
    return [f"{number} {name} {type}" for name, (number, type) in parameters.items()]


# "number name type", an asterisk behind a repeated type, then "= default".
_MESSAGES: dict[str, list[str]] = {
    "BlobShape": ["1 dim int64*"],
    "NetParameter": [
        "1 name string",
        "2 layers V1LayerParameter*",
        "3 input string*",
        "4 input_dim int64*",
        "6 state NetState",
        "8 input_shape BlobShape*",
        "100 layer LayerParameter*",
    ],
    "NetState": ["1 phase Phase = TEST", "2 level int64", "3 stage string*"],
    "NetStateRule": [
        "1 phase Phase",
        "2 min_level int64",
        "3 max_level int64",
        "4 stage string*",
        "5 not_stage string*",
    ],
    "LayerParameter": [
        "1 name string",
        "2 type string",
        "3 bottom string*",
        "4 top string*",
        "8 include NetStateRule*",
        "9 exclude NetStateRule*",
        *_fields(_PARAMETERS),
    ],
    "V1LayerParameter": [
        "1 layer V0LayerParameter",
        "2 bottom string*",
        "3 top string*",
        "4 name string",
        "5 type V1Type",
        "32 include NetStateRule*",
        "33 exclude NetStateRule*",
        *_fields({name: (n, _PARAMETERS[name][1]) for name, n in _V1_NUMBERS.items()}),
    ],
    "V0LayerParameter": ["1 name string", "2 type string"],
    "TransformationParameter": [
        "1 scale float = 1",
        "3 crop_size uint64",
        "4 mean_file string",
        "5 mean_value float*",
    ],
    "ArgMaxParameter": ["1 out_max_val bool", "2 top_k uint64 = 1", "3 axis int64"],
    "BatchNormParameter": ["3 eps float = 1e-5"],
    "BatchParameter": ["4 batch_size uint64"],
    "BiasParameter": ["1 axis int64 = 1", "2 num_axes int64 = 1"],
    "ClipParameter": ["1 min float", "2 max float"],
    "ConcatParameter": ["1 concat_dim uint64 = 1", "2 axis int64 = 1"],
    "ConvolutionParameter": [
        "1 num_output uint64",
        "2 bias_term bool = true",
        "3 pad uint64*",
        "4 kernel_size uint64*",
        "5 group uint64 = 1",
        "6 stride uint64*",
        "9 pad_h uint64",
        "10 pad_w uint64",
        "11 kernel_h uint64",
        "12 kernel_w uint64",
        "13 stride_h uint64",
        "14 stride_w uint64",
        "16 axis int64 = 1",
        "18 dilation uint64*",
    ],
    "CropParameter": ["1 axis int64 = 2", "2 offset uint64*"],
    "DropoutParameter": ["1 dropout_ratio float = 0.5", "2 scale_train bool = true"],
    "DummyDataParameter": [
        "2 num uint64*",
        "3 channels uint64*",
        "4 height uint64*",
        "5 width uint64*",
        "6 shape BlobShape*",
    ],
    "EltwiseParameter": ["1 operation EltwiseOp = SUM", "2 coeff float*"],
    "ELUParameter": ["1 alpha float = 1"],
    "ExpParameter": ["1 base float = -1", "2 scale float = 1", "3 shift float = 0"],
    "FlattenParameter": ["1 axis int64 = 1", "2 end_axis int64 = -1"],
    "ImageDataParameter": [
        "4 batch_size uint64 = 1",
        "9 new_height uint64",
        "10 new_width uint64",
        "11 is_color bool = true",
    ],
    "InnerProductParameter": [
        "1 num_output uint64",
        "2 bias_term bool = true",
        "5 axis int64 = 1",
        "6 transpose bool",
    ],
    "InputParameter": ["1 shape BlobShape*"],
    "InterpParameter": [
        "1 height int64",
        "2 width int64",
        "3 zoom_factor int64 = 1",
        "4 shrink_factor int64 = 1",
        "5 pad_beg int64",
        "6 pad_end int64",
    ],
    "LRNParameter": [
        "1 local_size uint64 = 5",
        "2 alpha float = 1",
        "3 beta float = 0.75",
        "4 norm_region NormRegion = ACROSS_CHANNELS",
        "5 k float = 1",
    ],
    "MemoryDataParameter": [
        "1 batch_size uint64",
        "2 channels uint64",
        "3 height uint64",
        "4 width uint64",
        "5 dim uint64*",
    ],
    "PermuteParameter": ["1 order uint64*"],
    "PoolingParameter": [
        "1 pool PoolMethod = MAX",
        "2 kernel_size uint64*",
        "3 stride uint64*",
        "4 pad uint64*",
        "5 kernel_h uint64",
        "6 kernel_w uint64",
        "7 stride_h uint64",
        "8 stride_w uint64",
        "9 pad_h uint64",
        "10 pad_w uint64",
        "12 global_pooling bool",
        "13 round_mode RoundMode = CEIL",
        "1001 ceil_mode bool = true",
        "1002 dilation uint64*",
    ],
    "PowerParameter": ["1 power float = 1", "2 scale float = 1", "3 shift float = 0"],
    "PReLUParameter": ["2 channel_shared bool"],
    "ReLUParameter": ["1 negative_slope float"],
    "ReshapeParameter": ["1 shape BlobShape", "2 axis int64", "3 num_axes int64 = -1"],
    "ScaleParameter": ["1 axis int64 = 1", "2 num_axes int64 = 1", "4 bias_term bool"],
    "ShuffleChannelParameter": ["1 group uint64 = 1"],
    "SliceParameter": ["1 slice_dim uint64 = 1", "2 slice_point uint64*", "3 axis int64 = 1"],
    "SoftmaxParameter": ["2 axis int64 = 1"],
    "UpsampleParameter": [
        "1 scale int64",
        "2 scale_h int64",
        "3 scale_w int64",
        "4 upsample_h int64",
        "5 upsample_w int64",
    ],
    # The numbers of a blob are one run of bytes in the file: read as such, they need no copying
    # number by number.
    "WeightsBlob": [
        "1 num int64",
        "2 channels int64",
        "3 height int64",
        "4 width int64",
        "5 data bytes*",
        "7 shape BlobShape",
        "8 double_data bytes*",
    ],
    "WeightsBlobUnpacked": ["5 data float*", "8 double_data double*"],
    "WeightsLayer": ["1 name string", "2 type string", "7 blobs WeightsBlob*"],
    "WeightsV1Layer": [
        "1 layer V0LayerParameter",
        "4 name string",
        "5 type V1Type",
        "6 blobs WeightsBlob*",
    ],
    "WeightsNet": ["1 name string", "2 layers WeightsV1Layer*", "100 layer WeightsLayer*"],
}

_SCALARS = ("string", "bytes", "bool", "int64", "uint64", "float", "double")

HARMLESS = frozenset(
    [
        "accuracy_param",
        "bias_filler",
        "blob_share_mode",
        "blobs_lr",
        "data_filler",
        "debug_info",
        "decay_mult",
        "engine",
        "filler",
        "force_backward",
        "force_nd_im2col",
        "loss_param",
        "loss_weight",
        "lr_mult",
        "moving_average_fraction",
        "param",
        "propagate_down",
        "sigmoid_param",
        "stable_prod_grad",
        "tanh_param",
        "use_global_stats",
        "weight_decay",
        "weight_filler",
        "backend",
        "source",
        "root_folder",
        "rand_skip",
        "shuffle",
        "prefetch",
        "mirror",
        "force_color",
        "force_gray",
        "hdf5_data_param",
        "hdf5_output_param",
        "window_data_param",
        "python_param",
    ]
)
"""Fields that change nothing of what a trained network computes, or of layers that are left out."""


def protobuf(module: str) -> Any:
    """A module of the protobuf package. Raises: DiagnosticError where that is not installed."""
    try:
        return import_module(f"google.protobuf.{module}")
    except ImportError as error:
        raise DiagnosticError.at(
            UNKNOWN,
            f"Caffe networks are read with the package 'protobuf', which cannot be imported "
            f"({error}): install nvdla-ir[caffe]",
        ) from None


@cache
def _pool() -> Any:
    descriptors: Any = protobuf("descriptor_pb2")
    file = descriptors.FileDescriptorProto(
        name="nvdla_ir_caffe.proto", package=_PACKAGE, syntax="proto2"
    )
    for name, values in _ENUMS.items():
        # Names such as MAX occur in several: a message around each keeps them apart.
        enum = file.message_type.add(name=f"{name}Enum").enum_type.add(name=name)
        for value, number in values.items():
            enum.value.add(name=value, number=number)
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for text in fields:
            _add_field(message.field.add(), text)
    pool: Any = protobuf("descriptor_pool").DescriptorPool()
    pool.Add(file)
    return pool


def _add_field(field: Any, text: str) -> None:
    declaration, _, default = text.partition(" = ")
    number, field.name, type = declaration.split()
    field.number = int(number)
    field.label = field.LABEL_REPEATED if type.endswith("*") else field.LABEL_OPTIONAL
    type = type.removesuffix("*")
    if type in _SCALARS:
        field.type = getattr(field, f"TYPE_{type.upper()}")
    elif type in _ENUMS:
        field.type = field.TYPE_ENUM
        field.type_name = f".{_PACKAGE}.{type}Enum.{type}"
    else:
        field.type = field.TYPE_MESSAGE
        field.type_name = f".{_PACKAGE}.{type}"
    if default:
        field.default_value = default


@cache
def message_class(name: str) -> Any:
    """The protobuf class of the message ``name`` of the table.

    Raises: DiagnosticError where the package protobuf is not installed.
    """
    descriptor: Any = _pool().FindMessageTypeByName(f"{_PACKAGE}.{name}")
    return protobuf("message_factory").GetMessageClass(descriptor)


def parameter_type(name: str) -> str:
    """The message of a layer's parameter field, as ``convolution_param``."""
    return _PARAMETERS[name][1]
