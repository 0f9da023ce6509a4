"""Other people's models, carried over to an :class:`~trustml.models.layers.Architecture` and canonical weights.

A source gives a program (:mod:`~trustml.importing.program`): what is called with what, in the words of PyTorch's
operators. One engine carries each call over to nodes, weights are folded where they can be, and the result is held
against what the original gives. What cannot be carried is refused by name.
"""
