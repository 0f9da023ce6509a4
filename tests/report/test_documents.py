"""A stranger's text on a page is text: nothing of it becomes a link, a picture, a sign or a colour."""

from __future__ import annotations

import html
import re

import pytest

from trustml.report.documents import plain_text

JOINER = "\N{WORD JOINER}"
ALIVE = {
    "picture": r"!\[",
    "link": r"(?<!\\)\]\(",
    "bare address": r"https?://|www\.",
    "mail": r"\w@\w",
    "emoji, icon or colour": r":[a-z]",
    "arrow": r"->|<-|--|>=|<=|~=",
    "tag": r"<\w",
    "code, mathematics or emphasis": r"(?<!\\)[`$*_~]",
    "list, heading or quotation": r"^\s*([-+>#]|\d+[.)])",
}
"""What pages make something of, as they read it: entities are characters again there, and joiners part words."""


@pytest.mark.parametrize(
    "text",
    [
        "![x](http://127.0.0.1:9/x.png)",
        "[here](https://evil.example)",
        "http://evil.example",
        "HTTPS://evil.example www.evil.example WWW.evil.example",
        "a@evil.example mailto:a@evil.example",
        ":smile: :red[x] :material/home: :streamlit: :+1:",
        "a -> b <- c -- d >= e <= f ~= g <-> h",
        "<img src=x> <b>bold</b>",
        "`code` $x^2$ **star** _under_ ~~gone~~",
        "# head",
        "- item",
        "1. item",
        "> said",
        "+ item",
    ],
)
def test_it_stays_what_it_is(text):
    shown = plain_text(text)
    for what, pattern in ALIVE.items():
        bare = html.unescape(shown) if what in ("arrow", "bare address", "mail") else shown
        assert not re.search(pattern, bare), what
    read = re.sub(r"\\([\W_])", r"\1", html.unescape(shown)).replace(JOINER, "")
    assert read == text


def test_lines_are_one_and_control_characters_are_written_out():
    assert plain_text("a\n\n    b\t c") == "a b c"
    assert plain_text("a\x1b[31m") == "a\\\\x1b\\[31m"
    assert (plain_text(3), plain_text("0.89"), plain_text("1.")) == ("3", "0.89", f"{JOINER}1.")
    assert plain_text("Plain words, and (brackets) 1.5") == "Plain words, and (brackets) 1.5"
