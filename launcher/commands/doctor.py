"""`tritongate doctor`: what is missing on this machine, and the command that mends it."""

from __future__ import annotations

import sys

import typer

from build.catalog import load_catalog
from launcher.checks import Check, Finding, Verdict, address, local_checks, python
from launcher.commands.options import Host, Port, RemoteTriton
from launcher.network import network
from launcher.served_models import TritonUnreachable, list_served
from launcher.terminal import errors_told, show
from tokentext.cache import cache_folder

app = typer.Typer()

COLORS = {Verdict.OK: typer.colors.GREEN, Verdict.WARNING: typer.colors.YELLOW, Verdict.FAILED: typer.colors.RED}


@app.command()
def doctor(host: Host = "127.0.0.1", port: Port = 8000, triton: RemoteTriton = None) -> None:
    """Say what is missing here and what mends it.

    With --triton it looks at that Triton instead of what a Triton here would need. Exit code 1 if something
    that cannot be done without is missing.
    """
    with errors_told():
        catalog = load_catalog()
        checks: list[Check] = [python, lambda: address(host, port)]
        if triton:
            checks.append(lambda: remote_triton(triton))
        else:
            checks += local_checks(catalog.defaults(), cache_folder())
            checks.append(lambda: network(catalog.defaults(), cache_folder()))
        failed = 0
        for check in checks:
            finding = check()
            show(line(finding, color=sys.stdout.isatty()))
            failed += finding.verdict is Verdict.FAILED
    if failed:
        show(f"\n{failed} of {len(checks)} checks failed.")
        raise typer.Exit(1)
    show("\nNothing is missing: tritongate serve" + (f" --triton {triton}" if triton else ""))


def remote_triton(url: str) -> Finding:
    """Whether a Triton answers there, and serves models that the adapter can serve.

    Raises:
        SenselessCommand: no such URL.
    """
    try:
        served = list_served(url)
    except TritonUnreachable as error:
        return Finding(Verdict.FAILED, "Triton", str(error), "start Triton there, and let its gRPC port (8001) through")
    detail = f"{served.version} at {url}"
    if served.problems:
        return Finding(
            Verdict.FAILED, "Triton", f"{detail}: {'; '.join(served.problems)}", "see docs/model_repository.md"
        )
    if not served.models:
        mend = "assemble its repository with build/assemble.py: see docs/model_repository.md"
        return Finding(Verdict.WARNING, "Triton", f"{detail} serves no model that describes itself", mend)
    return Finding(Verdict.OK, "Triton", f"{detail} serves {', '.join(model.id for model in served.models)}")


def line(finding: Finding, color: bool) -> str:
    """`ok       numpy: 1.26.4`, and below it what mends it."""
    verdict = f"{finding.verdict.value:<8}"
    text = typer.style(verdict, fg=COLORS[finding.verdict]) if color else verdict
    mend = f"\n         -> {finding.mend}" if finding.mend else ""
    return f"{text} {finding.subject}: {finding.detail}{mend}"
