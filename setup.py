"""Which packages there are: those below nvdla_ir/, and two that stand beside it at the top."""

from setuptools import find_packages, setup

BESIDE = {"nvdla_ir.grammar": "grammar", "nvdla_ir.tools": "tools"}

setup(
    packages=[*find_packages(include=["nvdla_ir", "nvdla_ir.*"]), *BESIDE],
    package_dir={"nvdla_ir": "nvdla_ir", **BESIDE},
)
