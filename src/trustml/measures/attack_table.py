"""The measures of attacks."""

from __future__ import annotations

from trustml.measures.described import Measure

ATTACK_MEASURES: dict[str, Measure] = {
    "training_accuracy": Measure(
        unit="1",
        better="neither",
        title="training accuracy",
        meaning="Share of training examples whose largest logit is the true class; what it is above the held-out "
        "accuracy is overfitting. No epsilon covers it.",
    ),
    "membership_auc": Measure(
        unit="1",
        better="lower",
        title="membership AUC",
        meaning="Area under the ROC curve of a membership inference attack; 0.5 is guessing. DeLong 95 % interval.",
    ),
    "membership_auc_at_least": Measure(
        unit="1",
        better="lower",
        title="membership AUC, at least",
        meaning="One-sided lower bound of the AUC, corrected (Bonferroni) for all attacks tried on that model. Above "
        "0.5 the model is at risk.",
    ),
    "membership_auc_of_class": Measure(
        unit="1",
        better="lower",
        title="membership AUC, one class",
        meaning="AUC among the examples of one class, by the attack that is strongest on the model as a whole; classes "
        "with at least 20 members and 20 non-members. Not corrected for the number of classes.",
    ),
    "membership_tpr_at_1_percent_fpr": Measure(
        unit="1",
        better="lower",
        title="TPR at 1 % FPR",
        meaning="Share of members found while at most 1 % of non-members are taken for members; Clopper-Pearson 95 % "
        "interval. Absent with fewer than 1,000 non-members.",
    ),
    "membership_tpr_at_0_1_percent_fpr": Measure(
        unit="1",
        better="lower",
        title="TPR at 0.1 % FPR",
        meaning="As above, at 0.1 %. Absent with fewer than 10,000 non-members.",
    ),
    "membership_advantage": Measure(
        unit="1",
        better="lower",
        title="membership advantage",
        meaning="Largest difference of true and false positive rate over all thresholds; optimistic for the "
        "attacker, as the threshold is chosen on the same examples.",
    ),
    "audited_epsilon": Measure(
        unit="nats",
        better="lower",
        title="audited epsilon, at least",
        meaning="Lower bound (>=) on epsilon that an attack has shown, at the confidence in the note. Above the "
        "claimed epsilon the claim is false.",
    ),
    "claimed_epsilon": Measure(
        unit="nats",
        better="neither",
        title="claimed epsilon",
        meaning="What was promised for that which an audit looked at: a model's epsilon, or that of one private step.",
    ),
    "epsilon_estimate": Measure(
        unit="nats",
        better="lower",
        title="epsilon, estimated",
        meaning="What epsilon would be were the attacker's scores Gaussian. An estimate: no bound on anything.",
    ),
    "ceiling_all_correct": Measure(
        unit="nats",
        better="neither",
        title="most this audit could show",
        meaning="The lower bound had every guess been right, with as many canaries or trials.",
    ),
    "attainable_at_claim": Measure(
        unit="nats",
        better="neither",
        title="attainable at the claim",
        meaning="The bound that an ideal attacker of a Gaussian mechanism of exactly the claimed epsilon would get "
        "with as many canaries or trials: median and 90 % range of simulations.",
    ),
}
