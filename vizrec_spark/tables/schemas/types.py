"""Column types and predicates that several contracts share."""

from __future__ import annotations

from pyspark.sql.types import ArrayType, DoubleType, FloatType, IntegerType, LongType, StringType

STRING, INT, LONG, FLOAT, DOUBLE = StringType(), IntegerType(), LongType(), FloatType(), DoubleType()
VECTOR = ArrayType(FLOAT)
# NaN is ordered above infinity, so the upper bound refuses both. Written as Spark and `deltalake` both read it.
AMOUNT = "{0} >= 0 AND {0} < CAST('infinity' AS DOUBLE)"
