"""The command itself: its verbs, and how errors are told."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from flowbridge.cli.printing import say
from flowbridge.errors import FlowbridgeError, RunFailedError, UsageError, suggest

COMMANDS = ("run", "check", "compile", "deploy", "runs", "show", "logs", "backends", "resources", "status", "tag", "gc", "du")
"""Each is the function of that name in the module of that name in this package; the order is that of the help."""

DONE, FAILED, WRONG = 0, 1, 2
_INTERRUPTED = 130

app = typer.Typer(
    name="flowbridge",
    help="Run typed flows of Python steps here, on Kubeflow Pipelines or on Metaflow, and look at their runs.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _print_version(value: bool) -> None:
    if value:
        print(importlib.import_module("flowbridge").__version__)
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    _version: Annotated[bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version.")] = False,
    _debug: Annotated[
        bool, typer.Option("--debug", help="Show tracebacks of errors (also after a command, or FLOWBRIDGE_DEBUG=1).")
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        print(context.get_help())


def _register() -> None:
    for name in COMMANDS:
        module = importlib.import_module(f"flowbridge.cli.{name}")
        told = module.HELP.partition(". ")[0]
        app.command(name, cls=getattr(module, "Command", None), help=module.HELP, short_help=told)(getattr(module, name))


_register()


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command and leave with its exit code: 0 done, 1 the run failed, 2 the call or the flow was wrong."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given or os.environ.get("FLOWBRIDGE_DEBUG", "") not in ("", "0")
    code = call([a for a in given if a != "--debug"], debug=debug)
    sys.stdout.flush()
    sys.exit(code)


def call(arguments: list[str], *, debug: bool = False) -> int:
    """Run the command and return its exit code. Errors are told in one message, with a traceback only where `debug` asks for it."""
    try:
        return _dispatch(arguments)
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return _INTERRUPTED
    except BrokenPipeError:  # `flowbridge runs | head`: nobody reads on, which is no error
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except Exception as error:
        if debug:
            raise
        return _tell(error)


def _dispatch(arguments: list[str]) -> int:
    _look_at_verb(arguments)
    try:
        code = typer.main.get_command(app).main(args=arguments, prog_name="flowbridge", standalone_mode=False)
    except _CLICK_ERROR as error:
        told: Any = error
        context = getattr(told, "ctx", None)
        hint = f"\nSee: {context.command_path} --help" if context is not None else ""
        print(f"Error: {told.format_message()}{hint}", file=sys.stderr)
        return WRONG
    except typer.Abort:
        print("Aborted.", file=sys.stderr)
        return WRONG
    return code if isinstance(code, int) else DONE


def _look_at_verb(arguments: list[str]) -> None:
    """Refuse an unknown verb, with the near ones.

    Raises:
        UsageError: There is no such verb.
    """
    verb = next((a for a in arguments if not a.startswith("-")), None)
    if verb is None or verb in COMMANDS:
        return
    if verb.endswith(".py") or ".py:" in verb:
        raise UsageError(f"{verb!r} is not a command. To run that flow: flowbridge run {verb}")
    raise UsageError(f"Unknown command {verb!r}. Commands: {', '.join(COMMANDS)}.{suggest(verb, COMMANDS)}")


def _tell(error: Exception) -> int:
    if isinstance(error, FlowbridgeError):
        say(f"Error: {error}", error=True)
        return FAILED if isinstance(error, RunFailedError) else WRONG
    told = f"{type(error).__name__}: {error}"
    say(f"Error inside flowbridge: {told}\nThis should not happen. The same call with --debug shows where it did.", error=True)
    return FAILED


_CLICK_ERROR: type[Exception] = next(c for c in typer.BadParameter.__mro__ if c.__name__ == "ClickException")
"""typer has click inside or beside it, by version; what it offers of its errors is this one."""
