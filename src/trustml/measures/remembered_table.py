"""Measures of what models remember: canaries, texts, columns and rows, and what a data set was like."""

from __future__ import annotations

from functools import partial

from trustml.measures.entry import Measure

_remembered = partial(
    Measure,
    family="remembered",
    rows=("trustml.measures.remembered:remembered_rows",),
    unit="bits",
    better="lower",
)
_reconstructed = partial(
    Measure,
    family="remembered",
    rows=("trustml.measures.reconstructed:reconstructed_rows",),
    unit="1",
    better="lower",
)

REMEMBERED_MEASURES: dict[str, Measure] = {
    "canary_exposure": _remembered(
        title="exposure",
        meaning="Exposure of canary sequences of random tokens that were trained on: log2 of the number of sequences "
        "over the rank of their loss among 999 others (Carlini et al., USENIX Security 2019), mean; t-interval over "
        "canaries and those others, without an upper end where ranks cannot tell it. Canaries "
        "that a coin left out are the control: 1.44 where nothing is remembered.",
        shown=("remembered", "audit"),
    ),
    "canary_exposure_largest": _remembered(
        title="largest exposure",
        meaning="Largest exposure of a canary sequence by a skew-normal law of the others' losses, where it fits "
        "(Carlini et al. 2019), beside that of the canaries that were left out.",
        shown=("remembered", "audit"),
    ),
    "extraction_rate": _remembered(
        unit="1",
        title="extracted",
        meaning="Share of training texts that a model, always by its likeliest token, goes on with word for word "
        "(Carlini et al., ICLR 2023); Clopper-Pearson 95 % interval; beside that of held-out texts, the control. "
        "Copies count once, and texts that are in both sets are left out.",
        shown=("remembered", "audit"),
    ),
    "attribute_inference_rate": _remembered(
        unit="1",
        title="guessed column",
        meaning="Share of training rows whose value of a column is guessed by whoever has the model, the rest of the "
        "row and its label: the value under which the label is likeliest, weighed by held-out rows (Fredrikson et al., "
        "USENIX Security 2014; Yeom et al., CSF 2018); Clopper-Pearson 95 % interval. Beside it that of held-out rows, "
        "the control, and beside what trees impute of the same rows without it. Numbers are guessed by intervals.",
        shown=("remembered", "audit"),
    ),
    "reconstruction_rate": _reconstructed(
        title="row made again",
        meaning="Share of updates of clients whose row is nearer to what an attack makes of the update than the other "
        "rows of its label are, which are held-out ones: exactly by the first Dense layer (Phong et al. 2018), and by "
        "optimisation (Zhu et al. 2019; Geiping et al. 2020). Labels and weights are known to it. Clopper-Pearson 95 % "
        "interval over updates; beside it that of a held-out row in the row's place, and of private rounds the most "
        "that noise lets anybody find.",
        shown=("remembered", "audit"),
    ),
    "reconstruction_psnr": _reconstructed(
        unit="dB",
        title="PSNR of it",
        meaning="Peak signal-to-noise ratio of what was made and the row, mean over updates, at most 100 dB; "
        "t-interval over updates. Beside it that of the nearest other row, which is had without the update.",
        shown=("remembered",),
    ),
    "model_inversion_likeness": _reconstructed(
        title="typical input",
        meaning="Correlation of training rows with the input that a model takes for most typical of their class, by "
        "ascent on its log-probability (Fredrikson et al., CCS 2015), both less the mean row; t-interval over rows. "
        "Beside it that of held-out rows, the control: what a class is like is no secret of its training rows.",
        shown=("remembered", "audit"),
    ),
    "property_inference_rate": _reconstructed(
        title="property",
        meaning="Share of shadow models of which a classifier of their answers says rightly how common a property was "
        "among their rows (Ateniese et al. 2015; Ganju et al., CCS 2018); it was taught by as many other models; "
        "Clopper-Pearson 95 % interval. Half is guessing. It is of data sets, not of rows: differential privacy of "
        "rows promises nothing of it.",
        shown=("remembered", "audit"),
    ),
}
