"""What a list of runs needs of their manifests; all else in those files is passed over, not decoded."""

from __future__ import annotations

from trustml.record.schema import FORMAT, JobStatus, RecordStruct, RunStatus


class ScenarioHead(RecordStruct, frozen=True, kw_only=True):
    """Of the scenario in a list of runs.

    Parameters
    ----------
    name : str
    """

    name: str = ""


class JobHead(RecordStruct, frozen=True, kw_only=True):
    """Of a job in a list of runs.

    Parameters
    ----------
    status : JobStatus
    """

    status: JobStatus = "pending"


class DataHead(RecordStruct, frozen=True, kw_only=True):
    """Of the data in a list of runs.

    Parameters
    ----------
    fingerprint : str
    """

    fingerprint: str


class ManifestHead(RecordStruct, frozen=True, kw_only=True):
    """A manifest in a list of runs.

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
