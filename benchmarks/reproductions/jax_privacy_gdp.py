"""jax-privacy 2.0.0: `CanaryScoreAuditor.epsilon_from_gdp` finds epsilon where there is none.

It takes the absolute value of a distance made of two upper bounds, so that scores which know nothing still show
something.
"""

import sys

import numpy as np
from jax_privacy.auditing import CanaryScoreAuditor

generator = np.random.default_rng(0)
found = [
    CanaryScoreAuditor(generator.normal(size=100), generator.normal(size=100)).epsilon_from_gdp(
        significance=0.05, delta=1e-5
    )
    for _ in range(40)
]
print(f"epsilon of scores that know nothing, the median of 40 audits: {np.median(found):.2f} (0 is right)")
sys.exit(3 if float(np.median(found)) > 0.5 else 0)
