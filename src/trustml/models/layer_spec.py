"""What the structs of all layers share."""

from __future__ import annotations

import msgspec


class LayerSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind"):
    """What all layers share: the field ``kind`` names them in files."""
