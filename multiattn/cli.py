"""The command line: ``multiattn list | info | port | verify | bench | demo``."""

import json as json_format
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress, TimeElapsedColumn
from rich.table import Table

from multiattn import bench as benches
from multiattn import catalog, options, weights
from multiattn.verify import referee
from multiattn.verify.cases import DEFAULT_FOLDER, read_cases
from multiattn.verify.checks import LEVELS
from multiattn.verify.remote import RUNTIMES

app = typer.Typer(
    help="Vision attention modules, native in PyTorch, Keras 3 and Flax, with weights that port.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
console = Console()

# A module's own options are taken as they come.
EXTRA = {"allow_extra_args": True, "ignore_unknown_options": True}


def fail(message: object) -> NoReturn:
    """Ends with one message on standard error."""
    Console(stderr=True).print(
        f"[red]error:[/] {escape(str(message))}", highlight=False, soft_wrap=True
    )
    raise typer.Exit(1)


@app.command("list")
def list_modules(
    pattern: Annotated[
        str, typer.Argument(help="Part of a name or alias, or a shell pattern.")
    ] = "*",
    kind: Annotated[str | None, typer.Option(help="Only this kind.")] = None,
) -> None:
    """Lists the modules."""
    table = Table(box=None, header_style="bold")
    for title in ("module", "kind", "what it does", "paper"):
        table.add_column(title, no_wrap=title != "what it does")
    for name in catalog.list_modules(pattern, kind=kind):
        entry = catalog.info(name)
        table.add_row(f"[bold]{name}[/]", entry.kind, entry.summary, entry.venue)
    if not table.rows:
        fail(f"no module matches {pattern!r}")
    console.print(table)


@app.command(context_settings=EXTRA)
def info(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="A module's name or alias.")],
) -> None:
    """Shows what is known of a module; given its options, counts its parameters.

    multiattn info CoordAttention --channels 64
    """
    try:
        entry, published = catalog.find(name)
        given = {**published, **options.parse(context.args)}
        count = f"{options.parameters(entry, given):,}" if given else ""
    except (ValueError, ImportError) as error:
        fail(error)
    link = f", https://arxiv.org/abs/{entry.arxiv}" if entry.arxiv else ""
    rows = {
        "paper": f"{entry.title}, {entry.venue}{link}",
        "computes": entry.summary,
        "options": options.signature(entry),
        "inputs": ", ".join(entry.inputs) + " (channels last in Keras and Flax)",
        "outputs": ", ".join(entry.outputs),
        "also called": ", ".join(entry.aliases),
        "made of": ", ".join(entry.parts),
        "vectors from": f"{entry.source} ({entry.licence})",
        "loads names of": ", ".join(entry.origins),
        "published": ", ".join(entry.models),
        "parameters": count,
    }
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for title, value in rows.items():
        if value:
            table.add_row(f"[dim]{title}[/]", escape(value))
    console.print(f"[bold]{entry.name}[/] ({entry.kind})")
    console.print(table, highlight=False)


@app.command(context_settings=EXTRA)
def port(
    context: typer.Context,
    source: Annotated[Path, typer.Argument(help="The file to read.")],
    target: Annotated[Path, typer.Argument(help="The file to write; its suffix is the format.")],
    module: Annotated[
        str,
        typer.Option(
            "--module", "--model", help="Whose weights they are: a module or published network."
        ),
    ],
) -> None:
    """Checks a file of weights against a module and writes it in another format.

    Options of the module that are not given are found from the shapes in the file:

    multiattn port coordatt.pth coordatt.safetensors --module CoordAttention --channels 64
    """
    try:
        entry, published = catalog.find(module)
        state, notes = weights.files.read(source)
        given = {**published, **options.parse(context.args)}
        found = options.infer(entry, given, state, options.WIDTHS if published else None)
        arrays, report = weights.fit(options.make(entry, found), state)
        if target.suffix == ".keras":
            model = options.keras_model(entry, found)
            weights.load_state_dict(model, arrays, rename={"^": f"{model.layers[-1].name}."})
            weights.save_weights(model, target)
        else:
            weights.files.write(target, arrays)
    except (ValueError, ImportError) as error:
        fail(error)
    report.notes[:0] = notes
    shown = ", ".join(f"{name}={value!r}" for name, value in found.items())
    console.print(f"[bold]{entry.name}[/]({shown}): {source} -> {target}", highlight=False)
    console.print(str(report), highlight=False, markup=False)


