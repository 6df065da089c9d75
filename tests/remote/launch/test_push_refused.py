"""A host that can't take the code: named as a finding, before anything is started."""

from __future__ import annotations

import shutil

import pytest

from motley.remote.errors import CheckFailed
from motley.remote.launch.prepare_hosts import preflight
from tests.remote.stage import Seen, Stage


async def test_a_host_that_cannot_take_the_code_is_a_finding_and_nothing_is_started(stage: Stage) -> None:
    await preflight(stage.cluster(), lambda _: None)
    home = stage.run_folder("night", "box1").parents[3]
    shutil.rmtree(home / ".motley/code")
    (home / ".motley/code").write_text("in the way")
    with pytest.raises(CheckFailed) as failed:
        await stage.session("night", Seen()).launch()
    (finding,) = (one for one in failed.value.findings if one.level == "error")
    assert (finding.host, finding.check) == ("box1", "push")
    assert finding.cause
    assert finding.remedy
    assert not stage.alive()
    assert (home / ".motley/code").read_text() == "in the way"
