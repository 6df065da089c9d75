"""Whether the machine itself may fall asleep, by its files below a root folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from motley.remote.preflight.power import power

BATTERY = {
    "sys/class/power_supply/AC/type": "Mains",
    "sys/class/power_supply/AC/online": "0",
    "sys/class/power_supply/BAT0/type": "Battery",
    "sys/class/power_supply/BAT0/status": "Discharging",
    "sys/class/power_supply/BAT0/capacity": "61",
}
PLUGGED = {"sys/class/power_supply/AC/online": "1", "sys/class/power_supply/BAT0/status": "Charging"}
LID = {"proc/acpi/button/lid/LID0/state": "state: open", "run/systemd/system/": ""}
MOUSE = {f"sys/class/power_supply/hid-0/{key}": value for key, value in
         {"type": "Battery", "scope": "Device", "status": "Discharging"}.items()}  # fmt: skip
CONF = "etc/systemd/logind.conf"
DROPIN = "etc/systemd/logind.conf.d/lid.conf"
OVER = "usr/lib/systemd/logind.conf.d/zz.conf"


def found(root: Path, *files: dict[str, str]) -> str:
    """The causes, in one line; what the root has by `files`."""
    for name, content in (item for table in files for item in table.items()):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir() if name.endswith("/") else path.write_text(f"{content}\n")
    assert all(remedy for _, remedy in power(root))
    return "; ".join(cause for cause, _ in power(root))


def test_a_machine_without_battery_and_lid_is_in_order(tmp_path: Path) -> None:
    assert found(tmp_path) == ""
    assert found(tmp_path, MOUSE, {"run/systemd/system/": ""}) == ""


def test_its_battery_is_told_of_while_it_drains(tmp_path: Path) -> None:
    assert found(tmp_path, BATTERY) == "it runs on battery (BAT0: 61 %)"
    assert found(tmp_path, PLUGGED) == ""


def test_a_battery_that_helps_out_at_a_charger_is_in_order(tmp_path: Path) -> None:
    assert found(tmp_path, BATTERY, {"sys/class/power_supply/AC/online": "1"}) == ""


@pytest.mark.parametrize(
    ("files", "what"),
    [
        ({}, "suspend"),
        ({CONF: "[Login]\n#HandleLidSwitch=ignore"}, "suspend"),
        ({CONF: "[Login]\nHandleLidSwitch=hibernate"}, "hibernate"),
        ({CONF: "[Login]\nHandleLidSwitch=ignore"}, ""),
        ({CONF: "[Login]\nHandleLidSwitch=suspend", DROPIN: "[Login]\nHandleLidSwitch = lock"}, ""),
        ({DROPIN: "HandleLidSwitch=ignore", OVER: "HandleLidSwitch=suspend"}, "suspend"),
        ({DROPIN: "HandleLidSwitchExternalPower=ignore"}, ""),
    ],
)
def test_its_lid_is_told_of_where_logind_suspends_by_it(tmp_path: Path, files: dict[str, str], what: str) -> None:
    cause = f"closing its lid suspends it ({what}): for the run that is losing this host"
    assert found(tmp_path, LID, files) == (cause if what else "")


def test_on_battery_the_setting_of_external_power_does_not_count(tmp_path: Path) -> None:
    assert "closing its lid" in found(tmp_path, LID, BATTERY, {DROPIN: "HandleLidSwitchExternalPower=ignore"})


def test_without_logind_nothing_is_said_of_the_lid(tmp_path: Path) -> None:
    assert found(tmp_path, {"proc/acpi/button/lid/LID0/state": "state: open"}) == ""
