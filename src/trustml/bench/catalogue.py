"""The literal table of engines."""

from __future__ import annotations

from trustml.bench.engine import Engine

ENGINES: tuple[Engine, ...] = (
    Engine(name="jax plain", environment="jax", maker="jax_own:plain_step", kinds=("plain_step",), role="floor"),
)
