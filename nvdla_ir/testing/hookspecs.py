"""Hooks that the pytest plug-in calls; define them in a ``conftest.py``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .commands import Command


def pytest_nvdla_lit_commands(config: pytest.Config) -> Mapping[str, Command]:  # pyright: ignore[reportReturnType]
    """Commands for RUN lines beyond those in ``nvdla_ir.testing.commands``, by name.

    A command is ``main(argv, stdin, stdout, stderr) -> int``, ``argv`` without the name.
    """


def pytest_nvdla_lit_features(config: pytest.Config) -> Iterable[str]:  # pyright: ignore[reportReturnType]
    """Features that this machine has, for ``REQUIRES:``, ``UNSUPPORTED:`` and ``XFAIL:``."""
