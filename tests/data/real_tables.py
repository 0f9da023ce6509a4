"""Tables as packages ship them: the file, and the label that a user would name. None is part of this repository.

Unpack the wheels of palmerpenguins, ISLP, vega_datasets, lifelines and statsmodels in one folder, name it in
TRUSTML_REAL_TABLES for the tests, or make docs/results/real_tables.md: python -m tests.data.real_tables FOLDER
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from trustml.data.datasets import load_dataset
from trustml.errors import DataError
from trustml.scenario.sources import Csv, Json

ISLP, VEGA = "ISLP/data", "vega_datasets/_data"
LIFELINES, STATSMODELS = "lifelines/datasets", "statsmodels/datasets"
REAL = {
    "penguins": ("palmerpenguins/data/penguins.csv", "species"),
    "penguins-raw": ("palmerpenguins/data/penguins-raw.csv", "Species"),
    "Auto": (f"{ISLP}/Auto.csv", "origin"),
    "Auto (blanks)": (f"{ISLP}/Auto.data", "origin"),
    "Bikeshare": (f"{ISLP}/Bikeshare.csv", "weathersit"),
    "Boston": (f"{ISLP}/Boston.csv", "chas"),
    "BrainCancer": (f"{ISLP}/BrainCancer.csv", "status"),
    "Caravan": (f"{ISLP}/Caravan.csv", "Purchase"),
    "Carseats": (f"{ISLP}/Carseats.csv", "ShelveLoc"),
    "College": (f"{ISLP}/College.csv", "Private"),
    "Credit": (f"{ISLP}/Credit.csv", "Student"),
    "Default": (f"{ISLP}/Default.csv", "default"),
    "Hitters": (f"{ISLP}/Hitters.csv", "League"),
    "OJ": (f"{ISLP}/OJ.csv", "Purchase"),
    "Publication": (f"{ISLP}/Publication.csv", "status"),
    "Smarket": (f"{ISLP}/Smarket.csv", "Direction"),
    "Wage": (f"{ISLP}/Wage.csv", "education"),
    "Weekly": (f"{ISLP}/Weekly.csv", "Direction"),
    "airports": (f"{VEGA}/airports.csv", "state"),
    "la-riots": (f"{VEGA}/la-riots.csv", "race"),
    "seattle-weather": (f"{VEGA}/seattle-weather.csv", "weather"),
    "stocks": (f"{VEGA}/stocks.csv", "symbol"),
    "cars": (f"{VEGA}/cars.json", "Origin"),
    "iris": (f"{VEGA}/iris.json", "species"),
    "gbsg2": (f"{LIFELINES}/gbsg2.csv", "cens"),
    "lung": (f"{LIFELINES}/lung.csv", "sex"),
    "lymph_node": (f"{LIFELINES}/lymph_node.csv", "hormone"),
    "rossi": (f"{LIFELINES}/rossi.csv", "arrest"),
    "waltons": (f"{LIFELINES}/waltons_dataset.csv", "group"),
    "anes96": (f"{STATSMODELS}/anes96/anes96.csv", "vote"),
    "ccard": (f"{STATSMODELS}/ccard/ccard.csv", "OWNRENT"),
    "fair": (f"{STATSMODELS}/fair/fair.csv", "rate_marriage"),
    "heart": (f"{STATSMODELS}/heart/heart.csv", "censors"),
    "modechoice": (f"{STATSMODELS}/modechoice/modechoice.csv", "choice"),
    "spector": (f"{STATSMODELS}/spector/spector.csv", "GRADE"),
    "iris of scikit-learn": ("iris.csv", "target"),
    "wine of scikit-learn": ("wine.csv", "target"),
    "breast cancer of scikit-learn": ("breast_cancer.csv", "target"),
    "diabetes of scikit-learn": ("diabetes_data_raw.csv.gz", "column2"),
}


def write_frames(folder: Path) -> None:
    """Write the tables of scikit-learn as pandas does, and the raw file of diabetes, which has no header."""
    from sklearn import datasets

    for name in ("iris", "wine", "breast_cancer"):
        getattr(datasets, f"load_{name}")(as_frame=True).frame.to_csv(folder / f"{name}.csv")
    raw = Path(datasets.__file__).parent / "data" / "diabetes_data_raw.csv.gz"
    shutil.copy(raw, folder / raw.name)


def source_of(folder: Path, frames: Path, name: str) -> Csv | Json:
    """Name a file and its label, and nothing else."""
    path, label = REAL[name]
    place = folder if "/" in path else frames
    return (Json if path.endswith(".json") else Csv)(path=str(place / path), label=label)


def results(folder: Path) -> str:
    """Load every file, and say what became of it as a table in Markdown."""
    lines = []
    with tempfile.TemporaryDirectory() as place:
        write_frames(Path(place))
        for name, (_, label) in REAL.items():
            try:
                dataset = load_dataset(source_of(folder, Path(place), name))
                rows = len(dataset.train) + len(dataset.test)
                told = [warning for warning in dataset.warnings if "far above 1" not in warning]
                made = f"{rows} x {dataset.input_shape[0]}, {dataset.classes} classes | {'; '.join(told)}"
            except DataError as error:
                made = f"refused | {error}"
            lines.append(f"| {name} | `{label}` | {made} |")
    return "\n".join(["| file | label | rows x columns | told |", "|---|---|---|---|", *lines]) + "\n"


if __name__ == "__main__":
    print(results(Path(sys.argv[1])))
