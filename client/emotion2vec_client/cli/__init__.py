"""The command ``emotion2vec``."""

from __future__ import annotations

import sys
from functools import cache
from importlib.metadata import version
from typing import Any

from emotion2vec_client.cli.display import describe

__all__ = ["describe", "main"]


def main(argv: list[str] | None = None) -> int:
    """Runs the command.

    Args:
        argv: The arguments; by default those of the process.

    Returns:
        The exit code: 0 success, 1 something failed, 2 wrong usage, 130 interrupted.
    """
    try:
        import typer  # noqa: F401
    except ModuleNotFoundError as error:
        if error.name != "typer":
            raise
        print(
            "emotion2vec: the command needs typer: pip install './client[cli]'",
            file=sys.stderr,
        )
        return 1
    from emotion2vec_client.cli.common import run

    return run(_command(), argv)


@cache
def _command() -> Any:
    """All commands, imported late because the library works without typer."""
    import typer

    from emotion2vec_client.cli import head
    from emotion2vec_client.cli.archive import archive
    from emotion2vec_client.cli.calibrate import calibrate
    from emotion2vec_client.cli.cluster import cluster
    from emotion2vec_client.cli.evaluate import evaluate
    from emotion2vec_client.cli.info import info
    from emotion2vec_client.cli.listen import listen
    from emotion2vec_client.cli.map import map_
    from emotion2vec_client.cli.predict import predict
    from emotion2vec_client.cli.similarity import similarity
    from emotion2vec_client.cli.timeline import timeline

    def show_version(wanted: bool) -> None:
        if wanted:
            print(f"emotion2vec {version('emotion2vec-client')}")
            raise typer.Exit

    def options(
        version_: bool = typer.Option(
            False,
            "--version",
            help="Print the version.",
            metavar="",
            callback=show_version,
            is_eager=True,
        ),
    ) -> None:
        pass

    app = typer.Typer(
        help="Speech emotion recognition with an emotion2vec-triton server. Example: emotion2vec "
        "predict recordings/",
        no_args_is_help=True,
    )
    app.callback()(options)
    app.command()(predict)
    app.command()(timeline)
    app.command()(listen)
    app.command()(archive)
    app.command()(info)
    app.command()(similarity)
    app.command("map")(map_)
    app.command()(cluster)
    app.command()(evaluate)
    app.command()(calibrate)
    app.add_typer(head.app, name="head")
    return typer.main.get_command(app)
