"""Commands that create, show and drop collections."""

from __future__ import annotations

import click

from shoal.client import types
from shoal.client.cli.session import Session, remote
from shoal.console import Failure, absolute_model_name, print_fields, print_json, print_table


@click.command(
    epilog="\b\nExamples:\n  shoal create papers --model all-MiniLM-L6-v2\n  shoal create wiki --model ./trained\n"
    "  shoal create mine --dimension 384 --index flat"
)
@click.argument("name")
@click.option(
    "--model",
    default="",
    help="Model that embeds the documents: a hub name, a folder or a file of word vectors. Append @int8 to compute in int8. "
    "Without a model, documents bring their own vectors.",
)
@click.option(
    "--dimension", type=click.IntRange(min=1), help="Length of the documents' own vectors; required without --model."
)
@click.option("--index", type=click.Choice(["flat", "hnsw", "ivf"]), help="Kind of index.  [default: the server's]")
@click.option("--metric", type=click.Choice(["cosine", "dot", "l2"]), default="cosine", show_default=True)
@click.option("--shards", type=click.IntRange(min=0), default=0, help="Number of shards.  [default: the server's]")
@click.option(
    "--empty-text",
    type=click.Choice(["reject", "store"]),
    default="reject",
    show_default=True,
    help="What to do with documents that have neither text nor vector.",
)
@remote
def create(
    session: Session,
    name: str,
    model: str,
    dimension: int | None,
    index: types.IndexKind | None,
    metric: types.Metric,
    shards: int,
    empty_text: types.EmptyText,
) -> None:
    """Create the collection NAME."""
    if not model and dimension is None:
        raise click.UsageError("give --model or --dimension")
    info = session.client.create_collection(
        name,
        model=absolute_model_name(model),
        dimension=dimension or 0,
        index=index,
        metric=metric,
        shards=shards,
        empty_text=empty_text,
    )
    if session.json:
        print_json(info)
    else:
        click.echo(f"created {info.name}: {info.model or 'own vectors'}, {info.dimension} dimensions, {info.index} index")


@click.command("list", epilog="\b\nExample:\n  shoal list --json")
@remote
def list_(session: Session) -> None:
    """List all collections."""
    collections = session.client.list_collections()
    if session.json:
        print_json({"collections": collections})
    elif collections:
        print_collections(collections)
    else:
        click.echo("no collections; see 'shoal create --help'")


@click.command(epilog="\b\nExample:\n  shoal show papers")
@click.argument("name")
@remote
def show(session: Session, name: str) -> None:
    """Show settings, state and shards of the collection NAME."""
    info = session.client.get_collection(name)
    if session.json:
        print_json(info)
    else:
        print_collection(info)


@click.command(epilog="\b\nExample:\n  shoal drop papers --yes")
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@remote
def drop(session: Session, name: str, yes: bool) -> None:
    """Delete the collection NAME and all its documents."""
    if not yes:
        documents = session.client.get_collection(name).documents
        if not click.confirm(f"Drop {name} and its {documents} documents?", err=True):
            raise Failure(f"{name} was not dropped")
    documents = session.client.drop_collection(name)
    if session.json:
        print_json({"dropped": name, "documents": documents})
    else:
        click.echo(f"dropped {name} and its {documents} documents")


def print_collections(collections: tuple[types.CollectionInfo, ...] | list[types.CollectionInfo]) -> None:
    """One line per collection."""
    print_table(
        ["collection", "documents", "pending", "failed", "lag (s)", "model", "index", "shards ready"],
        [
            [
                info.name,
                info.documents,
                info.pending,
                info.failed,
                info.lag_s,
                info.model or f"own vectors ({info.dimension})",
                info.index,
                f"{sum(shard.ready for shard in info.shards)}/{len(info.shards)}",
            ]
            for info in collections
        ],
    )


def print_collection(info: types.CollectionInfo) -> None:
    """Everything about one collection."""
    print_fields(
        {
            "collection": info.name,
            "model": info.model or "none: documents bring their own vectors",
            "dimension": info.dimension,
            "index": f"{info.index}, {info.metric}",
            "empty text": info.empty_text,
            "created": info.created_at,
            "generation": f"{info.generation} {info.fingerprint[:12]}",
            "documents": info.documents,
            "pending": f"{info.pending}, for up to {info.lag_s:g} s" if info.pending else 0,
            "failed": info.failed,
            **({"problem": info.problem} if info.problem else {}),
        }
    )
    click.echo()
    print_table(
        ["shard", "ready", "documents", "sealed", "delta", "segments", "worker", "address"],
        [
            [
                shard.number,
                shard.ready,
                shard.documents,
                shard.sealed_rows,
                shard.delta_rows,
                shard.segments,
                shard.worker or "-",
                shard.address or "-",
            ]
            for shard in info.shards
        ],
    )
