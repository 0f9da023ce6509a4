"""What a list of runs reads of each manifest; all else in those files is passed over, not decoded.

None of it refers to itself, so the collector need not look at it: lists of thousands are made quicker.
"""

from __future__ import annotations

from typing import Any

import msgspec

from trustml.record.schema import FORMAT, JobStatus, RecordedRegime, RecordStruct, RunStatus


class RegimeHead(RecordedRegime, frozen=True, kw_only=True, gc=False):
    """Of a regime in a list of runs.

    Parameters
    ----------
    epsilon : object
        What a private regime asks for, as it was recorded.
    """

    epsilon: Any = None


class ScenarioHead(RecordStruct, frozen=True, kw_only=True, gc=False):
    """Of the scenario in a list of runs.

    Parameters
    ----------
    name : str
    training : tuple of RegimeHead
    data : dict
        The source, as plain data.
    backends : tuple of str
    """

    name: str = ""
    training: tuple[RegimeHead, ...] = ()
    data: dict[str, Any] = msgspec.field(default_factory=dict)
    backends: tuple[str, ...] = ()


class JobHead(RecordStruct, frozen=True, kw_only=True, gc=False):
    """Of a job in a list of runs.

    Parameters
    ----------
    status : JobStatus
    """

    status: JobStatus = "pending"


class DataHead(RecordStruct, frozen=True, kw_only=True, gc=False):
    """Of the data in a list of runs.

    Parameters
    ----------
    fingerprint : str
    """

    fingerprint: str


class ManifestHead(RecordStruct, frozen=True, kw_only=True, gc=False):
    """A manifest in a list of runs; all else in that file is passed over, not decoded.

    Parameters
    ----------
    format : int
    run, status, created : str
    scenario : ScenarioHead
    data : DataHead
    jobs : tuple of JobHead
    """

    format: int = FORMAT
    run: str
    status: RunStatus
    created: str
    scenario: ScenarioHead
    data: DataHead
    jobs: tuple[JobHead, ...]
