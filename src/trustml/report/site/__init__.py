"""The comparison as static HTML, to be handed on: scripts that draw lie beside it, and nothing private is in it."""
