"""``wordgaze doctor``."""

from __future__ import annotations

import traceback

import click

from wordgaze.cli.options import debug_option, debugging


@click.command()
@debug_option
@click.pass_context
def command(context: click.Context) -> None:
    """Say what is installed, what this machine can do, and what is missing for which feature.

    Captions a plain picture to see that it works. Exit status: 0 if captions can be made, 1 if not.
    """
    from wordgaze.tasks.doctor import examine

    findings = []
    for finding in examine():
        click.echo(f"{finding.name:<16} {finding.detail}")
        if finding.error and debugging(context):
            traceback.print_exception(finding.error)
        findings.append(finding)
    problems = [finding for finding in findings if finding.problem]
    if problems:
        click.echo("\nMissing:")
    for finding in problems:
        click.echo(f"  {finding.name:<16} {finding.problem}")
    broken = any(finding.stops_captions for finding in findings)
    click.echo("\nCaptions can't be made." if broken else "\nCaptions work.")
    context.exit(int(broken))
