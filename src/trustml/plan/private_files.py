"""Names of private files that every job has."""

from __future__ import annotations


def events_file(job_id: str) -> str:
    """File of the progress of a job, step by step: private, as the time of a step follows its batch."""
    return f"private/events/{job_id}.jsonl"


def logs_folder(job_id: str) -> str:
    """Folder of what a job printed: private, as messages of libraries may hold values of the data."""
    return f"private/logs/{job_id}"
