"""Files of a stranger's code: found and digested without running any, and run from the source that was digested."""

from __future__ import annotations

import py_compile
import sys

import msgspec
import pytest

from trustml.errors import UsageError
from trustml.models.code_files import files_beside, find_file
from trustml.models.layers import NativeModule
from trustml.models.native import code_digest, load_callable, trusting_code


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in [name for name in sys.modules if name.partition(".")[0].startswith("strange_")]:
        monkeypatch.delitem(sys.modules, name)
    return tmp_path


def written(folder, **files):
    for name, text in files.items():
        path = folder / f"{name.replace('__', '/')}.py".replace("init.py", "__init__.py")
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)


def test_a_package_is_found_and_digested_without_being_run(folder):
    written(folder, strange_pack__init="raise SystemExit('it ran')\n", strange_pack__net="from . import part\n")
    written(folder, strange_pack__part="import os\n", strange_other="")
    package = folder / "strange_pack"
    assert find_file("strange_pack.net", str(folder)) == package / "net.py"
    found = [path.relative_to(folder).as_posix() for path in files_beside("strange_pack.net", str(folder))]
    assert sorted(found) == [f"strange_pack/{name}.py" for name in ("__init__", "net", "part")]
    before = code_digest("strange_pack.net:make", str(folder))
    assert "strange_pack" not in sys.modules and str(folder) not in sys.path
    with pytest.raises(UsageError, match="there is no module"):
        find_file("strange_pack.absent", str(folder))
    (folder / "strange_other.py").write_text("1\n")  # which nothing imports
    assert code_digest("strange_pack.net:make", str(folder)) == before
    (package / "part.py").write_text("import sys\n")
    assert code_digest("strange_pack.net:make", str(folder)) != before


def test_a_helper_that_changed_is_code_that_changed(folder):
    written(folder, strange_net="def make():\n    from strange_help import give\n    return give\n")
    written(folder, strange_help="def give():\n    return 1\n")
    layer = NativeModule(backend="torch", module="strange_net:make", folder=str(folder))
    layer = msgspec.structs.replace(layer, code=code_digest(layer.module, layer.folder))
    with trusting_code():
        assert load_callable(layer)()() == 1
        written(folder, strange_help="def give():\n    return 2\n")
        with pytest.raises(UsageError, match="strange_net is no longer the code"):
            load_callable(layer)


def test_a_compiled_file_that_says_not_to_be_checked_is_not_run(folder):
    written(folder, strange_compiled="def make():\n    return 'what was compiled'\n")
    py_compile.compile(
        str(folder / "strange_compiled.py"), invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH
    )
    written(folder, strange_compiled="def make():\n    return 'what was read'\n")
    with trusting_code():
        layer = NativeModule(backend="torch", module="strange_compiled:make", folder=str(folder))
        assert load_callable(layer)() == "what was read"


def test_a_module_of_that_name_from_elsewhere_is_not_taken_for_it(folder):
    for place in ("one", "two"):
        written(folder, **{f"{place}__strange_twin": f"def make():\n    return {place!r}\n"})
    layers = [NativeModule(backend="torch", module="strange_twin:make", folder=str(folder / p)) for p in ("one", "two")]
    with trusting_code():
        assert load_callable(layers[0])() == "one"
        with pytest.raises(UsageError, match=r"another strange_twin is imported already, from .*; name yours"):
            load_callable(layers[1])
