"""The literal table of bars: which ratio of which engines must lie where."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from trustml_bench.places import Allocator
from trustml_bench.workloads import ALIKE, LARGE, Workload, WorkloadKind

Quantity: TypeAlias = Literal["time", "memory", "work_mebibytes", "memory_beyond_weights", "passes"]

JAX_PLAIN = ("jax plain", "jax plain, lax.conv", "trustml jax plain")
TORCH_PLAIN = ("torch plain", "torch.compile plain", "trustml torch plain")
TENSORFLOW_PLAIN = ("tf plain", "tf plain, jit_compile", "trustml tensorflow plain")
NOISY = {"torch": ("torch plain", "trustml torch plain"), "JAX": ("jax plain", "trustml jax plain")}
ANY_PLAIN = (*JAX_PLAIN, *TORCH_PLAIN, *TENSORFLOW_PLAIN)
OPACUS = ("Opacus hooks", "Opacus functorch", "Opacus ew", "Opacus ghost")
JAX, TORCH, TENSORFLOW = "trustml jax", "trustml torch", "trustml tensorflow"


class Side(msgspec.Struct, frozen=True, kw_only=True):
    """The fastest of some engines on one workload; `without` what an engine takes for another one, if given."""

    workload: Workload
    engines: tuple[str, ...]
    without: tuple[Workload, str] | None = None


class Bar(msgspec.Struct, frozen=True, kw_only=True):
    """One bar.

    Attributes
    ----------
    what : str
        For people; unique together with the workload and the allocator.
    above, below : Side
        Numerator and denominator.
    at_most, at_least : float or None
        The bound; one of them.
    stretch : float or None
        What is hoped for beyond it.
    allocator : {"tuned", "default"}
        Setting under which it is judged; the other is shown beside.
    quantity : str
        *Memory* is the peak of the whole process; *work_mebibytes* that of the work above, less what was resident
        before, and no ratio; *memory_beyond_weights* a ratio of the same less a gradient and noise as large as the
        weights that move, which are there before. *Passes* are counted elsewhere, not timed.
    """

    what: str
    above: Side
    below: Side
    at_most: float | None = None
    at_least: float | None = None
    stretch: float | None = None
    allocator: Allocator = "tuned"
    quantity: Quantity = "time"

    @property
    def name(self) -> str:
        """Unique."""
        return f"{self.what} | {self.above.workload.name} | {self.allocator}"

    @property
    def large(self) -> bool:
        """Whether it is about a network of real size."""
        return self.above.workload.network in LARGE

    @property
    def bound(self) -> float:
        """Whichever of the two it has."""
        found = self.at_most if self.at_most is not None else self.at_least
        assert found is not None
        return found

    @property
    def engines(self) -> frozenset[tuple[Workload, str]]:
        """All engines that it needs, with their workloads."""
        sides = (self.above, self.below)
        taken_off = {side.without for side in sides if side.without is not None}
        return frozenset((side.workload, name) for side in sides for name in side.engines) | taken_off


def _side(kind: WorkloadKind, network: str, size: int, *engines: str) -> Side:
    return Side(workload=Workload(kind=kind, network=network, size=size), engines=engines)


def _over_plain(own: str, plain: tuple[str, ...], short: str, network: str, size: int, most: float) -> tuple[Bar, ...]:
    """A private step against the floors of its own framework, and of any."""
    return tuple(
        Bar(
            what=f"{short} private step / best plain step {floor}",
            above=_side("private_step", network, size, own),
            below=_side("plain_step", network, size, *engines),
            at_most=most,
            stretch=1.4 if own == TORCH else None,
        )
        for floor, engines in ((f"of {short}", plain), ("of any framework", ANY_PLAIN))
    )


def _over_jax(
    what: str,
    engines: tuple[str, ...],
    network: str,
    size: int,
    least: float,
    *,
    stretch: float | None = None,
    allocator: Allocator = "default",
) -> Bar:
    """Another library's private step against ours in JAX."""
    return Bar(
        what=f"{what} / JAX private step",
        above=_side("private_step", network, size, *engines),
        below=_side("private_step", network, size, JAX),
        at_least=least,
        stretch=stretch,
        allocator=allocator,
    )


