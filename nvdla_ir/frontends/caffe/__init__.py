"""Front end for Caffe networks: text prototxt with a binary caffemodel."""

from __future__ import annotations

from nvdla_ir.frontends.caffe.importer import import_caffe, list_blobs

__all__ = ["import_caffe", "list_blobs"]
