"""The pytest plug-in that runs lit-style files in the process."""

from __future__ import annotations
