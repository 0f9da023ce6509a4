"""What every audit report says whatever was found: limits, terms, sources."""

from __future__ import annotations

LIMITS: tuple[tuple[str, str], ...] = (
    (
        "A pass is the absence of evidence.",
        "It says that these attacks, with these trials, found nothing. A stronger attack or more trials may. "
        "Only a proof, such as that of differential privacy, bounds what every attacker can do.",
    ),
    (
        "Attacks give evidence from below.",
        "An audited epsilon is a lower bound on the true one, often far below it. Read it beside the ceiling (the most "
        "that many trials could have shown) and beside what an ideal attacker would have shown at the claim.",
    ),
    (
        "Mostly one training run stands behind a figure.",
        "Intervals cover the sampling of examples, canaries or trials; they do not cover another training of the same "
        "model unless the finding says so.",
    ),
    (
        "Many checks, few alarms by chance.",
        "Each confidence is that of its own finding, as the finding describes it. Among many findings at 95 % "
        "some are expected to be wrong.",
    ),
    (
        "Estimates are no bounds.",
        "A figure called an estimate rests on an assumption about the attack's scores (that they are Gaussian, say). "
        "It never decides a violation.",
    ),
    (
        "Only what the claimant states can be recomputed.",
        "Noise, sampling rate, steps and the way batches are drawn are taken as stated, unless a finding says that "
        "they were observed.",
    ),
    (
        "An epsilon speaks of one release.",
        "Models trained on the same data add up. Tuning, earlier versions and models that are not "
        "listed here are not covered unless a finding names them.",
    ),
    (
        "The models are those listed, on the data listed.",
        "A later version, other weights or other data are another audit.",
    ),
    (
        "Secrets are left out.",
        "Scores of single examples, who was in the training set, canary choices and sampling seeds are not in this "
        "file. Checking the figures from their ingredients needs the run or its evidence bundle.",
    ),
    (
        "This is no certificate and no legal advice.",
        "The tables on frameworks show where a finding may be of use. "
        "Those who sign judge whether a requirement is met.",
    ),
)

GLOSSARY: tuple[tuple[str, str], ...] = (
    (
        "Epsilon (ε), delta (δ)",
        "The parameters of differential privacy. For any two neighbouring data sets, the chance of any outcome "
        "differs by at most a factor e to the power ε, and beyond that by at most δ. Smaller is more private.",
    ),
    (
        "Unit of privacy",
        "What the guarantee protects: one example, or everything that one user contributed.",
    ),
    (
        "Neighbouring relation",
        "How two data sets may differ: one unit added or removed, one replaced, or one blanked out. Epsilons of "
        "different relations are not comparable number by number.",
    ),
    (
        "DP-SGD",
        "Training in which each example's gradient is clipped and noise is added to their sum.",
    ),
    (
        "Noise multiplier, sampling rate",
        "Standard deviation of the noise over the clipping norm; expected share of the data in a batch.",
    ),
    (
        "Sampling: Poisson, shuffle, fixed",
        "Each example drawn independently by a coin; passes over the data in random order; batches of one size. "
        "The usual small epsilons hold for Poisson sampling only.",
    ),
    ("Accountant", "The method that turns noise, sampling and steps into epsilon."),
    (
        "Membership inference",
        "An attack that tells from a model's answers whether an example was trained on.",
    ),
    (
        "LiRA, RMIA",
        "Attacks that compare the model with reference models trained with and without the example "
        "(Carlini et al., 2022; Zarifzadeh et al., 2024).",
    ),
    ("ROC curve", "For each threshold of an attack, the share of members found against the share of false alarms."),
    (
        "AUC",
        "Area under the ROC curve: the chance that a random member scores above a random non-member. 0.5 is guessing.",
    ),
    (
        "TPR at an FPR",
        "Share of members found (true positive rate) when so many non-members are falsely accused (false positive "
        "rate). At low rates it shows whether a few people are exposed for certain.",
    ),
    ("Advantage", "The largest TPR minus FPR over all thresholds."),
    ("Canary", "An example, gradient or update put into training by the auditor in order to be looked for."),
    (
        "One-run audit",
        "A lower bound on epsilon from a single training with many canaries, each included by a fair coin "
        "(Steinke et al., 2023).",
    ),
    (
        "Distinguishing game",
        "One private step repeated with and without a canary; how well the two are told apart bounds epsilon "
        "from below.",
    ),
    ("Ceiling", "The audited epsilon if every guess had been right: no audit with that many trials can show more."),
    (
        "Attainable at the claim",
        "What an ideal attacker would show against a Gaussian mechanism whose epsilon is exactly the claim: "
        "median and range over repetitions.",
    ),
    (
        "Confidence, interval",
        "Made by a procedure that is wrong at most as often as the rest to 100 % says. n is the number of examples, "
        "canaries or trials.",
    ),
)

SOURCES: tuple[str, ...] = (
    "Steinke, Nasr, Jagielski: Privacy auditing with one (1) training run. arXiv:2305.08846.",
    "Carlini et al.: Membership inference attacks from first principles (LiRA). arXiv:2112.03570.",
    "Zarifzadeh, Liu, Shokri: Low-cost high-power membership inference attacks (RMIA). arXiv:2312.03262.",
    "Andrew et al.: One-shot empirical privacy estimation for federated learning. arXiv:2302.03098.",
    "Ponomareva et al.: How to DP-fy ML. arXiv:2303.00654.",
)
