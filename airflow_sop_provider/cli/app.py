"""The commands of `sop`: their arguments, help and examples, and nothing else.

Each command imports the module that does its work inside its body. The language costs a
tenth of a second to import, the progress bar as much again; help and completion need neither.
"""

from __future__ import annotations

from pathlib import Path

import click

from airflow_sop_provider import __version__
from airflow_sop_provider.cli.approval_commands import COMMANDS as APPROVAL_COMMANDS
from airflow_sop_provider.cli.engine_commands import COMMANDS as ENGINE_COMMANDS
from airflow_sop_provider.cli.following_commands import COMMANDS as FOLLOWING_COMMANDS
from airflow_sop_provider.cli.following_commands import audit_list
from airflow_sop_provider.cli.options import URL

__all__ = ["ReaderGoneError", "app"]

SHAPES = ("chain", "diamond", "fan-out", "branch", "rollback", "agent-centric")
FORMATS = ("ssm", "xsoar", "cacao")
MODES = ("auto", "system_design", "agent_centric")

_FILE = click.Path(exists=True, dir_okay=False, readable=True, path_type=Path)
_FILE_OR_FOLDER = click.Path(exists=True, readable=True, path_type=Path)
_NEW_FILE = click.Path(dir_okay=False, path_type=Path)
_SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


class ReaderGoneError(Exception):
    """Whoever read our output has stopped; under this name, as click turns a broken pipe into exit code 1."""


class _Group(click.Group):
    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            raise ReaderGoneError from error


@click.group(cls=_Group, context_settings=_SETTINGS)
@click.version_option(__version__, prog_name="sop")
def app() -> None:
    """Write, check and understand SOPs, the procedures that become Airflow DAGs; run them, follow and audit their
    executions.

    \b
    Examples:
      sop new invoice-review          write a commented SOP to start from
      sop validate sops               check every SOP below a folder
      sop explain invoice-review.yaml say in words what it will do
      sop submit invoice-review       start an execution; `sop watch` follows it

    Exit codes: 0 done, 1 an SOP has errors, the work failed or an execution did not complete, 2 wrong usage,
    3 not allowed, 4 refused (nothing was done), 5 no engine answered, 124 not over in time, 130 interrupted.
    """


@app.command(short_help="Check SOP files and folders.")
@click.argument("paths", nargs=-1, required=True, metavar="PATH...", type=_FILE_OR_FOLDER)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of text.")
@click.option("-q", "--quiet", is_flag=True, help="Print errors only: no progress, no summary.")
@click.option("--fleet", type=_FILE, metavar="FILE", help="Ask the servers of this fleet.yaml for tools and arguments.")
def validate(paths: tuple[Path, ...], as_json: bool, quiet: bool, fleet: Path | None) -> int:
    """Check SOP files, and every SOP file below the folders given.

    All errors of all files are reported, each with line, column, excerpt and what to do.
    Two SOPs with one id are an error too. With --fleet the servers that the SOPs name are asked, each once, whether
    they have the tools and take the arguments. Exit code 1 if there is any error.

    \b
    Examples:
      sop validate vendor-bank-change.yaml
      sop validate sops more-sops --quiet
      sop validate sops --fleet fleet.yaml
      sop validate sops --json | jq '.results[] | select(.valid | not) | .file'
    """
    from airflow_sop_provider.cli.validate import validate_paths

    return validate_paths(paths, as_json=as_json, quiet=quiet, fleet=fleet)


@app.command(short_help="Print the JSON Schema, for editors.")
def schema() -> None:
    """Print the JSON Schema of an SOP file, for editors that complete and check YAML.

    \b
    Examples:
      sop schema > sop.schema.json
      and as the first line of an SOP:
      # yaml-language-server: $schema=sop.schema.json
    """
    from airflow_sop_provider.cli.schema import print_schema

    print_schema()


