"""What is secret goes to no tracker."""

from __future__ import annotations

from motley.console.tracking.secrets import conceal, concealed, is_secret, secrets_of


def test_values_of_secret_variables_are_put_out_of_sight() -> None:
    secrets = secrets_of({"WANDB_API_KEY": "0123456789", "HF_TOKEN": "0123456789ab", "HOME": "/root", "A_TOKEN": "x"})
    assert secrets == ["0123456789ab", "0123456789"]
    assert conceal("key 0123456789abc at https://me:word@box/x", secrets) == "key ***c at https://***@box/x"


def test_settings_that_are_secret_by_name_are_left_out() -> None:
    given = {"task.hub_token": "abc", "task.max_tokens": 7, "run.args": ("--key", "0123456789"), "run.compile": True}
    assert concealed(given, ["0123456789"]) == {
        "task.max_tokens": 7, "run.args": "('--key', '***')", "run.compile": True
    }  # fmt: skip
    names = ("WANDB_API_KEY", "password", "AWS_SECRET", "keyboard", "tokenizer")
    assert [name for name in names if is_secret(name)] == ["WANDB_API_KEY", "password", "AWS_SECRET"]
