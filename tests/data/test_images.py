"""Folders of images: by class or by a table, of any kind that cameras and editors write, and files that are none."""

from __future__ import annotations

import os
import shutil
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.data.test_tables import refused
from trustml.data import gathering, images
from trustml.data.dataset import fingerprint
from trustml.data.datasets import load_dataset
from trustml.errors import DataError
from trustml.scenario.sources import Images

SIDE = 8
CLASSES = ("cat", "dog")


def picture(number: int, *, height: int = SIDE, width: int = SIDE) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, (height, width, 3)).astype(np.uint8)


@pytest.fixture
def folder(tmp_path) -> Path:
    for number in range(10):
        place = tmp_path / "all" / CLASSES[number % 2]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture(number)).save(place / f"{number}.png")
    return tmp_path / "all"


def everything(dataset) -> dict[str, list[np.ndarray]]:
    parts = (dataset.train, dataset.test)
    return {
        name: [part.inputs[row] for part in parts for row in np.flatnonzero(part.labels == label)]
        for label, name in enumerate(dataset.class_names)
    }


def one(folder: Path, image: Image.Image, kind: str = "PNG", *, name: str = "cat/0.png", **fields) -> np.ndarray:
    """Save one image in place of the first, and read it."""
    image.save(folder / name, kind, **fields)
    return images.read_images([folder / name], Images(path=str(folder)))[0][0]


def test_classes_are_folders_and_values_are_those_of_the_files(folder):
    (folder / "cat" / ".DS_Store").write_bytes(b"x")
    (folder / "dog" / "Thumbs.db").write_bytes(b"x")
    dataset = load_dataset(Images(path=str(folder)))
    assert dataset.class_names == CLASSES and dataset.input_shape == (SIDE, SIDE, 3)
    assert dataset.warnings == () and dataset.preparation.scaling == "public constants"
    found = everything(dataset)
    for label, name in enumerate(CLASSES):
        expected = [picture(number).astype(np.float32) / np.float32(255) for number in range(label, 10, 2)]
        assert len(found[name]) == 5 and all(any((image == one).all() for one in found[name]) for image in expected)
    assert fingerprint(load_dataset(Images(path=str(folder)))) == fingerprint(dataset)
    assert fingerprint(load_dataset(Images(path=str(folder), split_seed=1))) != fingerprint(dataset)


def test_some_classes_alone_are_read_on_both_sides(folder):
    (folder / "bird").mkdir()
    Image.fromarray(picture(20)).save(folder / "bird" / "20.png")
    copied = shutil.copytree(folder, folder.parent / "copied")
    dataset = load_dataset(Images(path=str(folder), test_path=str(copied), classes=CLASSES))
    assert dataset.class_names == CLASSES and (len(dataset.train), len(dataset.test)) == (10, 10)
    refused(Images(path=str(folder), classes=("cat", "fish")), "data.classes: 'fish' is no class folder")
    refused(Images(path=str(folder), classes=("cat",)), "give at least two")


def test_a_test_folder_is_held_out_in_random_order(folder):
    refused(Images(path=str(folder), test_path=f"{folder}/../{folder.name}"), "is the training data itself")
    copied = shutil.copytree(folder, folder.parent / "copied")
    dataset = load_dataset(Images(path=str(folder), test_path=str(copied)))
    assert (len(dataset.train), len(dataset.test)) == (10, 10)
    assert len(set(dataset.test.labels[:5])) == 2  # not one class after the other
    (folder.parent / "other" / "bird").mkdir(parents=True)
    Image.fromarray(picture(0)).save(folder.parent / "other" / "bird" / "0.png")
    (folder.parent / "other" / "dog").mkdir()
    Image.fromarray(picture(0)).save(folder.parent / "other" / "dog" / "0.png")
    refused(Images(path=str(folder), test_path=str(folder.parent / "other")), "class 'bird' is not among")


