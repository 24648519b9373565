"""The command `nibblesim`.

Exit codes: 0 fine, 2 bad input, 3 infeasible; 1 for a result that breaks its own conservation laws,
for a datapath that is not bit-exact, for an experiment that fails and for a study of which every
point FAILED (infeasible ones are what it found).
With `--json` every command prints one JSON object on stdout and nothing else there, errors
included. What commands need is imported inside them: `nibblesim --help` loads typer alone.
"""

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from simulator.cli import (
    analyse,
    catalogue,
    compare,
    describe,
    memory,
    output,
    pim,
    reproduce,
    run,
    sweep,
    verify,
)
from simulator.errors import NibblesimError


class Commands(TyperGroup):
    """Turns the errors that nibblesim raises on purpose into words and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command; an unexpected exception keeps its traceback."""
        as_json = "--json" in ctx.args
        try:
            return super().invoke(ctx)
        except typer.TyperException as error:
            if as_json:
                output.show_json(output.failure("INPUT_ERROR", [error.format_message()]))
            raise
        except NibblesimError as error:
            output.show_error(error, as_json=as_json)
            raise typer.Exit(error.exit_code) from None


app = typer.Typer(
    cls=Commands,
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        from simulator import __version__

        typer.echo(f"nibblesim {__version__}")
        raise typer.Exit()


@app.callback()
def _options(
    _version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Simulate transformers on low-bit accelerators: time, energy, and where both go."""


app.command()(catalogue.devices)
app.command()(catalogue.models)
app.command()(catalogue.formats)
app.command()(describe.describe)
app.command()(run.run)
app.command()(run.gemm)
app.command()(run.topology)
app.command("export-topology")(run.export_topology)
app.command()(verify.verify)
app.command()(compare.compare)
app.command()(compare.explain)
app.command()(memory.memory)
app.add_typer(pim.pim, name="pim")
app.command()(sweep.sweep)
app.command()(sweep.search)
app.command()(sweep.pareto)
app.command()(analyse.analyse)
app.command("export")(sweep.export)
app.command()(reproduce.reproduce)


def main() -> None:
    """Run the command line of this process."""
    app(prog_name="nibblesim")
