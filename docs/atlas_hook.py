"""Puts the report of the ready scenarios among the pages of the site: packed, as nobody reads it line by line.

As a program it packs the report that is in a folder: ``python docs/atlas_hook.py FOLDER``. What draws the charts is in
the package already, and is taken from there.
"""

from __future__ import annotations

import gzip
import sys
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mkdocs.structure.files import Files

HERE = Path(__file__).resolve().parent
ATLAS = HERE / "atlas.zip"
_VEGA = HERE.parent / "src" / "trustml" / "report" / "site" / "templates" / "vega.js.gz"
_LARGEST = 3 << 20
_EPOCH = (1980, 1, 1, 0, 0, 0)


def atlas_files() -> dict[str, bytes]:
    """Give the files of the report by their names."""
    with zipfile.ZipFile(ATLAS) as packed:
        found = {name: packed.read(name) for name in packed.namelist()}
    return found | {"vega.js": gzip.decompress(_VEGA.read_bytes())}


def on_files(files: Files, *, config: Any) -> Files:
    """Add the files; mkdocs copies them as they are."""
    from mkdocs.structure.files import File

    for name, content in atlas_files().items():
        files.append(File.generated(config, f"atlas/{name}", content=content))
    return files


def pack(folder: Path) -> None:
    """Pack a report, the same way whenever it is the same."""
    with zipfile.ZipFile(ATLAS, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as packed:
        for path in sorted(folder.iterdir()):
            if path.name != "vega.js":
                info = zipfile.ZipInfo(path.name, _EPOCH)
                info.compress_type = zipfile.ZIP_DEFLATED
                packed.writestr(info, path.read_bytes())
    size = ATLAS.stat().st_size
    if size > _LARGEST:
        ATLAS.unlink()
        raise SystemExit(f"{folder}: would be {size / 2**20:.1f} MiB packed, of 3 at most; name fewer scenarios")
    print(f"wrote {ATLAS}: {size / 2**10:.0f} KiB")


if __name__ == "__main__":
    pack(Path(sys.argv[1]))