def _explained(what: str, above: str, below: str, place: tuple[WorkloadKind, str, int], least: float) -> Bar:
    """A library's explanation against one of ours."""
    return Bar(what=what, above=_side(*place, above), below=_side(*place, below), at_least=least)


def _on(workload: Workload, what: str, above: str, least: float) -> Bar:
    """A peer against JAX on a workload of clients or shadow models."""
    return Bar(
        what=what,
        above=Side(workload=workload, engines=(above,)),
        below=Side(workload=workload, engines=(JAX,)),
        at_least=least,
    )


_IG: tuple[WorkloadKind, str, int] = ("integrated_gradients", "cnn", 64)
_LONG_IG: tuple[WorkloadKind, str, int] = ("integrated_gradients", "mlp", 1024)
_IG_224: tuple[WorkloadKind, str, int] = ("integrated_gradients", "resnet18_224", 4)
_EPOCHS: tuple[WorkloadKind, ...] = ("feature_epoch", "head_epoch")
_PRIVATE_AND_NOISE: tuple[WorkloadKind, ...] = ("private_step", "noise")
_OCCLUSION: tuple[WorkloadKind, str, int] = ("occlusion", "cnn", 64)
_FEW = Workload(kind="round", network="small_cnn", size=20, examples=75, batch_size=25)
_MANY = Workload(kind="round", network="small_cnn", size=100, examples=18, batch_size=9)
_SMALL = Workload(kind="round", network="small_mlp", size=20, examples=64, batch_size=16)
_SHADOWS = Workload(kind="shadows", network="shadow_mlp", size=64, examples=900, batch_size=64)


def _floors(network: str, torch: float, jax: float) -> tuple[Bar, ...]:
    """Time and memory of a private step against the least that it can be, and against a plain one."""
    return tuple(
        bar
        for short, name, most in (("torch", TORCH, torch), ("JAX", JAX, jax))
        for bar in (
            Bar(
                what=f"{short} private step / plain step and noise for its weights",
                above=_side("private_step", network, 64, name),
                below=_side("noisy_step", network, 64, *(NOISY[short][1:] if network in ALIKE else NOISY[short])),
                at_most=most,
            ),
            Bar(
                what=f"peak memory of {short}'s private step / plain step",
                above=_side("private_step", network, 64, name),
                below=_side("plain_step", network, 64, f"{name} plain"),
                at_most=1.5,
                quantity="memory",
            ),
        )
    )


def _large(network: str, torch: float, opacus: float, jax: float, jax_privacy: float) -> tuple[Bar, ...]:
    """Bars of a network of real size at batches of 64, in torch and JAX."""

    def bar(
        what: str,
        above: tuple[str, ...],
        below: tuple[str, ...],
        kinds: tuple[WorkloadKind, WorkloadKind],
        *,
        most: float | None = None,
        least: float | None = None,
    ) -> Bar:
        sides = (_side(kinds[0], network, 64, *above), _side(kinds[1], network, 64, *below))
        return Bar(what=what, above=sides[0], below=sides[1], at_most=most, at_least=least)

    plain: WorkloadKind = "plain_step"
    private: WorkloadKind = "private_step"
    own = ("torch", TORCH, TORCH_PLAIN), ("JAX", JAX, JAX_PLAIN)
    return (
        bar("torch private step / best plain step of torch", (TORCH,), TORCH_PLAIN, (private, plain), most=torch),
        bar("fastest Opacus mode / torch private step", OPACUS, (TORCH,), (private, private), least=opacus),
        bar("best JAX plain step / best torch plain step", JAX_PLAIN, TORCH_PLAIN, (plain, plain), most=jax),
        bar("JAX private step / best plain step of JAX", (JAX,), JAX_PLAIN, (private, plain), most=1.25),
        bar("jax-privacy's default step / JAX private step", ("jax-privacy",), (JAX,), (private, private),
            least=jax_privacy),
        *(
            bar(f"trustml's plain step / best other one of {short}", (f"{name} plain",), floor[:-1], (plain, plain),
                most=1.0)
            for short, name, floor in own
        ),
    )  # fmt: skip