@app.command()
def verify(
    names: Annotated[
        list[str] | None, typer.Argument(help="Modules, or files of cases; all if none is named.")
    ] = None,
    runtime: Annotated[
        list[str] | None, typer.Option(help=f"Where: {', '.join(RUNTIMES)}; all by default.")
    ] = None,
    level: Annotated[
        list[str] | None, typer.Option(help=f"What: {', '.join(LEVELS)}; all by default.")
    ] = None,
    cases: Annotated[Path, typer.Option(help="Folder of the cases.")] = DEFAULT_FOLDER,
    json: Annotated[Path | None, typer.Option(help="Writes the report to this file.")] = None,
    brief: Annotated[
        list[str] | None, typer.Option(help="A runtime that plays one case a module only.")
    ] = None,
    jobs: Annotated[int | None, typer.Option(help="Players at a time; a core each.")] = None,
) -> None:
    """Plays the conformance cases: the original's figures against ours, in every runtime."""
    runtimes, levels = tuple(runtime or RUNTIMES), tuple(level or LEVELS)
    for given, known in ((runtimes, RUNTIMES), (levels, LEVELS), (brief or (), RUNTIMES)):
        for one in given:
            if one not in known:
                fail(f"{one!r} is not one of {', '.join(known)}")
    try:
        named = [
            name if (cases / f"{name}.json").exists() else catalog.info(name).name
            for name in names or []
        ]
        played = list(read_cases(cases, named))
    except ValueError as error:
        fail(error)
    if not played:
        fail(f"{cases} holds no cases")
    with Progress(*Progress.get_default_columns(), TimeElapsedColumn(), console=console) as bar:
        task = bar.add_task("", total=None)
        verdict = referee.verify(
            played,
            runtimes=runtimes,
            levels=levels,
            brief=brief or (),
            jobs=jobs,
            progress=lambda where, case, done, total: bar.update(
                task, completed=done, total=total, description=f"{where:16} {case.module}"
            ),
        )
    # A line longer than the terminal is better than figures cut short.
    Console(width=max(console.width, 132)).print(referee.table(verdict, levels))
    for failure in verdict.failures:
        console.print(f"[red]{failure.describe()}[/]", highlight=False, soft_wrap=True)
    if json:
        verdict.write_json(json)
    total = len(verdict.results)
    console.print(f"{total - len(verdict.failures)} passed, {len(verdict.failures)} failed")
    if verdict.failures or not any(result.passed for result in verdict.results):
        raise typer.Exit(1)


@app.command(context_settings=EXTRA)
def bench(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="A module's name or alias, or a backbone's.")],
    runtime: Annotated[
        list[str] | None, typer.Option(help=f"Where: {', '.join(RUNTIMES)}; all by default.")
    ] = None,
    size: Annotated[
        list[str] | None,
        typer.Option(help="Of the inputs, one for all or one each: 56, 56x48 or 64x56x48."),
    ] = None,
    batch: Annotated[int, typer.Option(min=1, help="How many inputs at a time.")] = 8,
    seconds: Annotated[float, typer.Option(help="How long a figure is measured.")] = 2.0,
    json: Annotated[Path | None, typer.Option(help="Writes the figures to this file.")] = None,
) -> None:
    """Measures what a module costs in each runtime.

    Times are the median of repeated calls and half the distance between their quartiles, in PyTorch
    eager, in Keras compiled as predict and fit do it, in Flax under nnx.jit. "+ backward" is a call
    in training mode with the gradients of parameters and, but for backbones, inputs. Each runtime
    has a process of its own, with as many threads as OMP_NUM_THREADS says, or as there are cores.

    Memory is what is held at the worst moment of a call beyond what is held between calls: what is
    computed on the way, and gradients; not weights and inputs. It is told by the process's
    high-water mark; by the framework's own count in TensorFlow, and on accelerators.

    Multiply-adds are those of convolutions, matrix products and attention in a forward pass on one
    image, counted in PyTorch.

    A module's option that is called as one here goes behind two dashes:

    multiattn bench CBAM --channels 64 --size 56

    multiattn bench GlobalFilter --runtime torch -- --size "[14, 14]"
    """
    runtimes = tuple(dict.fromkeys(runtime or RUNTIMES))
    if unknown := [one for one in runtimes if one not in RUNTIMES]:
        fail(f"{unknown[0]!r} is not one of {', '.join(RUNTIMES)}")
    try:
        request = benches.plan(name, options.parse(context.args), size or (), batch, seconds)
        with console.status("") as status:
            found = benches.survey(request, runtimes, status.update)
    except ValueError as error:
        fail(error)
    console.print(f"[bold]{escape(request.describe())}[/]", highlight=False)
    if found.multiply_adds is not None:
        count = benches.amount(found.multiply_adds)
        console.print(f"{count} multiply-adds an image", highlight=False)
    Console(width=max(console.width, 100)).print(benches.table(found.costs), highlight=False)
    if json:
        figures = benches.report(request, found)
        json.write_text(json_format.dumps(figures, indent=1) + "\n", "utf-8")
    for failure in found.failures:
        console.print(f"[red]{escape(str(failure))}[/]", highlight=False)
        console.print(escape(failure.output), highlight=False)
    if found.failures or not any(isinstance(one, benches.Costs) for one in found.costs.values()):
        raise typer.Exit(1)


@app.command()
def demo(
    folder: Annotated[Path, typer.Option(help="Where its files go.")] = Path("demo"),
    epochs: Annotated[int, typer.Option(min=1, help="How long it trains.")] = 10,
) -> None:
    """Trains a network in PyTorch, and runs its weights in Keras and in Flax."""
    from multiattn.demo import run

    try:
        agree = run(folder, epochs, console)
    except ImportError as error:
        fail(error)
    if not agree:
        raise typer.Exit(1)
