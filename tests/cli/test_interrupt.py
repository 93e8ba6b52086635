from __future__ import annotations

import os
import signal

import pytest
import typer

from polygraft.cli.explain import explain
from polygraft.cli.interrupt import stop_on_signals
from polygraft.errors import TrainError


def press(number: signal.Signals = signal.SIGINT) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_raises_the_flag(number: signal.Signals, capsys: pytest.CaptureFixture[str]):
    with stop_on_signals() as should_stop:
        assert not should_stop()
        press(number)
        assert should_stop()
    assert capsys.readouterr().err == (
        "Stopping after the step in progress, so that nothing is lost. Press Ctrl-C again to stop at once.\n"
    )


def test_the_second_signal_ends_the_work_with_130(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(typer.Exit) as caught, stop_on_signals():
        press()
        press()
    assert caught.value.exit_code == 130
    assert capsys.readouterr().err.splitlines()[-1] == (
        "error: Stopped at once. What was saved last is whole: give the same command again to go on from there."
    )


def test_an_error_after_a_signal_is_an_interruption(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(typer.Exit) as caught, stop_on_signals():
        press()
        raise TrainError("Stopped after step 3. Give the same command again.")
    assert caught.value.exit_code == 130
    assert capsys.readouterr().err.endswith("error: Stopped after step 3. Give the same command again.\n")


def test_an_error_without_a_signal_stays_an_error():
    with pytest.raises(TrainError, match="no number"), stop_on_signals():
        raise TrainError("The loss is no number.")


def test_the_handlers_are_put_back():
    before = [signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)]
    with stop_on_signals():
        assert signal.getsignal(signal.SIGINT) != before[0]
    assert [signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)] == before


def test_ctrl_c_in_a_short_command_is_a_sentence(capsys: pytest.CaptureFixture[str]):
    def command() -> None:
        raise KeyboardInterrupt

    with pytest.raises(typer.Exit) as caught:
        explain(command)()
    assert caught.value.exit_code == 130
    assert capsys.readouterr().err == (
        "error: Stopped. Nothing was left half-written; give the same command again to start anew.\n"
    )
