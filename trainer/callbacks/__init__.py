"""What a script of the user's own hands to its library, so that the library's steps are reported: `motley.report`.

    Trainer(..., callbacks=[motley.TransformersCallback()])          # transformers
    Trainer(..., callbacks=[motley.LightningCallback()])             # Lightning
    Accelerator(log_with=motley.AccelerateTracker())                 # accelerate

One file for each library, which alone imports it. Under plain python they do nothing.
"""
