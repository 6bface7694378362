# SPDX-License-Identifier: Apache-2.0
"""A table, grouped: enough to load pandas and numpy for good."""
import pandas

sales = pandas.DataFrame({"fruit": ["apple", "pear", "apple", "plum", "pear"],
                          "boxes": [12, 5, 7, 9, 4]})
print(sales.groupby("fruit").boxes.agg(["count", "sum"]))
