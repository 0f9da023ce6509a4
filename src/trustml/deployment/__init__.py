"""Out of a run, into the world: trained models as users of each framework hold them."""