def _tables(short: str, name: str) -> tuple[Bar, ...]:
    """What a private step of a network with a large table costs beside one with a small table."""

    def side(network: str) -> Side:
        private, noise = (Workload(kind=kind, network=network, size=64) for kind in _PRIVATE_AND_NOISE)
        return Side(workload=private, engines=(name,), without=(noise, name))

    large, small = side("encoder_64k"), side("encoder_8k")
    return (
        Bar(what=f"{short} private step beyond its noise, vocabulary 64k / 8k", above=large, below=small, at_most=1.2),
        Bar(
            what=f"memory of {short}'s private step beyond weights, gradient and noise, vocabulary 64k / 8k",
            above=large,
            below=small,
            at_most=1.2,
            quantity="memory_beyond_weights",
        ),
    )


def _on_features(short: str, name: str) -> Bar:
    above, below = (Workload(kind=kind, network="resnet20_head", size=512, batch_size=64) for kind in _EPOCHS)
    return Bar(
        what=f"{short} private epoch of a head on frozen features / of the head alone",
        above=Side(workload=above, engines=(name,)),
        below=Side(workload=below, engines=(name,)),
        at_most=1.1,
    )


def _room(short: str, name: str) -> Bar:
    """Memory of integrated gradients of large images, above the model."""
    own = _side(*_IG_224, name)
    what = f"integrated gradients in {short}: MiB above the model"
    return Bar(what=what, above=own, below=own, at_most=400, quantity="work_mebibytes")


