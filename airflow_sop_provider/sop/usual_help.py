"""What to do about a problem of which whoever found it knows nothing more particular.

Every problem ends with a remedy: who reads the message is to mend the file without reading anything else.
"""

from __future__ import annotations

__all__ = ["USUAL_HELP"]

USUAL_HELP: dict[str, str] = {
    "bad-default": "correct the default, or the schema",
    "bad-duration": "write for example 90s, 10m, 1h30m or 2d",
    "bad-name": "choose another name",
    "bad-quantity": "write for example 250m for a CPU, 256Mi for memory",
    "bad-schema": "this is JSON Schema (2020-12), for example {type: string, minLength: 1}",
    "bad-timezone": "write an IANA name, for example Europe/Berlin",
    "bad-value": "write a value within this limit",
    "expression": "an expression is Jinja2, for example: steps.fetch.total > 10 and inputs.region == 'EU'",
    "key-not-text": "write the key as text",
    "misplaced-key": "remove it",
    "missing-one": "add for example `command: [python, check.py]`",
    "not-a-file": "name a file or a folder",
    "not-a-prerequisite": "read the outputs of steps that are done before this one",
    "recursive-alias": "write the value out",
    "too-deep": "nest less: give a step of its own to what is inside",
    "too-many-values": "move data into an MCP server, and steps into several SOPs",
    "unknown-alias": "define the anchor above it, or write the value out",
    "unknown-name": "read `inputs`, `steps.<id>` or `execution`",
    "unknown-step": "name the `id` of a step of this file",
    "unreachable-step": "break the circle that it waits for",
    "unreadable": "look at the file's permissions and its path",
    "wrong-type": "`sop new ID` writes an SOP that shows every key's form",
    "yaml-syntax": "look here and above for a quote or bracket that is not closed, and at the indentation",
}
"""Code of a problem -> remedy."""
