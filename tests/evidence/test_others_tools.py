"""What is written here is read by the tools that its forms are of; ``TRUSTML_TOOLS`` names their environment.

``python -m venv tools; tools/bin/pip install model-signing==1.1.1 "cyclonedx-python-lib[json-validation]==11.12.0"
pyOpenSSL huggingface_hub==2.4.0`` makes one.
"""

from __future__ import annotations

import os
import subprocess
import zipfile
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from tests.records import copy_of
from tests.report.audit.examples import empty_audit, example_audit, hostile_audit
from trustml.evidence.bundle import SIGSTORE, pack
from trustml.evidence.signing import read_private_key, read_public_key
from trustml.evidence.verify import verify
from trustml.report.audit.ml_bom import ml_bom
from trustml.report.audit.model_card import model_card

pytestmark = pytest.mark.slow
PARSED = """
import sys
from huggingface_hub import ModelCard
card = ModelCard.load(sys.argv[1])
assert card.data.to_dict() and card.text.strip(), "nothing read"
print(card.data.model_name if card.data.eval_results else "no results")
"""
VALID = """
import sys
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
text = open(sys.argv[1]).read()
problem = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
assert problem is None, problem
assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text.replace('"version": 1', '"version": "one"'))
"""


@pytest.fixture(scope="module")
def tools() -> Path:
    """The environment, or a skip that says why."""
    folder = os.environ.get("TRUSTML_TOOLS")
    if not folder:
        pytest.skip("TRUSTML_TOOLS is not set: it names an environment with model-signing, CycloneDX and HF's hub")
    return Path(folder).absolute() / "bin"


def ran(*command: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(one) for one in command], capture_output=True, text=True, timeout=300)


def test_model_signing_accepts_a_bundle_and_names_what_was_changed(tools, tmp_path):
    key = generate_private_key(SECP256R1())
    private, public = tmp_path / "key.pem", tmp_path / "public.pem"
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    archive = tmp_path / "run.zip"
    pack(copy_of("frameworks", tmp_path).directory, archive, key=read_private_key(private))
    found = verify(archive, key=read_public_key(public))
    assert found.signature == "good"
    folder = tmp_path / "unpacked"
    zipfile.ZipFile(archive).extractall(folder)
    command = [tools / "model_signing", "verify", "key", folder, "--signature", folder / SIGSTORE]
    command += ["--public_key", public]
    done = ran(*command)
    assert done.returncode == 0, done.stdout + done.stderr
    changed = next(folder.rglob("weights.safetensors"))
    changed.write_bytes(changed.read_bytes()[:-1] + b"x")
    done = ran(*command)
    assert done.returncode != 0
    assert changed.relative_to(folder).as_posix() in done.stdout + done.stderr


@pytest.mark.parametrize("audit", [example_audit, empty_audit, hostile_audit])
def test_cyclonedx_and_the_hub_read_what_an_audit_writes(audit, tools, tmp_path):
    bom, card = tmp_path / "bom.json", tmp_path / "card.md"
    bom.write_text(ml_bom(audit()))
    card.write_text(model_card(audit()))
    done = ran(tools / "python", "-c", VALID, bom)
    assert done.returncode == 0, done.stderr[-2000:]
    done = ran(tools / "python", "-c", PARSED, card)
    assert done.returncode == 0, done.stderr[-2000:]
