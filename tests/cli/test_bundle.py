"""``trustml bundle`` and ``trustml verify`` given what they cannot use; what they do is in tests/auditing."""

from __future__ import annotations

import pytest

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
