"""Language models: `task = "causal_lm"`, a task of the kind that people write themselves (`trainer.tasks.task`).

`options` says what `[task]` may hold, `rows` turns the user's files into token rows, `causal_lm` puts model, rows and
loss together. Nothing outside imports this room by name but what checks cluster.toml, and that `options` alone:
transformers and peft are imported here alone, when the task is made, and only on hosts that have them.
"""
