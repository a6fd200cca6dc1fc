"""The command line in this process: what a command prints, and how it ends."""

from typer.testing import CliRunner

from router.cli.app import app

QUIET = {"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None, "CROSSBUS_URL": None, "AWS_REGION": None}


def run(*arguments: str, stdin: bytes = b"") -> tuple[int, str, str]:
    """Exit status, stdout and stderr, without the settings of whoever runs the tests."""
    done = CliRunner().invoke(app, list(arguments), input=stdin, env=QUIET)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.stdout, done.stderr
