"""How does a matrix get onto a cluster: ``llmbench matrix manifests``?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pytest_llmbench.cli.documents import warn
from pytest_llmbench.cli.options import say
from pytest_llmbench.matrix.manifests.kinds import GPU, Kind
from pytest_llmbench.metrics.units import count


def write_manifests(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A matrix.")] = Path("matrix.yaml"),
    kind: Annotated[
        Kind,
        typer.Option(
            "--for",
            help="What runs it: Kubernetes alone, Ray by the operator KubeRay, or Argo Workflows.",
        ),
    ] = Kind.INDEXED_JOB,
    image: Annotated[
        str, typer.Option("--image", metavar="IMAGE", help="Made from deploy/Dockerfile.")
    ] = "pytest-llmbench",
    name: Annotated[
        str, typer.Option("--name", metavar="NAME", help="Of the objects; by default the matrix's.")
    ] = "",
    namespace: Annotated[
        str, typer.Option("--namespace", metavar="NAME", help="Where they are.")
    ] = "llmbench",
    batches: Annotated[
        int | None,
        typer.Option(
            "--batches", metavar="N", help="Of each kind of hardware; by default those of the plan."
        ),
    ] = None,
    pods: Annotated[
        int, typer.Option("--pods", metavar="N", help="That measure at once, of each kind of hardware.")
    ] = 4,
    cpus: Annotated[
        int, typer.Option("--cpus", metavar="N", help="Whole CPUs that a pod has for each device.")
    ] = 4,
    memory: Annotated[
        int, typer.Option("--memory", metavar="GIB", help="Memory that a pod has for each device.")
    ] = 16,
    gpu: Annotated[
        str, typer.Option("--gpu", metavar="RESOURCE", help="What a node's accelerators are called.")
    ] = GPU,
    hardware: Annotated[
        list[str] | None,
        typer.Option(
            "--hardware",
            metavar="HARDWARE=KEY=VALUE",
            help="A label of the nodes that have it; by default llmbench/hardware=HARDWARE. Can be repeated.",
        ),
    ] = None,
    spot: Annotated[
        str | None,
        typer.Option(
            "--spot",
            metavar="KEY=VALUE",
            help="The label of spot nodes, whose taint has the same key. What may be measured there is.",
        ),
    ] = None,
    queue: Annotated[
        str | None, typer.Option("--queue", metavar="NAME", help="A queue of Kueue that all is put into.")
    ] = None,
    output: Annotated[
        Path, typer.Option("--output", metavar="FOLDER", help="Where the files are written.")
    ] = Path("kubernetes"),
) -> None:
    """Write what has a matrix measured on a Kubernetes cluster, as a folder for kubectl apply -k.

    Every pod runs a batch, or with Ray cell by cell, on whole devices; results go to one store. Deleted and
    applied again, it measures what is missing.
    """
    from pytest_llmbench.errors import few
    from pytest_llmbench.matrix.manifests.files import SETUP, texts, write
    from pytest_llmbench.matrix.manifests.source import read_source
    from pytest_llmbench.matrix.manifests.wanted import (
        Nodes,
        Wanted,
        check_batches,
        read_label,
        read_selectors,
    )

    if batches is not None:
        check_batches("--batches", batches)
    source = read_source(file, batches)
    selectors = read_selectors(hardware or (), (kind.name for kind in source.batches))
    nodes = (Nodes(kind, number, selectors[kind.name]) for kind, number in source.batches.items())
    wanted = Wanted(
        name=name or source.name,
        matrix=source.text,
        nodes=tuple(nodes),
        image=image,
        namespace=namespace,
        gpu=gpu,
        spot=None if spot is None else read_label("--spot", spot),
        queue=queue,
        pods=pods,
        cpus=cpus,
        memory=memory,
    )
    files = texts(wanted, kind)
    write(output, files)
    for one in wanted.nodes:
        say(f"{one.hardware.label}: {count(one.batches, 'batch', 'batches')}")
    say(f"{count(len(files), 'file')} in {output}: kubectl apply -f {output / SETUP}, then -k {output}")
    if source.beside:
        named = few([str(path) for path in source.beside])
        warn([f"pods do not have {named}: put it into the image, or the volume of models"])
