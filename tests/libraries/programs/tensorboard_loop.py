"""Nothing is trained: what is written is a loop's bar by tqdm, or with `events` its loss for TensorBoard."""

from __future__ import annotations

import os
import sys

from tqdm import tqdm


def main() -> None:
    if "events" in sys.argv:
        from torch.utils.tensorboard import SummaryWriter

        with SummaryWriter(os.path.join(os.environ["MOTLEY_DIR"], "runs", "one")) as writer:
            for step in range(1, 41):
                writer.add_scalar("Loss/train", 1 / step, step)
                writer.add_scalar("Loss/val", 7.0, step)
        return
    with tqdm(range(40)) as bar:
        for step in bar:
            bar.set_postfix(loss=1 / (step + 1))


if __name__ == "__main__":
    main()
