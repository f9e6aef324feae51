"""``wordgaze doctor``."""

from __future__ import annotations

import traceback

import click

from wordgaze.cli.options import common_options, debugging


@click.command()
@common_options
@click.pass_context
def command(context: click.Context) -> None:
    """Show what is installed, what this machine can do, and what is missing for which feature.

    Captions a plain picture to check that captions work. Exit status: 0 if captions can be made, 1 if not.
    """
    from wordgaze.tasks.doctor import examine

    findings = []
    for finding in examine():
        click.echo(f"{finding.name:<16} {finding.detail}")
        if finding.error and debugging(context):
            traceback.print_exception(finding.error)
        findings.append(finding)
    _list("Missing", {finding.name: finding.problem for finding in findings if finding.problem})
    _list("Mind", {finding.name: finding.note for finding in findings if finding.note})
    broken = any(finding.stops_captions for finding in findings)
    click.echo("\nCaptions can't be made." if broken else "\nCaptions work.")
    context.exit(int(broken))


def _list(title: str, lines: dict[str, str]) -> None:
    if lines:
        click.echo(f"\n{title}:")
    for name, text in lines.items():
        click.echo(f"  {name:<16} {text}")
