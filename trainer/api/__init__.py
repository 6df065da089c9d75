"""What `import motley` gives to a training loop of the user's own: `motley.session()`, and what it is made of.

    run = motley.session()
    model, optimizer = run.prepare(model, optimizer)
    for step in run.steps(dataset, global_batch=256, epochs=10):
        with step:
            ...

The same loop runs in three ways, told apart by `trainer.api.peers`: as plain Python, under torchrun, and under Motley.
Imports torch.
"""