def test_a_table_names_files_and_classes(folder):
    rows = [(f"{CLASSES[number % 2]}/{number}.png", number % 3, number // 5) for number in range(10)]
    table = folder / "labels.csv"
    table.write_text("file;kind;who\n" + "".join(f"{name};{kind};p{who}\n" for name, kind, who in rows))
    source = Images(path=str(folder), table=str(table), label="kind")
    dataset = load_dataset(source)
    assert dataset.class_names == ("0", "1", "2") and len(everything(dataset)["0"]) == 4
    grouped = Images(
        path=str(folder), table=str(table), label="kind", split="by group", split_by="who", test_fraction=0.5
    )
    held = load_dataset(grouped).test.inputs
    first = [picture(number).astype(np.float32) / np.float32(255) for number in range(5)]
    assert sum((image == one).all() for image in first for one in held) in (0, 5)
    refused(Images(path=str(folder), table=str(table), label="what"), "no column 'what'; choose among file, kind, who")
    refused(Images(path=str(folder), split="by group", split_by="who"), "needs a table")


@pytest.mark.parametrize("name", ["../secret.png", "/etc/passwd", "out.png", "cat/none.png", "cat"])
def test_a_table_names_nothing_outside_of_its_folder(folder, name):
    Image.fromarray(picture(0)).save(folder.parent / "secret.png")
    (folder / "out.png").symlink_to(folder.parent / "secret.png")
    table = folder.parent / "t.csv"
    table.write_text(f"file,label\ncat/0.png,a\n{name},b\n")
    said = refused(Images(path=str(folder), table=str(table)), "at row 1 is no file")
    assert ("inside of" in said) == (name not in ("cat/none.png", "cat"))
    table.write_text("file,label\ncat/0.png,a\n,b\n")
    refused(Images(path=str(folder), table=str(table)), "row 1 names no file")
    table.write_text("file,label\ncat/0.png,a\ncat/../cat/0.png,b\n")
    refused(Images(path=str(folder), table=str(table)), "names cat/0.png twice")


def test_sizes_are_declared_or_alike(folder):
    Image.fromarray(picture(0, height=4 * SIDE, width=SIDE)).save(folder / "cat" / "0.png")
    refused(Images(path=str(folder)), "data.size")
    stretched = load_dataset(Images(path=str(folder), size=(4, 6)))
    assert stretched.input_shape == (4, 6, 3) and "stretched to 4 x 6" in stretched.warnings[0]
    bands = np.repeat([0, 255, 255, 0], SIDE).astype(np.uint8)[:, None].repeat(SIDE, axis=1)
    Image.fromarray(bands).save(folder / "cat" / "0.png")
    source = Images(path=str(folder), size=(SIDE, SIDE), fit="crop", colour="grey")
    cut = images.read_images([folder / "cat" / "0.png"], source)[0][0]
    assert cut.shape == (SIDE, SIDE, 1) and (cut == 1).all()  # the middle of it, unscaled


def test_every_way_to_write_the_same_picture_is_the_same(folder):
    plain = picture(3)
    expected = plain / np.float32(255)
    image = Image.fromarray(plain)
    np.testing.assert_array_equal(one(folder, image), expected)
    few = image.quantize(8)
    np.testing.assert_array_equal(one(folder, few), np.asarray(few.convert("RGB")) / np.float32(255))
    np.testing.assert_allclose(one(folder, image, "JPEG", quality=100, subsampling=0), expected, atol=0.05)
    cmyk = Image.fromarray(np.full((SIDE, SIDE, 4), (255, 0, 0, 0), np.uint8), "CMYK")
    np.testing.assert_allclose(one(folder, cmyk, "JPEG")[0, 0], (0, 1, 1), atol=0.05)
    clear = image.convert("RGBA")
    clear.putalpha(0)
    assert (one(folder, clear) == 1).all()  # white
    half = Image.fromarray(np.full((SIDE, SIDE, 2), (0, 128), np.uint8), "LA")
    np.testing.assert_allclose(one(folder, half), 127 / 255, atol=0.01)
    deep = Image.fromarray(np.arange(SIDE * SIDE, dtype=np.uint16).reshape(SIDE, SIDE) * 1000)
    np.testing.assert_allclose(one(folder, deep)[..., 2], np.asarray(deep, np.float32) / 65535, rtol=1e-6)
    bits = Image.fromarray(plain[..., 0] > 127)
    np.testing.assert_array_equal(one(folder, bits)[..., 1], (plain[..., 0] > 127).astype(np.float32))


def test_an_image_is_turned_as_its_camera_says(folder):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter, clockwise
    wide = picture(0, height=SIDE, width=2 * SIDE)
    found = one(folder, Image.fromarray(wide), exif=exif)
    np.testing.assert_array_equal(found, np.rot90(wide, -1) / np.float32(255))


def test_what_images_are_like_is_told_with_counts(folder):
    Image.fromarray(picture(0)).convert("RGBA").save(folder / "cat" / "0.png")
    Image.fromarray(picture(1)).convert("L").save(folder / "dog" / "1.png")
    (told,) = load_dataset(Images(path=str(folder))).warnings
    assert told.startswith("of 10 images: ") and "1 with transparency, laid on white" in told and "1 grey" in told
    for number in range(10):
        Image.fromarray(picture(number)[..., 0]).save(folder / CLASSES[number % 2] / f"{number}.png")
    assert "set data.colour to grey" in load_dataset(Images(path=str(folder))).warnings[-1]
    assert load_dataset(Images(path=str(folder), colour="grey")).input_shape == (SIDE, SIDE, 1)


def bomb() -> bytes:
    """A PNG that announces 60,000 x 60,000 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0))
        + chunk(b"IDAT", zlib.compress(bytes(1000)))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("content", [b"", b"no image", b"GIF89a" + bytes(20), b"%!PS-Adobe", bomb()])
def test_a_file_that_is_no_image_is_named(folder, content):
    (folder / "dog" / "1.png").write_bytes(content)
    refused(Images(path=str(folder)), str(folder / "dog" / "1.png"))


def test_a_bomb_of_moderate_size_is_refused_before_it_is_unpacked(folder, monkeypatch):
    monkeypatch.setattr(images, "MOST_PIXELS", SIDE * SIDE - 1)
    refused(Images(path=str(folder)), "more than 63 pixels")


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_damage_is_refused_in_one_line_or_harmless(folder, kind):
    Image.fromarray(picture(0)).save(folder / "cat" / "0.png", kind)
    content = (folder / "cat" / "0.png").read_bytes()
    generator = np.random.default_rng(0)
    path, source = folder / "cat" / "0.png", Images(path=str(folder))
    refusals = 0
    for trial in range(60):
        broken = bytearray(content)
        if trial % 2:
            broken[int(generator.integers(len(content)))] ^= 1 << int(generator.integers(8))
        else:
            del broken[int(generator.integers(len(content))) :]
        path.write_bytes(bytes(broken))
        try:
            found = images.read_images([path], source)[0]
            assert np.isfinite(found).all()
        except DataError as error:
            refusals += 1
            assert "\n" not in str(error) and "0.png" in str(error)
    assert refusals > 20


def test_what_lies_astray_is_named(folder):
    refused(Images(path=str(folder / "cat")), "lies beside the class folders")
    refused(Images(path=str(folder / "none")), "is no folder")
    (folder / "dog" / "more").mkdir()
    refused(Images(path=str(folder)), "'more' is no file")
    (folder / "dog" / "more").rmdir()
    (folder / "bird").mkdir()
    refused(Images(path=str(folder)), "bird", "holds no image")
    os.mkfifo(folder / "bird" / "pipe")
    refused(Images(path=str(folder)), "'pipe' is no file")


def test_where_the_data_of_a_ready_scenario_are_missing_the_way_to_get_them_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("TRUSTML_DATA", str(tmp_path))
    place = str(tmp_path / "cifar10_small" / "train")
    refused(Images(path=place), f"TRUSTML_DATA names {tmp_path}, which must hold cifar10_small/train")


def test_what_is_large_lies_in_a_file(folder, monkeypatch):
    small = load_dataset(Images(path=str(folder)))
    monkeypatch.setattr(gathering, "_most_in_memory", lambda: 1000)
    mapped = load_dataset(Images(path=str(folder)))
    assert isinstance(mapped.train.inputs, np.memmap) and isinstance(mapped.test.inputs, np.memmap)
    assert fingerprint(mapped) == fingerprint(small)


@pytest.mark.skipif(os.environ.get("TRUSTML_TESTS") != "all", reason="reads 12,000 images; TRUSTML_TESTS=all")
def test_cifar_of_class_folders(real_data):
    place = real_data / "cifar10_small"
    dataset = load_dataset(Images(path=str(place / "train"), test_path=str(place / "test")))
    assert (len(dataset.train), len(dataset.test)) == (10_000, 2_000) and dataset.input_shape == (32, 32, 3)
    assert dataset.class_names[0] == "airplane" and set(np.bincount(dataset.test.labels)) == {200}
    assert dataset.warnings == () and 0.4 < dataset.train.inputs.mean() < 0.55


def test_class_folders_lead_nowhere_else(folder):
    away = folder.parent / "away"
    away.mkdir()
    shutil.move(folder / "dog" / "1.png", away / "1.png")
    (folder / "dog" / "1.png").symlink_to(away / "1.png")
    refused(Images(path=str(folder)), "'1.png' is a link that leads out of")
    (folder / "dog" / "1.png").unlink()
    (folder / "bird").symlink_to(away)
    refused(Images(path=str(folder)), "'bird'")
