"""What one entry of the table of backends holds, as plain values that import no framework.

A package from elsewhere adds a backend by an entry point of the group ``trustml.backends`` that gives a
:class:`BackendEntry`; whatever it leaves out is not done by that backend.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeAlias

import msgspec

from trustml.frameworks.implementation import Cell


class Supported(msgspec.Struct, frozen=True, kw_only=True):
    """The backend does it.

    Attributes
    ----------
    library : str
        Whose code does the work.
    """

    library: str


class Missing(msgspec.Struct, frozen=True, kw_only=True):
    """The backend does not do it.

    Attributes
    ----------
    reason : str
    """

    reason: str


Support: TypeAlias = Supported | Missing
_NOT_DONE = Missing(reason="its backend has no such training")


class Regimes(msgspec.Struct, frozen=True, kw_only=True):
    """Which ways of training there are, and by whose code.

    Attributes
    ----------
    plain, private, federated : Support
        ``Plain``; ``DPSGD`` of the core's engine; every federated regime that averages by the mean.
    engines : mapping of str to Support
        Engines of ``DPSGD`` that leave everything to the library, by name.
    mechanisms : mapping of str to Support
        Correlated noise of ``DPFedAvg``, by the name of its struct; ``DPSGD`` has those that are there.
    users : Support
        ``DPSGD`` for users: a trainer that takes their rows together (:attr:`PrivateSettings.rows_of_users`).
    aggregations : bool
        Whether ``FedAvg`` has other ways to aggregate than the mean.
    update_canaries : Support
        Clients whose update is given, for audits.
    shadows : Support
        All shadow models of a regime in one program.
    """

    plain: Support = _NOT_DONE
    private: Support = _NOT_DONE
    federated: Support = _NOT_DONE
    engines: Mapping[str, Support] = msgspec.field(default_factory=dict)
    mechanisms: Mapping[str, Support] = msgspec.field(default_factory=dict)
    users: Support = Missing(reason="its backend puts no rows of a user together")
    aggregations: bool = False
    update_canaries: Support = Missing(reason="its backend takes no update from outside")
    shadows: Support = Missing(reason="its backend does not train shadow models")


class Noise(msgspec.Struct, frozen=True, kw_only=True):
    """What draws the noise; names of :data:`trustml.privacy.tails.TAILS`.

    Attributes
    ----------
    examples, users : str
        Of DP-SGD by the core's engine, and of federated rounds.
    earlier : tuple of str
        Of DP-SGD in earlier versions, whose ledgers say so.
    engine : str
        Of an engine that leaves everything to the library.
    engine_sampling : {"poisson", "shuffle"}
        How that engine draws its batches.
    former : float
        Standard deviations at which noise ended in the days of ledgers that do not tell; 0 where there were none.
    former_users : str
        What drew the noise of federated rounds in those days, where that was something else than is said today.
    """

    examples: str
    users: str
    earlier: tuple[str, ...] = ()
    engine: str = ""
    engine_sampling: Literal["poisson", "shuffle"] = "shuffle"
    former: float = 0.0
    former_users: str = ""


class LiveModels(msgspec.Struct, frozen=True, kw_only=True):
    """Models in memory that the backend's ``model_adapter`` takes, told by a class they descend from.

    Attributes
    ----------
    packages : tuple of str
        Top packages in which that class may lie.
    base : str
    kind : str
        What such a model is called; ``{}`` stands for the name of its class.
    """

    packages: tuple[str, ...]
    base: str
    kind: str


class Style(msgspec.Struct, frozen=True, kw_only=True):
    """How the backend looks in charts.

    Attributes
    ----------
    colour, shape : str
    dash : tuple of int
        Of lines, so that one that lies over another can be told.
    """

    colour: str = "#CC79A7"
    shape: str = "diamond"
    dash: tuple[int, ...] = (4, 2, 1, 2)


class BackendEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One backend.

    Attributes
    ----------
    name : str
        In scenarios, files and commands: small letters, digits and ``_``.
    title : str
        What people call it.
    module : str
        Module whose ``BACKEND`` is a :class:`trustml.backends.contract.Backend`. Importing it, or its sibling
        ``model_adapter``, imports the framework.
    packages : tuple of str
        What must be importable where it runs.
    lock : str
        Name of the lock from which its own environment is made; empty where it lives beside trustml.
    fix : str
        Command that installs it.
    devices : str
        Program that prints ``device``, a tab, and a name for each device the framework sees.
    unused_gpu : tuple of str
        Why it may see no GPU that is there, and the pip command against that; empty where nothing is known.
    compiled : tuple of str
        Distributions whose versions decide whether a compiled program can be used again; empty where nothing that was
        compiled is kept.
    preloaded : tuple of str
        Modules that explanations use and that start no thread when they are imported, so that a process which has
        imported them can be forked into a worker; empty where it cannot.
    several_devices : bool
        Whether private training deals a batch out over ``execution.devices``.
    grad_sample_modes : bool
        Whether ``execution.grad_sample_mode`` speaks of it.
    regimes : Regimes
    noise : Noise, optional
        Needed where there is a private regime.
    methods : mapping of str to Cell
        Explanation methods by the name of their struct, for backends that :mod:`trustml.catalogue.methods` does not
        have a column for.
    channels_first : bool
        Whether images of its users' models are (channels, rows, columns).
    live : tuple of LiveModels
    traced : tuple of LiveModels
        Models in memory that its ``exported`` carries over to an architecture.
    live_files : tuple of str
        Endings of files of models that its ``exporting`` opens; a name without a dot in front is that of a file by
        which a folder is one.
    live_packages : tuple of str
        Distributions whose versions the audit of such a model records.
    style : Style
    """

    name: str
    title: str
    module: str
    packages: tuple[str, ...]
    lock: str = ""
    fix: str
    devices: str = 'print("device", "cpu", sep="\\t")\n'
    unused_gpu: tuple[str, ...] = ()
    compiled: tuple[str, ...] = ()
    preloaded: tuple[str, ...] = ()
    several_devices: bool = False
    grad_sample_modes: bool = False
    regimes: Regimes
    noise: Noise | None = None
    methods: Mapping[str, Cell] = msgspec.field(default_factory=dict)
    channels_first: bool = False
    live: tuple[LiveModels, ...] = ()
    traced: tuple[LiveModels, ...] = ()
    live_files: tuple[str, ...] = ()
    live_packages: tuple[str, ...] = ()
    style: Style = Style()
