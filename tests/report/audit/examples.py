"""An audit as it might come out. Every number in it is made up: it tests the report and is a result of nothing."""

from __future__ import annotations

import statistics

import msgspec
import numpy as np

from trustml.auditing.claim import Claim
from trustml.auditing.result import AuditedModel, AuditRecord, Finding, Measurement, RocCounts

MADE_UP = "example with made-up numbers"
HOSTILE = (
    "</style><script>alert('x')</script> \"'&<b>$\\frac{| [a](javascript:b) `c` _d_ \x1b[31m \u202etxt\n---\n# e\x00"
)

CLAIM = Claim(
    epsilon=3.0,
    delta=1e-5,
    noise_multiplier=1.42,
    sample_rate=0.0445,
    steps=675,
    sampling="poisson",
    loader="poisson",
    accountant="dp-accounting PLD",
)
ATTACKS = {"lira-online": 0.09, "lira-offline": 0.08, "rmia": 0.08, "entropy": 0.03, "threshold": 0.02}


def _auc(value: float, n: int) -> Measurement:
    half = 2.9 * np.sqrt(value * (1 - value) / n) * 0.75
    note = "DeLong, Bonferroni over 5 attacks"
    low, high = float(value - half), float(value + half)
    return Measurement(measure="membership_auc", value=value, low=low, high=high, confidence=0.99, n=n, note=note)


def _curve(subject: str, attack: str, shift: float, n: int = 718) -> RocCounts:
    """A binormal curve."""
    normal = statistics.NormalDist()
    rates = np.linspace(0, 1, n + 1)[1:-1]
    true = [1 - normal.cdf(normal.inv_cdf(1 - rate) - shift) for rate in rates]
    counts = tuple(round(n * rate) for rate in true)
    return RocCounts(
        subject=subject, attack=attack, false_positives=tuple(range(1, n + 1)), true_positives=(*counts, n)
    )


def membership(subject: str, *, exposed: bool, turn: int) -> tuple[list[Finding], list[RocCounts]]:
    findings, curves = [], []
    for attack, gain in ATTACKS.items():
        auc = 0.5 + (gain * (2.1 + 0.1 * turn) if exposed else 0.012 * ((turn * 7 + len(attack)) % 5 - 2) / 2)
        flagged = exposed and gain > 0.05
        tpr = Measurement(
            measure="membership_tpr_at_1_percent_fpr",
            value=0.08 if flagged else 0.011,
            low=0.05 if flagged else 0.004,
            high=0.12 if flagged else 0.024,
            confidence=0.95,
            n=718,
            note="Clopper-Pearson",
        )
        rare = Measurement(
            measure="membership_tpr_at_0_1_percent_fpr",
            note="not estimable at this n: 718 non-members, 10,000 are needed",
        )
        told = (
            "tells training examples from others better than guessing" if flagged else "was not seen to beat guessing"
        )
        findings.append(
            Finding(
                id=f"membership.{attack}",
                check="membership",
                severity="risk" if flagged else "pass",
                title=f"{attack} {told}.",
                subject=subject,
                measured=(_auc(auc, 1436), tpr, rare),
                how="Attack with 64 shadow models of the same regime; all training and held-out examples were scored.",
                artifacts=(f"private/attacks/members.{subject}.npz",),
                would_change="More shadow models or more held-out examples; another training of the same regime.",
            )
        )
        shift = statistics.NormalDist().inv_cdf(auc) * 2**0.5
        curves.append(_curve(subject, attack, shift))
    return findings, curves


def canary(subject: str, *, value: float, turn: int) -> Finding:
    return Finding(
        id="canaries.dirac-gradient",
        check="canaries",
        severity="pass",
        title="The canaries show no more than was claimed.",
        subject=subject,
        claim="epsilon 3 at delta 1e-05, one example, add or remove one",
        measured=(
            Measurement(measure="audited_epsilon", value=value, low=value, confidence=0.95, n=1000, note="one run"),
            Measurement(measure="ceiling_all_correct", value=5.78, n=1000),
            Measurement(
                measure="attainable_at_claim", value=0.91, low=0.55, high=1.25, confidence=0.9, n=1000, note="20 draws"
            ),
        ),
        how="One training with 1,000 gradient canaries, each there by a fair coin; thresholds by a union bound.",
        artifacts=(f"private/attacks/canary.torch.dpsgd-{turn}.npz",),
        would_change="More canaries: at this number an ideal attacker shows about 0.91.",
    )


