"""What is asked of a Parquet file before anything believes it."""

from __future__ import annotations

from collections import Counter
from typing import IO, TYPE_CHECKING, Any

from trustml.data.npy import LARGEST_FILE

if TYPE_CHECKING:
    import pandas as pd


def require_text(table: pd.DataFrame) -> None:
    """Refuse text that is no UTF-8: Parquet's readers take any bytes for text until they are looked at.

    Raises
    ------
    pyarrow.ArrowException
    """
    import pandas as pd
    import pyarrow as pa

    for number, kind in enumerate(table.dtypes):
        if isinstance(kind, pd.StringDtype | pd.CategoricalDtype):
            pa.array(table.iloc[:, number]).validate(full=True)


def why_not_a_table(stream: IO[bytes], *, most_rows: int = LARGEST_FILE, most_bytes: int = LARGEST_FILE) -> str:
    """Tell by its footer why a Parquet file is no table, or would take more memory than it may; empty where it is one.

    A column that repeats one value takes next to nothing in the file, so rows and columns are counted too. Of two
    columns of one name nobody knows which is meant.
    """
    import pyarrow.parquet as pq

    file = pq.ParquetFile(stream)
    facts: Any = file.metadata
    names = Counter(file.schema_arrow.names)
    if twins := [name for name, count in names.items() if count > 1]:
        return f"column {twins[0]!r} comes {names[twins[0]]} times"
    size = sum(facts.row_group(number).total_byte_size for number in range(facts.num_row_groups))
    size = max(size, 8 * facts.num_rows * facts.num_columns)
    if not 0 <= facts.num_rows <= most_rows or size > most_bytes:
        return f"{facts.num_rows} rows of {size} bytes are more than {most_rows} rows or {most_bytes} bytes"
    return ""
