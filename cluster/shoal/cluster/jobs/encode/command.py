"""`shoal encode`: reads the command line and runs the job."""

from __future__ import annotations

import signal
from pathlib import Path

import click

from shoal.cluster.jobs.encode.encode_report import EncodeReport
from shoal.cluster.jobs.encode.errors import JobError
from shoal.cluster.ray_runtime.environment import set_ray_defaults
from shoal.console import HELP_SETTINGS, Failure, FilePath


@click.command(
    epilog="\b\nExamples:\n  shoal encode wiki/*.parquet --model all-MiniLM-L6-v2 --output wiki-vectors\n"
    "  shoal encode s3://bucket/papers --text-field abstract --keep year --model all-MiniLM-L6-v2 --output s3://bucket/out\n"
    "  ray job submit -- shoal encode /data/wiki --model all-MiniLM-L6-v2 --output /data/wiki-vectors\n\n"
    "Run the same command after an interruption to resume. `shoal import` adds the output to a collection.",
    context_settings=HELP_SETTINGS,
)
@click.argument("inputs", metavar="INPUT...", nargs=-1, required=True)
@click.option("--model", required=True, help="Hub name, local folder, short name or hashing[:DIMENSION].")
@click.option("--output", required=True, metavar="DIR", help="Folder or URI to write to. All nodes must share it.")
@click.option("--id-field", default="", help="Field with the id. Default: id, _id or path.")
@click.option(
    "--text-field",
    "text_fields",
    multiple=True,
    help="Field with the text; several are joined with spaces. Default: title, and text, content or body.",
)
@click.option("--keep", "kept", multiple=True, metavar="FIELD", help="Field for the payload. Default: all other fields.")
@click.option("--no-payload", is_flag=True, help="Keep only id and text.")
@click.option("--hidden", is_flag=True, help="Also read files and folders whose names begin with a dot or an underscore.")
@click.option("--rejects", type=FilePath(), metavar="FILE", help="Write the bad rows to FILE, as JSON lines.")
@click.option("--role", type=click.Choice(["document", "query"]), default="document", show_default=True)
@click.option("--prompt", help="Text put before each text, instead of the role's own prompt.")
@click.option("--dimensions", type=click.IntRange(min=1), help="Keep only the first N dimensions (Matryoshka).", metavar="N")
@click.option(
    "--normalize/--no-normalize", default=None, help="Whether vectors have unit length. Default: the model's setting."
)
@click.option(
    "--truncation",
    type=click.Choice(["end", "start", "refuse"]),
    default="end",
    show_default=True,
    help="Where texts that are too long are cut; with 'refuse' they are bad rows.",
)
@click.option("--dtype", type=click.Choice(["float32", "float16"]), default="float32", show_default=True)
@click.option("--replicas", type=click.IntRange(min=1), help="Encoder processes. Default: one per node, or per GPU share.")
@click.option("--gpus", type=click.FloatRange(min=0), default=0.0, help="GPU share of each encoder. 0 uses the CPU.")
@click.option("--threads", type=click.IntRange(min=1), help="CPU threads of each encoder. Default: all free CPUs.")
@click.option(
    "--part-rows",
    "--shard-rows",
    "part_rows",
    type=click.IntRange(min=1, max=1_000_000),
    default=4096,
    show_default=True,
    help="Rows per output file.",
)
@click.option("--overwrite", is_flag=True, help="Start over if DIR contains another job.")
@click.option("--json", "as_json", is_flag=True, help="Print events as JSON lines on stdout.")
def encode(
    inputs: tuple[str, ...],
    model: str,
    output: str,
    id_field: str,
    text_fields: tuple[str, ...],
    kept: tuple[str, ...],
    no_payload: bool,
    hidden: bool,
    rejects: Path | None,
    role: str,
    prompt: str | None,
    dimensions: int | None,
    normalize: bool | None,
    truncation: str,
    dtype: str,
    replicas: int | None,
    gpus: float,
    threads: int | None,
    part_rows: int,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Encode the texts of INPUT... into Parquet files with vectors.

    INPUT is a file, folder, pattern or URI: Parquet, JSON lines, CSV, TSV (.gz and .xz too) or text. Joins the Ray cluster
    at RAY_ADDRESS, or starts Ray on this machine."""
    if kept and no_payload:
        raise click.UsageError("--keep and --no-payload cannot be combined")
    set_ray_defaults(quiet=True)
    from shoal.cluster.jobs.encode.job import JobSettings, options_of
    from shoal.cluster.jobs.encode.output import OutputFolder
    from shoal.cluster.jobs.encode.pipeline import Replicas
    from shoal.cluster.jobs.encode.running import JobListeners, run_job
    from shoal.records import Fields, reasons_in_words, rows_were

    signal.signal(signal.SIGTERM, lambda _number, _frame: _interrupt())
    settings = JobSettings(
        model=model,
        options=options_of(role, prompt, dimensions or 0, normalize, truncation),
        fields=Fields(id_field, text_fields, () if no_payload else kept or None),
        dtype=dtype,
        part_rows=part_rows,
    )
    report = EncodeReport(output, as_json)
    listeners = JobListeners(report.note, report.phase, report.started, report.advanced, report.reported)
    pool = Replicas(replicas or 0, threads or 0, gpus)
    try:
        with report:
            summary = run_job(inputs, output, settings, pool, overwrite, listeners, hidden)
    except JobError as error:
        raise Failure(str(error)) from error
    except KeyboardInterrupt:
        click.echo(f"stopped; finished parts stay in {output}: run the same command to resume", err=True)
        raise
    report.finished(summary)
    if rejects is not None:
        rejects.write_text("".join(f"{row}\n" for row in OutputFolder(output).bad_rows()), encoding="utf-8")
    if summary.bad_rows:
        reasons = reasons_in_words(summary.reasons)
        raise Failure(f"{rows_were(summary.bad_rows)} not encoded: {reasons}; see {output}/*.errors.jsonl")


def _interrupt() -> None:
    raise KeyboardInterrupt
