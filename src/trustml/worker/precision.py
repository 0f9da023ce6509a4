"""No private training where float32 is computed with fewer bits."""

from __future__ import annotations

from trustml.backends.contract import Device
from trustml.errors import PrivacyError
from trustml.plan.job import CanaryJob, GameJob, Job, TrainJob
from trustml.plan.switches import reducing_variables


def require_full_precision(job: Job, device: Device) -> None:
    """Refuse a private job under reduced precision; all other jobs may have it.

    Clipping bounds what one example can change only as exactly as its norm is computed, and epsilon is computed for
    that bound. Under ``torch.autocast`` with bfloat16, Opacus's clipped gradients were up to 0.7 % longer than the
    clipping norm (``tests/backends/torch/test_device.py``); in float32 they are not longer by 1e-6.

    Raises
    ------
    PrivacyError
        Naming each switch, its value and how to turn it off.
    """
    if not _is_private(job):
        return
    found = (*reducing_variables(), *device.reduced_precision())
    if found:
        raise PrivacyError(
            f"{job.id}: private training needs norms in full float32, or clipped gradients may be longer than the "
            f"clipping norm that epsilon assumes; {' · '.join(found)}"
        )


def _is_private(job: Job) -> bool:
    match job:
        case TrainJob():
            return job.mechanism is not None
        case CanaryJob() | GameJob():
            return True
        case _:
            return False
