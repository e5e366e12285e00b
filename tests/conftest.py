"""Starts every test process with the signals of a terminal, however the suite itself was started."""

import signal


def pytest_configure() -> None:
    """A shell starts what it puts in the background with Ctrl-C ignored, and `nohup` with hang-up ignored: children inherit that."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
