"""The dashboard: choose a run, look at it from seven sides. It reads run directories and runs nothing."""

from __future__ import annotations

import sys
from pathlib import Path

import streamlit as st

HERE = Path(__file__).resolve().parent
if str(HERE) not in sys.path:
    sys.path.insert(0, str(HERE))  # the pages import what lies beside this file

from chosen_run import choose_run  # noqa: E402

st.set_page_config(page_title="trustml", layout="wide")
page = st.navigation(
    [
        st.Page("views/overview.py", title="Overview", default=True),
        st.Page("views/privacy.py", title="Privacy"),
        st.Page("views/attacks.py", title="Attacks"),
        st.Page("views/federated.py", title="Federated"),
        st.Page("views/explanations.py", title="Explanations"),
        st.Page("views/speed.py", title="Speed"),
        st.Page("views/record.py", title="Record"),
    ]
)
choose_run()
page.run()
