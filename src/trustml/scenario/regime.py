"""What every regime shares."""

from __future__ import annotations

import msgspec


class RegimeSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind"):
    """What all regimes share.

    Parameters
    ----------
    name : str
        How the run calls this regime; empty means its kind. Two regimes of one kind need two names.
    """

    name: str = ""

    @property
    def title(self) -> str:
        """The name, or the kind where there is none."""
        return self.name or type(self).__name__