BARS: tuple[Bar, ...] = (
    *_over_plain(JAX, JAX_PLAIN, "JAX", "cnn", 256, 1.20),
    *_over_plain(JAX, JAX_PLAIN, "JAX", "cnn", 1024, 1.15),
    *_over_plain(JAX, JAX_PLAIN, "JAX", "mlp", 256, 1.25),
    *_over_plain(JAX, JAX_PLAIN, "JAX", "mlp", 1024, 1.15),
    *(
        Bar(
            what="best JAX plain step / best torch plain step",
            above=_side("plain_step", "cnn", size, *JAX_PLAIN),
            below=_side("plain_step", "cnn", size, *TORCH_PLAIN),
            at_most=most,
        )
        for size, most in ((256, 1.10), (1024, 1.3))
    ),
    _over_jax("Opacus's default step", ("Opacus hooks",), "cnn", 256, 1.35, stretch=1.6),
    _over_jax("Opacus's default step", ("Opacus hooks",), "mlp", 256, 65),
    _over_jax("Opacus's default step", ("Opacus hooks",), "mlp", 1024, 95),
    _over_jax("fastest Opacus mode", OPACUS, "cnn", 256, 1.3, stretch=1.5),
    _over_jax("fastest Opacus mode", OPACUS, "cnn", 1024, 1.3, stretch=1.5),
    _over_jax("fastest Opacus mode", OPACUS, "mlp", 256, 1.9),
    _over_jax("fastest Opacus mode", OPACUS, "mlp", 1024, 1.9),
    _over_jax("fastest Opacus mode", OPACUS, "cnn", 256, 1.1, allocator="tuned"),
    _over_jax("fastest Opacus mode", OPACUS, "cnn", 1024, 1.1, allocator="tuned"),
    _over_jax("jax-privacy's default step", ("jax-privacy",), "cnn", 256, 4),
    _over_jax("jax-privacy's default step", ("jax-privacy",), "mlp", 256, 300),
    *_large("resnet20", 1.5, 1.5, 1.6, 2),
    *_floors("resnet20", 1.6, 1.4),
    Bar(
        what="tensorflow private step / best plain step of tensorflow",
        above=_side("private_step", "resnet20", 64, TENSORFLOW),
        below=_side("plain_step", "resnet20", 64, *TENSORFLOW_PLAIN),
        at_most=2,
    ),
    *_large("encoder", 1.4, 1.4, 1.3, 8),
    *_floors("encoder", 1.4, 1.4),
    *(
        Bar(
            what=f"{short} private step of LoRA / plain step of LoRA",
            above=_side("private_step", "encoder_lora", 64, name),
            below=_side("plain_step", "encoder_lora", 64, f"{name} plain"),
            at_most=1.1,
        )
        for short, name in (("torch", TORCH), ("JAX", JAX))
    ),
    *_floors("encoder_lora", 1.4, 1.4),
    _on_features("torch", TORCH),
    _on_features("JAX", JAX),
    *_tables("torch", TORCH),
    *_tables("JAX", JAX),
    _explained("Captum's default integrated gradients / ours in torch", "Captum", TORCH, _IG_224, 1.4),
    _explained(
        "Captum's integrated gradients in batches of 8 / ours in torch", "Captum, batches of 8", TORCH, _IG_224, 0.95
    ),
    Bar(
        what="integrated gradients in JAX / in torch",
        above=_side(*_IG_224, JAX),
        below=_side(*_IG_224, TORCH),
        at_most=1.5,
    ),
    _room("torch", TORCH),
    _room("JAX", JAX),
    *_over_plain(TENSORFLOW, TENSORFLOW_PLAIN, "tensorflow", "cnn", 256, 4),
    *_over_plain(TENSORFLOW, TENSORFLOW_PLAIN, "tensorflow", "cnn", 1024, 4),
    *_over_plain(TENSORFLOW, TENSORFLOW_PLAIN, "tensorflow", "mlp", 256, 1.7),
    *_over_plain(TENSORFLOW, TENSORFLOW_PLAIN, "tensorflow", "mlp", 1024, 1.7),
    *_over_plain(TORCH, TORCH_PLAIN, "torch", "mlp", 256, 2.1),
    *_over_plain(TORCH, TORCH_PLAIN, "torch", "mlp", 1024, 2.1),
    *(
        Bar(
            what=f"integrated gradients in {short} / floor",
            above=_side(*_IG, own),
            below=_side(*_IG, floor),
            at_most=1.1,
        )
        for short, own, floor in (
            ("torch", TORCH, "torch input gradients"),
            ("JAX", JAX, "jax input gradients"),
            ("tensorflow", TENSORFLOW, "tf input gradients"),
        )
    ),
    _explained("Captum's default integrated gradients / ours in JAX", "Captum", JAX, _IG, 2.2),
    _explained("Captum's default integrated gradients / ours in torch", "Captum", TORCH, _IG, 1.4),
    _explained("Captum's default integrated gradients / ours in torch", "Captum", TORCH, _LONG_IG, 5),
    _explained(
        "tf-explain's integrated gradients / ours in tensorflow", "tf-explain, image by image", TENSORFLOW, _IG, 1.6
    ),
    _explained("tf-explain's occlusion / ours in tensorflow", "tf-explain", TENSORFLOW, _OCCLUSION, 15),
    Bar(
        what="passes to a completeness error of 1 %: ours / uniform rule",
        above=_side(*_IG, JAX),
        below=_side(*_IG, "uniform rule"),
        at_most=0.33,
        quantity="passes",
    ),
    _on(_FEW, "TFF's fastest loop / JAX round", "TFF, data set iterator", 4.5),
    _on(_MANY, "TFF's fastest loop / JAX round", "TFF, data set iterator", 8),
    _on(_SMALL, "TFF's fastest loop / JAX round", "TFF, data set iterator", 100),
    *(_on(workload, "FedJAX / JAX round", "FedJAX", 1.7) for workload in (_FEW, _MANY, _SMALL)),
    *(_on(workload, "pfl / JAX round", "pfl", 2.5) for workload in (_FEW, _MANY, _SMALL)),
    _on(_SHADOWS, "64 shadow models: torch with DataLoader / JAX", "torch, DataLoader", 30),
    _on(_SHADOWS, "64 shadow models: torch eager loop / JAX", "torch, one after another", 15),
    Bar(
        what="peak memory of JAX's private step / plain step",
        above=_side("private_step", "mlp", 1024, JAX),
        below=_side("plain_step", "mlp", 1024, "trustml jax plain"),
        at_most=1.3,
        quantity="memory",
    ),
)
"""Every bar. Without an allocator named: ``default`` against other libraries' private steps, ``tuned`` elsewhere."""
