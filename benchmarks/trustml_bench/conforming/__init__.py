"""Other people's engines under the conformance suite, driven as their documentation drives them."""
