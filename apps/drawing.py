"""A small image that a reader draws: with a pen, or in a table of its pixels by keyboard."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd
import streamlit as st

from trustml.errors import UsageError
from trustml.report.documents import plain_text

LARGEST_SIDE = 32
"""Pixels of the larger images that can be drawn."""

_HTML = (
    '<canvas role="img" aria-label="Drawing area; the table below holds the same pixels and is used by keyboard">'
    "</canvas>"
)
_CSS = "canvas { touch-action: none; border: 1px solid var(--st-text-color); image-rendering: pixelated; }"
_JS = """
export default function(component) {
  const { data, setStateValue, parentElement } = component;
  const canvas = parentElement.querySelector("canvas");
  const [rows, columns] = data.shape;
  const side = Math.max(6, Math.floor(280 / Math.max(rows, columns)));
  if (canvas.dataset.version !== data.version) {
    canvas.dataset.version = data.version;
    canvas.width = columns; canvas.height = rows;
    canvas.style.width = columns * side + "px"; canvas.style.height = rows * side + "px";
    canvas.pixels = data.pixels.slice();
  }
  const pen = canvas.getContext("2d");
  const show = () => {
    const image = pen.createImageData(columns, rows);
    canvas.pixels.forEach((value, place) => {
      const grey = Math.round(255 * value);
      image.data.set([grey, grey, grey, 255], 4 * place);
    });
    pen.putImageData(image, 0, 0);
  };
  const width = Math.max(rows, columns) > 16 ? 1.2 : 0.75;
  const ink = (event) => {
    const box = canvas.getBoundingClientRect();
    const x = (event.clientX - box.left) / box.width * columns - 0.5;
    const y = (event.clientY - box.top) / box.height * rows - 0.5;
    for (let row = 0; row < rows; row++) for (let column = 0; column < columns; column++) {
      const near = Math.max(0, Math.min(1, width + 0.5 - Math.hypot(column - x, row - y)));
      const place = row * columns + column;
      const old = canvas.pixels[place];
      canvas.pixels[place] = data.erase ? Math.min(old, 1 - near) : Math.max(old, near);
    }
    show();
  };
  canvas.onpointerdown = (event) => { canvas.setPointerCapture(event.pointerId); ink(event); };
  canvas.onpointermove = (event) => { if (event.buttons) ink(event); };
  canvas.onpointerup = () => setStateValue("pixels", canvas.pixels.slice());
  show();
}
"""
_canvas = st.components.v2.component("trustml.drawing", html=_HTML, css=_CSS, js=_JS)


def draw_image(shape: tuple[int, int], *, key: str, start: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Let the reader draw an image of that many rows and columns, and give it.

    Parameters
    ----------
    shape : (int, int)
    key : str
    start : float32 array of shape (rows, columns)
        In [0, 1]; the pen draws 1.

    Returns
    -------
    float32 array of shape (rows, columns), in [0, 1]

    Raises
    ------
    UsageError
        If the browser gave something else.
    """
    version = f"{key} version"
    state = st.session_state
    state.setdefault(version, 0)
    state.setdefault(f"{key} start", start)
    left, right = st.columns(2)
    with left:
        tool = st.selectbox("Pen", ["draw", "erase"], key=f"{key} pen")
        with st.container(horizontal=True):
            for label, pixels in (("Empty", np.zeros(shape, np.float32)), ("Begin with the example", start)):
                if st.button(plain_text(label), key=f"{key} {label}"):
                    state[version] += 1
                    state[f"{key} start"] = pixels
        begin = np.asarray(state[f"{key} start"])
        place = f"{key} {state[version]}"
        data = {
            "shape": list(shape),
            "pixels": begin.ravel().tolist(),
            "erase": tool == "erase",
            "version": place,
        }
        drawn = _canvas(key=place, data=data, default={"pixels": None}, on_pixels_change=lambda: None)
    pixels = _pixels(drawn.pixels, begin, shape)
    with right, st.expander("Pixels as numbers, 0 to 1"):
        config = {
            str(one): st.column_config.NumberColumn(min_value=0.0, max_value=1.0, format="%.2f")
            for one in range(shape[1])
        }
        table = pd.DataFrame(pixels.astype(float), columns=[str(one) for one in range(shape[1])])
        edited = st.data_editor(
            table, column_config=config, key=f"{place} table {hash(pixels.tobytes())}", alt="Pixels of the drawn image"
        )
    return edited.to_numpy(np.float32).clip(0.0, 1.0)


def _pixels(drawn: object, begin: npt.NDArray[np.float32], shape: tuple[int, int]) -> npt.NDArray[np.float32]:
    if drawn is None:
        return begin
    try:
        found = np.array(drawn, np.float32)
    except (TypeError, ValueError):
        raise UsageError("drawing: is no image; draw it again") from None
    if found.size != shape[0] * shape[1] or not np.isfinite(found).all():
        raise UsageError("drawing: is of another size; draw it again")
    return found.reshape(shape).clip(0.0, 1.0)
