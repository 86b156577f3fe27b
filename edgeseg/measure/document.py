"""Results on disk: JSON documents that say what they are, one field a line, written whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgeseg.errors import UserError


def dumps(kind: str, fields: Mapping[str, Any]) -> str:
    """A document of this kind: keys sorted, each on its own line: a thousand samples are one line of a diff."""
    lines = [f'  "kind": {json.dumps(kind)}']
    lines += [f"  {json.dumps(k)}: {json.dumps(v, allow_nan=False)}" for k, v in sorted(fields.items())]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def loads(text: str, kind: str | None = None) -> dict[str, Any]:
    """The fields of a document, ``kind`` among them. Raises UserError where it is none, or of another kind."""
    try:
        fields = json.loads(text)
    except json.JSONDecodeError as e:
        raise UserError(f"expected a JSON document of edgeseg: {e}") from e
    if not isinstance(fields, dict) or not isinstance(fields.get("kind"), str):
        raise UserError('expected a JSON document of edgeseg, which has a "kind"; this one has none')
    if kind is not None and fields["kind"] != kind:
        raise UserError(f"expected a document of kind {kind!r}, got {fields['kind']!r}")
    return fields


def write(path: Path, text: str) -> None:
    """Write beside ``path`` and rename: a reader, or a run that is killed, never leaves half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)


def tuples(value: Any) -> Any:
    """JSON has only lists; frozen dataclasses hold tuples."""
    return tuple(tuples(v) for v in value) if isinstance(value, list) else value
