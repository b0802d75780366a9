"""The type checker that the suite runs over every annotated function of the library: shapes as jaxtyping writes them, ints as floats."""

from beartype import BeartypeConf, beartype

typechecked = beartype(conf=BeartypeConf(is_pep484_tower=True))
