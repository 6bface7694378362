# SPDX-License-Identifier: Apache-2.0
"""Loads a data frame once, then answers one question a line: what a fork's clones go on with."""
import sys

import numpy as np
import pandas as pd

rng = np.random.default_rng(7)
n = 500_000
df = pd.DataFrame({"shop": rng.integers(0, 20, n), "price": rng.gamma(3.0, 9.0, n).round(2)})
print("loaded", len(df), "rows", flush=True)
for question in sys.stdin:
    print(eval(question), flush=True)
