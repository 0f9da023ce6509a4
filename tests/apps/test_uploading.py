"""A stranger's model and data go to the page by a browser, and its audit comes back."""

from __future__ import annotations

import numpy as np
import pytest

from tests.apps.chromium import chromium, is_installed, served, wait_for
from tests.apps.journey import Walk
from tests.records import copy_of

pytestmark = [
    pytest.mark.long,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(not is_installed(), reason="needs chromium and chromedriver"),
]


def _save_model(path):
    import torch

    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2)).eval()
    batch = ({0: torch.export.Dim("batch")},)
    torch.export.save(torch.export.export(network, (torch.zeros(3, 4),), dynamic_shapes=batch), path)


def _save_data(path, *, seed):
    random = np.random.default_rng(seed)
    inputs = random.normal(size=(200, 4)).astype(np.float32)
    np.savez(path, inputs=inputs, labels=(inputs[:, 0] > 0).astype(np.int64))


def test_an_uploaded_model_is_audited_and_deleted(tmp_path):
    runs, audits = tmp_path / "runs", tmp_path / "audits"
    audits.mkdir()
    copy_of("evidence", runs)
    files = [tmp_path / name for name in ("model.pt2", "train.npz", "holdout.npz")]
    _save_model(files[0])
    _save_data(files[1], seed=0)
    _save_data(files[2], seed=1)
    with served(runs, "--audits", str(audits)) as address, chromium(tmp_path / "profile") as driver:
        at = Walk(browser=driver, address=address, runs=runs, downloads=tmp_path)
        at.go("audit_model")
        for field, file in zip(wait_for(driver, "input[type=file]", 3), files, strict=True):
            field.send_keys(str(file))
            at.says(file.name)
        at.press("Audit it")
        at.says("Started as")
        (folder,) = (path for path in audits.iterdir() if path.is_dir())
        at.until((folder / "audit.json").is_file, "the report")
        at.press("Delete it, with the model and the data")
        at.until(lambda: not folder.exists(), "the end of what was uploaded")
        assert not driver.find_elements("css selector", '[data-testid="stException"]')
