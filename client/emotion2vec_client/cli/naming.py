"""The options that name the speakers of a recording or a stream."""

from typing import Annotated, Optional

import typer

from emotion2vec_client._speakers import check_names
from emotion2vec_client.cli.common import flag

SeparateOption = Annotated[
    bool, flag("--separate", help="Each channel is a speaker; otherwise they are mixed.")
]
NamesOption = Annotated[
    Optional[str],
    typer.Option(
        help="Names of the speakers, with commas between: by channel, or in the order of their "
        "first words.",
        metavar="NAME,NAME",
        show_default=False,
    ),
]


def split_names(names: Optional[str]) -> list[str]:
    """The names in the option; BadParameter if two are the same, or one is empty."""
    each = [] if names is None else [name.strip() for name in names.split(",")]
    try:
        check_names(each)
    except ValueError as error:
        raise typer.BadParameter(f"--{error}") from error
    return each