def other_findings() -> list[Finding]:
    broken = Finding(
        id="mechanism.game",
        check="mechanism",
        severity="violation",
        title="The mechanism without clipping leaks more than it claims.",
        subject="planted: no clipping",
        claim="epsilon 1.9 at delta 1e-05 for one step",
        measured=(
            Measurement(measure="audited_epsilon", value=5.312, low=5.312, confidence=0.99, n=40_000),
            Measurement(measure="claimed_epsilon", value=1.9),
            Measurement(measure="ceiling_all_correct", value=8.4, n=40_000),
        ),
        how="20,000 steps with the canary and 20,000 without; the threshold was chosen on half of them.",
        artifacts=("private/attacks/game.torch.0.npz",),
        would_change="A correct clipping; nothing that more trials could add.",
    )
    accounting = [
        Finding(
            id="accounting.recomputed",
            check="accounting",
            severity="pass",
            title="Epsilon recomputed from noise, rate and steps is at most the claim.",
            subject=f"DPSGD seed {turn}",
            claim="epsilon 3",
            measured=(
                Measurement(measure="epsilon", value=2.9871, note="PLD, Poisson"),
                Measurement(measure="epsilon_unamplified", value=94.2),
            ),
            how="Poisson-subsampled Gaussian mechanism, composed over the stated steps.",
            would_change="Other values of noise, rate or steps.",
        )
        for turn in range(20)
    ]
    completeness = Measurement(
        measure="attribution_completeness", value=0.0021, high=0.0034, confidence=0.95, n=64, note="bootstrap"
    )
    return [
        broken,
        *accounting,
        Finding(
            id="sampling.loader",
            check="sampling",
            severity="risk",
            title="The claim assumes Poisson sampling, the code shuffles; the shuffle bound is above the claim.",
            subject="DPSGD shuffled",
            claim="epsilon 3 under Poisson sampling",
            measured=(
                Measurement(measure="epsilon_shuffle_lower", value=6.1, note="a lower bound on the true epsilon"),
            ),
            how="Stated sampling against the loader in the code.",
            would_change="A Poisson loader, or the claim without amplification.",
        ),
        Finding(
            id="explanations.completeness",
            check="explanations",
            severity="note",
            title="Integrated gradients add up to the difference of outputs within 0.4 %.",
            subject="Plain seed 0",
            measured=(completeness,),
            how="64 held-out examples, 64 steps.",
        ),
        Finding(
            id="explanations.sanity",
            check="explanations",
            severity="pass",
            title="Attributions change when the weights are randomised.",
            subject="Plain seed 0",
            measured=(
                Measurement(measure="attribution_sanity_rank", value=0.06, low=0.01, high=0.11, confidence=0.95, n=64),
            ),
        ),
        Finding(
            id="performance.accuracy",
            check="performance",
            severity="not checked",
            title="No accuracy was claimed, so none was tested.",
        ),
    ]


def example_audit(plain: int = 5, private: int = 20) -> AuditRecord:
    """Plain models that are flagged, private ones that are not, a planted violation."""
    models, findings, curves = [], [], []
    for turn in range(plain + private):
        exposed = turn < plain
        name = f"Plain seed {turn}" if exposed else f"DPSGD seed {turn - plain}"
        models.append(
            AuditedModel(
                name=name,
                kind=f"run train.torch.{'Plain' if exposed else 'DPSGD'}.s{turn}",
                members=718,
                non_members=718,
                train_accuracy=1.0 if exposed else 0.912,
                holdout_accuracy=0.954 if exposed else 0.903,
                claim=None if exposed else CLAIM,
            )
        )
        made, drawn = membership(name, exposed=exposed, turn=turn)
        findings += made
        curves += drawn
        if not exposed and turn < plain + 4:
            findings.append(canary(name, value=0.31 + 0.11 * (turn - plain), turn=turn))
    planted = Claim(epsilon=1.9, delta=1e-5, mechanism="one step of DP-SGD, clipping left out on purpose")
    models.append(AuditedModel(name="planted: no clipping", kind="distinguishing game", claim=planted))
    shuffled = msgspec.structs.replace(CLAIM, loader="shuffle")
    models.append(AuditedModel(name="DPSGD shuffled", kind="torch.nn.Module", members=718, claim=shuffled))
    return AuditRecord(
        id="audit-20990101T000000Z-demo",
        title=f"Audit of handwritten digits ({MADE_UP})",
        created="2099-01-01T00:00:00Z",
        run="audit_digits-20990101T000000Z-demo",
        models=tuple(models),
        findings=tuple(findings + other_findings()),
        curves=tuple(curves),
        settings={"checks": "membership, canaries, mechanism, accounting", "confidence": "0.99", "shadow models": "64"},
        versions={"trustml": "0.1.0", "torch": "2.13.0", "jax": "0.10.2", "numpy": "2.4.1"},
        hardware={"cpu": "2 cores", "memory": "8 GiB", "accelerator": "none"},
        source={"commit": "0" * 40, "uncommitted changes": "no"},
        data={"name": "digits", "training examples": "718", "fingerprint": "sha256:" + "ab" * 32, "note": MADE_UP},
    )


def hostile_audit() -> AuditRecord:
    """Every string of the example is an attack on whoever shows it."""
    record = example_audit(plain=1, private=1)

    def spoil(value: object, key: str = "") -> object:
        keep = ("severity", "measure", "unit", "relation", "sampling", "loader")
        if isinstance(value, str):
            return value if key in keep else HOSTILE
        if isinstance(value, dict):
            free = key in ("settings", "versions", "hardware", "source", "data")
            return {
                (HOSTILE + name if free else name): spoil(item, "" if free else name) for name, item in value.items()
            }
        return [spoil(item, key) for item in value] if isinstance(value, (list, tuple)) else value

    return msgspec.convert(spoil(msgspec.to_builtins(record)), AuditRecord)


def empty_audit() -> AuditRecord:
    return AuditRecord(id="audit-empty", title="", created="2099-01-01T00:00:00Z", models=(), findings=())
