"""trustml: what privacy, federation and the choice of framework cost, measured."""
