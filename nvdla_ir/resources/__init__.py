"""The tensors that ``dense_resource<…>`` attributes refer to, and who owns them."""

from nvdla_ir.resources.references import resources_of as resources_of
from nvdla_ir.resources.safetensors_file import file_parts as file_parts
from nvdla_ir.resources.store import LARGEST_SPLAT as LARGEST_SPLAT
from nvdla_ir.resources.store import ResourceStore as ResourceStore
from nvdla_ir.resources.store import dtype_name as dtype_name
from nvdla_ir.resources.tensors import ArrayTensor as ArrayTensor
from nvdla_ir.resources.tensors import DerivedTensor as DerivedTensor
from nvdla_ir.resources.tensors import EqualTensors as EqualTensors
from nvdla_ir.resources.tensors import Tensor as Tensor
