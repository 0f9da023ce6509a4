"""Who holds which examples, and who takes part in a round, as data."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import msgspec

from trustml.ranges import BelowOne, Count, Positive


class PartitionSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind"):
    """A way to split the training examples over clients. It is drawn once and shared by all backends."""


class IID(PartitionSpec, frozen=True, kw_only=True, tag="iid"):
    """Uniformly at random; the clients' sizes differ by one at most.

    Parameters
    ----------
    clients : int
    """

    clients: Count = 20


class Dirichlet(PartitionSpec, frozen=True, kw_only=True, tag="dirichlet"):
    """Label skew: every class is dealt out by shares drawn from a Dirichlet distribution (Hsu et al. 2019).

    arXiv 1909.06335. The smaller `alpha`, the fewer classes a client has; 0.1 and 0.5 are usual.

    Parameters
    ----------
    clients : int
    alpha : float
    minimum : int
        Fewest examples of a client; the shares are drawn again until every client has them.
    """

    clients: Count = 20
    alpha: Positive = 0.5
    minimum: Count = 1


class Quantity(PartitionSpec, frozen=True, kw_only=True, tag="quantity"):
    """Quantity skew: the clients' sizes are drawn from a Dirichlet distribution, their labels are alike.

    Parameters
    ----------
    clients : int
    alpha : float
    minimum : int
        Every client has so many examples; what is left is dealt out by the shares.
    """

    clients: Count = 20
    alpha: Positive = 0.5
    minimum: Count = 1


class Shards(PartitionSpec, frozen=True, kw_only=True, tag="shards"):
    """Pathological label skew: examples sorted by label and cut into shards, a few to each client.

    McMahan et al., AISTATS 2017, section 3, give each client 2 shards.

    Parameters
    ----------
    clients : int
    per_client : int
    """

    clients: Count = 20
    per_client: Count = 2


class NaturalKey(PartitionSpec, frozen=True, kw_only=True, tag="natural_key"):
    """One client for each value of a column of the data, or of several columns together.

    Parameters
    ----------
    columns : tuple of str
        Columns of the table; each must be named in ``data.keys``.
    minimum : int
        Smaller clients are left out, with their examples; the record says how many.
    """

    columns: Annotated[tuple[str, ...], msgspec.Meta(min_length=1, extra={"fix": "name a column of the data"})]
    minimum: Count = 1


Partition: TypeAlias = IID | Dirichlet | Quantity | Shards | NaturalKey


class CohortSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind"):
    """Who is asked to take part in a round.

    Parameters
    ----------
    dropout : float
        Probability with which a client that was asked does not answer, on its own, each time. Accounting
        takes no credit for it where cohorts are secret.
    """

    dropout: BelowOne = 0.0


class Everyone(CohortSpec, frozen=True, kw_only=True, tag="everyone"):
    """All clients in every round."""


class FixedCohort(CohortSpec, frozen=True, kw_only=True, tag="fixed"):
    """A fresh uniform subset of fixed size in every round.

    Parameters
    ----------
    clients : int
    """

    clients: Count


class PoissonCohort(CohortSpec, frozen=True, kw_only=True, tag="poisson"):
    """Every client joins every round on its own with probability ``clients / number of clients``.

    Parameters
    ----------
    clients : int
        Expected number.
    """

    clients: Count


class InTurn(CohortSpec, frozen=True, kw_only=True, tag="in_turn"):
    """Clients in a random order, so many a round, and in the same order again when all have been asked.

    Between two rounds of one client there are always as many rounds: what DP-FTRL needs.

    Parameters
    ----------
    clients : int
    """

    clients: Count


Cohort: TypeAlias = Everyone | FixedCohort | PoissonCohort | InTurn
