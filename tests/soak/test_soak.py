"""The soak for some seconds: every client at once, then the invariants. Growth is judged by `make soak`, which takes minutes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from huaweicloudsdkcore.exceptions.exceptions import ClientRequestException, SdkError

from bench.soak.__main__ import soak
from bench.soak.actors import CAST, missing_tools
from bench.soak.record import Record
from bench.soak.watch import Sample, Watch, rise

SECONDS = 15.0
PROGRESS = ("buy", "change", "delete", "restart", "command", "command at once", "push and pull", "tunnel", "list phones")


@pytest.mark.timeout(300)
def test_everything_at_once_meets_no_error_and_leaves_nothing_behind(database_url: str) -> None:
    if missing := missing_tools():
        pytest.skip(f"no {missing[0]}: sudo apt-get install adb openssh-client")
    record, lines = soak(SECONDS, database_url, judge_growth=False)
    account = "\n".join(lines)
    assert not record.unexpected, account
    assert record.jobs, account
    for what in PROGRESS:
        assert record.done[what] > 0, f"{what} was never done:\n{account}"
    assert len(CAST) >= 7


def test_a_refusal_that_is_not_expected_is_a_failure_and_an_expected_one_is_counted() -> None:
    def refuse(code: str) -> None:
        raise ClientRequestException(409, SdkError("r", code, "no"))

    record = Record()
    record.must_refuse("change a server that changes", refuse, "CPS.0099")
    assert (record.refused["change a server that changes", "CPS.0099"], record.unexpected) == (1, [])
    record.call("change a server that changes", refuse, "CPS.0003")
    record.call("buy", refuse, "CPS.0099")
    record.must_refuse("show a phone that is none", lambda: "an answer")
    assert [one.split(":")[0] for one in record.unexpected] == ["change a server that changes", "buy", "show a phone that is none"]


def test_what_grows_steadily_is_told_and_what_goes_up_and_down_is_not(tmp_path: Path) -> None:
    watch = Watch(os.getpid(), tmp_path)
    mb = 1 << 20
    for at in range(0, 600, 2):
        watch.samples["leaks memory 1"].append(Sample(at, 60 * mb + at * mb // 20, 20))
        watch.samples["leaks descriptors 2"].append(Sample(at, 60 * mb, 20 + at // 10))
        watch.samples["breathes 3"].append(Sample(at, 60 * mb + (at % 60) * mb // 10, 20 + at % 30))
        watch.samples["warms up 4"].append(Sample(at, 60 * mb + min(at, 150) * mb // 5, 20))
    _, grew = watch.judge()
    assert [one.split(":")[0] for one in grew] == ["descriptors of leaks descriptors 2", "memory of leaks memory 1"]
    assert rise([(0, 1), (1, 2), (2, 3)]) == pytest.approx(2)