@app.command(short_help="Draw the steps: Mermaid or SVG.")
@click.argument("file", type=_FILE)
@click.option(
    "--format", "form", type=click.Choice(["mermaid", "svg"]), help="Default: by the ending of --output, else mermaid."
)
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="File to write; default stdout.")
def graph(file: Path, form: str | None, output: Path | None) -> None:
    """Draw the steps of an SOP as Mermaid text or as an SVG picture.

    \b
    Examples:
      sop graph sops/software-licence-review.yaml
      sop graph sops/software-licence-review.yaml -o review.svg
    """
    from airflow_sop_provider.cli.graph import draw

    draw(file, form, output)


@app.command(short_help="Write a commented SOP to start from.")
@click.argument("sop_id", metavar="ID")
@click.option("-o", "--output", metavar="FILE|-", help="Where to write; `-` is stdout.  [default: ID.yaml]")
@click.option("--shape", type=click.Choice(SHAPES), default="chain", show_default=True, help="Shape of its steps.")
def new(sop_id: str, output: str | None, shape: str) -> None:
    """Write a commented, valid SOP to start from. An existing file is never overwritten.

    \b
    Examples:
      sop new invoice-review
      sop new invoice-review --shape branch --output sops/invoice-review.yaml
      sop new invoice-review --output - | less
    """
    from airflow_sop_provider.cli.new import write_new

    write_new(sop_id, shape, output)


@app.command(short_help="Say in words what an SOP will do.")
@click.argument("file", type=_FILE)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of text.")
def explain(file: Path, as_json: bool) -> None:
    """Say what an SOP does: its mode and why, its steps in words, and all it may touch.

    \b
    Examples:
      sop explain sops/software-licence-review.yaml
      sop explain sops/software-licence-review.yaml --json | jq .touches
    """
    from airflow_sop_provider.cli.explain import explain_file

    explain_file(file, as_json=as_json)


@app.command("set-mode", short_help="Change the execution mode in a file.")
@click.argument("file", type=_FILE)
@click.argument("mode", type=click.Choice(MODES))
def set_mode(file: Path, mode: str) -> None:
    """Change the execution mode in an SOP file, if its steps allow that mode.

    The rest of the file stays as it is, comments included. Runs that have started keep their mode.

    \b
    Examples:
      sop set-mode sops/package-brief.yaml agent_centric
      sop set-mode sops/package-brief.yaml auto
    """
    from airflow_sop_provider.cli.set_mode import change_mode

    change_mode(file, mode)


@app.group(short_help="Read and verify audit logs.")
def audit() -> None:
    """Read the audit log of an Airflow, and verify what it says, offline.

    \b
    Examples:
      sop audit list --sop vendor-bank-change --level error --since 7d
      sop audit verify export.zip
      sop audit verify audit-digests/
    """


