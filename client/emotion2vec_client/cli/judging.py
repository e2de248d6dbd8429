"""The options that name a policy and heads."""

from pathlib import Path
from typing import Annotated, Optional

import typer

from emotion2vec_client._judges import Judges
from emotion2vec_client.cli.common import wrong_usage

PolicyOption = Annotated[
    Optional[Path],
    typer.Option(
        help="Add the answer of a label policy, made by 'emotion2vec calibrate' or by hand.",
        show_default=False,
    ),
]
HeadsOption = Annotated[
    Optional[list[Path]],
    typer.Option(
        "--head",
        help="Add the answer of your own head, made by 'emotion2vec head fit'. Repeatable.",
        show_default=False,
    ),
]


def load(policy: Optional[Path], heads: Optional[list[Path]]) -> Judges:
    """Loads a policy and heads, which get the names of their files.

    Raises:
        typer.BadParameter: A file cannot be used, or two heads have the same name.
    """
    # Imported late: without them, the commands need nothing of the analysis.
    from emotion2vec_client.analysis.head import Head
    from emotion2vec_client.analysis.policy import Policy

    named = {path.stem: path for path in heads or []}
    if len(named) < len(heads or []):
        raise typer.BadParameter("heads go by the names of their files: give each another name")
    with wrong_usage():
        return Judges(
            None if policy is None else Policy.load(policy),
            {name: Head.load(path) for name, path in named.items()},
        )
