"""The dashboard: look at a run from every side, or at several together.

It reads records. What it runs is explanations of inputs that a reader gives, by workers and never by code of a record;
and by the command line, scenarios of a folder and audits of uploaded models, where the operator names folders for them.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import streamlit as st
from altair.utils.schemapi import debug_mode

from trustml.errors import TrustmlError
from trustml.report.documents import plain_text

HERE = Path(__file__).resolve().parent
if str(HERE) not in sys.path:
    sys.path.insert(0, str(HERE))  # the pages import what lies beside this file

from auditing import audits_folder  # noqa: E402
from charts import downloads, new_page  # noqa: E402
from chosen_run import choose_run, follow  # noqa: E402
from launching import scenarios_folder  # noqa: E402
from warming import warm  # noqa: E402

st.set_page_config(page_title="trustml", layout="wide")
starting = [st.Page("views/launch.py", title="Launch")] if scenarios_folder() else []
starting += [st.Page("views/audit_model.py", title="Audit a model")] if audits_folder() else []
page = st.navigation(
    [
        st.Page("views/overview.py", title="Overview", default=True),
        st.Page("views/models.py", title="Models"),
        st.Page("views/privacy.py", title="Privacy"),
        st.Page("views/attacks.py", title="Attacks"),
        st.Page("views/federated.py", title="Federated"),
        st.Page("views/explanations.py", title="Explanations"),
        st.Page("views/speed.py", title="Speed"),
        st.Page("views/audit.py", title="Audit"),
        st.Page("views/deployment.py", title="Deployment"),
        st.Page("views/record.py", title="Record"),
        st.Page("views/runs.py", title="All runs"),
        st.Page("views/compare.py", title="Compare"),
        *starting,
    ],
    expanded=True,  # none hidden behind "View more"
)
try:
    if page not in starting:  # which needs no run that is there
        choose_run()
        follow()
    new_page()
    try:
        with debug_mode(False):  # Altair holds every part of a chart against its schema, which tests do
            page.run()
    finally:  # a page may stop early
        downloads()
except TrustmlError as error:
    st.error(plain_text(f"This run cannot be shown. {error}"))
except Exception as error:  # a record of anybody's may hold anything
    logging.getLogger("trustml").exception("the page %s", page.title)
    st.error(plain_text(f"This run cannot be shown: its record holds what is not expected ({error!r})."))
warm()  # after the page, which shall not wait
