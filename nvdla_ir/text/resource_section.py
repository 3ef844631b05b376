"""The section ``{-# … #-}`` that can follow a module: resources, and a pass pipeline."""

from __future__ import annotations

from collections.abc import Mapping

from nvdla_ir.ir.attributes import quote, quote_key


def resource_section(resources: Mapping[str, str], pipeline: str | None = None) -> str:
    """The section with ``resources``, hexadecimal texts by key, and, as MLIR's reproducers have
    it, the text of a pass pipeline; nothing where there is neither."""
    parts: list[str] = []
    if resources:
        entries = ",\n".join(f'      {quote_key(key)}: "{text}"' for key, text in resources.items())
        parts.append(f"  dialect_resources: {{\n    builtin: {{\n{entries}\n    }}\n  }}")
    if pipeline is not None:
        parts.append(
            "  external_resources: {\n"
            "    mlir_reproducer: {\n"
            f"      pipeline: {quote(pipeline)},\n"
            "      disable_threading: true,\n"
            "      verify_each: true\n"
            "    }\n"
            "  }"
        )
    if not parts:
        return ""
    joined = ",\n".join(parts)
    return f"\n{{-#\n{joined}\n#-}}\n"