@audit.command("verify", short_help="Verify an export, chain or folder of digests.")
@click.argument("path", type=_FILE_OR_FOLDER)
@click.option("--key", metavar="HEX|FILE", help="Public key that must have signed. Default: the one that lies beside.")
@click.option(
    "--digests",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of signed digests to compare with.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of text.")
def audit_verify(path: Path, key: str | None, digests: Path | None, as_json: bool) -> int:
    """Verify an export (zip), the lines of audit chains (JSONL) or a folder of signed digests.

    Needs no engine and no network. Names every entry that was changed, removed, reordered, inserted or cut off, and
    every attempt without an end. Exit code 1 if there is any problem.

    \b
    Examples:
      sop audit verify export.zip --key engine.key.hex
      sop audit verify audit.jsonl --digests audit-digests/
      sop audit verify export.zip --json | jq .problems
    """
    from airflow_sop_provider.cli.audit import verify

    return verify(path, key=key, digests=digests, as_json=as_json)


_FLEET = click.option(
    "--fleet", "path", type=_FILE, default="fleet.yaml", show_default=True, help="The file that declares the servers."
)
_JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of text.")


@app.group(short_help="Look at the MCP servers SOPs may use.")
def fleet() -> None:
    """Look at the MCP servers that SOPs may name as data sources.

    Needs the extra `runner`, and the servers' credentials in the environment.

    \b
    Examples:
      sop fleet list
      sop fleet tools python-environment
      sop fleet test --json
    """


@fleet.command("list", short_help="List the servers.")
@_FLEET
@_JSON
def fleet_list(path: Path, as_json: bool) -> None:
    """List the servers that fleet.yaml declares. No connection is made, no secret shown.

    \b
    Examples:
      sop fleet list
      sop fleet list --fleet /opt/airflow/fleet.yaml --json | jq '.servers[].name'
    """
    from airflow_sop_provider.cli.fleet import list_servers

    list_servers(path, as_json=as_json)


@fleet.command("tools", short_help="List the tools of a server.")
@click.argument("server")
@_FLEET
@_JSON
def fleet_tools(server: str, path: Path, as_json: bool) -> None:
    """List the tools of a server, with the digest of each definition.

    \b
    Examples:
      sop fleet tools python-environment
      sop fleet tools python-environment --json | jq '.tools[0].inputSchema'
    """
    from airflow_sop_provider.cli.fleet import list_tools

    list_tools(path, server, as_json=as_json)


@fleet.command("test", short_help="See whether servers can be used.")
@click.argument("servers", nargs=-1)
@_FLEET
@_JSON
def fleet_test(servers: tuple[str, ...], path: Path, as_json: bool) -> int:
    """Connect to servers, by default to all, and list their tools. Exit code 1 if one cannot be used.

    \b
    Examples:
      sop fleet test
      sop fleet test python-environment --json | jq '.servers[] | select(.ok | not)'
    """
    from airflow_sop_provider.cli.fleet import test_servers

    return test_servers(path, servers, as_json=as_json)


@fleet.command("serve", short_help="Run the gateway as a service of its own.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=8443, show_default=True, help="Port to listen on.")
@click.option("--workers", type=click.IntRange(1, 64), default=1, show_default=True, help="Processes that serve.")
def fleet_serve(host: str, port: int, workers: int) -> None:
    """Serve the fleet's gateway apart from Airflow's API server, which else does it.

    Needs Airflow's configuration (metadata database, secrets, `[sop] fleet_file`). Steps use it once `[sop] fleet_url`
    names it; GET /health says whether it can serve. It speaks HTTP: end TLS before it.

    \b
    Examples:
      sop fleet serve
      sop fleet serve --host 0.0.0.0 --port 8443 --workers 4
    """
    from airflow_sop_provider.api.gateway_app import serve

    serve(host, port, workers)


@app.command("eval", short_help="Run an SOP over a table of cases and score it.")
@click.argument("suite", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of a table.")
@click.option("--html", type=_NEW_FILE, metavar="FILE", help="Write the report as a page, too.")
@click.option("--results", type=_NEW_FILE, metavar="FILE", help="Results by line.  [default: SUITE.results.jsonl]")
@click.option("--anew", is_flag=True, help="Run every case, also those done before an interruption.")
@click.option("--log", type=_NEW_FILE, metavar="FILE", help="Append the logs of steps and servers.")
@click.option("-q", "--quiet", is_flag=True, help="No progress; of the cases only those that fail.")
@click.option("--airflow", metavar="URL", help="Run the cases as executions of this Airflow, not in this process.")
@click.option("--init", "sop", type=_FILE, metavar="SOP", help="Write a commented suite for this SOP to SUITE.")
def evaluate(
    suite: Path,
    as_json: bool,
    html: Path | None,
    results: Path | None,
    anew: bool,
    log: Path | None,
    quiet: bool,
    airflow: str | None,
    sop: Path | None,
) -> int:
    """Run an SOP over the cases of a suite and report four shares: task success (all that is expected came out),
    execution completion (it ended as it should), conditional success (success of what completed), and tool accuracy.

    Results are kept as they come: after Ctrl-C the same command goes on where it was. With --airflow, user and
    password are read from SOP_AIRFLOW_USER and SOP_AIRFLOW_PASSWORD. Exit code 1 if a threshold is not reached.

    \b
    Examples:
      sop eval mine.yaml --init sops/software-licence-review.yaml
      sop eval evals/licence-policy.yaml
      sop eval evals/licence-policy.yaml --json | jq .summary
      sop eval evals/licence-policy.yaml --html report.html
    """
    from airflow_sop_provider.cli.evaluate import evaluate_suite, init_suite

    if sop is not None:
        return init_suite(suite, sop)
    where = {"html": html, "results": results, "log": log}
    return evaluate_suite(suite, where, as_json=as_json, anew=anew, quiet=quiet, airflow=airflow)


@app.command(short_help="Run an SOP in both modes and compare.")
@click.argument("file", type=_FILE)
@click.option("--inputs", default="{}", metavar="JSON", help="Inputs of both executions.  [default: the SOP's own]")
@_FLEET
@click.option("--models", type=_FILE, default=None, help="models.yaml for its agents.  [default: SOP_MODELS]")
@click.option("--log", type=_NEW_FILE, metavar="FILE", help="Append the logs of steps and agents.")
@_JSON
def parity(file: Path, inputs: str, path: Path, models: Path | None, log: Path | None, as_json: bool) -> int:
    """Carry an SOP out in both modes, here and now, and compare what they come to: status, outputs, decisions, data
    that was read, time and tokens. Steps without `needs` follow each other, as one agent does them.

    What an agent words freely is shown and not compared. Exit code 1 if the results are not equivalent.

    \b
    Examples:
      sop parity sops/package-brief.yaml --models models.yaml
      sop parity sops/package-brief.yaml --inputs '{"package": "Jinja2"}' --json | jq .differences
    """
    from airflow_sop_provider.cli.parity import show_parity

    return show_parity(file, inputs, path, models, log, as_json=as_json)


@app.command("import", short_help="Make an SOP of a procedure of others.")
@click.argument("form", metavar="FORMAT", type=click.Choice(FORMATS))
@click.argument("file", type=_FILE)
@click.option("-o", "--output", type=_NEW_FILE, metavar="FILE", help="Where the SOP goes; default stdout.")
@click.option("--id", "sop_id", metavar="ID", help="Id of the SOP.  [default: the file's name]")
@click.option("--json", "as_json", is_flag=True, help="Print the report as one JSON document.")
def import_(form: str, file: Path, output: Path | None, sop_id: str | None, as_json: bool) -> int:
    """Make an SOP of an AWS SSM Automation document (ssm), a Cortex XSOAR playbook (xsoar) or an OASIS CACAO v2
    playbook (cacao), and report what became of every step of it: mapped, approximated or refused.

    What an SOP cannot say becomes an approval: a person does it and confirms. Exit code 1 if a step of the
    source found no place in the SOP at all.

    \b
    Examples:
      sop import ssm restart-instances.yaml -o sops/restart-instances.yaml
      sop import xsoar phishing.yml -o sops/phishing.yaml
      sop import cacao playbook.json --json | jq '.steps[] | select(.outcome != "mapped")'
    """
    from airflow_sop_provider.cli.imports import import_procedure

    return import_procedure(form, file, output, sop_id, as_json=as_json)


for _command in (*ENGINE_COMMANDS, *FOLLOWING_COMMANDS, *APPROVAL_COMMANDS):
    app.add_command(_command)
audit.add_command(audit_list)


@fleet.command("snapshot", short_help="Take an SOP's tools as validated.")
@click.argument("file", type=_FILE)
@URL
@_JSON
def fleet_snapshot(file: Path, url: str, as_json: bool) -> int:
    """Take the tools that an SOP uses as they are now: the gateway refuses one whose definition changes later.

    Who calls is read from SOP_TOKEN, or from SOP_USER and SOP_PASSWORD.

    \b
    Examples:
      sop fleet snapshot sops/software-licence-review.yaml
      sop fleet snapshot sops/software-licence-review.yaml --json | jq
    """
    from airflow_sop_provider.cli.executions import validate_tools

    return validate_tools(url, file, as_json=as_json)
