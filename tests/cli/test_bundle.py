"""``trustml bundle`` and ``trustml verify`` given what they cannot use; what they do is in tests/auditing."""

from __future__ import annotations

import zipfile

import pytest

from tests.records import copy_of
from trustml.cli.main import _main


def answer(capsys, *arguments):
    code = _main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return code, captured.out + captured.err


def test_what_is_no_bundle_is_told_in_one_line(tmp_path, capsys):
    (tmp_path / "b.zip").write_bytes(b"no archive at all")
    (tmp_path / "folder").mkdir()
    for target, message in (
        (tmp_path / "b.zip", "not an evidence bundle"),
        (tmp_path / "folder", "no run there"),
        (tmp_path / "nothing", "no such file or folder"),
    ):
        code, text = answer(capsys, "verify", target, "--runs", tmp_path)
        assert code == 2 and message in text and text.count("\n") == 1


def test_keys_are_looked_at_before_anything_is_done(tmp_path, capsys):
    (tmp_path / "key.pem").write_bytes(b"-----BEGIN PUBLIC KEY-----\n")
    for arguments, message in (
        (("bundle", "latest", "--runs", tmp_path, "--key", tmp_path / "key.pem"), "signing needs the private one"),
        (("bundle", "latest", "--runs", tmp_path, "--key", tmp_path / "none.pem"), "cannot be read"),
        (("verify", tmp_path / "b.zip", "--key", tmp_path / "key.pem"), "not a public key in PEM"),
    ):
        code, text = answer(capsys, *arguments)
        assert code == 2 and message in text and text.count("\n") == 1


@pytest.mark.parametrize("command", ["bundle", "verify"])
def test_help_tells_how_to_make_keys(command, capsys):
    code, text = answer(capsys, command, "--help")
    assert code == 0 and "openssl" in text and "--key" in text


def test_the_archive_is_what_o_names_and_old_names_are_taken_with_a_word(tmp_path, capsys):
    run = copy_of("twice", tmp_path)
    for option, told in (("-o", ""), ("--out", "warning: --out is called -o now")):
        code, text = answer(capsys, "bundle", run.path, option, tmp_path / "b.zip", "--json")
        assert code == 0 and zipfile.is_zipfile(tmp_path / "b.zip") and told in text
        assert ("warning" in text) == bool(told)
        (tmp_path / "b.zip").unlink()
    code, text = answer(capsys, "run", "nothing", "--out", tmp_path)
    assert code == 2 and "warning: --out is called --runs now" in text
    code, text = answer(capsys, "run", "--help")
    assert "--runs" in text and "--out " not in text
